"""Adapters of the schema "sentence": sentence-embedding methods on a (anchor), b (positive), c (hard negative)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from embedkit.model.changing.heads import new_head
from embedkit.recipe.objectives.scored import CosineMSE
from embedkit.recipe.objectives.wrappers import ViewPairs
from embedkit.recipe.schema import Head
from tests.conformance.ours import embeddings, infonce, loss, nt_xent, option, times
from tests.conformance.runner import Case, adapter


@adapter("sentence", "SimCSE unsup")
def simcse(case: Case) -> dict[str, Tensor]:
    return {"loss": loss(infonce(case.hyper["temp"]), embeddings(case["a"], case["b"]))}


def _supervised(case: Case, **options: Any) -> Any:
    return infonce(case.hyper["temp"], hard_negative_weight=float(case.hyper["hard_negative_weight"]), **options)


@adapter("sentence", r"SimCSE sup \(own hard negative logit \+= w\)")
def simcse_supervised(case: Case) -> dict[str, Tensor]:
    return {"loss": loss(_supervised(case), embeddings(case["a"], case["b"], case["c"]))}


@adapter("sentence", "SimCSE unsup through the Linear\\+Tanh head")
def simcse_head(case: Case) -> dict[str, Tensor]:
    """The head of a recipe, with the entry's weights in place of its own."""
    head = new_head(Head(activation="tanh"), case["a"].shape[1], seed=0).to(case["a"].dtype)
    weights = {"linear.weight": case["W"], "linear.bias": case["bias"]}
    a, b = (torch.func.functional_call(head, weights, (case[name],)) for name in "ab")
    return {"loss": loss(infonce(case.hyper["temp"]), embeddings(a, b))}


@adapter("sentence", r"WhitenedCSE loss on three views \(head = identity\)")
def whitenedcse(case: Case) -> dict[str, Tensor]:
    """The sum over the other views of InfoNCE(first view, that view)."""
    others = torch.stack([case[name] for name in "bcdefgh"[: case.hyper["num_pos"] - 1]], 1)
    config = option(ViewPairs, objective=infonce(case.hyper["temp"]), pairs="first", reduction="sum")
    return {"loss": loss(config, embeddings(case["a"], others))}


@adapter("sentence", r"ConSERT NT-Xent \(unscaled; .*\)")
def consert(case: Case) -> dict[str, Tensor]:
    """The sum of both directions, where NT-Xent takes their mean."""
    case.hyper.remark("cl_rate_used_in_training")
    return {"loss": loss(times(2, nt_xent(case.hyper["temperature"])), embeddings(case["a"], case["b"]))}


@adapter("sentence", r"CLHAIF soft-label InfoNCE")
def clhaif(case: Case) -> dict[str, Tensor]:
    case.inputs.fields.remark("extra")
    soft = {"smooth_positive": "positive", "smooth_all": "all"}[
        case.hyper.only("smooth_type", "smooth_positive", "smooth_all")
    ]
    batch = embeddings(case["a"], case["b"], case["c"], score=case["scores"][:, 0])
    return {"loss": loss(_supervised(case, soft_targets=soft), batch)}


@adapter("sentence", r"CLAIF: smoothed label \+ MSE on cosine .*")
def claif(case: Case) -> dict[str, Tensor]:
    smoothing = case.hyper["label_smoothing"]
    label = (1 - smoothing) * case["y"] + smoothing / 2
    pairs = embeddings(case["a"], case["b"], score=label)
    return {"loss": loss(option(CosineMSE), pairs), "smoothed_first3": label[:3]}


@adapter("sentence", r"SynCSE multi-positive variant")
def syncse(case: Case) -> dict[str, Tensor]:
    """The mean over the pairs of (anchor, positive 1, positive 2) of supervised InfoNCE."""
    config = option(ViewPairs, objective=_supervised(case), pairs="all", reduction="mean")
    positives = torch.stack([case["b"], case["c"]], 1)
    return {"loss": loss(config, embeddings(case["a"], positives, case["d"]))}


@adapter("sentence", r"SynCSE variant: only the own hard negative is appended")
def syncse_own(case: Case) -> dict[str, Tensor]:
    config = _supervised(case, other_negatives=False)
    return {"loss": loss(config, embeddings(case["a"], case["b"], case["c"]))}


@adapter("sentence", r"TransliCo transliteration contrastive loss")
def translico(case: Case) -> dict[str, Tensor]:
    """Half of NT-Xent, on plain dot products."""
    config = times(0.5, nt_xent(case.hyper["temperature"], similarity="dot"))
    return {"loss": loss(config, embeddings(case["a"], case["b"]))}
