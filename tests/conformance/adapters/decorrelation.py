"""Adapters of the objectives without negatives."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embedkit.objectives.base import build
from embedkit.objectives.logits import unit
from embedkit.objectives.views import stacked
from embedkit.recipe.objectives.decorrelation import WMSE, BarlowTwins, VICReg
from embedkit.recipe.objectives.self_distillation import SwAV
from embedkit.recipe.objectives.sepclr import SepCLR
from tests.conformance.inputs import NotImplementedYet
from tests.conformance.ours import embeddings, loss, option
from tests.conformance.runner import Case, adapter


@adapter("objectives", "vicreg", "vicreg_paper_scaling")
def vicreg(case: Case) -> dict[str, Tensor]:
    case.hyper.only("normalize", False, default=False)
    config = option(
        VICReg,
        invariance=float(case.hyper["lambda_inv"]),
        variance=float(case.hyper["mu_var"]),
        covariance=float(case.hyper["nu_cov"]),
        eps=float(case.hyper["eps"]),
        scaling="code" if case.entry.name == "vicreg" else "paper",
    )
    return {"loss": loss(config, embeddings(case["A"], case["B"]))}


@adapter("objectives", "barlow_twins")
def barlow_twins(case: Case) -> dict[str, Tensor]:
    case.hyper.only("normalize", False, default=False)
    case.hyper.only("bn_var", "biased", default="biased")
    options = {"off_diagonal": float(case.hyper["lambda_offdiag"]), "eps": float(case.hyper["bn_eps"])}
    return {"loss": loss(option(BarlowTwins, **options), embeddings(case["A"], case["B"]))}


@adapter("objectives", "w_mse")
def w_mse(case: Case) -> dict[str, Tensor]:
    """The entry gives the order of the rows where it matters."""
    case.hyper.remark("whitening", "loss")
    a, b = case["A"], case["B"]
    if "columns" in case.entry.inputs:
        columns = _first(case.inputs.fields["columns"])
        a, b = a[:, :columns], b[:, :columns]
    size, iterations = case.hyper["w_size"], case.hyper["w_iter"]
    objective: Any = build(option(WMSE, size=size, eps=float(case.hyper["eps"]), iterations=iterations))
    if "perm_seed" in case.entry.inputs:
        rng = np.random.default_rng(case.inputs.fields["perm_seed"])
        orders = torch.from_numpy(np.stack([rng.permutation(len(a)) for _ in range(iterations)]))
        objective.draw = lambda e: orders
    elif size != len(a):
        raise NotImplementedYet("which rows are whitened together is not in the entry")
    return {"loss": objective(embeddings(a, b), torch.arange(len(a))).value}


def _first(text: str) -> int:
    found = re.fullmatch(r"first (\d+) only", text)
    if found is None:
        raise NotImplementedYet(f"columns {text!r}")
    return int(found[1])


@adapter("objectives", "swav")
def swav(case: Case) -> dict[str, Tensor]:
    a, b, c = case["A"], case["B"], case["C"]
    case.inputs.fields.only("prototypes", "C")
    config = option(
        SwAV,
        prototypes=len(c),
        temperature=float(case.hyper["temperature"]),
        epsilon=float(case.hyper["sinkhorn_epsilon"]),
        iterations=case.hyper["sinkhorn_iterations"],
        queue=0,
    )
    objective: Any = build(config)
    objective.prototypes = c
    batch = embeddings(a, b)
    out = objective(batch, torch.arange(len(a)))
    first = objective.codes(stacked(batch), unit(c))[0]
    return {"loss": out.value.mean(), "extra.Q_A_first_row": first[0], "extra.Q_A_colsum": first.sum(0)}


@adapter("objectives", "sepclr")
def sepclr(case: Case) -> dict[str, Tensor]:
    """The two parts of a view are drawn apart."""
    case.hyper.only("common_normalised", True)
    case.hyper.only("salient_normalised", False)
    case.inputs.fields.only("y", "0,1 alternating (0=background,1=target)")
    views = [torch.cat([case[f"c{k}"], case[f"s{k}"]], dim=1) for k in (1, 2)]
    config = option(
        SepCLR,
        salient=case["s1"].shape[1],
        tau=float(case.hyper["tau"]),
        salient_weight=float(case.hyper["lambda_salient"]),
        infoless_weight=float(case.hyper["lambda_infoless"]),
        jem_weight=float(case.hyper["lambda_jem"]),
    )
    batch = embeddings(*views, label=torch.arange(len(views[0])) % 2)
    objective: Any = build(config)
    parts = {f"extra.{name}": value for name, value in objective.parts(batch).items()}
    return {"loss": objective(batch, torch.arange(len(batch))).value, **parts}
