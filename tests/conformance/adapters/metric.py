"""Adapters of metric learning on labels, and of attraction and repulsion."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from embedkit.objectives.base import build
from embedkit.recipe.objectives.cacr import CACR, CACRKeys
from embedkit.recipe.objectives.metric import Circle, CircleBatch, LabelContrastive, LabelTriplet, MultiSimilarity
from embedkit.types import Embeddings
from tests.conformance.adapters.views import views
from tests.conformance.ours import embeddings, loss, mean, option, times
from tests.conformance.runner import Case, adapter


def labelled(case: Case) -> Embeddings:
    """X [N, d] and a label each."""
    x = case["X"]
    return embeddings(x, x.new_zeros(len(x), 0, x.shape[1]), label=torch.as_tensor(case.inputs.fields["labels"]))


def _on_labels(case: Case, kind: type[Any], **names: str) -> dict[str, Tensor]:
    """Our options by the names of theirs."""
    config = option(kind, **{ours: float(case.hyper[theirs]) for ours, theirs in names.items()})
    return {"loss": loss(config, labelled(case))}


@adapter("objectives", "circle_pml")
def circle(case: Case) -> dict[str, Tensor]:
    return _on_labels(case, Circle, margin="m", scale="gamma")


@adapter("objectives", "circle_batch")
def circle_batch(case: Case) -> dict[str, Tensor]:
    return _on_labels(case, CircleBatch, margin="m", scale="gamma")


@adapter("objectives", "multi_similarity")
def multi_similarity(case: Case) -> dict[str, Tensor]:
    return _on_labels(case, MultiSimilarity, alpha="alpha", beta="beta", base="base", mine="eps")


@adapter("objectives", "multi_similarity_pml")
def multi_similarity_all(case: Case) -> dict[str, Tensor]:
    options = {name: float(case.hyper[name]) for name in ("alpha", "beta", "base")}
    return {"loss": loss(option(MultiSimilarity, mine=None, **options), labelled(case))}


@adapter("objectives", "contrastive_pml")
def contrastive(case: Case) -> dict[str, Tensor]:
    return _on_labels(case, LabelContrastive, positive_margin="pos_margin", negative_margin="neg_margin")


@adapter("objectives", "triplet_pml")
def triplet(case: Case) -> dict[str, Tensor]:
    config = option(LabelTriplet, margin=float(case.hyper["margin"]), smooth=case.hyper["smooth"])
    return {"loss": loss(config, labelled(case))}


@adapter("objectives", "cacr")
def cacr(case: Case) -> dict[str, Tensor]:
    case.hyper.only("cost", "squared euclidean on unit sphere")
    names = {
        "attraction": "alpha",
        "repulsion": "beta",
        "positive_sharpness": "tau_pos",
        "negative_sharpness": "tau_neg",
    }
    options = {ours: float(case.hyper[theirs]) for ours, theirs in names.items()}
    objective = build(option(CACR, detach_weights=case.hyper["weights_detached"], **options))
    batch = views(case)
    out = objective(batch, torch.arange(len(batch)))
    parts = {f"extra.{name}": options[name] * out.metrics[name] for name in ("attraction", "repulsion")}
    return {"loss": mean(out), **parts}


@adapter("objectives", "cacr_rbf_moco", "cacr_euclidean_moco")
def cacr_keys(case: Case) -> dict[str, Tensor]:
    """The last view is the key. Their euclidean form is a sum over the batch."""
    case.hyper.only("queries", "V[0],V[1]")
    case.hyper.only("key", "V[2] (no grad)")
    v = case["V"].transpose(0, 1)
    cost = "rbf" if case.entry.name == "cacr_rbf_moco" else "euclidean"
    config = option(CACRKeys, cost=cost, temperature=float(case.hyper["T"]), keys=1, momentum=None)
    factor = len(v) if cost == "euclidean" else 1
    return {"loss": loss(times(factor, config), embeddings(v[:, 2], v[:, :2]))}
