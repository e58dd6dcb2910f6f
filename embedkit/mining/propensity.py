"""Which pairs of sentences the choice by meaning alone prefers, and the weights that undo it.

Notation: anchor i, candidate j, cosine in meaning c, cell x = (class of surface similarity, class of length
difference), role t: positive (c at or above its threshold) or negative (c at or below its own).

    g_t(c)    = exp(+sharpness c) for positives, exp(-sharpness c) for negatives, 0 outside the role's band
    pi_t(j|i) = g_t(c_ij) f_t(x_ij) / sum over candidates j' of i                      (one draw per anchor)
    p_t(x)    = mean over anchors of sum over j of pi_t(j|i) [x_ij = x]                (the propensity of the cell)

With f = 1, p_t(x) is the probability that choosing by meaning alone ends in cell x. It differs between the roles:
what is close in meaning usually shares words and length, so that surface tells positives from negatives. Inverse
propensity weights f_t(x) = q(x) / p_t(x) lead both roles to one distribution q, and then surface tells nothing.
q is the normalised geometric mean of the two: of all distributions the one nearest to both (it minimises
KL(q|p_positive) + KL(q|p_negative)), and near zero where only one role has pairs at all, so that no weight has to
be huge. Because every anchor draws once from candidates of its own, one division does not reach q: p_t is measured
again under the new weights and the factors are multiplied by q / p_t until the two roles agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from embedkit.mining.pool import Pool
from embedkit.recipe.debias import Debias

Role = Literal["positive", "negative"]
ROLES: tuple[Role, ...] = ("positive", "negative")
ROUNDS = 200
TOLERANCE = 1e-3
"""Rounds end when the total variation distance between the roles falls by less than this in ten of them."""
SMOOTHING = 1.0
"""Pseudo-pairs spread over all cells, added to each role's expected counts."""


def log_preference(meaning: np.ndarray, role: Role, options: Debias) -> np.ndarray:
    """log g: the preference by meaning alone; -inf outside the role's band."""
    if role == "positive":
        return np.where(meaning >= options.min_positive_similarity, options.sharpness * meaning, -np.inf)
    return np.where(meaning <= options.max_negative_similarity, -options.sharpness * meaning, -np.inf)


@dataclass(frozen=True)
class Side:
    """The candidates of one role over all anchors of a fit, m pairs in all.

    Attributes:
        anchors: anchors that have such a candidate.
        row: [m] which of them a pair belongs to.
        preference: [m] g, scaled so that the largest of an anchor is 1.
        meaning, surface, length: [m] as in `Pool`.
    """

    anchors: int
    row: np.ndarray
    preference: np.ndarray
    meaning: np.ndarray
    surface: np.ndarray
    length: np.ndarray

    @classmethod
    def of(cls, pools: Sequence[Pool], role: Role, options: Debias) -> Side:
        """Collect the candidates of a role."""
        columns: list[list[np.ndarray]] = [[], [], [], [], []]
        anchors = 0
        for pool in pools:
            score = np.where(pool.valid, log_preference(pool.meaning, role, options), -np.inf)
            rows, slots = np.nonzero(np.isfinite(score))
            best = score.max(axis=1, initial=-np.inf)
            have, dense = np.unique(rows, return_inverse=True)
            found = (pool.meaning, pool.surface, pool.length)
            values = [dense + anchors, np.exp(score[rows, slots] - best[rows]), *(v[rows, slots] for v in found)]
            for column, value in zip(columns, values, strict=True):
                column.append(value)
            anchors += len(have)
        return cls(anchors, *(np.concatenate(c) if c else np.zeros(0) for c in columns))

    def chances(self, factor: np.ndarray | float = 1.0) -> np.ndarray:
        """[m] pi / anchors, which sum to 1: the chance that a draw of this role is this pair.

        Args:
            factor: [m] f of every pair.
        """
        weight = self.preference * factor
        total = np.bincount(self.row, weight, minlength=self.anchors)
        return weight / (total[self.row] * max(1, self.anchors))


@dataclass(frozen=True)
class Cells:
    """Classes of surface similarity and of length difference: x = surface class * length classes + length class."""

    surface: np.ndarray
    length: np.ndarray

    @property
    def count(self) -> int:
        return (len(self.surface) + 1) * (len(self.length) + 1)

    def of(self, surface: np.ndarray, length: np.ndarray) -> np.ndarray:
        """The cell of every pair."""
        first = np.searchsorted(self.surface, surface, side="right")
        return first * (len(self.length) + 1) + np.searchsorted(self.length, length, side="right")


def cells(positive: Side, negative: Side, bins: int) -> Cells:
    """Edges at quantiles of the two roles in equal shares, closer together towards both ends; equal ones fall together.

    The ends matter most: there one role is rare, and within a class the values of the roles may still differ.
    """
    chances = np.concatenate([side.chances() for side in (positive, negative)])

    def edges(name: str) -> np.ndarray:
        values = np.concatenate([getattr(side, name) for side in (positive, negative)])
        order = np.argsort(values, kind="stable")
        mass = np.cumsum(chances[order])
        if not len(mass):
            return np.zeros(0)
        levels = (1 - np.cos(np.pi * np.arange(1, bins) / bins)) / 2
        at = np.searchsorted(mass, levels * mass[-1])
        found = np.unique(values[order][np.minimum(at, len(mass) - 1)])
        return found[found > values.min()]  # an edge at the smallest value would leave an empty class below it

    return Cells(edges("surface"), edges("length"))


@dataclass(frozen=True)
class Propensity:
    """The fitted correction.

    Attributes:
        cells: the classes.
        first: role -> [cells] p_t(x) of the choice by meaning alone, smoothed.
        factor: role -> [cells] f_t(x), clipped and raised to `strength`; all ones where a role has no pairs.
        distance: total variation distance between the roles' cells: of the choice by meaning alone, and after.
        rounds: how often the propensity was measured.
    """

    cells: Cells
    first: dict[Role, np.ndarray]
    factor: dict[Role, np.ndarray]
    distance: tuple[float, float]
    rounds: int

    def factors(self, role: Role, surface: np.ndarray, length: np.ndarray) -> np.ndarray:
        """f_t of every pair."""
        return self.factor[role][self.cells.of(surface, length)]


def fit(sides: dict[Role, Side], options: Debias) -> Propensity:
    """Estimate the propensity of every cell in both roles, and the factors that make them agree.

    Args:
        sides: the candidates of both roles.
        options: `bins`, `strength`, `max_weight`.
    """
    made = cells(sides["positive"], sides["negative"], options.bins)
    cell = {role: made.of(side.surface, side.length) for role, side in sides.items()}
    log_factor = {role: np.zeros(made.count) for role in ROLES}

    def measure() -> dict[Role, np.ndarray]:
        found: dict[Role, np.ndarray] = {}
        for role, side in sides.items():
            chances = side.chances(np.exp(log_factor[role])[cell[role]])
            found[role] = np.bincount(cell[role], chances, minlength=made.count)
        return found

    shares = measure()
    first = {role: _smoothed(shares[role], sides[role].anchors) for role in ROLES}
    distances = [_distance(shares)]
    bound = np.log(options.max_weight)
    while min(side.anchors for side in sides.values()) and len(distances) <= ROUNDS:
        smooth = {role: np.log(_smoothed(shares[role], sides[role].anchors)) for role in ROLES}
        target = (smooth["positive"] + smooth["negative"]) / 2
        for role in ROLES:
            moved = log_factor[role] + target - smooth[role]
            moved -= np.log(first[role] @ np.exp(moved))  # mean 1 over what meaning alone would choose
            log_factor[role] = np.clip(moved, -bound, bound)
        shares = measure()
        distances.append(_distance(shares))
        if len(distances) > 10 and distances[-11] - distances[-1] < TOLERANCE:
            break
    log_factor = {role: options.strength * values for role, values in log_factor.items()}
    factor = {role: np.exp(values) for role, values in log_factor.items()}
    return Propensity(made, first, factor, (distances[0], _distance(measure())), len(distances))


def _smoothed(shares: np.ndarray, anchors: int) -> np.ndarray:
    return (shares * anchors + SMOOTHING / len(shares)) / (anchors + SMOOTHING)


def _distance(shares: dict[Role, np.ndarray]) -> float:
    return float(np.abs(shares["positive"] - shares["negative"]).sum() / 2)
