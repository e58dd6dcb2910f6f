"""Exact search in bounded memory, by whichever of three ways is the fastest on this machine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from embedkit.vectors.index.found import NONE, Found, asked, blocks
from embedkit.vectors.view import ArrayView, View

if TYPE_CHECKING:
    import torch

Method = Literal["faiss", "torch", "bf16"]
PROBE_QUERIES, PROBE_ROWS = 256, 32_768
_PROBES_WORTH = 64
"""The ways are timed where the search takes at least so many times as long as one probe."""
_ROWS = 65_536
"""Rows read at once at most: `topk` costs less, the wider it is."""
_SCORES, _SCORES_OF_DEVICE = 2**24, 2**28
"""Scores held at once."""
_SPARE = 32
"""Rows that bfloat16 proposes beyond those asked for."""
_TAKEN = 2**22
"""Numbers of proposed rows held at once: 16 MiB."""


class Exact:
    """Every query against every row.

    Args:
        rows: the corpus.
        method: ``faiss``; ``torch``: float32 products; ``bf16``: see `_by_bf16`. None times all on the first searched
            queries and keeps the fastest, where there is enough to do. They round differently: where a search must
            repeat to the last bit, name one.
        device: of the torch product.
        ram_gb: bounds the rows read at once and the lists kept.
    """

    kind = "exact"

    def __init__(self, rows: View, *, method: Method | None = None, device: str = "cpu", ram_gb: float = 4.0) -> None:
        self.rows, self.device, self.ram_gb = rows, device, ram_gb
        self.method: Method | None = "torch" if device != "cpu" else method
        self._chosen = False

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
            work, probe = len(queries) * len(self.rows), PROBE_QUERIES * PROBE_ROWS
            self._chosen = work >= _PROBES_WORTH * probe
            self.method = faster(self.rows, queries, k) if self._chosen else "torch"
        rows_at_once = int(self.ram_gb * 2**30 / 4 / (6 * self.rows.dim))
        size = max(4096, min(rows_at_once, _ROWS) // 4096 * 4096)
        if self.method != "bf16":
            return _by(self.method, self.rows, queries, k, size, self.device)
        found, proven = _by_bf16(self.rows, queries, k, size)
        if proven < 0.5 and self._chosen:
            self.method = "torch"
        return found


def faster(rows: View, queries: np.ndarray, k: int) -> Method:
    """Which is the fastest here, timed once each on a part of the work (after a warm-up).

    Of ``bf16`` the proposals are timed: what follows them depends on the queries, not on the corpus.
    """
    some = queries[:PROBE_QUERIES]
    part = ArrayView(rows[:PROBE_ROWS])
    k = min(k, len(part))
    took: dict[Method, float] = {}
    for method in get_args(Method):
        for _ in range(2):
            start = time.perf_counter()
            if method == "bf16":
                _proposed(part, some, min(k + _SPARE, len(part)), len(part))
            else:
                _by(method, part, some, k, len(part))
            took[method] = time.perf_counter() - start
    return min(took, key=lambda method: took[method])


def _by(method: Method, rows: View, queries: np.ndarray, k: int, size: int, device: str = "cpu") -> Found:
    if method == "faiss":
        return _by_faiss(rows, queries, k, size)
    return _by_torch(rows, queries, k, size, device)


def _by_faiss(rows: View, queries: np.ndarray, k: int, size: int) -> Found:
    from faiss import METRIC_INNER_PRODUCT
    from faiss.contrib.exhaustive_search import knn_ground_truth

    scores, found = knn_ground_truth(
        queries, (block for _, block in blocks(rows, size)), k, metric_type=METRIC_INNER_PRODUCT, ngpu=0
    )
    return Found.of(found, scores)


def _by_torch(rows: View, queries: np.ndarray, k: int, size: int, device: str = "cpu") -> Found:
    import torch

    best = _Best(torch.from_numpy(queries).to(device), k)
    with torch.inference_mode():
        for start, block in blocks(rows, size):
            best.see(torch.from_numpy(block).to(device), start)
    return Found.of(best.ids.cpu().numpy(), best.scores.cpu().numpy())


def _by_bf16(rows: View, queries: np.ndarray, k: int, size: int) -> tuple[Found, float]:
    """Products in bfloat16 propose rows, products in float32 decide: faster where a CPU multiplies bfloat16, and exact.

    The k + `_SPARE` best by rounded scores are scored again in float32. A row that is not among them scores at most
    the limit of `_proposed`. Where the k-th best is above that, the list is right; the other queries are searched in
    float32 altogether.

    Returns:
        What was found, and the share of the queries whose list was right.
    """
    ids, limit = _proposed(rows, queries, min(k + _SPARE, len(rows)), size)
    found = _scored_again(rows, queries, ids)
    unproven = np.flatnonzero(~(found.scores[:, k - 1] > limit)) if ids.shape[1] < len(rows) else np.zeros(0, int)
    if len(unproven):
        sure = _by_torch(rows, queries[unproven], k, size)
        found.rows[unproven, :k], found.scores[unproven, :k] = sure.rows, sure.scores
    return Found(found.rows[:, :k], found.scores[:, :k]), 1 - len(unproven) / max(1, len(queries))


def _proposed(rows: View, queries: np.ndarray, k: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """[q, k] best rows by bfloat16 products, and [q] what the true score of any other row is at most.

    That is, by Cauchy and Schwarz, ``v + |v| 2^-8 + |q - q'| |p| + |q'| |p - p'| + r`` for the worst rounded score v of
    the k, rounded vectors q' and p', and the rounding r of float32 sums.
    """
    import torch

    whole = torch.from_numpy(queries)
    rounded = whole.bfloat16()
    best = _Best(rounded, k)
    length, away = 0.0, 0.0
    with torch.inference_mode():
        for start, block in blocks(rows, size):
            held = torch.from_numpy(block).bfloat16()
            for i in range(0, len(block), 4096):
                part = torch.from_numpy(block[i : i + 4096])
                length = max(length, float(part.norm(dim=1).max()))
                away = max(away, float((part - held[i : i + 4096].float()).norm(dim=1).max()))
            best.see(held, start)
        worst, norms = best.scores[:, -1].float(), whole.norm(dim=1) * 1.01
        limit = worst + worst.abs() * 2.0**-8 + norms * (away + rows.dim * 2.0**-23 * length)
        limit += (whole - rounded.float()).norm(dim=1) * length
    return best.ids.numpy(), limit.numpy()


def _scored_again(rows: View, queries: np.ndarray, ids: np.ndarray) -> Found:
    """The rows `ids` [q, m] of every query, by their float32 scores."""
    scores = np.empty(ids.shape, np.float32)
    step = max(1, _TAKEN // (ids.shape[1] * rows.dim))
    for i in range(0, len(ids), step):
        part = slice(i, i + step)
        taken = rows.take(ids[part].ravel()).reshape(*ids[part].shape, rows.dim)
        scores[part] = np.matmul(taken, queries[part, :, None])[:, :, 0]
    return Found.of(ids, scores)


class _Best:
    """The k best rows of every query [q, d] so far, in the type and on the device of the queries."""

    def __init__(self, queries: torch.Tensor, k: int) -> None:
        import torch

        self._queries, self._k = queries, k
        self._room = _SCORES if queries.device.type == "cpu" else _SCORES_OF_DEVICE
        self.scores = torch.full((len(queries), k), -torch.inf, dtype=queries.dtype, device=queries.device)
        self.ids = torch.full((len(queries), k), -1, dtype=torch.int64, device=queries.device)

    def see(self, block: torch.Tensor, first: int) -> None:
        """Rows [m, d], numbered from `first` on."""
        import torch

        step = max(1, self._room // len(block))
        for i in range(0, len(self._queries), step):
            part = slice(i, i + step)
            scores, columns = (self._queries[part] @ block.T).topk(min(self._k, len(block)), dim=1)
            scores, ids = torch.cat([self.scores[part], scores], 1), torch.cat([self.ids[part], columns + first], 1)
            self.scores[part], order = scores.topk(self._k, dim=1)
            self.ids[part] = ids.gather(1, order)


def _padded(found: Found, k: int) -> Found:
    """[q, k], with `NONE` where the corpus is smaller than k."""
    missing = k - found.rows.shape[1]
    if missing <= 0:
        return found
    wide = ((0, 0), (0, missing))
    return Found(np.pad(found.rows, wide, constant_values=NONE), np.pad(found.scores, wide, constant_values=-np.inf))
