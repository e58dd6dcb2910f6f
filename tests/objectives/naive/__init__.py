"""The objectives once more, as loops over rows and candidates: slow, and written from the formulas alone.

Each function takes the options and the batch and gives the losses [N] and weights [N] of all rows (row scope) or a
scalar (batch scope); gradients come from autograd. Nothing here is shared with `embedkit.objectives`. A family is a
file; `LOOPS` names the loop of every objective.
"""

from __future__ import annotations

from typing import Any

from tests.objectives.naive import (
    auc,
    cacr,
    candidates,
    companions,
    contrastive,
    cwcl,
    dclr,
    debiased,
    decorrelation,
    decoupled,
    distillation,
    groco,
    hinge,
    macl,
    metric,
    mixing,
    multi_view,
    one_to_k,
    penalty,
    scored,
    spectrum,
    spread,
    supcon,
    symile,
    uniformity,
)
from tests.objectives.naive.base import Rows

__all__ = ["LOOPS", "OTHERWISE", "Rows"]

LOOPS: dict[str, Any] = {
    "infonce": contrastive.infonce,
    "mixed_negatives": mixing.mixed_negatives,
    "mochi": mixing.mochi,
    "clp": penalty.clp,
    "mann_whitney": auc.mann_whitney,
    "cosent": scored.cosent,
    "angle": scored.angle,
    "cosine_mse": scored.cosine_mse,
    "triplet": scored.triplet,
    "margin_mse": scored.margin_mse,
    "kl": scored.kl,
    "contrastive_tension": scored.contrastive_tension,
    "bce": candidates.bce,
    "lce": candidates.lce,
    "listnet": candidates.listnet,
    "ranknet": candidates.ranknet,
    "lambda_loss": candidates.lambda_loss,
    "margin_ranking": candidates.margin_ranking,
    "score_mse": candidates.score_mse,
    "symmetric_kl": distillation.symmetric_kl,
    "partial_rank": distillation.partial_rank,
    "dclr": dclr.dclr,
    "debiased": debiased.debiased,
    "vicreg": decorrelation.vicreg,
    "barlow_twins": decorrelation.barlow_twins,
    "w_mse": decorrelation.w_mse,
    "dcl": decoupled.dcl,
    "align_uniform": uniformity.align_uniform,
    "decoupled_uniformity": uniformity.decoupled_uniformity,
    "kcl": uniformity.kcl,
    "mv_infonce": multi_view.mv_infonce,
    "mv_dhel": multi_view.mv_dhel,
    "poly_view": multi_view.poly_view,
    "cwcl": cwcl.cwcl,
    "groco": groco.groco,
    "one_to_k": one_to_k.one_to_k,
    "symile": symile.symile,
    "cacr": cacr.cacr,
    "cacr_keys": cacr.cacr_keys,
    "circle": metric.circle,
    "circle_batch": metric.circle_batch,
    "multi_similarity": metric.multi_similarity,
    "label_triplet": metric.label_triplet,
    "macl": macl.macl,
    "supcon": supcon.supcon,
    "rank": spectrum.rank,
    "spread_out": spread.spread_out,
    "energy_hinge": hinge.energy_hinge,
    "moco": companions.moco,
    "ascl": companions.ascl,
    "sogclr": companions.sogclr,
    "spcl": companions.spcl,
}

OTHERWISE = {
    "st": "equal to sentence-transformers' own loss (test_st)",
    "sum": "equal to its terms (test_build)",
    "matryoshka": "equal to the objective on prefixes (test_build)",
    "guide_pair": "equal to the objective on the guide's vectors, and to the formula of Three Towers (test_guided)",
    "mean_shift": "equal to the objective on moved vectors (test_shifting)",
    "view_pairs": "equal to the objective on pairs (test_wrappers)",
    "label_contrastive": "equal to a loop over pairs of the batch (test_metric)",
    "none": "has no loss",
}
"""Objectives without a loop, and what holds them instead."""
