"""Adapters of the schema "retrieval" for what draws one model to another, or one language to another."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from embedkit.recipe.objectives.guided import GuidePair
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


@adapter("retrieval", "cvib_self_pruning_contrast")
def self_pruned(case: Case) -> dict[str, Tensor]:
    """The pruned network's rows are the anchors, whichever of both is trained."""
    return {"loss": loss(infonce(case.hyper["sd_temp"]), embeddings(case["anchor"], case["other"]))}
