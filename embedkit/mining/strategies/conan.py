"""Negatives that give way when they have become easy (Conan-embedding, arXiv 2408.15710)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from embedkit.mining.filters.base import Candidates
from embedkit.mining.miner import By, Miner
from embedkit.mining.strategies.base import Occasion
from embedkit.mining.table import MinedTable
from embedkit.vectors.index.found import NONE


class Conan:
    """The first search ranks candidates; a query walks down its ranking, `keep` at a time.

    Its negatives are replaced by the next ones where ``factor * now < came`` and ``|now| < below``: `now` is their mean
    similarity to the query by the model as it is, `came` what it was when they came. The paper's rule means positive
    similarities: with a negative `came` it would replace what has not changed, so those queries are left alone. Where a
    ranking has no whole set of candidates left, the negatives stay. The ranking itself is never made anew.

    Args:
        factor: how much easier they must have become.
        below: negatives above this similarity always stay.
    """

    once = False

    def __init__(self, factor: float = 1.15, below: float = 0.8) -> None:
        self._factor, self._below = factor, below

    def refresh(self, miner: Miner, occasion: Occasion) -> MinedTable:
        if occasion.before is None:
            return self._first(miner, occasion.by)
        return self._walk(miner, occasion.by, occasion.before)

    def _first(self, miner: Miner, by: By) -> MinedTable:
        """The ranking: the candidates that pass, as many as were retrieved. Its head are the negatives."""
        keep, width = miner.search.keep, miner.search.depth

        def ranked(candidates: Candidates, keys: Any) -> np.ndarray:
            order = np.argsort(~candidates.keep, axis=1, kind="stable")
            places = np.where(np.take_along_axis(candidates.keep, order, 1), order, NONE)
            return np.pad(places, ((0, 0), (0, max(0, width - places.shape[1]))), constant_values=NONE)

        found = miner.mine(by, choose=ranked)
        head = (found.rows[:, :keep], found.scores[:, :keep], found.rank[:, :keep])
        ranking = {"ranking": found.rows, "ranks": found.rank}
        state = {**ranking, "taken": np.zeros(len(found), np.int64), "came": _mean(head[0], head[1])}
        report = {**found.report, "negatives": int((head[0] != NONE).sum())}
        return MinedTable(*head, found.positive_score, report=report, state=state)

    def _walk(self, miner: Miner, by: By, before: MinedTable) -> MinedTable:
        state, keep = before.state, miner.search.keep
        now = miner.scores(by, before.rows)
        mean, came = _mean(before.rows, now), state["came"]
        easy = (came > 0) & (self._factor * mean < came) & (np.abs(mean) < self._below)
        taken = state["taken"] + np.where(easy, keep, 0)
        at = taken[:, None] + np.arange(keep)
        inside = np.minimum(at, state["ranking"].shape[1] - 1)
        following = np.where(at == inside, np.take_along_axis(state["ranking"], inside, 1), NONE)
        moves = easy & (following != NONE).all(axis=1)
        rows = np.where(moves[:, None], following, before.rows)
        rank = np.where(moves[:, None], np.take_along_axis(state["ranks"], inside, 1), before.rank)
        scores = np.where(moves[:, None], miner.scores(by, np.where(moves[:, None], rows, NONE)), now)
        arrived = np.where(moves, _mean(rows, scores), came).astype(np.float32)
        report = {**before.report, "score": float(scores[rows != NONE].mean()), "replaced": int(moves.sum())}
        kept = {**state, "taken": np.where(moves, taken, state["taken"]), "came": arrived}
        return replace(before, rows=rows, scores=scores, rank=rank, report=report, state=kept)


def _mean(rows: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """[q] mean score of what is there; NaN without any."""
    there = rows != NONE
    sums = np.where(there, scores, 0).sum(axis=1, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        found: np.ndarray = (sums / there.sum(axis=1)).astype(np.float32)
    return found
