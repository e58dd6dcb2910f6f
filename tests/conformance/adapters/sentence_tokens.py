"""Adapters of the schema "sentence": losses over tokens, computed from the logits and states that an entry draws."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from embedkit.auxiliary.generator import pick
from embedkit.auxiliary.mlm import masked_lm_loss
from embedkit.auxiliary.replaced_tokens import edited, replaced_token_loss
from tests.conformance.ours import embeddings, infonce, loss
from tests.conformance.runner import Case, adapter


@adapter("sentence", r"SimCSE \+ MLM auxiliary")
def masked_language_model(case: Case) -> dict[str, Any]:
    """Rows of `logits` are sentence-major, as the labels [N, views, L] are; -100 marks what is not masked."""
    contrastive = loss(infonce(case.hyper["temp"]), embeddings(case["a"], case["b"]))
    logits, labels = case["logits"], case["labels"].flatten(0, 1)
    chosen = labels != -100
    count = int(chosen.sum())
    mlm = masked_lm_loss(logits[chosen], labels[chosen]) / count
    total = contrastive + case.hyper["mlm_weight"] * mlm
    return {"loss": total, "contrastive": contrastive, "mlm": mlm, "masked_tokens": count}


@adapter("sentence", "DiffCSE total and RTD loss")
def diffcse(case: Case) -> dict[str, Any]:
    """The generator's most probable token at every place but the first (`only_masked: false`)."""
    contrastive = loss(infonce(case.hyper["temp"]), embeddings(case["a"], case["b"]))
    ids, generated = case["input_ids"], case["gl"]
    real = torch.arange(ids.shape[1]) < case["lens"][:, None]
    after_first = torch.arange(ids.shape[1]) > 0
    proposed = pick(generated.flatten(0, 1)).view_as(ids)
    new, replaced = edited(ids, proposed, real & after_first)
    assert (new[:, 0] == case.hyper["cls_token"]).all()
    logits = case["disc_hidden"] @ case["W"].T + case["bias"]
    judged = replaced_token_loss(logits, replaced) / replaced.numel()
    values: dict[str, Any] = {
        "contrastive": contrastive,
        "rtd": judged,
        "rtd_variant_ignoring_padding": replaced_token_loss(logits, replaced, real) / real.sum(),
        "n_replaced": int(replaced.sum()),
        "n_valid_tokens": int(real.sum()),
        "n_positions": real.numel(),
    }
    weight: Tensor | float = case.hyper["lambda_weight"]
    values["total_lambda_" + str(weight).replace(".", "p")] = contrastive + weight * judged
    values["total_lambda_1"] = contrastive + judged
    return values
