"""Adapters of the schema "retrieval" that concern mined negatives: which become one, by rule or by chance."""

from __future__ import annotations

from typing import Any

import numpy as np

from embedkit.mining.filters.base import Candidates
from embedkit.mining.filters.choose import log_weights
from embedkit.mining.filters.scores import MarginToPositive
from embedkit.vectors.index.found import Found
from tests.conformance.runner import Case, adapter


@adapter("retrieval", r"SimANS sampling probabilities")
def simans(case: Case) -> dict[str, Any]:
    """The paper's, and those of the authors' code: b with the other sign, or the absolute difference."""
    scores, positive = _scores(case)
    settings = {
        "paper_a0_5_b0": (0.5, 0.0, 2.0),
        "paper_a1_b0_1": (1.0, 0.1, 2.0),
        "code_wiki_a1_b0_1": (1.0, -0.1, 2.0),
        "code_marco_passage_tau3": (3.0, 0.0, 1.0),
    }
    weights = {name: np.exp(log_weights(scores, positive, *given))[0] for name, given in settings.items()}
    return {name: (weight / weight.sum()).tolist() for name, weight in weights.items()}


@adapter("retrieval", r"positive-aware mining keep masks")
def positive_aware(case: Case) -> dict[str, Any]:
    scores, positive = _scores(case)
    rules = {
        "percpos": MarginToPositive(1 - case.hyper["percpos"], "relative"),
        "marginpos": MarginToPositive(case.hyper["margin"], "absolute"),
    }
    candidates = Candidates.of(Found(np.arange(scores.size)[None], scores), positive)
    out: dict[str, Any] = {}
    for name, rule in rules.items():
        out[f"{name}_threshold"] = float(rule.threshold(positive)[0])
        out[f"{name}_keep"] = rule.allows(candidates)[0].tolist()
    return out


def _scores(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """[1, k] scores of the negatives, [1] of the positive."""
    return np.array(case.inputs.fields["neg_scores"])[None], np.array([case.inputs.fields["pos_score"]])
