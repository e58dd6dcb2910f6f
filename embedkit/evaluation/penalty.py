"""Where a contrastive loss would push: the share of each negative in a row's gradient, by temperature."""

from __future__ import annotations

from typing import Any

import numpy as np

from embedkit.errors import DataError

TEMPERATURES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
MOST = 512
"""Pairs that `by_temperature` takes, the first ones."""


def relative_penalty(first: np.ndarray, second: np.ndarray, temperature: float) -> tuple[np.ndarray, ...]:
    """Relative penalties of InfoNCE over pairs, the others' second texts being the negatives.

    ``r_ij = e^(s_ij / t) / sum over k != i of e^(s_ik / t)`` is the gradient on negative j over that on the positive.
    The entropy of a row falls with the temperature: only the nearest negatives are pushed. ``1 - p_ii`` is what is left
    to learn of the row, its gradient times t (Wang and Liu 2021, arXiv 2012.09740).

    Args:
        first, second: [n, d] unit rows, n > 2.
        temperature: t.

    Returns:
        r [n, n] with zeros on the diagonal, the entropies [n] in nats, ``1 - p_ii`` [n].

    Raises:
        DataError: fewer than three pairs: one negative has no entropy.
    """
    if len(first) < 3:
        raise DataError(f"{len(first)} pairs have no relative penalty", "pairs", "give three pairs or more")
    logits = first.astype(np.float64) @ second.astype(np.float64).T / temperature
    logits -= logits.max(axis=1, keepdims=True)
    own = np.eye(len(logits), dtype=bool)
    others = np.where(own, -np.inf, logits)
    share = np.exp(others - others.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    entropy = -(share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1)
    weight = np.exp(others).sum(axis=1)
    return share, entropy, weight / (weight + np.exp(np.diag(logits)))


def by_temperature(rows: np.ndarray, first: np.ndarray, second: np.ndarray) -> list[dict[str, Any]]:
    """Means of `relative_penalty` at `TEMPERATURES`, over at most `MOST` positive pairs without a text twice.

    Args:
        rows: [n, d] unit rows.
        first, second: [p] rows of the positive pairs.

    Returns:
        For each temperature: ``temperature``; ``pushed``, exp of the mean entropy: among how many of the negatives the
        push is shared; ``push``, the mean of ``1 - p_ii``; ``negatives``. Empty for fewer than three such pairs.
    """
    seen: set[int] = set()
    kept: list[tuple[int, int]] = []
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        if a != b and a not in seen and b not in seen and len(kept) < MOST:
            seen |= {a, b}
            kept.append((a, b))
    if len(kept) < 3:
        return []
    index = np.array(kept)
    found = []
    for temperature in TEMPERATURES:
        _, entropy, push = relative_penalty(rows[index[:, 0]], rows[index[:, 1]], temperature)
        means = {"pushed": float(np.exp(entropy.mean())), "push": float(push.mean())}
        found.append({"temperature": temperature, **means, "negatives": len(kept) - 1})
    return found
