"""What the correction did, in numbers: how positives and negatives differ in words and length, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from embedkit.mining.pool import Pool
from embedkit.mining.propensity import ROLES, Propensity, Role, Side

FEATURES = ("surface", "length", "meaning")
BARS = 20
_DIGITS = 4


def describe(sides: dict[Role, Side], propensity: Propensity) -> dict[str, Any]:
    """Before (drawn by meaning alone) and after (drawn with the fitted weights), as expectations over the pool.

    Returns:
        ``before`` and ``after`` as `compared` gives them, and per role under ``effective``: ``candidates``, the
        mean over anchors of 1 / sum of squared chances (candidates an anchor really chooses from), before and after;
        ``sample``, the effective share of the anchors, 1 / mean of the squared ratio of the two chances (Kish).
    """
    before = {role: side.chances() for role, side in sides.items()}
    after = {role: side.chances(propensity.factors(role, side.surface, side.length)) for role, side in sides.items()}
    found: dict[str, Any] = {"effective": {}}
    for role, side in sides.items():
        found["effective"][role] = {
            "anchors": side.anchors,
            "candidates": [_round(_candidates(side, chances)) for chances in (before[role], after[role])],
            "sample": _round(_kish(before[role], after[role])),
        }
    for name, chances in (("before", before), ("after", after)):
        pairs = {role: {f: getattr(side, f) for f in FEATURES} for role, side in sides.items()}
        found[name] = compared(pairs, chances)
    return found


def compared(pairs: dict[Role, dict[str, np.ndarray]], chances: dict[Role, np.ndarray]) -> dict[str, Any]:
    """How the two roles differ.

    Args:
        pairs: role -> feature -> [m] values.
        chances: role -> [m] weights that sum to 1.

    Returns:
        Per role the mean and a histogram of `BARS` equal bars of every feature (0..1, meaning -1..1); per surface
        feature ``correlation``, Pearson's between it and the label (1 positive, 0 negative, both as frequent), and
        ``auc``, how often a positive has more of it than a negative (ties half): 0.5 says nothing about the label.
    """
    found: dict[str, Any] = {}
    for role in ROLES:
        values, weight = pairs[role], chances[role]
        found[role] = {}
        for feature in FEATURES:
            low = -1.0 if feature == "meaning" else 0.0
            bars = np.histogram(values[feature], bins=BARS, range=(low, 1), weights=weight)[0]
            mean = float(values[feature] @ weight) if len(weight) else None
            found[role][feature] = {"mean": _round(mean), "histogram": [_round(b) for b in bars]}
    for feature in FEATURES[:2]:
        sides = [(pairs[role][feature].astype(float), chances[role]) for role in ROLES]
        both = all(len(weight) for _, weight in sides)
        found[feature] = {
            "correlation": _round(correlation(*sides)) if both else None,
            "auc": _round(auc(*sides)) if both else None,
        }
    return found


Weighted = tuple[np.ndarray, np.ndarray]


def correlation(positive: Weighted, negative: Weighted) -> float:
    """Pearson's correlation of a value with the label, each label with half the weight; 0 if nothing varies."""
    (a, wa), (b, wb) = positive, negative
    means = float(a @ wa), float(b @ wb)
    half = (means[0] - means[1]) / 2
    variance = (float(((a - means[0]) ** 2) @ wa) + float(((b - means[1]) ** 2) @ wb)) / 2 + half**2
    return half / float(np.sqrt(variance)) if variance > 0 else 0.0


def auc(positive: Weighted, negative: Weighted) -> float:
    """P(value of a positive > value of a negative) + half P(equal)."""
    (a, wa), (b, wb) = positive, negative
    values, place = np.unique(np.concatenate([a, b]), return_inverse=True)
    ours = np.bincount(place[: len(a)], wa, minlength=len(values))
    others = np.bincount(place[len(a) :], wb, minlength=len(values))
    return float(ours @ (np.cumsum(others) - others / 2))


def random_pairs(pools: Sequence[Pool]) -> dict[str, float]:
    """Cosine in meaning of random pairs: what unrelated means for this guide; empty where all were found otherwise."""
    found = [pool.meaning[:, -pool.random :][pool.valid[:, -pool.random :]] for pool in pools]
    values = np.concatenate(found) if found else np.zeros(0)
    if not len(values):
        return {}
    return {
        "mean": _round(values.mean()) or 0.0,
        "deviation": _round(values.std()) or 0.0,
        "quantile_99": _round(np.quantile(values, 0.99)) or 0.0,
    }


def reuse(drawn: np.ndarray) -> int:
    """How often the most used sentence was drawn."""
    used = drawn[drawn >= 0]
    return int(np.bincount(used).max()) if len(used) else 0


def _candidates(side: Side, chances: np.ndarray) -> float | None:
    if not side.anchors:
        return None
    squares = np.bincount(side.row, (chances * side.anchors) ** 2, minlength=side.anchors)
    return float(np.mean(1 / squares))


def _kish(before: np.ndarray, after: np.ndarray) -> float | None:
    if not len(before):
        return None
    ratio = np.divide(after, before, out=np.zeros_like(after), where=before > 0)
    return float(1 / (before @ ratio**2))


def _round(value: Any) -> float | None:
    return None if value is None else round(float(value), _DIGITS)
