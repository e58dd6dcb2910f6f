"""Adapters of the losses on edited negatives: FSC-CLIP, Verbs in action."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from embedkit.objectives.edited import focal_smoothed
from embedkit.recipe.objectives.edited import FocalSmoothed, HardNegativeNCE
from tests.conformance.ours import embeddings, loss, option, times
from tests.conformance.runner import Case, adapter


@adapter("retrieval", "fsc_focal_smoothed_ce")
def focal(case: Case) -> dict[str, Any]:
    """Logits as they are; an absent negative keeps its own in the softmax, as released."""
    exists = torch.nn.functional.pad(torch.tensor(case.inputs.fields["valid"]).bool(), (1, 0), value=True)
    gamma, smoothing = float(case.hyper["gamma"]), float(case.hyper["label_smoothing"])
    rows = focal_smoothed(case["logits"], exists, torch.ones_like(exists), gamma, smoothing)
    return {"loss": rows.mean(), "rows": rows}


@adapter("retrieval", "fsc_global_hard_negative")
def fsc_global(case: Case) -> dict[str, Tensor]:
    config = option(
        FocalSmoothed,
        temperature=1 / float(case.hyper["scale"]),
        gamma=float(case.hyper["gamma"]),
        smoothing=float(case.hyper["label_smoothing"]),
        absent="zero",
        similarity="dot",
    )
    exists = torch.tensor(case.inputs.fields["valid"]).bool()
    batch = embeddings(case["q"], case["p"], case["n"], exists=exists)
    return {"loss": loss(times(case.hyper["weight"], config), batch)}


@adapter("retrieval", "verb_hard_negative_nce")
def verbs(case: Case) -> dict[str, Tensor]:
    """As coded, the rows' losses are divided by the logarithms of all rows and averaged: the mean times the mean."""
    case.hyper.only("as_coded", True)
    exists = ~torch.tensor(case.inputs.fields["padding"]).bool()[:, 1:]
    batch = embeddings(case["q"], case["t"][:, 0], case["t"][:, 1:], exists=exists)
    options = {"temperature": float(case.hyper["temperature"]), "beta": float(case.hyper["beta"]), "similarity": "dot"}
    raw = option(HardNegativeNCE, query_weight=1.0, document_weight=0.0, normalize=False, **options)
    n = len(batch)
    candidates = n + exists.sum(1).double()
    v2t = loss(raw, batch) * (1 / candidates.log()).mean()
    if bool((candidates == candidates[0]).all()):
        v2t = loss(option(HardNegativeNCE, query_weight=1.0, document_weight=0.0, **options), batch)
    t2v = loss(option(HardNegativeNCE, query_weight=0.0, document_weight=1.0, **options), batch)
    total = case.hyper["v2t_weight"] * v2t + case.hyper["t2v_weight"] * t2v
    return {"loss": total, "extra.v2t": v2t, "extra.t2v": t2v}


@adapter("retrieval", "verb_phrase_nce")
def phrases(case: Case) -> dict[str, Tensor]:
    """A source of phrases has those items alone that have one."""
    config = option(
        HardNegativeNCE,
        temperature=float(case.hyper["temperature"]),
        similarity="dot",
        query_weight=1.0,
        document_weight=0.0,
    )
    has = torch.tensor(case.inputs.fields["has_verb"]).bool()
    batch = embeddings(case["q"][has], case["t"][has])
    return {"loss": loss(config, batch)}
