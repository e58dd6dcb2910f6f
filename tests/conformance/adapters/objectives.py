"""Adapters of the schema "objectives": embedding-level losses on two views, triplets and queues."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from embedkit.objectives.base import build
from embedkit.objectives.mixing import HardestDraws
from embedkit.objectives.mixing import MoCHi as MoCHiObjective
from embedkit.recipe.objectives.debiased import Debiased
from embedkit.recipe.objectives.mixing import MoCHi
from embedkit.recipe.objectives.nonnegative import NonNegative
from embedkit.recipe.objectives.scored import AnglE, CoSENT, Triplet
from embedkit.recipe.objectives.st import STLoss
from embedkit.recipe.objectives.supcon import SupCon
from tests.conformance.ours import FOUR, embeddings, infonce, loss, mean, nt_xent, option
from tests.conformance.runner import Case, adapter


def _similarity(case: Case) -> str:
    return "cos" if case.hyper.only("normalize", True, False, default=True) else "dot"


@adapter("objectives", "nt_xent")
def simclr(case: Case) -> dict[str, Tensor]:
    config = nt_xent(case.hyper["temperature"], similarity=_similarity(case))
    return {"loss": loss(config, embeddings(case["A"], case["B"]))}


@adapter("objectives", "ncl")
def ncl(case: Case) -> dict[str, Tensor]:
    """Its rows are all longer than the floor."""
    case.hyper.remark("order")
    inner = nt_xent(case.hyper["temperature"])
    config = option(NonNegative, objective=inner, activation=case.hyper["activation"])
    return {"loss": loss(config, embeddings(case["A"], case["B"]))}


@adapter("objectives", "dcl", "dcl_mask_leak")
def dcl(case: Case) -> dict[str, Tensor]:
    """`dcl_mask_leak` is the same loss by code whose mask leaks at a small temperature; exact is without the leak."""
    config = nt_xent(case.hyper["temperature"], similarity=_similarity(case), positive_in_denominator="never")
    value = loss(config, embeddings(case["A"], case["B"]))
    return {"loss": value, "extra.exact": value}


@adapter("objectives", "dcl_oneway")
def dcl_oneway(case: Case) -> dict[str, Tensor]:
    config = infonce(
        case.hyper["temperature"],
        similarity=_similarity(case),
        directions=("q-d", "q-q"),
        positive_in_denominator="never",
    )
    return {"loss": loss(config, embeddings(case["A"], case["B"]))}


@adapter("objectives", "debiased", "hcl")
def debiased(case: Case) -> dict[str, Tensor]:
    case.hyper.only("clamp", True)
    case.hyper.only("weights_detached", False, default=False)
    options = {"tau_plus": case.hyper["tau_plus"], "temperature": case.hyper["temperature"]}
    if case.entry.name == "hcl":
        options["beta"] = case.hyper["beta"]
    config = option(Debiased, directions=FOUR, **{name: float(value) for name, value in options.items()})
    return {"loss": loss(config, embeddings(case["A"], case["B"]))}


@adapter("objectives", "infonce_oneway")
def infonce_oneway(case: Case) -> dict[str, Tensor]:
    return {"loss": loss(infonce(case.hyper["temperature"]), embeddings(case["A"], case["B"]))}


@adapter("objectives", "infonce_symmetric")
def infonce_symmetric(case: Case) -> dict[str, Tensor]:
    config = infonce(case.hyper["temperature"], directions=("q-d", "d-q"), partition="per_direction")
    return {"loss": loss(config, embeddings(case["A"], case["B"]))}


@adapter("objectives", "infonce_hardneg")
def infonce_hardneg(case: Case) -> dict[str, Tensor]:
    return {"loss": loss(infonce(case.hyper["temperature"]), embeddings(case["A"], case["P"], case["N"]))}


@adapter("objectives", "mochi")
def mochi(case: Case) -> dict[str, Tensor]:
    """The pool is a queue, as every row's own negatives; the entry gives the draws, the setting the kinds of mixing."""
    case.hyper.only("mixed_detached", True)
    case.hyper.only("renormalised", True)
    kind, n = case.entry.setting.partition(",")[0], case.hyper["n_hard"]
    pairs, with_query = case.hyper["s"], case.hyper["s_prime"]
    config = option(
        MoCHi,
        temperature=float(case.hyper["temperature"]),
        in_batch_negatives=False,
        hardest=n,
        pairs=0 if kind == "type2" else pairs,
        with_query=0 if kind == "type1" else with_query,
        query_share=float(case.hyper["beta_max"]),
    )
    first, second = ((place + 0.5) / n for place in case["i1"][:, :, : config.pairs])
    draws = HardestDraws(
        first,
        second,
        case["alpha"][:, : config.pairs, 0],
        (case["i2"][:, : config.with_query] + 0.5) / n,
        case["u"][:, : config.with_query, 0],
    )
    query, queue = case["A"], case["queue"]
    batch = embeddings(query, case["k"], queue.expand(len(query), *queue.shape))
    objective = build(config)
    assert isinstance(objective, MoCHiObjective)
    objective.draw = lambda e: draws  # type: ignore[method-assign]
    return {"loss": mean(objective(batch, torch.arange(len(batch))))}


@adapter("objectives", "cosent")
def cosent(case: Case) -> dict[str, Tensor]:
    return _ranked(case, CoSENT, "extra.angle_repo_value")


@adapter("objectives", "angle")
def angle(case: Case) -> dict[str, Tensor]:
    return _ranked(case, AnglE, "extra.angle_repo_angle_loss_tau_eq_scale")


def _ranked(case: Case, kind: type[Any], same: str) -> dict[str, Tensor]:
    """`same` is the value of a second implementation of the same loss."""
    pairs = embeddings(case["A"], case["B"], score=case.inputs.fields["labels"])
    value = loss(option(kind, scale=float(case.hyper["scale"])), pairs)
    return {"loss": value, same: value}


@adapter("objectives", "contrastive_st")
def contrastive(case: Case) -> dict[str, Tensor]:
    pairs = embeddings(case["A"], case["B"], score=case.inputs.fields["labels"])
    config = option(STLoss, loss="ContrastiveLoss", arguments={"margin": case.hyper["margin"]}, target="score")
    return {"loss": loss(config, pairs)}


@adapter("objectives", "triplet_st")
def triplet(case: Case) -> dict[str, Tensor]:
    config = option(Triplet, margin=float(case.hyper["margin"]), distance="euclidean")
    return {"loss": loss(config, embeddings(case["A"], case["P"], case["N"]))}


@adapter("objectives", "supcon", "supcon_pml")
def supcon(case: Case) -> dict[str, Tensor]:
    """Views [V, N, d]. A view without a positive counts nothing, as in `supcon_pml`; `supcon` counts it as 0."""
    tau = float(case.hyper["temperature"])
    base = float(case.hyper["base_temperature"]) if case.entry.name == "supcon" else None
    case.hyper.remark("note")
    views = case["V"].transpose(0, 1)
    labels = torch.as_tensor(case.inputs.fields["labels"])
    config = option(SupCon, temperature=tau, base_temperature=base)
    batch = embeddings(views[:, 0], views[:, 1:], label=labels)
    out = build(config)(batch, torch.arange(len(batch)))
    assert out.weight is not None
    total = (out.value * out.weight).sum()
    return {"loss": total / (len(batch) if case.entry.name == "supcon" else out.weight.sum())}
