"""Rules on scores that something else than the search gives to a query and a document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from embedkit.errors import DataError
from embedkit.mining.filters.base import Candidates
from embedkit.mining.problem import Problem
from embedkit.model.running.scores import check_finite
from embedkit.recipe.filters import Rule
from embedkit.terminal.progress import progress as bar
from embedkit.vectors.keys import NONE, KeyIndex, first_of_each

CALL = 2048
"""Pairs scored at once."""
SPREAD = 2**20
"""The same where a pool scores them: it divides them itself."""
UNUSABLE = "no usable score"
ScorePairs = Callable[[Sequence[tuple[str, str]]], np.ndarray]
"""m (query, document) texts -> [m] numbers."""


class Scores(Protocol):
    """What scores pairs of a problem: a model, a file, another embedding model, a judge."""

    def of(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """[m] float64 of queries [m] (their numbers) and documents [m] (their rows), no pair twice; NaN: none that can
        be used."""
        ...


class ByScore:
    """Keeps documents whose scores are low enough by a rule; one without a usable score is not shown to be, and goes.

    Only pairs that earlier filters left are scored, and positives where the rule compares with them. A query without
    positives keeps all there, and nothing of it is scored.

    Args:
        name: as counts call it; the rule is put behind it.
        scores: of the pairs.
        positives: per query the rows of its positives.
        rule: what is low enough. ``below`` 0.1 on a cross-encoder's probability is RocketQA's denoising (arXiv
            2010.08191), ``absolute-margin`` 0 on a guide's cosine GISTEmbed's rule (arXiv 2402.16829).
        notes: gets the counts, beside what the scorer puts there.

    Attributes:
        notes: documents that went because they, or all positives of their query, have no usable score.
    """

    def __init__(
        self,
        name: str,
        scores: Scores,
        positives: Sequence[Sequence[int]],
        rule: Rule,
        *,
        notes: Counter[str] | None = None,
    ) -> None:
        self.name = f"{name} {rule}"
        self.notes: Counter[str] = Counter() if notes is None else notes
        self._scores, self._positives, self._rule = scores, positives, rule

    def allows(self, candidates: Candidates) -> np.ndarray:
        allowed = candidates.keep.copy()
        judged = candidates.keep
        if self._rule.relative:
            has = np.array([len(self._positives[query]) > 0 for query in candidates.query.tolist()], bool)
            judged = judged & has[:, None]
        owner, place = np.nonzero(judged)
        if not len(owner):
            return allowed
        threshold = self._thresholds(candidates.query, np.unique(owner))
        scores = self._scores.of(candidates.query[owner], candidates.rows[owner, place])
        if unusable := int((np.isnan(scores) | np.isnan(threshold[owner])).sum()):
            self.notes[f"{self.name}: {UNUSABLE}"] += unusable
        # both in the models' own precision: a score at the threshold is not below it
        allowed[owner, place] = scores.astype(np.float32) < threshold[owner].astype(np.float32)
        return allowed

    def _thresholds(self, query: np.ndarray, which: np.ndarray) -> np.ndarray:
        """[q] scores that are too high, for queries at the places `which`; NaN elsewhere, and without a usable one."""
        limit = np.full(len(query), np.nan)
        if not self._rule.relative:
            limit[:] = self._rule.number
            return limit
        rows = [np.unique(np.array(self._positives[number], np.int64)) for number in query[which].tolist()]
        owner = np.repeat(which, [len(found) for found in rows])
        scores = self._scores.of(query[owner], np.concatenate(rows))
        np.fmin.at(limit, owner, scores)
        away = self._rule.number
        return limit - (np.abs(limit) * (1 - away) if self._rule.kind == "margin" else away)


class Scorer:
    """Scores by a callable of texts, each pair once.

    Args:
        problem: queries and documents.
        function: gives m numbers for m (query, document) texts: see `probabilities` for a `CrossEncoder`.
        name: what scores, for messages and the bar.
        at_once: pairs given to the function at once.
        gaps: whether a NaN means "no usable answer"; else it is refused.
        progress: show a bar.
    """

    def __init__(
        self,
        problem: Problem,
        function: ScorePairs,
        *,
        name: str = "scorer",
        at_once: int = CALL,
        gaps: bool = False,
        progress: bool = False,
    ) -> None:
        self._problem, self._function, self._name = problem, function, name
        self._at_once, self._gaps, self._progress = at_once, gaps, progress
        self._places, self._known = KeyIndex(), np.zeros(0)

    def of(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """See `Scores`.

        Raises:
            DataError: not one finite number for each pair.
        """
        problem = self._problem
        keys = np.stack([problem.query_text_ids[queries], problem.text_ids[rows]], axis=1).astype(np.uint64)
        new = np.flatnonzero(first_of_each(keys) & (self._places.find(keys) == NONE))
        if len(new):
            found = self._scored(queries[new], rows[new])
            self._places.add(keys[new], len(self._known) + np.arange(len(new)))
            self._known = np.concatenate([self._known, found])
        return self._known[self._places.find(keys)]

    def _scored(self, queries: np.ndarray, rows: np.ndarray) -> np.ndarray:
        parts = []
        with bar(self._name, len(rows), "pairs", show=self._progress) as shown:
            for start in range(0, len(rows), self._at_once):
                part = slice(start, start + self._at_once)
                pairs = [
                    (self._problem.queries[query], self._problem.documents[row])
                    for query, row in zip(queries[part].tolist(), rows[part].tolist(), strict=True)
                ]
                parts.append(self._checked(self._function(pairs), pairs))
                shown.advance(len(pairs))
        return np.concatenate(parts)

    def _checked(self, found: object, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        array = np.asarray(found)
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.shape != (len(pairs),) or array.dtype.kind not in "fiu":
            what = f"{array.dtype} {list(array.shape)} for {len(pairs)} pairs"
            raise DataError(what, self._name, "give one number for each pair: a model with one label, e.g. a reranker")
        return check_finite(array.astype(np.float64), pairs, self._name, missing=self._gaps)
