"""Exact search in bounded memory, by whichever of two ways is the faster on this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from embedkit.vectors.index.found import AT_ONCE, NONE, Found, asked, blocks
from embedkit.vectors.index.pool import faiss_after_torch, taking_turns
from embedkit.vectors.view import View

if TYPE_CHECKING:
    import torch

Method = Literal["faiss", "torch"]
PROBE_QUERIES, PROBE_ROWS = 1024, 32_768
"""Of the probe: faiss is much slower on fewer queries than it will be on the rest, heaps on fewer rows."""
_PROBES_WORTH = 16
"""They are timed where the search takes at least so many times as long as one probe."""
_ROWS: dict[Method, int] = {"torch": 8_192, "faiss": 16_384}
_ROWS_OF_DEVICE = 65_536
"""Rows read at once at most: more were no faster on a CPU; `topk` on a GPU costs less, the wider it is."""
_TILE = (4096, 1024)
"""Queries and rows of a product on a CPU."""
_SCORES = 2**28
"""Held at once on a GPU."""


class Exact:
    """Every query against every row.

    Args:
        rows: the corpus.
        method: ``faiss`` or ``torch``. None times both on the first searched queries and keeps the faster one, where
            there is enough to do. They round differently: where a search must repeat to the last bit, name one.
        device: of the torch product.
        ram_gb: bounds the rows read at once and the lists kept.
    """

    kind = "exact"

    def __init__(self, rows: View, *, method: Method | None = None, device: str = "cpu", ram_gb: float = 4.0) -> None:
        self.rows, self.device, self.ram_gb = rows, device, ram_gb
        self.method: Method | None = "torch" if device != "cpu" else method

    def search(self, queries: np.ndarray, k: int) -> Found:
        """The k best rows of every query.

        Raises:
            DataError: see `found.asked`; NaN in the corpus.
        """
        queries = asked(queries, self.rows, k)
        step = self._fitting(k)
        parts = [self._part(queries[i : i + step], k) for i in range(0, len(queries), step)]
        found = Found.join(parts) if parts else Found(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
        return _padded(found, k)

    def at_once(self, k: int) -> int:
        """Queries to give to one search, of many."""
        return min(AT_ONCE, self._fitting(k))

    def _fitting(self, k: int) -> int:
        return max(1, int(self.ram_gb * 2**30 / 4 / (4 * self.rows.dim + 48 * k)))

    def _part(self, queries: np.ndarray, k: int) -> Found:
        k = min(k, len(self.rows))
        if self.method is None:
            work, probe = len(queries) * len(self.rows), PROBE_QUERIES * PROBE_ROWS
            self.method = faster(self.rows, queries, k) if work >= _PROBES_WORTH * probe else "torch"
        at_once = int(self.ram_gb * 2**30 / 4 / (4 * self.rows.dim))
        return _by(self.method, self.rows, queries, k, at_once, self.device)


def faster(rows: View, queries: np.ndarray, k: int) -> Method:
    """Which is the faster one here, timed once each on a part of the work (after a warm-up on an eighth of it)."""
    some = queries[:PROBE_QUERIES]
    part = rows.part(range(min(len(rows), PROBE_ROWS)))
    k = min(k, len(part))
    took: dict[Method, float] = {}
    for method in get_args(Method):
        _by(method, part, some[: PROBE_QUERIES // 8], k, PROBE_ROWS)
        start = time.perf_counter()
        _by(method, part, some, k, PROBE_ROWS)
        took[method] = time.perf_counter() - start
    return min(took, key=lambda method: took[method])


def _by(method: Method, rows: View, queries: np.ndarray, k: int, most: int, device: str = "cpu") -> Found:
    """What one way finds, with `most` rows read at once, or as many as it is the faster with."""
    size = max(4096, min(most, _ROWS[method] if device == "cpu" else _ROWS_OF_DEVICE) // 4096 * 4096)
    if method == "faiss":
        return _by_faiss(rows, queries, k, size)
    return _by_torch(rows, queries, k, size, device)


def _by_faiss(rows: View, queries: np.ndarray, k: int, size: int) -> Found:
    faiss = faiss_after_torch()
    from faiss.contrib.exhaustive_search import knn_ground_truth

    scores, found = knn_ground_truth(
        queries, (block for _, block in blocks(rows, size)), k, metric_type=faiss.METRIC_INNER_PRODUCT, ngpu=0
    )
    return Found.of(found, scores)


def _by_torch(rows: View, queries: np.ndarray, k: int, size: int, device: str = "cpu") -> Found:
    import torch

    best = _Heaps(queries, k) if device == "cpu" else _Best(torch.from_numpy(queries).to(device), k)
    with torch.inference_mode(), taking_turns():
        for start, block in blocks(rows, size):
            best.see(torch.from_numpy(block).to(device), start)
            del block  # or it is held while the next is read
    return best.found()


class _Heaps:
    """The k best rows of every query [q, d] so far: torch's products, which faiss puts into a heap for each query."""

    def __init__(self, queries: np.ndarray, k: int) -> None:
        import torch

        self._queries, self._faiss = torch.from_numpy(queries), faiss_after_torch()
        self._scores, self._ids = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        self._heaps = self._faiss.float_minheap_array_t()
        self._heaps.nh, self._heaps.k = self._scores.shape
        self._heaps.val, self._heaps.ids = map(self._faiss.swig_ptr, (self._scores, self._ids))
        self._heaps.heapify()
        self._room = torch.empty(min(len(queries), _TILE[0]) * _TILE[1])

    def see(self, block: torch.Tensor, first: int) -> None:
        """Rows [m, d], numbered from `first` on."""
        import torch

        for j in range(0, len(block), _TILE[1]):
            rows = block[j : j + _TILE[1]]
            for i in range(0, len(self._queries), _TILE[0]):
                queries = self._queries[i : i + _TILE[0]]
                scores = self._room[: len(queries) * len(rows)].view(len(queries), len(rows))
                torch.mm(queries, rows.T, out=scores)
                self._heaps.addn(len(rows), self._faiss.swig_ptr(scores.numpy()), first + j, i, len(queries))

    def found(self) -> Found:
        """Of all rows seen."""
        self._heaps.reorder()
        return Found.of(self._ids, self._scores)


class _Best:
    """The k best rows of every query [q, d] so far, in the type and on the device of the queries."""

    def __init__(self, queries: torch.Tensor, k: int) -> None:
        import torch

        self._queries, self._k = queries, k
        self.scores = torch.full((len(queries), k), -torch.inf, dtype=queries.dtype, device=queries.device)
        self.ids = torch.full((len(queries), k), -1, dtype=torch.int64, device=queries.device)

    def see(self, block: torch.Tensor, first: int) -> None:
        """Rows [m, d], numbered from `first` on."""
        import torch

        step = max(1, _SCORES // len(block))
        for i in range(0, len(self._queries), step):
            part = slice(i, i + step)
            scores, columns = (self._queries[part] @ block.T).topk(min(self._k, len(block)), dim=1)
            scores, ids = torch.cat([self.scores[part], scores], 1), torch.cat([self.ids[part], columns + first], 1)
            self.scores[part], order = scores.topk(self._k, dim=1)
            self.ids[part] = ids.gather(1, order)

    def found(self) -> Found:
        """Of all rows seen."""
        return Found.of(self.ids.cpu().numpy(), self.scores.cpu().numpy())


def _padded(found: Found, k: int) -> Found:
    """[q, k], with `NONE` where the corpus is smaller than k."""
    missing = k - found.rows.shape[1]
    if missing <= 0:
        return found
    wide = ((0, 0), (0, missing))
    return Found(np.pad(found.rows, wide, constant_values=NONE), np.pad(found.scores, wide, constant_values=-np.inf))
