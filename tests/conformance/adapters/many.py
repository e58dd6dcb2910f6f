"""Adapters of objectives with many positives, soft or hard: CWCL, 1-to-K, sorting, products of fields."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from embedkit.objectives.base import build
from embedkit.recipe.objectives.cwcl import CWCL
from embedkit.recipe.objectives.groco import GroCo
from embedkit.recipe.objectives.one_to_k import OneToK
from embedkit.recipe.objectives.symile import Symile
from tests.conformance.adapters.views import views
from tests.conformance.inputs import NotImplementedYet
from tests.conformance.ours import embeddings, loss, mean, option
from tests.conformance.runner import Case, adapter


@adapter("objectives", "cwcl")
def cwcl(case: Case) -> dict[str, Tensor]:
    """The teacher's rows are the guide's vectors of the documents."""
    case.hyper.only("weights", "cos(teacher)/2+0.5, row-normalised, rows = A side")
    case.hyper.only("second_term", "plain CE B->A")
    case.hyper.only("combine", "sum")
    config = option(CWCL, temperature=float(case.hyper["temperature"]))
    guide = embeddings(case["teacher"], case["teacher"])
    return {"loss": loss(config, embeddings(case["A"], case["B"], guide=guide))}


@adapter("objectives", "one_to_k")
def one_to_k(case: Case) -> dict[str, Tensor]:
    """B is anchor-major, K rows of each anchor; need_divm 0 divides by K."""
    config = option(OneToK, temperature=float(case.hyper["temperature"]), divide=not case.hyper["need_divm"])
    a, b = case["A"], case["B"]
    return {"loss": loss(config, embeddings(a, b.view(len(a), -1, b.shape[1])))}


@adapter("objectives", "groco")
def groco(case: Case) -> dict[str, Tensor]:
    case.hyper.only("network", "odd_even")
    case.hyper.only("distribution", "cauchy")
    case.hyper.only("similarity", "cosine")
    options = {"top_k": case.hyper["topk_neg"], "steepness": float(case.hyper["steepness"])}
    return {"loss": loss(option(GroCo, detach_others=case.hyper["stop_grad"], **options), views(case))}


@adapter("objectives", "symile")
def symile(case: Case) -> dict[str, Tensor]:
    every = case.hyper.only("negative_sampling", "n", "n_squared") == "n_squared"
    batch = views(case)
    config = option(
        Symile,
        scale=float(case.hyper["logit_scale"]),
        negatives="all" if every else "shuffled",
        mask_duplicates=False,
    )
    objective: Any = build(config).double()
    if not every:
        objective.draw = lambda e: _orders(case, len(e), 1 + e.positive.shape[1])
    return {"loss": mean(objective(batch, torch.arange(len(batch))))}


def _orders(case: Case, n: int, fields: int) -> list[list[Tensor]]:
    """The permutations of the entry: drawn anchor by anchor, the other fields in order; or given."""
    given = case.inputs.fields["perms"]
    if isinstance(given, dict) and "seed" in given:
        rng = np.random.default_rng(given["seed"])
        given = [rng.permutation(n) for _ in range(fields * (fields - 1))]
    if not isinstance(given, list) or np.shape(given) != (fields * (fields - 1), n):
        raise NotImplementedYet("the permutations of the entry are not understood")
    orders = iter([torch.as_tensor(np.asarray(one)) for one in given])
    return [[next(orders) for _ in range(fields - 1)] for _ in range(fields)]
