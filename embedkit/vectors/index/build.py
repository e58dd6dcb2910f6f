"""An index by name or by size, with its recall measured against exact search."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from embedkit.errors import DataError
from embedkit.vectors.index.approximate import Approximate, Kind
from embedkit.vectors.index.exact import Exact, Method
from embedkit.vectors.index.found import Found
from embedkit.vectors.view import View

IndexKind = Literal["auto", "exact", "ivf", "ivf-pq", "hnsw"]
PROBES, PROBE_K = 256, 50
_EXACT_PRODUCTS = 2**43
"""Up to so many multiplications (queries x rows x dimensions) `auto` searches exactly: about a minute of two cores."""


@dataclass(frozen=True)
class IndexReport:
    """How an index was built and how much it finds.

    Attributes:
        kind: what was built.
        rows, dim: of the corpus.
        effort: ``nprobe`` or ``efSearch`` and its value; of exact search ``method``, where one was named.
        recall: share of the exact `k` nearest that it finds, mean over `probes` queries; 1 for exact search.
        seconds: of building and measuring.
        bytes: of the index beside the vectors.
    """

    kind: str
    rows: int
    dim: int
    effort: dict[str, Any]
    recall: float
    k: int
    probes: int
    seconds: float
    bytes: int

    def line(self) -> str:
        """For a person."""
        how = ", ".join(f"{name} {value}" for name, value in self.effort.items())
        sizes = f"{self.rows:,} vectors of {self.dim} dimensions"
        if self.kind == "exact":
            return f"exact search over {sizes}"
        return (
            f"{self.kind} over {sizes}: recall@{self.k} {self.recall:.3f} on {self.probes} queries, {how}; "
            f"built in {self.seconds:.0f} s, {self.bytes / 2**20:,.0f} MiB"
        )

    def plain(self) -> dict[str, Any]:
        """For records."""
        return asdict(self)


@dataclass
class Index:
    """A searchable corpus: `search(queries, k)`, and the `report` of its build."""

    searcher: Exact | Approximate
    report: IndexReport

    def search(self, queries: np.ndarray, k: int) -> Found:
        """The k best rows of every query [q, d]; see `Found`."""
        return self.searcher.search(queries, k)

    def found(self, queries: View, k: int, size: int) -> Iterator[Found]:
        """What `search` finds for all queries, `size` at a time; searched for are several such blocks at once."""
        for block in queries.blocks(max(size, self.searcher.at_once(k) // size * size)):
            many = self.search(block, k)
            for start in range(0, len(many), size):
                yield many.part(slice(start, start + size))


def build(
    rows: View,
    queries: np.ndarray,
    *,
    kind: IndexKind = "auto",
    searches: int | None = None,
    recall: float | None = None,
    k: int = PROBE_K,
    ram_gb: float = 4.0,
    seed: int = 0,
    folder: Path | None = None,
    device: str = "cpu",
    method: Method | None = None,
) -> Index:
    """Build an index and measure its recall.

    Args:
        rows: the corpus, [n, d], compared by inner product.
        queries: [q, d] what will be searched; up to `PROBES` of them, drawn by `seed`, are the probe.
        kind: ``auto``: exact where that takes about a minute, else ``ivf`` if it fits into half of `ram_gb`, else
            ``ivf-pq``.
        searches: queries there will be, for ``auto``; None: as many as `queries`.
        recall: the effort is raised until the probe's recall@k reaches this. None keeps the start values.
        k: of the recall.
        ram_gb: bounds memory beside the mapped vectors.
        seed: of centres and probe.
        folder: for lists that do not fit into memory.
        device: of exact search.
        method: of exact search, see `Exact`; None: the faster one here.

    Raises:
        DataError: empty corpus, NaN (the row is named), the demanded recall is not reached (with what was).
    """
    if kind not in get_args(IndexKind):
        raise DataError(f"no such index: {kind}", "index", f"one of {', '.join(get_args(IndexKind))}")
    if recall is not None and not 0 < recall <= 1:
        raise DataError(f"a recall of {recall} cannot be", "recall", "a share between 0 and 1, e.g. 0.95")
    start = time.perf_counter()
    exact = Exact(rows, method=method, device=device, ram_gb=ram_gb)
    if kind == "auto":
        kind = _chosen(len(rows), rows.dim, len(queries) if searches is None else searches, ram_gb)
    if kind == "exact":
        effort: dict[str, Any] = {} if method is None else {"method": method}
        report = IndexReport("exact", len(rows), rows.dim, effort, 1.0, k, 0, time.perf_counter() - start, 0)
        return Index(exact, report)
    lists = lists_for(len(rows), len(queries) if searches is None else searches)
    index = Approximate(rows, kind, seed=seed, folder=folder, ram_gb=ram_gb, lists=lists)
    chosen = np.random.default_rng([seed, 1]).permutation(len(queries))[:PROBES]
    probe = queries[np.sort(chosen)]
    reached = _raise_effort(index, probe, exact.search(probe, k), k, recall) if len(probe) else float("nan")
    if recall is not None and not reached >= recall:
        raise DataError(
            f"{kind} reaches a recall@{k} of {reached:.3f} at {index.effort_of[kind]} {index.effort}, not {recall}",
            "recall",
            "lower it, or take another index: exact always has 1",
        )
    effort = {index.effort_of[kind]: index.effort}
    took = time.perf_counter() - start
    return Index(index, IndexReport(kind, len(rows), rows.dim, effort, reached, k, len(probe), took, index.bytes))


def lists_for(n: int, searches: int) -> int:
    """Lists of an inverted file over n rows: ``sqrt(n)`` to ``4 sqrt(n)``. More of them take longer to learn and make a
    search quicker, so that few searches are done sooner with few."""
    return int(np.sqrt(n) * min(4.0, max(1.0, 4 * np.sqrt(searches / max(1, n)))))


def recall_of(found: Found, truth: Found) -> float:
    """Mean share of the true rows that were found; "no document" counts on neither side."""
    shares = [
        np.isin(true[true >= 0], own).mean()
        for own, true in zip(found.rows, truth.rows, strict=True)
        if (true >= 0).any()
    ]
    return float(np.mean(shares)) if shares else float("nan")


def _raise_effort(index: Approximate, probe: np.ndarray, truth: Found, k: int, wanted: float | None) -> float:
    if wanted is not None:
        index.raise_for(wanted, probe, truth)
    reached = recall_of(index.search(probe, k), truth)
    while wanted is not None and reached < wanted and index.effort < index.most_effort:
        index.effort = min(index.most_effort, index.effort * 3 // 2 + 1)
        reached = recall_of(index.search(probe, k), truth)
    return reached


def _chosen(n: int, dim: int, queries: int, ram_gb: float) -> Kind | Literal["exact"]:
    if n * dim * max(queries, 1) <= _EXACT_PRODUCTS or n < 10_000:
        return "exact"
    return "ivf" if n * (2 * dim + 8) <= ram_gb * 2**30 / 2 else "ivf-pq"
