"""Scores of pairs that are in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embedkit.errors import DataError
from embedkit.foreign.quoting import quoted
from embedkit.mining.problem import Problem
from embedkit.mining.reading import Rows
from embedkit.vectors.keys import NONE, KeyIndex, first_of_each, keys_of

_BLOCK = 65_536


class FileScores:
    """Scores of a file with columns `query_id`, `document_id` and `score`, 32 bytes of memory each.

    Args:
        problem: whose ids they are; a number is the same id as its digits.
        path: Parquet, JSONL or another format of a source.
        progress: show a bar.

    Raises:
        DataError: it cannot be read, a row is bad, or a pair has two scores.
    """

    def __init__(self, problem: Problem, path: str | Path, *, progress: bool = False) -> None:
        self._problem, self._path = problem, str(path)
        self._places, self._known = KeyIndex(), np.zeros(0)
        pairs: list[str] = []
        values: list[float] = []
        parts: list[np.ndarray] = []
        for row in Rows().scores(path, progress=progress):
            pairs.append(_pair(str(row.query), str(row.document)))
            values.append(row.score)
            if len(pairs) == _BLOCK:
                parts.append(self._enter(pairs, np.array(values), sum(map(len, parts))))
                pairs, values = [], []
        parts.append(self._enter(pairs, np.array(values), sum(map(len, parts))))
        self._known = np.concatenate(parts)

    def _enter(self, pairs: list[str], values: np.ndarray, start: int) -> np.ndarray:
        keys = keys_of(pairs)
        new = first_of_each(keys) & (self._places.find(keys) == NONE)
        if not new.all():
            where = pairs[int(np.flatnonzero(~new)[0])]
            what = f"{int((~new).sum())} pairs stand there twice, first query and document {quoted(where)}"
            raise DataError(what, self._path, "give every pair one score")
        self._places.add(keys, start + np.arange(len(pairs)))
        return values

    def of(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """See `Scores`.

        Raises:
            DataError: a pair has no score.
        """
        problem = self._problem
        pairs = zip(queries.tolist(), rows.tolist(), strict=True)
        names = [_pair(problem.query_ids[query], problem.document_ids[row]) for query, row in pairs]
        places = self._places.find(keys_of(names))
        missing = np.flatnonzero(places == NONE)
        if len(missing):
            query, row = queries[missing[0]], rows[missing[0]]
            first = f"query {quoted(problem.query_ids[query])}, document {quoted(problem.document_ids[row])}"
            what = f"{len(missing):,} of {len(places):,} pairs have no score, first {first}"
            cure = "score all retrieved pairs, and the positives for a margin; or retrieve fewer (depth)"
            raise DataError(what, self._path, cure)
        return self._known[places]


def _pair(query: str, document: str) -> str:
    """One name for two ids, whatever stands in them."""
    return f"{len(query)} {query} {document}"
