"""Adapters of BECLR: its loss on given projections, and the neighbours that it takes for positives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from embedkit.objectives.beclr import agreement, repulsion
from embedkit.objectives.logits import unit
from embedkit.objectives.resampling import guided_positives
from tests.conformance.runner import Case, adapter


@adapter("retrieval", "beclr_loss")
def beclr(case: Case) -> dict[str, Tensor]:
    """Rows are the first views, then the second; SS spreads the student's projections out, TT the teacher's."""

    def views(name: str) -> Tensor:
        return unit(torch.stack(case[name].chunk(2), dim=1))

    spread = case.hyper.only("uniformity_config", "SS", "TT")
    positive = -agreement(views("ps"), views("zt").detach()).mean()
    negative = repulsion(views("zs" if spread == "SS" else "zt"), float(case.hyper["temp"]))
    unused = 0 * sum(case[name].sum() for name in ("zs", "zt"))
    total = positive + case.hyper["lamb_neg"] * negative + unused
    return {"loss": total, "extra.positive": positive, "extra.negative": negative}


@adapter("retrieval", "dyce_guided_positives")
def dyce(case: Case) -> dict[str, Any]:
    cluster = torch.tensor(case.inputs.fields["partition"])
    found, fell_back = guided_positives(case["z"], case["bank"], case["prototypes"], cluster, case.hyper["k"])
    return {"neighbours": found.tolist(), "fell_back": fell_back.tolist()}
