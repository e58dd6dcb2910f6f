"""What float32 cannot tell apart."""

from __future__ import annotations

import numpy as np

STEADY = 2.0**-21
"""4 eps of float32: differences of this size, between numbers around 1, are made by rounding."""


def steady(values: np.ndarray, size: float | None = None) -> np.ndarray:
    """Values without the noise of float32: those that differ by rounding only become equal, and so are ties.

    Args:
        values: similarities or distances, any shape.
        size: what their noise is relative to; None: the largest of them.

    Returns:
        The values as multiples of `STEADY` times the size's power of two; all the same where they spread no further.
    """
    if size is None:
        size = float(np.abs(values).max(initial=0.0))
    if size == 0 or not np.isfinite(size) or not values.size:
        return values
    grid = values.dtype.type(STEADY * 2.0 ** np.ceil(np.log2(size)))
    if np.ptp(values) <= grid:
        return np.full_like(values, np.round(values.flat[0] / grid) * grid)
    return np.round(values / grid) * grid


def all_equal(rows: np.ndarray) -> bool:
    """Whether all rows [n, d] of length 1 (n > 1) are one vector up to the noise of float32."""
    return len(rows) > 1 and float(np.square(rows - rows[0]).sum(axis=1).max()) <= (4 * STEADY) ** 2
