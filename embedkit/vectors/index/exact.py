"""Exact search in bounded memory, by faiss or by torch's matrix product, whichever is faster on this machine."""

from __future__ import annotations

import time
from typing import Any, Literal

import numpy as np

from embedkit.vectors.index.found import NONE, Found, asked, blocks
from embedkit.vectors.view import ArrayView, View

Method = Literal["faiss", "torch"]
PROBE_QUERIES, PROBE_ROWS = 1024, 16_384
_QUERIES, _COLUMNS = 512, 4096
"""Scores held at once by the torch product: 8 MiB."""
_GROUP = 32


class Exact:
    """Every query against every row.

    Args:
        rows: the corpus.
        method: None times both on the first searched queries and keeps the faster. The two round differently: where
            a search must repeat to the last bit, name one.
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
        at_once = max(1, int(self.ram_gb * 2**30 / 4 / (4 * self.rows.dim + 48 * k)))
        parts = [self._part(queries[i : i + at_once], k) for i in range(0, len(queries), at_once)]
        found = Found.join(parts) if parts else Found(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
        return _padded(found, k)

    def _part(self, queries: np.ndarray, k: int) -> Found:
        k = min(k, len(self.rows))
        if self.method is None:
            self.method = faster(self.rows, queries, k)
        rows_at_once = int(self.ram_gb * 2**30 / 4 / (4 * self.rows.dim))
        size = max(_COLUMNS, min(rows_at_once, 131_072) // _COLUMNS * _COLUMNS)
        if self.method == "faiss":
            return _by_faiss(self.rows, queries, k, size)
        return _by_torch(self.rows, queries, k, size, self.device)


def faster(rows: View, queries: np.ndarray, k: int) -> Method:
    """Which of the two is faster here, timed once each on a part of the work (after a warm-up)."""
    some = queries[:PROBE_QUERIES]
    part = ArrayView(rows[:PROBE_ROWS])
    took: dict[Method, float] = {}
    for method in ("faiss", "torch"):
        search = _by_faiss if method == "faiss" else _by_torch
        for _ in range(2):
            start = time.perf_counter()
            search(part, some, min(k, len(part)), len(part))
            took[method] = time.perf_counter() - start
    return min(took, key=lambda method: took[method])


def _by_faiss(rows: View, queries: np.ndarray, k: int, size: int) -> Found:
    from faiss import METRIC_INNER_PRODUCT
    from faiss.contrib.exhaustive_search import knn_ground_truth

    scores, found = knn_ground_truth(
        queries, (block for _, block in blocks(rows, size)), k, metric_type=METRIC_INNER_PRODUCT, ngpu=0
    )
    return Found.of(found, scores)


def _by_torch(rows: View, queries: np.ndarray, k: int, size: int, device: str = "cpu") -> Found:
    """Products of `_QUERIES` x `_COLUMNS`; only scores above a query's k-th best so far are looked at again."""
    import torch

    asked_for = torch.from_numpy(queries).to(device)
    best = torch.full((len(queries), k), -torch.inf, device=device)
    ids = torch.full((len(queries), k), -1, dtype=torch.int64, device=device)
    step = _QUERIES if device == "cpu" else 8192
    with torch.inference_mode():
        for start, block in blocks(rows, size):
            held = torch.from_numpy(block).to(device)
            for column in range(0, len(held), _COLUMNS):
                columns = held[column : column + _COLUMNS].T
                for i in range(0, len(queries), step):
                    part = slice(i, i + step)
                    scores = asked_for[part] @ columns
                    best[part], ids[part] = _better(scores, start + column, best[part], ids[part])
    return Found.of(ids.cpu().numpy(), best.cpu().numpy())


def _better(scores: Any, first: int, best: Any, ids: Any) -> tuple[Any, Any]:
    """The k best of `best` [q, k] and `scores` [q, c], whose columns are the rows from `first` on."""
    import torch

    k, least = best.shape[1], best[:, -1:]
    if scores.device.type != "cpu" or scores.shape[1] % _GROUP or bool(torch.isinf(least).any()):
        values, columns = scores.topk(min(k, scores.shape[1]), dim=1)
        return _best(torch.cat([best, values], 1), torch.cat([ids, columns + first], 1), k)
    groups = scores.view(len(scores), -1, _GROUP)
    row, group = (groups.amax(-1) > least).nonzero(as_tuple=True)
    near = groups[row, group]
    which, offset = (near > least[row]).nonzero(as_tuple=True)
    if not len(which):
        return best, ids
    row, values, columns = row[which], near[which, offset], group[which] * _GROUP + offset
    counts = torch.bincount(row, minlength=len(best))
    place = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
    width = k + int(counts.max())
    joined, joined_ids = torch.full((len(best), width), -torch.inf), torch.full((len(best), width), -1)
    joined[:, :k], joined_ids[:, :k] = best, ids
    joined[row, k + place], joined_ids[row, k + place] = values, columns + first
    return _best(joined, joined_ids, k)


def _best(scores: Any, ids: Any, k: int) -> tuple[Any, Any]:
    scores, order = scores.topk(k, dim=1)
    return scores, ids.gather(1, order)


def _padded(found: Found, k: int) -> Found:
    """[q, k], with `NONE` where the corpus is smaller than k."""
    missing = k - found.rows.shape[1]
    if missing <= 0:
        return found
    wide = ((0, 0), (0, missing))
    return Found(np.pad(found.rows, wide, constant_values=NONE), np.pad(found.scores, wide, constant_values=-np.inf))
