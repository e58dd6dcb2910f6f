"""Whether a probability that a model gives is the share of cases in which it is right."""

from __future__ import annotations

import numpy as np

BINS = 15
"""Of equal width, as in Guo et al. 2017 (arXiv 1706.04599)."""
STEPS = 10
"""Of equally many pairs, of the table of similarities."""


def expected_error(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error: ``sum_b n_b / n |share right in b - mean confidence in b|``, 0..1.

    Args:
        confidence: [n] probabilities of what was said.
        right: [n] whether it was so.
        bins: of equal width between 0 and 1.
    """
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1).clip(min=0)
    apart = np.bincount(place, right, minlength=bins) - np.bincount(place, confidence, minlength=bins)
    return float(np.abs(apart).sum() / len(confidence))


def brier(probabilities: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """Brier's score of every text, [n]: ``sum_c (p_c - 1[c is right])^2``, 0 where all is certain and right, at most 2.

    Args:
        probabilities: [n, classes].
        gold: [n] classes.
    """
    wanted = np.arange(probabilities.shape[1]) == gold[:, None]
    return np.asarray(np.square(probabilities - wanted).sum(axis=1))


def by_similarity(similarity: np.ndarray, match: np.ndarray) -> list[dict[str, float]]:
    """The share of pairs that match at rising similarities: what a threshold or a probability can be read from.

    Args:
        similarity: [n].
        match: [n], 1 or 0.

    Returns:
        ``from``, ``to``, ``mean`` (similarities), ``matching`` (share) and ``pairs`` of up to `STEPS` equally large
        parts; equal similarities stand in one part.
    """
    order = np.argsort(similarity, kind="stable")
    edges = np.unique(np.searchsorted(similarity[order], np.quantile(similarity, np.arange(1, STEPS) / STEPS)))
    parts = [part for part in np.split(order, edges) if len(part)]
    return [
        {
            "from": float(similarity[part[0]]),
            "to": float(similarity[part[-1]]),
            "mean": float(similarity[part].mean()),
            "matching": float(match[part].mean()),
            "pairs": len(part),
        }
        for part in parts
    ]
