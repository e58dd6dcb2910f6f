"""Adapters of the schema "retrieval" for what draws one model to another, or one language to another."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from embedkit.objectives.shifting import language_vector, shifted
from embedkit.recipe.objectives.guided import GuidePair
from embedkit.recipe.objectives.shifting import MeanShift
from embedkit.recipe.objectives.wrappers import Sum, SumTerm
from tests.conformance.ours import embeddings, infonce, loss, option
from tests.conformance.runner import Case, adapter

BOTH = ("q-d", "d-q")


@adapter("retrieval", "lit_locked_tower")
def locked_tower(case: Case) -> dict[str, Tensor]:
    """The engine gives the frozen tower no gradient: its rows are constants."""
    config = infonce(case.hyper["temperature"], similarity="dot", directions=BOTH, partition="per_direction")
    return {"loss": loss(config, embeddings(case["q"], case["locked"].detach()))}


@adapter("retrieval", "three_towers")
def three_towers(case: Case) -> dict[str, Tensor]:
    pair = infonce(case.hyper["temperature"], similarity="dot", directions=BOTH, partition="per_direction")
    drawn = [
        option(GuidePair, objective=pair, of=of, to=to) for of, to in (("query", "positive"), ("positive", "query"))
    ]
    terms = tuple(SumTerm(weight=1 / 3, objective=one) for one in (pair, *drawn))
    batch = embeddings(case["f"], case["g"])
    frozen = case["h"].detach()
    guide = replace(batch, query=frozen, positive=frozen[:, None])
    return {"loss": loss(option(Sum, terms=terms), replace(batch, guide=guide))}


@adapter("retrieval", "shifcon_layer_contrast")
def shifcon(case: Case) -> dict[str, object]:
    """The mean over all layers but the last; ours is one of them."""
    scale = float(case.hyper["scale"])
    inner = infonce(1 / scale, similarity="dot", directions=BOTH, partition="per_direction")
    layers = list(zip(case["dominant"], case["other"], strict=True))
    values = [loss(option(MeanShift, objective=inner), embeddings(x, y)) for x, y in layers[:-1]]
    first, last = (language_vector(layers[k][1]).tolist() for k in (0, -1))
    per_layer = [value.item() for value in values]
    total = torch.stack(values).mean()
    return {"loss": total, "per_layer": per_layer, "language_vector_first": first, "language_vector_last": last}


@adapter("retrieval", "language_mean_shift")
def shift(case: Case) -> dict[str, object]:
    fields = case.inputs.fields
    own, dominant = (torch.tensor(fields[name], dtype=torch.float64) for name in ("own_vector", "dominant_vector"))
    there = shifted(case["states"], own, dominant)
    return {"shifted": there.tolist(), "back": shifted(there, dominant, own).tolist()}


@adapter("retrieval", "cvib_self_pruning_contrast")
def self_pruned(case: Case) -> dict[str, Tensor]:
    """The pruned network's rows are the anchors, whichever of both is trained."""
    return {"loss": loss(infonce(case.hyper["sd_temp"]), embeddings(case["anchor"], case["other"]))}
