"""Generated rows beside real ones: those that say what another row says already are left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from embedkit.data.sources import LoadedSource, Store
from embedkit.data.text import text_id
from embedkit.errors import DataError
from embedkit.types import Example

if TYPE_CHECKING:
    from embedkit.recipe.data import Data

_BLOCK = 4096


def row_id(example: Example) -> int:
    """The id of what a row brings together: its query (or bare text) and its positives, in any order.

    Texts are compared by `embedkit.data.text.text_id`. Negatives, labels, scores and weights do not count.
    """
    ids = [text_id(example.query), *sorted(map(text_id, example.positives))]
    return ids[0] if len(ids) == 1 else text_id(" ".join(map(str, ids)))


@dataclass(frozen=True)
class KeptRows:
    """Some rows of a source.

    Attributes:
        rows: the source's.
        kept: [n] positions there of the rows that are used.
    """

    rows: Store
    kept: np.ndarray

    def get(self, positions: Sequence[int]) -> list[Example]:
        """The examples at `positions`."""
        return self.rows.get(self.kept[np.asarray(positions, dtype=np.int64)].tolist())


def as_asked(data: Data, sources: Sequence[LoadedSource]) -> list[LoadedSource]:
    """The sources of a `data` block, `without_duplicates` unless it keeps those.

    Raises:
        DataError: as `without_duplicates`.
    """
    if not data.drops_duplicates:
        return list(sources)
    return without_duplicates(sources, [bool(source.generated) for source in data.sources])


def without_duplicates(sources: Sequence[LoadedSource], generated: Sequence[bool]) -> list[LoadedSource]:
    """The sources without generated rows that equal a real row or an earlier generated one, by `row_id`.

    Of equal generated rows the first of the first source stays. How many were left out is in `made` and `remarks`.

    Args:
        sources: all of a run.
        generated: which of them hold generated rows.

    Raises:
        DataError: one of the sources is a stream, or no row of a generated source is left.
    """
    ids = [_ids(source) for source in sources]
    real = [own for own, made in zip(ids, generated, strict=True) if not made]
    known = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *real]))
    earlier, kept = np.empty(0, dtype=np.int64), list(sources)
    for place in [i for i, made in enumerate(generated) if made]:
        own, first = ids[place], np.zeros(len(ids[place]), dtype=bool)
        first[np.unique(own, return_index=True)[1]] = True
        as_real = np.isin(own, known)
        again = ~as_real & (~first | np.isin(own, earlier))
        kept[place] = _kept(sources[place], ~(as_real | again), int(as_real.sum()), int(again.sum()))
        earlier = np.union1d(earlier, own)
    return kept


def _ids(source: LoadedSource) -> np.ndarray:
    """[rows] the id of each row."""
    if source.rows is None:
        cure = "remove streaming, or set data.generated_duplicates: keep"
        raise DataError("duplicates are looked for among all rows, and a stream never has them all", source.name, cure)
    blocks = (range(start, min(start + _BLOCK, source.rows)) for start in range(0, source.rows, _BLOCK))
    return np.array([row_id(example) for block in blocks for example in source.get(block)], dtype=np.int64)


def _kept(source: LoadedSource, keep: np.ndarray, as_real: int, again: int) -> LoadedSource:
    if not keep.any():
        what = f"no generated row is left: {as_real:,} equal a real row, {again:,} another generated one"
        raise DataError(what, source.name, "give other rows, or set data.generated_duplicates: keep")
    counts = ((as_real, "equal to a real row"), (again, "equal to another generated row"))
    rows = int(keep.sum())
    found = replace(
        source,
        remarks=[*source.remarks, *(f"{n:,} generated {_rows(n)} left out: {why}" for n, why in counts if n)],
        made={**source.made, "generated": {"rows": rows, "equal_to_real": as_real, "equal_to_generated": again}},
    )
    if rows == len(keep):
        return found
    clusters = None if source.clusters is None else source.clusters[keep]
    return replace(found, rows=rows, store=KeptRows(source.store, np.flatnonzero(keep)), clusters=clusters)


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"
