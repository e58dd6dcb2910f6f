"""From unlabelled sentences to (query, positive, negatives), DebCSE-style: candidates, propensity, draws."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.disk import files
from embedkit.errors import DataError
from embedkit.mining import diagnostics
from embedkit.mining.draws import draw
from embedkit.mining.pool import CHUNK, Pool, Pools
from embedkit.mining.propensity import ROLES, Propensity, Role, Side, fit
from embedkit.recipe.debias import Debias

FIT_ANCHORS = 24 * CHUNK
"""The propensity is estimated on up to this many anchors, in chunks spread evenly over the sentences."""
NONE = -1


@dataclass(frozen=True)
class Triplets:
    """What was drawn for r anchors out of n sentences, as sentence numbers.

    Attributes:
        anchor: [r] the queries.
        positive: [r]; equal to `anchor` where no candidate was close enough.
        negative: [r, M]; `NONE` where there are fewer.
        group: [n] equal for sentences of equal text.
    """

    anchor: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    group: np.ndarray

    def __len__(self) -> int:
        return len(self.anchor)

    def save(self, path: Path) -> None:
        """Write whole or not at all."""
        with files.new_file(path) as file:
            np.savez_compressed(file, **vars(self))

    @classmethod
    def load(cls, path: Path) -> Triplets:
        """Read what `save` wrote."""
        with np.load(path) as found:
            return cls(**{name: found[name] for name in ("anchor", "positive", "negative", "group")})


def sample(pools: Pools, group: np.ndarray, options: Debias, say: Callable[[int], None]) -> tuple[Triplets, dict]:
    """Fit the propensity on a part of the sentences, then draw for all of them, chunk by chunk.

    Args:
        pools: the candidates.
        group: [n] equal for equal texts.
        options: the recipe's block.
        say: told the number of sentences drawn for, after every chunk.

    Returns:
        The triplets and the diagnostics.
    """
    chosen = _spread(pools.starts, FIT_ANCHORS // CHUNK)
    fitted = {start: pools.chunk(start) for start in chosen}
    sides = {role: Side.of(list(fitted.values()), role, options) for role in ROLES}
    propensity = fit(sides, options)
    report: dict[str, Any] = {
        "fit": {"anchors": sum(len(pool.anchor) for pool in fitted.values()), "rounds": propensity.rounds},
        "distance": [round(d, 4) for d in propensity.distance],
        "random_pairs": diagnostics.random_pairs(list(fitted.values())),
        **diagnostics.describe(sides, propensity),
        "propensity": _tables(propensity),
    }
    parts = list(_drawn(pools, fitted, propensity, options, say))
    anchor = np.arange(pools.n)
    positive, negative = (np.concatenate([part[role] for part in parts]) for role in ROLES)
    positive = positive[:, 0]
    report |= _outcome(positive, negative, parts)
    if options.no_positive == "drop":
        keep = positive != NONE
        if not keep.any():
            raise DataError(
                "no sentence has a candidate close enough to be a positive",
                "debias.min_positive_similarity",
                f"lower it (random pairs: {report['random_pairs']}), or set no_positive: self",
            )
        anchor, positive, negative = anchor[keep], positive[keep], negative[keep]
    positive = np.where(positive == NONE, anchor, positive)
    return Triplets(anchor, positive, negative, group), report


def _spread(starts: Sequence[int], count: int) -> list[int]:
    if len(starts) <= count:
        return list(starts)
    return [starts[int(i)] for i in np.linspace(0, len(starts) - 1, count)]


def _drawn(
    pools: Pools, fitted: dict[int, Pool], propensity: Propensity, options: Debias, say: Callable[[int], None]
) -> Iterator[dict[str, Any]]:
    for start in pools.starts:
        pool = fitted.pop(start, None) or pools.chunk(start)
        counts: dict[Role, int] = {"positive": 1, "negative": options.negatives}
        part: dict[str, Any] = {}
        for role in ROLES:
            slots = draw(pool, role, counts[role], propensity, options)
            have = slots != NONE
            rows = np.arange(len(slots))[:, None]
            part[role] = np.full((len(slots), counts[role]), NONE)
            part[role][:, : slots.shape[1]] = np.where(have, pool.candidate[rows, slots], NONE)
            part[f"{role} pairs"] = {f: getattr(pool, f)[rows, slots][have] for f in diagnostics.FEATURES}
        say(start + len(pool.anchor))
        yield part


def _outcome(positive: np.ndarray, negative: np.ndarray, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """What was really drawn: shares, the two roles compared, the most used sentence."""
    pairs: dict[Role, dict[str, np.ndarray]] = {
        role: {f: np.concatenate([part[f"{role} pairs"][f] for part in parts]) for f in diagnostics.FEATURES}
        for role in ROLES
    }
    sizes = {role: len(values["surface"]) for role, values in pairs.items()}
    even: dict[Role, np.ndarray] = {role: np.full(size, 1 / max(1, size)) for role, size in sizes.items()}
    return {
        "drawn": diagnostics.compared(pairs, even),
        "with_positive": round(float(np.mean(positive != NONE)), 4),
        "with_negative": round(float(np.mean((negative != NONE).any(axis=1))), 4),
        "most_used": {"positive": diagnostics.reuse(positive), "negative": diagnostics.reuse(negative)},
    }


def _tables(propensity: Propensity) -> dict[str, Any]:
    """Edges, propensities and factors, rows by surface class, columns by length class."""
    shape = (len(propensity.cells.surface) + 1, len(propensity.cells.length) + 1)

    def table(values: dict[Role, np.ndarray]) -> dict[str, list[list[float]]]:
        return {role: np.round(values[role], 5).reshape(shape).tolist() for role in ROLES}

    return {
        "surface_edges": np.round(propensity.cells.surface, 4).tolist(),
        "length_edges": np.round(propensity.cells.length, 4).tolist(),
        "propensity": table(propensity.first),
        "factor": table(propensity.factor),
    }
