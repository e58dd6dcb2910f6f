"""The miner: encodes, searches, filters and chooses, in blocks of queries and over any number of processes."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embedkit.errors import RecipeError
from embedkit.mining.filters.base import Candidates, Filter, apply
from embedkit.mining.filters.choose import Choice
from embedkit.mining.filters.known import KnownPositives, SameText
from embedkit.mining.problem import Problem
from embedkit.mining.shares import ALONE, Team, merged, share
from embedkit.mining.spreading import Spread, SpreadIndex, spread_search
from embedkit.mining.table import ARRAYS, MinedTable
from embedkit.recipe.mining import Search
from embedkit.terminal.progress import progress as bar
from embedkit.vectors.encoding import encode_into, vectors_of
from embedkit.vectors.index.build import Index, IndexReport, build
from embedkit.vectors.index.exact import Method
from embedkit.vectors.index.found import NONE, Found
from embedkit.vectors.keys import keys_of
from embedkit.vectors.space import Embedder
from embedkit.vectors.store import VectorStore
from embedkit.vectors.view import View

if TYPE_CHECKING:
    from embedkit.model.running.encoder import Encoder
    from embedkit.vectors.concatenated import Concatenated

BLOCK = 4096
"""Queries whose candidates are held at once."""
Chooses = Callable[[Candidates, Sequence[int]], np.ndarray]
"""Filtered candidates and the queries' text ids -> [q, m] places in their lists, best first; `NONE`: no more."""


@dataclass(frozen=True)
class By:
    """What gives the vectors of queries and of documents: models, callables, or vectors that are there."""

    query: Embedder | View
    document: Embedder | View

    @classmethod
    def of(cls, encoder: Encoder | Concatenated, *, batch_tokens: int = 8192) -> By:
        """A model with its prompts, each text in its tower; unit vectors where it compares by the cosine.

        Raises:
            RecipeError: it compares by a distance.
        """
        if encoder.similarity not in ("cosine", "dot"):
            what = f"the model compares by the {encoder.similarity} distance, and search is by inner product"
            raise RecipeError(what, "mining", "use a model that compares by cosine or dot")
        options: dict[str, Any] = {"normalize": encoder.similarity == "cosine", "batch_tokens": batch_tokens}
        made = [
            Embedder.of(encoder.tower(index), role=role, **options) for index, role in enumerate(("query", "document"))
        ]
        return cls(*made)

    @property
    def fingerprint(self) -> str:
        """Of the queries' model and of the documents'; empty for vectors that are there."""
        parts = [side.space.digest if isinstance(side, Embedder) else "" for side in (self.query, self.document)]
        return " ".join(dict.fromkeys(part for part in parts if part))

    @property
    def spaces(self) -> list[str]:
        """The folders of a store that it uses."""
        return self.fingerprint.split()


@dataclass(frozen=True)
class Mined:
    """What a search measured.

    Attributes:
        model: content hash of what encoded; empty for given vectors.
        index: how the index was built and what it finds, see `IndexReport`.
        removed: candidates removed per filter, in their order.
        candidates: documents retrieved in all, before filters.
        negatives: documents chosen in all.
        without: queries that have none.
        score: mean similarity of the chosen to their queries; None without any.
        margin: mean lead of a query's (lowest) positive over its negatives; None where no positives are known.
        suspects: share of the chosen that score at least as high as the query's lowest positive.
        seconds: of encoding, and of searching and filtering.
    """

    model: str
    index: dict[str, Any]
    removed: dict[str, int]
    candidates: int
    negatives: int
    without: int
    score: float | None
    margin: float | None
    suspects: float
    seconds: dict[str, float]


class Miner:
    """Searches the documents of a problem for negatives of its queries.

    Args:
        problem: queries and documents.
        search: depth, index and how many are kept.
        store: keeps vectors; all processes of a team share its folder.
        filters: rules beside "no known positive, no text twice", which always come first.
        team: the processes that search together. Each encodes and searches a share of the documents; the best of all
            are the same as those of one process (exactly so for exact search).
        device: of exact search.
        scratch: folder for an index that does not fit into memory.
        method: of exact search; a name where searches must repeat to the last bit, None for the faster one here.
        spread: a pool that encodes and searches in the place of this process, which merges and filters.
        progress: show bars.
    """

    def __init__(
        self,
        problem: Problem,
        search: Search,
        store: VectorStore,
        *,
        filters: Sequence[Filter] = (),
        team: Team = ALONE,
        device: str = "cpu",
        scratch: Path | None = None,
        method: Method | None = None,
        spread: Spread | None = None,
        progress: bool = False,
    ) -> None:
        problem.check()
        self.problem, self.search, self.store, self.team = problem, search, store, team
        own: list[Filter] = [KnownPositives(problem.known, problem.text_ids), SameText(problem.text_ids)]
        self.filters = [*own, *filters]
        self._device, self._scratch, self._method, self._spread = device, scratch, method, spread
        self._progress = progress and team.rank == 0

    def mine(
        self,
        by: By,
        *,
        filters: Sequence[Filter] = (),
        choose: Chooses | None = None,
        seen: Callable[[Candidates, np.ndarray], None] | None = None,
    ) -> MinedTable:
        """Retrieve, filter, choose.

        Args:
            by: gives the vectors.
            filters: more rules, of this search alone.
            choose: takes the place of `search.keep` and `search.choose`.
            seen: is shown every block of filtered candidates and the places chosen of it (in one process only).

        Returns:
            A table of version 0, whose report is a `Mined` as plain data.

        Raises:
            DataError: vectors that do not fit or are not finite, a recall that is not reached.
            WriteError: the store cannot be written.
        """
        began = time.perf_counter()
        queries = self._vectors(self.problem.queries, by.query, "queries")
        documents = self._vectors(self.problem.documents, by.document, "documents")
        own = share(len(self.problem.documents), self.team)
        encoded = time.perf_counter()
        index = self._index(documents, own, queries, by)
        rules = [*self.filters, *filters]
        chooses = choose or self._choice().of
        parts: list[tuple[MinedTable, dict[str, int], int]] = []
        with bar("searching", len(queries), "queries", show=self._progress) as shown:
            searched = index.found(queries, min(self._k, index.report.rows), BLOCK)
            for start, found in zip(range(0, len(queries), BLOCK), searched, strict=True):
                best = self._best_of_all(found, own.start)
                lowest = self._positive_scores(queries[start : start + BLOCK], documents, start)
                parts.append(self._part(Candidates.of(best, lowest, start), rules, chooses, seen))
                shown.advance(len(found))
        table = _joined([table for table, _, _ in parts])
        removed = {name: sum(counts[name] for _, counts, _ in parts) for name in parts[0][1]}
        seconds = {"encoding": encoded - began, "searching": time.perf_counter() - encoded}
        report = _measured(table, by.fingerprint, index.report, removed, sum(n for _, _, n in parts), seconds)
        return replace(table, report=report)

    def scores(self, by: By, rows: np.ndarray) -> np.ndarray:
        """[q, m] float32 similarities of every query to its documents `rows` [q, m]; -inf where there is none.

        No other document is encoded.
        """
        queries = self._vectors(self.problem.queries, by.query, "queries")
        named = np.unique(rows[rows != NONE])
        if isinstance(by.document, View):
            documents: View = by.document
            at = rows
        else:
            documents = self._vectors([self.problem.documents[i] for i in named.tolist()], by.document, "documents")
            at = np.searchsorted(named, rows)
        out = np.full(rows.shape, -np.inf, np.float32)
        for start in range(0, len(rows), BLOCK):
            owner, place = np.nonzero(rows[start : start + BLOCK] != NONE)
            left = queries[start : start + BLOCK][owner]
            out[start + owner, place] = np.einsum("nd,nd->n", left, documents.take(at[start + owner, place]))
        return out

    def positive_scores(self, by: By) -> np.ndarray:
        """[pairs] float32 similarity of every query to each of its positives, query by query."""
        queries = self._vectors(self.problem.queries, by.query, "queries")
        documents = self._vectors(self.problem.documents, by.document, "documents")
        starts = range(0, len(queries), BLOCK)
        parts = [self._pairs(queries[start : start + BLOCK], documents, start)[1] for start in starts]
        return np.concatenate([np.zeros(0, np.float32), *parts])

    def _vectors(self, texts: Sequence[str], by: Embedder | View, what: str) -> View:
        """What is missing is encoded, each process its share."""
        if isinstance(by, Embedder) and self.team.world > 1:
            own = share(len(texts), self.team)
            encode_into(self.store.of(by.space), texts, by.encode, rows=own, progress=self._progress, unit=what)
            self.team.barrier()
        pool = None if self._spread is None else self._spread.pool
        return vectors_of(texts, by, self.store, pool=pool, progress=self._progress, unit=what)

    def _index(self, documents: View, own: range, queries: View, by: By) -> Index | SpreadIndex:
        rows = documents if self.team.world == 1 else documents.part(own)
        options = self.search
        probe = queries.take(np.sort(np.random.default_rng([options.seed, 1]).permutation(len(queries))[:256]))
        if self._spread is not None:
            names = (
                _content(by.query, queries, self.problem.queries),
                _content(by.document, rows, self.problem.documents),
            )
            more: dict[str, Any] = {"device": self._device, "method": self._method, "progress": self._progress}
            return spread_search(self._spread, rows, queries, probe, options, names, k=self._k, **more)
        return build(
            rows,
            probe,
            kind=options.index,
            searches=len(queries),
            recall=options.recall,
            ram_gb=options.ram_gb,
            seed=options.seed,
            folder=self._scratch,
            device=self._device,
            method=self._method,
        )

    def _choice(self) -> Choice:
        return Choice(self.search.keep, self.search.choose, seed=self.search.seed)

    @property
    def _k(self) -> int:
        return min(self.search.depth, len(self.problem.documents))

    def _best_of_all(self, found: Found, first: int) -> Found:
        """The best of what every process found among its documents, which are numbered from `first` on here."""
        if self.team.world == 1:
            return found
        rows = np.where(found.rows == NONE, NONE, found.rows + first)
        return merged([Found(*part) for part in self.team.collect((rows, found.scores))], self._k)

    def _positive_scores(self, block: np.ndarray, documents: View, start: int) -> np.ndarray:
        """[b] the lowest similarity of each query's positives; NaN without any."""
        lowest = np.full(len(block), np.nan, np.float32)
        owner, scores = self._pairs(block, documents, start)
        np.fmin.at(lowest, owner, scores)
        return lowest

    def _pairs(self, block: np.ndarray, documents: View, start: int) -> tuple[np.ndarray, np.ndarray]:
        """[p] query of the block and [p] float32 similarity of each of their positives."""
        rows = [self.problem.positives[start + i] for i in range(len(block))]
        owner = np.repeat(np.arange(len(block)), [len(r) for r in rows])
        if not len(owner):
            return owner, np.zeros(0, np.float32)
        positives = documents.take(np.concatenate([np.array(r, int) for r in rows]))
        return owner, np.einsum("nd,nd->n", block[owner], positives).astype(np.float32)

    def _part(
        self,
        candidates: Candidates,
        rules: Sequence[Filter],
        chooses: Chooses,
        seen: Callable[[Candidates, np.ndarray], None] | None,
    ) -> tuple[MinedTable, dict[str, int], int]:
        """One block filtered and chosen from, each process its share of the queries."""
        mine = share(len(candidates.rows), self.team)
        own = candidates.part(mine)
        left, counts = apply(rules, own)
        places = chooses(left, self.problem.query_text_ids[left.query].tolist())
        if seen is not None:
            seen(left, places)
        retrieved = int((own.rows != NONE).sum())
        parts = self.team.collect((_chosen(left, places), counts, retrieved))
        total = {name: sum(c[name] for _, c, _ in parts) for name in counts}
        return _joined([table for table, _, _ in parts]), total, sum(n for _, _, n in parts)


def _content(by: Embedder | View, vectors: View, texts: Sequence[str]) -> str:
    """Stands for the contents of a side's vectors: its space and texts, or the vectors that were given."""
    sha = hashlib.sha256()
    if isinstance(by, Embedder):
        sha.update(by.space.digest.encode())
        sha.update(keys_of(texts).tobytes())
    else:
        for block in vectors.blocks():
            sha.update(block.tobytes())
    return sha.hexdigest()


def _chosen(candidates: Candidates, places: np.ndarray) -> MinedTable:
    there = places != NONE
    at = np.where(there, places, 0)

    def taken(values: np.ndarray, none: float) -> np.ndarray:
        return np.where(there, np.take_along_axis(values, at, 1), none) if values.shape[1] else np.full(at.shape, none)

    return MinedTable(
        taken(candidates.rows, NONE).astype(np.int64),
        taken(candidates.scores, -np.inf).astype(np.float32),
        taken(candidates.rank, 0).astype(np.int64),
        candidates.positive_score,
    )


def _joined(parts: Sequence[MinedTable]) -> MinedTable:
    rows, scores, rank, positive = (np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS)
    return MinedTable(rows, scores, rank, positive)


def _measured(
    table: MinedTable,
    model: str,
    index: IndexReport,
    removed: dict[str, int],
    candidates: int,
    seconds: dict[str, float],
) -> dict[str, Any]:
    there = table.rows != NONE
    lead = np.where(there, table.positive_score[:, None] - np.where(there, table.scores, 0), np.nan)
    known = there & ~np.isnan(lead)
    return vars(
        Mined(
            model=model,
            index=index.plain(),
            removed=removed,
            candidates=candidates,
            negatives=int(there.sum()),
            without=int((~there.any(axis=1)).sum()),
            score=float(table.scores[there].mean()) if there.any() else None,
            margin=float(lead[known].mean()) if known.any() else None,
            suspects=float((lead[known] <= 0).mean()) if known.any() else 0.0,
            seconds={name: round(value, 3) for name, value in seconds.items()},
        )
    )
