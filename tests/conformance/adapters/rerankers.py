"""Adapters of the schema "retrieval": the losses of rerankers, on the scores of a query's own candidates."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from embedkit.data.views import hardest
from embedkit.evaluation.two_stage import fused
from embedkit.objectives.base import build
from embedkit.objectives.dcd import entropy_shares
from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.objectives.candidates import BCE, LCE, MarginRanking
from embedkit.recipe.objectives.dcd import DCD
from embedkit.types import Embeddings
from tests.conformance.inputs import NotImplementedYet
from tests.conformance.ours import embeddings, infonce, loss, option
from tests.conformance.runner import Case, adapter

_ENDS = {"extra.distillation": 1.0, "extra.hard_label": 0.0}


def _scored(scores: Tensor) -> Embeddings:
    """The batch of a reranker with scores [B, K], the relevant document first."""
    if scores.shape[1] < 2:
        raise NotImplementedYet("no candidate besides the relevant one")
    batch = embeddings(scores.new_zeros(len(scores), 1), scores[:, :1, None], scores[:, 1:, None])
    return replace(batch, paired=True)


def _weights(config: ObjectiveConfig, scores: Tensor) -> Tensor:
    """[B, K] magnitude of the gradient that each pair gets from its row's loss."""
    leaf = scores.detach().requires_grad_()
    rows = build(config)(_scored(leaf), torch.arange(len(leaf))).value
    return torch.autograd.grad(rows.sum(), leaf)[0].abs()


@adapter("retrieval", "rerank_sft_yes_no")
def yes_no(case: Case) -> dict[str, Any]:
    """A model's score is the difference of the two logits, as `embedkit.model` reads it."""
    reduction = case.hyper.only("reduction", "sum_over_documents", "mean_over_documents").partition("_")[0]
    scores = case["yes"] - case["no"]
    return {
        "loss": loss(option(BCE, reduction=reduction), _scored(scores)),
        "weights": _weights(BCE(reduction="sum"), scores),
        "scores": scores.sigmoid(),
    }


@adapter("retrieval", "rerank_cl_yes")
def contrast(case: Case) -> dict[str, Any]:
    config = option(LCE, temperature=float(case.hyper["temperature"]))
    weights = _weights(config, case["yes"]) * config.temperature
    return {"loss": loss(config, _scored(case["yes"])), "weights": weights}


@adapter("retrieval", "simcls_margin_ranking")
def simcls(case: Case) -> dict[str, Tensor]:
    """Candidates come best first; their grades here say no more."""
    candidates = case["c"]
    k = candidates.shape[1]
    gold = not case.hyper["no_gold"]
    config = option(
        MarginRanking,
        margin=float(case.hyper["margin"]),
        reference_margin=float(case.hyper["gold_margin"]),
        reference_weight=float(case.hyper["gold_weight"]) * gold,
    )
    score = torch.arange(k + 1, 0, -1.0, dtype=candidates.dtype).expand(len(candidates), -1)
    return {"loss": loss(config, embeddings(case["d"], case["g"], candidates, score=score))}


@adapter("retrieval", "dcd_dynamic_distillation")
def distilled(case: Case) -> dict[str, Any]:
    """Column 0 is the positive; T cancels in the released code."""
    case.hyper.remark("T")
    scores, teacher = case["student"], case["teacher"]
    batch = replace(_scored(scores), score=teacher)
    config = option(DCD, alpha=float(case.hyper["alpha"]), weights="hard")
    shares = entropy_shares(teacher, torch.ones_like(teacher, dtype=torch.bool))
    parts = {name: loss(option(DCD, alpha=share, weights="hard"), batch) for name, share in _ENDS.items()}
    return {"loss": loss(config, batch), "weights": shares, **parts}


@adapter("retrieval", "dcd_hard_selection")
def selected(case: Case) -> dict[str, Any]:
    """The released code leaves the teacher's scores in the teacher's order, which has the positive where it belongs."""
    teacher = case["teacher"].tolist()
    chosen = [[0, *(1 + k for k in hardest(row[1:], case.hyper["hard_negatives"]))] for row in teacher]
    return {"selected": chosen, "teacher_order_differs": [max(row[1:]) > row[0] for row in teacher]}


@adapter("retrieval", "lamra_pointwise_fusion")
def fusion(case: Case) -> dict[str, Any]:
    """The reranker's score is the difference of the two logits; ties keep the first stage's order."""
    first, scores = case["first"].numpy(), (case["yes"] - case["no"]).numpy()
    final = fused(first, scores, float(case.hyper["weight"]))
    order = (-final).argsort(axis=1, kind="stable").tolist()
    return {"rerank_score": (final - first) / case.hyper["weight"], "final_score": final, "order": order}


@adapter("retrieval", "lamra_ret_infonce")
def retriever(case: Case) -> dict[str, Tensor]:
    """One direction; the hard negatives of all queries are columns of every row."""
    negatives = case["n"] if "n" in case.inputs else None
    return {"loss": loss(infonce(float(case.hyper["temperature"])), embeddings(case["q"], case["p"], negatives))}
