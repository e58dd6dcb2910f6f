"""The many-facet Rasch model of graded labels: how high a text stands, how severe a rater is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Ratings:
    """Grades that several raters gave.

    Attributes:
        text, item, rater: [n] places of what was graded, of the question that was asked about it, and of who graded.
        rating: [n] category, 0..M, each of them used.
        low: what category 0 is called.
    """

    text: np.ndarray
    item: np.ndarray
    rater: np.ndarray
    rating: np.ndarray
    low: int = 0

    @property
    def steps(self) -> int:
        """M, one less than there are categories."""
        return int(self.rating.max())


@dataclass(frozen=True)
class Estimate:
    """What the model finds, in logits.

    Attributes:
        text: [T] levels.
        item: [I] difficulties, mean 0.
        rater: [R] severities, mean 0: one of 1 grades as if all texts stood 1 lower.
        steps: [M] thresholds between the categories, mean 0.
        error: [T] standard errors of the levels, the rest held as found.
    """

    text: np.ndarray
    item: np.ndarray
    rater: np.ndarray
    steps: np.ndarray
    error: np.ndarray

    def levels(self, ratings: Ratings) -> np.ndarray:
        """[n] level of the text less the item's difficulty and the rater's severity."""
        found: np.ndarray = self.text[ratings.text] - self.item[ratings.item] - self.rater[ratings.rater]
        return found

    def fair(self) -> np.ndarray:
        """[T] grade, from 0, that a mean rater is expected to give for a mean item."""
        return moments(probabilities(self.text, self.steps))[0]


def probabilities(levels: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """P(category) [n, M + 1] of the rating scale model: ``log(P_k / P_k-1) = level - step_k``.

    With level = text - item - rater it is the many-facet model (Linacre), of which "Constructing interval variables via
    faceted Rasch measurement" makes labels.

    Args:
        levels: [n].
        steps: [M].
    """
    logits = np.zeros((len(levels), len(steps) + 1))
    np.cumsum(levels[:, None] - steps, axis=1, out=logits[:, 1:])
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    found: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return found


def moments(chances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expected category and its variance, [n] each, of `chances` [n, M + 1]."""
    categories = np.arange(chances.shape[1])
    mean = chances @ categories
    return mean, chances @ categories**2 - mean**2


def misfit(ratings: Ratings, expected: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Infit and outfit of every rater, [R] each: about 1 as the model has it, above erratic, below too uniform.

    With e the rating less its expected value and V its variance: infit = sum e^2 / sum V, outfit = mean of e^2 / V.

    Args:
        ratings: what was given.
        expected, variance: [n] of each rating, from `moments`.
    """
    square = (ratings.rating - expected) ** 2

    def total(values: np.ndarray) -> np.ndarray:
        return np.bincount(ratings.rater, values)

    return total(square) / total(variance), total(square / variance) / np.bincount(ratings.rater)


def estimate(ratings: Ratings, spread: float = 3.0) -> Estimate:
    """The most probable levels, difficulties, severities and thresholds.

    Joint estimation with a normal prior, mean 0 and deviation `spread` logits, on levels, difficulties and severities:
    without it a text that got nothing but the highest grade would stand at infinity. The function is concave, so that
    there is one answer; it is found by L-BFGS. With few grades per text, joint estimates lie too far apart.

    Args:
        ratings: connected, see `embedkit.evaluation.raters`.
        spread: of the prior; large is weak.
    """
    from scipy.optimize import minimize

    facets = (ratings.text, ratings.item, ratings.rater)
    sizes = [int(codes.max()) + 1 for codes in facets]
    cuts = np.cumsum([*sizes, ratings.steps])[:-1]
    reached = ratings.rating[:, None] > np.arange(ratings.steps)

    def parts(values: np.ndarray) -> list[np.ndarray]:
        text, *others = np.split(values, cuts)
        return [text, *(one - one.mean() for one in others)]

    def loss(values: np.ndarray) -> tuple[float, np.ndarray]:
        text, item, rater, steps = parts(values)
        chances = probabilities(text[facets[0]] - item[facets[1]] - rater[facets[2]], steps)
        rows = np.arange(len(chances))
        likelihood = np.log(np.maximum(chances[rows, ratings.rating], 1e-300)).sum()
        prior = sum(float(one @ one) for one in (text, item, rater)) / (2 * spread**2)
        residual = ratings.rating - moments(chances)[0]
        above = chances[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:]
        slopes = [
            sign * np.bincount(codes, residual, size) - one / spread**2
            for sign, codes, size, one in zip((1, -1, -1), facets, sizes, (text, item, rater), strict=True)
        ]
        slopes.append(-(reached - above).sum(axis=0))
        gradient = [slopes[0], *(one - one.mean() for one in slopes[1:])]
        return prior - float(likelihood), -np.concatenate(gradient)

    options: dict[str, Any] = {"maxiter": 10_000, "maxfun": 20_000, "ftol": 1e-13, "gtol": 1e-7}
    found = minimize(loss, np.zeros(sum(sizes) + ratings.steps), jac=True, method="L-BFGS-B", options=options)
    text, item, rater, steps = parts(found.x)
    levels = text[facets[0]] - item[facets[1]] - rater[facets[2]]
    information = np.bincount(ratings.text, moments(probabilities(levels, steps))[1], sizes[0])
    return Estimate(text, item, rater, steps, 1 / np.sqrt(information + 1 / spread**2))
