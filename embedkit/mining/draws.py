"""Drawing positives and negatives from a pool with the fitted weights."""

from __future__ import annotations

import numpy as np

from embedkit.mining.pool import Pool
from embedkit.mining.propensity import ROLES, Propensity, Role, log_preference
from embedkit.recipe.debias import Debias

_DRAW = 73


def draw(pool: Pool, role: Role, count: int, propensity: Propensity, options: Debias) -> np.ndarray:
    """Slots [a, count] drawn for every anchor without replacement, -1 where it has no more candidates.

    A candidate's chance is proportional to g(c) f(x). Every slot gets a Gumbel number of its own and the largest
    sums log weight + Gumbel win, which is drawing without replacement by those weights; a rounding difference in a
    weight can therefore change a draw only where two sums are as good as equal.
    """
    weight = propensity.factors(role, pool.surface, pool.length)
    score = np.where(pool.valid, log_preference(pool.meaning, role, options) + np.log(weight), -np.inf)
    start = int(pool.anchor[0]) if len(pool.anchor) else 0
    rng = np.random.default_rng([_DRAW, ROLES.index(role), options.seed, start])
    score = score - np.log(-np.log(rng.uniform(np.finfo(float).tiny, 1, size=score.shape)))
    count = min(count, score.shape[1])
    slots = np.argsort(-score, axis=1, kind="stable")[:, :count]
    return np.where(np.isfinite(np.take_along_axis(score, slots, axis=1)), slots, -1)
