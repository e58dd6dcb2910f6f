"""A teacher's score of every query's own candidates, for objectives that learn from it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from embedkit.errors import DataError
from embedkit.foreign.quoting import quoted
from embedkit.mining.filters.pairs import ScorePairs

COLUMN = pa.field("teacher_score", pa.list_(pa.float32()))
"""The score of the positive first, then those of the negatives, in their order."""


def taught(blocks: Iterator[pa.RecordBatch], score: ScorePairs) -> Iterator[pa.RecordBatch]:
    """The rows of a mined file with `COLUMN`; a row without a positive has null there.

    Args:
        blocks: of `embedkit.mining.mined_file.blocks`.
        score: pairs of query and document -> [n].

    Raises:
        DataError: a score is no number.
    """
    for block in blocks:
        rows = block.select(["query", "positive", "negative"]).to_pylist()
        candidates = [[row["positive"], *row["negative"]] if row["positive"] is not None else [] for row in rows]
        pairs = [(row["query"], text) for row, texts in zip(rows, candidates, strict=True) for text in texts]
        found = np.asarray(score(pairs), dtype=np.float32).reshape(-1) if pairs else np.empty(0, np.float32)
        if not np.isfinite(found).all():
            query = pairs[int(np.flatnonzero(~np.isfinite(found))[0])][0]
            what = f"the teacher's score for the query {quoted(query)} is no number"
            raise DataError(what, "--teacher", "try another")
        ends = np.cumsum([len(texts) for texts in candidates])[:-1]
        lists = [part.tolist() if len(part) else None for part in np.split(found, ends)]
        yield block.append_column(COLUMN, pa.array(lists, type=COLUMN.type))
