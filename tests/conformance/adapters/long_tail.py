"""Adapters of the objectives on labels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from embedkit.objectives.base import build
from embedkit.objectives.logits import products, unit
from embedkit.recipe.objectives.long_tail import GML, SBCL, CoreTuning
from embedkit.recipe.objectives.supcon import SupCon
from embedkit.recipe.objectives.wrappers import Sum, SumTerm
from tests.conformance.ours import embeddings, loss, nt_xent, option
from tests.conformance.runner import Case, adapter


@adapter("objectives", "core_tuning_focal_paper", "core_tuning_focal")
def core_tuning(case: Case) -> dict[str, Tensor]:
    """`core_tuning_focal` is what the released code gives: the sum over positives divided by the batch's size."""
    x, label = case["X"], torch.tensor(case.inputs.fields["labels"])
    batch = embeddings(x, x.new_zeros(len(x), 0, x.shape[1]), label=label)
    config = option(CoreTuning, temperature=float(case.hyper["temperature"]))
    if case.entry.name == "core_tuning_focal_paper":
        return {"loss": loss(config, batch)}
    out = build(config)(batch, torch.arange(len(x)))
    positives = (label[:, None] == label).sum(1) - 1
    return {"loss": (out.value * positives / len(x)).sum() / (positives > 0).sum()}


@adapter("retrieval", "supcon_simcse_joint")
def joint(case: Case) -> dict[str, Tensor]:
    """One temperature; the contrast of views has the views of all other examples as negatives."""
    share, temperature = float(case.hyper["supervised_weight"]), float(case.hyper["temperature"])
    batch = embeddings(case["v1"], case["v2"], label=case.inputs.fields["labels"])
    by_label, by_text = (
        option(SupCon, temperature=temperature, base_temperature=None, similarity="dot"),
        nt_xent(temperature, similarity="dot"),
    )
    both = Sum(terms=(SumTerm(weight=share, objective=by_label), SumTerm(weight=1 - share, objective=by_text)))
    parts = {"extra.supervised": loss(by_label, batch), "extra.unsupervised": loss(by_text, batch)}
    return {"loss": loss(both, batch), **parts}


@adapter("objectives", "sbcl_ccl", "sbcl_rank")
def sbcl(case: Case) -> dict[str, Tensor]:
    """Views [V, N, d]; the subclasses and the temperatures of the classes are given."""
    views, label = case["V"].transpose(0, 1), torch.tensor(case.inputs.fields["labels"])
    tau = float(case.hyper["temperature"])
    ranks = case.entry.name == "sbcl_rank"
    config = option(
        SBCL,
        temperature=tau,
        base_temperature=float(case.hyper["base_temperature"]),
        gamma=float(case.hyper["gamma"]),
        variant="rank" if ranks else "ccl",
    )
    objective: Any = build(config).double()
    batch = embeddings(views[:, 0], views[:, 1:], label=label)
    given = case.hyper["class_temperatures"] if ranks else [tau] * (int(label.max()) + 1)
    temperature = torch.tensor(given, dtype=views.dtype)
    objective.assign(batch.query_id, torch.tensor(case.inputs.fields["clusters"]), temperature[label])
    out = objective(batch, torch.arange(len(batch)))
    return {"loss": (out.value * out.weight).sum() / out.weight.sum()}


@adapter("objectives", "gml_contrast")
def gml(case: Case) -> dict[str, Tensor]:
    """Queries and keys are given apart; no key is a query's own."""
    case.hyper.only("prior", "counts/sum")
    query, key = case["Q"], case["K"]
    classes = int(case.entry.inputs["C"])
    counts = tuple(float(count) for count in case.inputs.fields["class_counts"])
    own, place = (
        torch.arange(len(x)) % classes
        for x, said in ((query, "q_labels"), (key, "k_labels"))
        if case.inputs.fields.only(said, f"{said[0].replace('q', 'i').replace('k', 'j')} mod C")
    )
    temperature = float(case.hyper["temperature"])
    objective: Any = build(option(GML, temperature=temperature, prior=counts)).double()
    objective.log_temperature.data.fill_(math.log(temperature))  # beyond single precision
    none = torch.zeros(len(query), len(key), dtype=torch.bool)
    prior = torch.tensor(counts, dtype=query.dtype)
    value, has = objective.contrast(
        products(unit(query), unit(key)), place, own, (prior / prior.sum()).log(), none, none
    )
    assert bool(has.all())
    (slope,) = torch.autograd.grad(value.mean(), objective.log_temperature, retain_graph=True)
    return {"loss": value.mean(), "extra.grad_log_temperature": slope}
