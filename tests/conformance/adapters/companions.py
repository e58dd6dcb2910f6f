"""Adapters of objectives that remember: queues, tables per example."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from embedkit.objectives.base import build
from embedkit.objectives.logits import unit
from embedkit.objectives.sogclr import SogCLR as SogCLRObjective
from embedkit.objectives.spcl import GUARD
from embedkit.objectives.transformed import Draws
from embedkit.recipe.objectives.queue import ASCL, MoCo
from embedkit.recipe.objectives.sogclr import SogCLR
from embedkit.recipe.objectives.spcl import SPCL
from embedkit.recipe.objectives.transformed import FeatureTransform
from embedkit.types import Embeddings
from tests.conformance.inputs import NotImplementedYet
from tests.conformance.ours import embeddings, mean, option
from tests.conformance.runner import Case, adapter


def _queued(config: Any, case: Case, key: str, **instead: Any) -> dict[str, Tensor]:
    """The loss against a queue that holds what the entry draws; `instead` of the objective's own methods."""
    queue = case["queue"]
    objective: Any = build(config).double()
    for name, value in instead.items():
        setattr(objective, name, value)
    texts = torch.arange(len(queue)) - len(queue) - 1  # nobody's
    objective.memory.push(queue, texts, texts)
    batch = embeddings(case["A"], case[key])
    return {"loss": mean(objective(batch, torch.arange(len(batch))))}


@adapter("objectives", "moco_infonce")
def moco(case: Case) -> dict[str, Tensor]:
    case.hyper.only("keys_detached", True)
    config = option(MoCo, temperature=float(case.hyper["temperature"]), queue=len(case["queue"]), momentum=None)
    return _queued(config, case, "B")


@adapter("objectives", "moco_topk_negatives")
def moco_top(case: Case) -> dict[str, Tensor]:
    options = {"temperature": float(case.hyper["temperature"]), "top": case.hyper["k"]}
    return _queued(option(MoCo, queue=len(case["queue"]), momentum=None, **options), case, "B")


@adapter("objectives", "feature_transform")
def feature_transform(case: Case) -> dict[str, Tensor]:
    """The entry gives the draws; its setting begins with what is transformed."""
    case.inputs.fields.remark("q")
    kind = case.entry.setting.partition(",")[0]
    if kind not in ("pos", "neg", "posneg"):
        raise NotImplementedYet(f"setting {kind!r}")
    alphas = {"positive_alpha": 2.0 if "pos" in kind else None, "negative_alpha": 1.6 if "neg" in kind else None}
    options = {"temperature": float(case.hyper["temperature"]), "queue": len(case["queue"]), **alphas}
    draws = Draws(float(case.hyper["lambda_ex"]), float(case.hyper["lambda_in"]), case["perm"])
    return _queued(option(FeatureTransform, momentum=None, **options), case, "k", draw=lambda e: draws)


@adapter("objectives", "ascl")
def ascl(case: Case) -> dict[str, Tensor]:
    case.inputs.fields.remark("q")
    kinds = {"ascl": "soft", "ahcl": "adaptive", "hard": "hard"}
    config = option(
        ASCL,
        temperature=float(case.hyper["T1"]),
        target_temperature=float(case.hyper["T2"]),
        neighbours=case.hyper["nn_num"],
        targets=kinds[case.hyper.only("type", *kinds)],
        queue=len(case["queue"]),
        momentum=None,
    )
    return _queued(config, case, "k")


@adapter("objectives", "isogclr_libauc", "sogclr_libauc")
def libauc(case: Case) -> dict[str, Any]:
    """GCLoss_v1; its `u` is our s."""
    case.hyper.only("first_touch_gamma", 1.0)
    learned = case.entry.name == "isogclr_libauc"
    options = {"temperature": float(case.hyper["tau"]), "gamma": float(case.hyper["gamma"])}
    unused = {name: float(case.hyper[name]) for name in ("tau_min", "tau_max", "rho", "eta", "beta")}
    if learned:
        options |= {"rho": unused["rho"], "temperature_rate": unused["eta"], "temperature_momentum": unused["beta"]}
        options |= {"temperature_bounds": (unused["tau_min"], unused["tau_max"])}
    loss, s, _, tau = _stepped(option(SogCLR, **options), case)
    return {"loss": loss, "extra.u_after": s, **({"extra.tau_after": tau} if learned else {})}


@adapter("objectives", "rgcl_exact")
def exact(case: Case) -> dict[str, Tensor]:
    """What the surrogate at first touch stands for: a metric; the surrogate has twice its gradient."""
    tau, rho = float(case.hyper["tau"]), float(case.hyper["rho"])
    config = option(SogCLR, temperature=tau, rho=rho, temperature_bounds=(tau / 2, 2 * tau))
    batch = embeddings(case["A"], case["B"])
    out = build(config).double()(batch, torch.arange(len(batch)))
    half = mean(out) / 2
    return {"loss": half - half.detach() + out.metrics["objective"]}


@adapter("retrieval", r"SPCL with default centres as prototypes .*")
def spcl(case: Case) -> dict[str, Tensor]:
    """A centre is the prototype of its class: what a pool with that one text gives.

    The released code adds 1e-8 to the number of positives and to that of the rows that count, too.
    """
    case.hyper.only("decoupled", False)
    sizes = {"pool": case.hyper["pool_size"], "support": case.hyper["support_set_size"]}
    objective: Any = build(option(SPCL, temperature=float(case.hyper["temperature"]), **sizes)).double()
    centres = case["c"]
    objective.memory.push(unit(centres), torch.arange(len(centres)))
    x = case["x"]
    label = torch.tensor(case.hyper["labels"])
    out = objective(embeddings(x, x.new_zeros(len(x), 0, x.shape[1]), label=label), torch.arange(len(x)))
    more = torch.log1p(GUARD / (label[:, None] == label).sum(1).to(x.dtype))
    return {"loss": ((out.value + more) * out.weight).sum() / (out.weight.sum() + GUARD)}


@adapter("objectives", "isogclr_unimodal")
def isogclr(case: Case) -> dict[str, Any]:
    """SogCLR_DRO_Loss; gamma is 1 in its epoch 0, in which all examples of the entry are met first."""
    config = option(
        SogCLR,
        temperature=float(case.hyper["tau_init"]),
        gamma=float(case.hyper["gamma"]),
        rho=float(case.hyper["rho"]),
        temperature_bounds=(float(case.hyper["tau_min"]), float(case.hyper["tau_max"])),
        temperature_rate=float(case.hyper["eta"]),
        temperature_momentum=float(case.hyper["beta_u"]),
        temperature_clip=float(case.hyper["grad_clip"]),
    )
    loss, s, u, tau = _stepped(config, case)
    return {"loss": loss, "extra.s_after": s, "extra.u_after": u, "extra.tau_after": tau}


@adapter("objectives", "isogclr_bimodal")
def bimodal(case: Case) -> dict[str, Any]:
    """A state for each side. The released code begins from s = 0 and leaves the pair itself, e^0, among its negatives.

    Here the example was met before, with the s that makes up for both.
    """
    gamma, temperature = float(case.hyper["gamma"]), float(case.hyper["tau_init"])
    config = option(
        SogCLR,
        contrast="pairs",
        temperature=temperature,
        gamma=gamma,
        rho=float(case.hyper["rho"]),
        temperature_bounds=(float(case.hyper["tau_min"]), float(case.hyper["tau_max"])),
        temperature_rate=float(case.hyper["eta"]),
        temperature_momentum=float(case.hyper["beta_u"]),
        temperature_clip=float(case.hyper["grad_clip"]),
    )
    case.hyper.only("eps", 1e-10)
    case.inputs.fields.remark("table_size")
    index = torch.tensor(case.inputs.fields["index"])
    batch = _indexed(case["A"], case["B"], index)
    objective: Any = build(config).double()
    before = math.log(gamma / (1 - gamma) / (len(batch) - 1))
    given = torch.tensor([before, 0.0, temperature] * 2, dtype=torch.float64)
    objective.state.put(batch.query_id, given.expand(len(batch), -1))
    value = mean(objective(batch, torch.arange(len(batch))))
    _remember(objective, batch)
    after, _ = objective.state.find(batch.query_id, given)
    states = {"s_I": after[:, 0].exp(), "tau_I": after[:, 2], "tau_T": after[:, 5]}
    return {"loss": value, **{f"extra.{name}_after": found for name, found in states.items()}}


def _stepped(config: SogCLR, case: Case) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss at the entry's step, and s, u and tau of its examples after it."""
    index = torch.tensor(case.inputs.fields["index"])
    case.inputs.fields.remark("table_size")
    objective = build(config).double()
    assert isinstance(objective, SogCLRObjective)
    found = re.search(r"step=(\d+)", case.entry.setting)
    for earlier in range(int(found[1]) if found else 0):
        first = case.inputs.raw[f"A{earlier}"]
        _remember(objective, _indexed(first, first + 0.5 * case.inputs.raw[f"E{earlier}"], index))
    batch = _indexed(case["A"], case["B"], index)
    loss = mean(objective(batch, torch.arange(len(batch))))
    _remember(objective, batch)
    values, _ = objective.state.find(batch.query_id, torch.zeros(3, dtype=torch.float64))
    return loss, values[:, 0].exp(), values[:, 1], values[:, 2]


def _indexed(first: Tensor, second: Tensor, index: Tensor) -> Embeddings:
    """Both views of example i have the id i + 1."""
    return replace(embeddings(first, second), query_id=index + 1, positive_id=(index + 1)[:, None])


@torch.no_grad()
def _remember(objective: Any, batch: Embeddings) -> None:
    objective.remember(batch)
