"""Made-up pools in which surface gives the meaning away, by a known amount."""

from __future__ import annotations

import numpy as np

from embedkit.mining.pool import Pool


def biased_pool(
    anchors: int = 3000, candidates: int = 24, *, bias: float = 0.3, noise: float = 0.15, seed: int = 0, start: int = 0
) -> Pool:
    """Candidates with cosine c ~ U(-0.2, 1), surface 0.5 + bias (c - 0.4) + noise, length 0.5 - bias (c - 0.4) + noise.

    With bias 0.3 and noise 0.15 the correlation of the label (c >= 0.6 or c <= 0.3) with surface is about 0.65.
    """
    rng = np.random.default_rng(seed)
    shape = (anchors, candidates)
    meaning = rng.uniform(-0.2, 1.0, shape)
    surface, length = (
        np.clip(0.5 + sign * bias * (meaning - 0.4) + noise * rng.normal(size=shape), 0, 1) for sign in (1, -1)
    )
    return Pool(
        anchor=np.arange(start, start + anchors),
        candidate=rng.integers(0, 10**6, shape),
        meaning=meaning.astype(np.float32),
        surface=surface.astype(np.float32),
        length=length.astype(np.float32),
        random=candidates // 2,
    )
