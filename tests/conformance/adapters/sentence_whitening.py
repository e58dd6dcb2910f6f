"""Adapters of the schema "sentence": post-hoc whitening."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from embedkit.model.changing.whitening import Moments, fit
from tests.conformance.runner import Case, adapter


@adapter("sentence", "BERT-whitening post-hoc transform")
def bert_whitening(case: Case) -> dict[str, Any]:
    """PCA whitening of both sides together; signs of directions are arbitrary, so only sign-free values are given."""
    first, second = case["X"].numpy(), case["Y"].numpy()
    moments = Moments(first.shape[1])
    moments.add(first)
    moments.add(second)
    found = fit(moments, "pca", case.hyper["n_components"])
    white = found.apply(np.concatenate([first, second]))
    unit = white / np.linalg.norm(white, axis=1, keepdims=True)
    x, y = np.split(unit, [len(first)])
    apart = np.cov(white, rowvar=False) - np.eye(found.dim)
    return {
        "bias_first3": (-found.mean[:3]).tolist(),
        "abs_kernel_fro": float(np.linalg.norm(found.kernel)),
        "kernel_col_norms_first3": np.linalg.norm(found.kernel, axis=0)[:3].tolist(),
        "whitened_cov_max_abs_dev_from_identity_ddof1": float(np.abs(apart).max()),
        "pair_cos": torch.from_numpy((x * y).sum(axis=1)),
        "cross_gram_first_row_first5": (x[0] @ y[:5].T).tolist(),
    }
