"""Adapters of the schema "sentence": objectives, batch heads and rewards of `embedkit.objectives` beside InfoNCE."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from embedkit.objectives.base import build, build_heads
from embedkit.objectives.dclr import DCLR as DCLRObjective
from embedkit.objectives.heads import group_whitening
from embedkit.objectives.logits import Pool
from embedkit.objectives.rewards import Reward, Settings, advantage, supervised_reward, unsupervised_reward
from embedkit.recipe.heads import BatchNormProjector
from embedkit.recipe.objectives.contrastive import InfoNCE
from embedkit.recipe.objectives.dclr import DCLR
from embedkit.recipe.objectives.hinge import EnergyHinge
from embedkit.recipe.objectives.macl import MACL
from embedkit.recipe.objectives.scored import ContrastiveTension
from embedkit.recipe.objectives.spectrum import Rank
from embedkit.recipe.objectives.supcon import SupCon
from embedkit.types import Embeddings
from tests.conformance.inputs import NotImplementedYet
from tests.conformance.ours import embeddings, infonce, loss, mean, option
from tests.conformance.runner import Case, adapter


@adapter("sentence", r"DiffCSE batch-norm projector \(train mode\) \+ InfoNCE")
def projector(case: Case) -> dict[str, Tensor]:
    """The batch head with the entry's weights in place of its own; both views of all rows are one batch."""
    views = torch.stack([case["a"], case["b"]], 1)
    (head,) = build_heads([option(BatchNormProjector)], views.shape[2], seed=0)
    weights = {"first.weight": case["W1"], "second.weight": case["W2"]}
    present = torch.ones(views.shape[:2], dtype=torch.bool)
    out = torch.func.functional_call(head.to(views.dtype), weights, (views, present, 0))
    value = loss(infonce(case.hyper["temp"]), embeddings(out[:, 0], out[:, 1]))
    return {"output": out.flatten(0, 1), "loss": value}


@adapter("sentence", r"WhitenedCSE shuffled group whitening \(train mode, \d+ views\)")
def whitening(case: Case) -> dict[str, Any]:
    """Rows are view-major; every view has the permutation of the entry. `probe` is the sum of output times R."""
    x, probe, orders = case["x"], case["R"], [torch.from_numpy(p) for p in case.inputs.fields["perms"]]
    if len(orders) != case.hyper["num_pos"]:
        raise NotImplementedYet(f"{len(orders)} permutations for {case.hyper['num_pos']} views")
    groups, eps = case.hyper["num_groups"], float(case.hyper["eps"])

    def whiten(rows: Tensor, **options: Any) -> Tensor:
        views = rows.chunk(len(orders))
        white = [group_whitening(v, o, groups, eps=eps, **options) for v, o in zip(views, orders, strict=True)]
        return torch.cat(white)

    double, single, attached = whiten(x), whiten(x.float()), whiten(x, gradient="attached")
    return {
        "float32.output": single,
        "float32.probe": (single * probe.float()).sum(),
        "float64_cast_patched.output": double,
        "float64_cast_patched.probe": (double * probe).sum(),
        "variant_W_attached_float64.probe": (attached * probe).sum(),
        "variant_W_attached_float64.max_abs_diff_vs_reference_output": (attached - double).detach().abs().max(),
    }


@adapter("sentence", r"DCLR loss with instance weighting and noise negatives")
def dclr(case: Case) -> dict[str, Any]:
    """The entry gives the noise, which is otherwise drawn."""
    config = option(
        DCLR,
        variant="released",
        temperature=float(case.hyper["temp"]),
        phi=float(case.hyper["phi"]),
        noise_times=float(case.hyper["noise_times"]),
        noise_steps=case.hyper["pgd"],
        step_length=float(case.hyper["step"]),
    )
    batch = embeddings(case["a"], case["b"], guide=embeddings(case["h"], case["h2"]))
    objective = build(config)
    assert isinstance(objective, DCLRObjective)
    pool = Pool(batch, torch.arange(len(batch)), "cos", objective.rules)
    noise = objective.harden(pool, case["noise"])
    return {
        "loss": mean(objective.answer(pool, noise)),
        "n_false_negatives": int(pool.candidates("q-d").is_masked.sum()),
        "noise_final": noise,
        "noise_shift_fro": (noise - case["noise"]).norm(),
    }


@adapter("sentence", r"PromCSE supervised loss with energy-based hinge")
def promcse(case: Case) -> dict[str, Tensor]:
    batch = embeddings(case["a"], case["b"], case["c"])
    weight = float(case.hyper["hard_negative_weight"])
    contrastive = loss(infonce(case.hyper["temp"], hard_negative_weight=weight), batch)
    hinge = loss(option(EnergyHinge, margin=float(case.hyper["eh_loss_margin"])), batch)
    return {"total": contrastive + case.hyper["eh_loss_weight"] * hinge, "nt_xent": contrastive, "eh": hinge}


@adapter("sentence", r"SupCL-Seq supervised contrastive loss over dropout views")
def supcl(case: Case) -> dict[str, Tensor]:
    config = option(
        SupCon,
        temperature=float(case.hyper["temperature"]),
        base_temperature=float(case.hyper["base_temperature"]),
    )
    x = case["x"]
    labels = torch.as_tensor(case.inputs.raw["labels"] if "labels" in case.inputs else case.inputs.fields["labels"])
    case.inputs.fields.remark("labels")
    return {"loss": loss(config, embeddings(x[:, 0], x[:, 1:], label=labels))}


@adapter("sentence", r"MACL on one-directional in-batch cosines")
def macl(case: Case) -> dict[str, Tensor]:
    case.inputs.fields.remark("extra")
    config = option(MACL, tau0=float(case.hyper["tau_0"]), alpha=float(case.hyper["alpha"]), a0=float(case.hyper["A0"]))
    batch = embeddings(case["a"], case["b"])
    out = build(config)(batch, torch.arange(len(batch)))
    return {"loss": mean(out), "mean_alignment": out.metrics["alignment"], "tau": out.metrics["temperature"]}


@adapter("sentence", r"von Neumann entropy of a batch\b.*")
def entropy(case: Case) -> dict[str, Tensor]:
    """Both quantities; the gradient of the entry is that of the entropy."""
    x = case["x"]
    batch = embeddings(x, x.new_zeros(len(x), 0, x.shape[1]))
    h, rank = (loss(option(Rank, quantity=q), batch) for q in ("entropy", "effective_rank"))
    return {"vne": h, "effective_rank_exp_vne": rank, "loss": h}


@adapter("sentence", r"Contrastive Tension BCE \(mean\)")
def tension(case: Case) -> dict[str, Tensor]:
    """One pair of equal texts is followed by `negative_k` random pairs."""
    a, b = case["a"], case["b"]
    if len(a) != case.hyper["batch"]:
        raise NotImplementedYet(f"batch {case.hyper['batch']} with {len(a)} rows")
    score = (torch.arange(len(a)) % (1 + case.hyper["negative_k"]) == 0).to(a.dtype)
    value = loss(option(ContrastiveTension), embeddings(a, b, score=score))
    return {"loss_mean": value, "loss_sum": value * len(a)}


@adapter("sentence", r"GISTEmbed guided loss")
def gistembed(case: Case) -> dict[str, Any]:
    """Candidates q-d (explicit negatives in it), q-q and d-d between positives, in one softmax.

    The reference leaves the similarity of a text with itself to the guide, which is always 1 for it; we never take it.
    """
    case.inputs.fields.remark("extra")
    margin = float(case.hyper["margin"])
    guide = embeddings(case["gq"], case["gp"], case["gn"])
    batch = embeddings(case["a"], case["b"], case["c"], guide=guide)
    options: dict[str, Any] = {"directions": ("q-d", "q-q", "d-d"), "same_side": "positives"}
    config = infonce(case.hyper["temperature"], **options, guide="absolute", guide_margin=margin)
    return {
        "loss": loss(config, batch),
        "loss_without_guide": loss(infonce(case.hyper["temperature"], **options), batch),
        "masked_qp_qn_qq_pp": _masked(config, batch),
    }


def _masked(config: InfoNCE, batch: Embeddings) -> list[int]:
    """How many entries of each block are left out, the self-similarities of q-q and d-d among them."""
    objective: Any = build(config)
    pool, n = Pool(batch, torch.arange(len(batch)), "cos", objective.rules), len(batch)
    masked = {d: pool.candidates(d).is_masked for d in ("q-d", "q-q", "d-d")}
    counts = [masked["q-d"][:, :n], masked["q-d"][:, n:], masked["q-q"], masked["d-d"]]
    return [int(c.sum()) + own for c, own in zip(counts, (0, 0, n, n), strict=True)]


@adapter("sentence", r"GRACE supervised reward")
def grace_supervised(case: Case) -> dict[str, Tensor]:
    group = _groups(len(case["q"]), case.entry.inputs["rollouts"])
    reward = supervised_reward(case["q"], case["m"], case["neg"], group, settings=_settings(case))
    assert reward.negative is not None
    return {**_parts(reward), "negative": reward.negative, "cross_group": reward.cross_group}


@adapter("sentence", r"GRACE unsupervised reward")
def grace_unsupervised(case: Case) -> dict[str, Tensor]:
    """Texts are means of their token states; the entry's cross-group term is before its minus sign."""
    said = re.search(r"(\d+) prompts x (\d+) rollouts consecutive", case.entry.inputs["recipe"])
    if said is None:
        raise NotImplementedYet("the entry does not say what its groups are")
    query, document = case["qh"].mean(1), case["mh"].mean(1)
    reward = unsupervised_reward(query, document, _groups(len(query), int(said[2])), settings=_settings(case))
    return {**_parts(reward), "cross_group": -reward.cross_group}


@adapter("sentence", r"GRACE advantage \(group mean subtracted, no std\)")
def advantages(case: Case) -> dict[str, Tensor]:
    reward = torch.tensor(case.inputs.fields["rewards"])
    return {"advantage": advantage(reward, _groups(len(reward), case.entry.inputs["rollouts"]))}


def _groups(rows: int, rollouts: int) -> Tensor:
    return torch.arange(rows) // rollouts


def _settings(case: Case) -> Settings:
    return Settings(**{f.name: float(case.hyper[f.name]) for f in fields(Settings)})


def _parts(reward: Reward) -> dict[str, Tensor]:
    return {"total": reward.total, "positive": reward.positive, "clustering": reward.clustering}
