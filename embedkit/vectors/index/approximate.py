"""Approximate search by faiss: inverted files (plain or with product quantisation) and HNSW graphs."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from embedkit.disk import files
from embedkit.errors import DataError, WriteError
from embedkit.vectors.index import by_lists
from embedkit.vectors.index.found import AT_ONCE, Found, asked, blocks
from embedkit.vectors.index.pool import faiss_after_torch
from embedkit.vectors.view import BLOCK, View

Kind = Literal["ivf", "ivf-pq", "hnsw"]
_BLOCK = 65_536
_TRAIN_PER_LIST = 64
_CENTROIDS = 256
_RERANK = 4
"""Candidates per asked-for neighbour that are scored again with the whole vectors after a quantised search."""
_NEIGHBOURS, _BUILD_SEARCH = 32, 100


class Approximate:
    """A faiss index whose effort (`nprobe` or `efSearch`) can be raised until its recall is enough.

    Inverted files: Jegou, Douze and Schmid 2011, doi 10.1109/TPAMI.2010.57; HNSW: Malkov and Yashunin 2016, arXiv
    1603.09320; faiss: Douze et al. 2024, arXiv 2401.08281.

    Args:
        rows: the corpus.
        kind: ``ivf``: about 4 sqrt(n) lists of half-precision vectors; ``ivf-pq``: lists of codes of d / 4 bytes, the
            best `_RERANK` k candidates scored again with the whole vectors; ``hnsw``: a graph over half-precision
            vectors.
        seed: of the lists' centres.
        folder: an inverted file that takes more than `ram_gb` lies here, mapped; None: a temporary folder, gone with
            the index.
        ram_gb: bounds the index in memory.
        lists: of an inverted file; None: about 4 sqrt(n), which suits as many searches as there are rows.

    Attributes:
        index: faiss' own.

    Raises:
        DataError: the corpus is empty, a row is NaN, there are too few rows for codes, or an HNSW graph
            does not fit.
        WriteError: the disk has no room for an index beside memory; nothing is left on it then.
    """

    effort_of: ClassVar[dict[Kind, str]] = {"ivf": "nprobe", "ivf-pq": "nprobe", "hnsw": "efSearch"}

    def __init__(
        self,
        rows: View,
        kind: Kind,
        *,
        seed: int = 0,
        folder: Path | None = None,
        ram_gb: float = 4.0,
        lists: int | None = None,
    ) -> None:
        if not len(rows):
            raise DataError("the corpus is empty", "corpus", "give it at least one document")
        if kind == "ivf-pq" and len(rows) < _CENTROIDS:
            raise DataError(
                f"product quantisation needs {_CENTROIDS} vectors to learn its codes; there are {len(rows)}",
                "index",
                "take exact, which is instant at this size",
            )
        self.rows, self.kind, self.seed = rows, kind, seed
        self.lists = max(1, min(lists or int(4 * np.sqrt(len(rows))), len(rows) // 39 or 1))
        self._room = ram_gb * 2**30 / 2
        self._held: tempfile.TemporaryDirectory[str] | None = None
        self.index = self._graph() if kind == "hnsw" else self._inverted(folder)
        self.effort = 64 if kind == "hnsw" else max(1, min(16, self.lists))

    @property
    def most_effort(self) -> int:
        """Beyond it an inverted file is exhaustive; a graph is not worth its time."""
        return 4096 if self.kind == "hnsw" else self.lists

    @property
    def bytes(self) -> int:
        """Of the index, in memory or mapped."""
        return _bytes(self.kind, len(self.rows), self.rows.dim)

    @property
    def effort(self) -> int:
        """Lists looked into, or breadth of the search in the graph."""
        return self._effort

    @effort.setter
    def effort(self, value: int) -> None:
        self._effort = value
        if self.kind == "hnsw":
            self.index.hnsw.efSearch = value
        else:
            self.index.nprobe = value

    def raise_for(self, recall: float, queries: np.ndarray, truth: Found) -> None:
        """Set the lists to look into to the fewest that hold that share of the true rows, if they are more than now.

        Args:
            recall: the share.
            queries: [q, d].
            truth: their true rows. A graph has no such number, and stays as it is.
        """
        if self.kind == "hnsw":
            return
        some = [i for i, rows in enumerate(truth.rows) if (rows >= 0).any()]
        wanted = [self.rows.take(truth.rows[i][truth.rows[i] >= 0]) for i in some]
        if wanted:
            needed = by_lists.lists_needed(self.index, queries[some], wanted, min(1.0, recall))
            self.effort = min(self.most_effort, max(self.effort, needed))

    def search(self, queries: np.ndarray, k: int) -> Found:
        """The k best rows that the index finds for every query; `NONE` where it finds fewer."""
        queries = asked(queries, self.rows, k)
        if not len(queries):
            return Found(np.empty((0, k), np.int64), np.empty((0, k), np.float32))
        if self.kind != "ivf-pq":
            scores, found = self._searched(queries, k)
            return Found.of(found, scores)
        step = max(1, int(self._room / (4 * self.rows.dim * _RERANK * k)))
        return Found.join([self._reranked(queries[i : i + step], k) for i in range(0, len(queries), step)])

    def at_once(self, k: int) -> int:
        """Queries to give to one search, of many."""
        return 1 if self.kind == "hnsw" else AT_ONCE

    def _searched(self, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Scores and rows as faiss gives them."""
        if self.kind != "hnsw" and by_lists.pays(self.index, len(queries)):
            return by_lists.search(self.index, queries, k)
        found: tuple[np.ndarray, np.ndarray] = self.index.search(queries, k)
        return found

    def _reranked(self, queries: np.ndarray, k: int) -> Found:
        found = self._searched(queries, min(_RERANK * k, max(k, len(self.rows))))[1]
        needed, place = np.unique(found, return_inverse=True)
        vectors = self.rows.take(np.maximum(needed, 0))
        scores = np.empty(found.shape, np.float32)
        for i, (query, where) in enumerate(zip(queries, place.reshape(found.shape), strict=True)):
            scores[i] = vectors[where] @ query
        best = Found.of(found, scores)
        return Found(best.rows[:, :k], best.scores[:, :k])

    def _inverted(self, folder: Path | None) -> Any:
        faiss, dim = faiss_after_torch(), self.rows.dim
        centres = faiss.IndexFlatIP(dim)
        index: Any
        if self.kind == "ivf":
            half = faiss.ScalarQuantizer.QT_fp16
            index = faiss.IndexIVFScalarQuantizer(centres, dim, self.lists, half, faiss.METRIC_INNER_PRODUCT)
        else:
            index = faiss.IndexIVFPQ(centres, dim, self.lists, _codes(dim), 8, faiss.METRIC_INNER_PRODUCT)
            index.pq.cp.seed = self.seed
        index.by_residual = False
        index.cp.seed, index.cp.niter = self.seed, 10
        index.train(self._sample(max(_TRAIN_PER_LIST * self.lists, 0 if self.kind == "ivf" else 10_000)))
        if self.bytes <= self._room:
            for _, block in blocks(self.rows, _BLOCK):
                index.add(block)
            return index
        return self._on_disk(index, folder)

    def _on_disk(self, trained: Any, folder: Path | None) -> Any:
        """Shards that fit into memory, merged by faiss into one mapped file."""
        if folder is None:
            self._held = tempfile.TemporaryDirectory(prefix="embedkit-index-")
            folder = Path(self._held.name)
        written: list[Path] = []
        try:
            with files.writing(folder):
                return self._merged(trained, folder, written)
        except BaseException:
            for path in written:
                path.unlink(missing_ok=True)
            raise

    def _merged(self, trained: Any, folder: Path, written: list[Path]) -> Any:
        """The same, with every file that is begun in `written`."""
        faiss = faiss_after_torch()
        from faiss.contrib.ondisk import merge_ondisk

        folder.mkdir(parents=True, exist_ok=True)
        per_row = self.bytes / len(self.rows)
        size = max(_BLOCK, int(self._room / per_row) // _BLOCK * _BLOCK)
        empty, count = faiss.serialize_index(trained), 0
        shards: list[str] = []
        shard = faiss.deserialize_index(empty)
        for start, block in blocks(self.rows, _BLOCK):
            shard.add_with_ids(block, np.arange(start, start + len(block)))
            count += len(block)
            if count >= size or start + len(block) == len(self.rows):
                shards.append(str(folder / f"shard-{len(shards):04d}.index"))
                written.append(Path(shards[-1]))
                faiss.write_index(shard, shards[-1])
                shard, count = faiss.deserialize_index(empty), 0
        index = faiss.deserialize_index(empty)
        lists = folder / "lists"
        _refuse_full(folder, self.bytes)  # it is mapped, and a disk that is full then kills the process
        written.append(lists)
        merge_ondisk(index, shards, str(lists))
        for name in shards:
            Path(name).unlink()
        return index

    def _graph(self) -> Any:
        faiss = faiss_after_torch()
        if self.bytes > self._room:
            raise DataError(
                f"an HNSW graph of {len(self.rows):,} vectors takes {self.bytes / 2**30:.1f} GiB",
                "index",
                "raise ram_gb, or take ivf or ivf-pq",
            )
        half: Any = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexHNSWSQ(self.rows.dim, half, _NEIGHBOURS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = _BUILD_SEARCH
        index.train(self._sample(1))
        for _, block in blocks(self.rows, _BLOCK):
            index.add(block)
        return index

    def _sample(self, wanted: int) -> np.ndarray:
        """At least so many rows, if there are, in runs spread evenly over the corpus: disks like runs."""
        n = len(self.rows)
        runs = np.linspace(0, max(0, n - BLOCK), -(-min(n, wanted) // BLOCK)).astype(int)
        return np.concatenate([self.rows[start : min(n, start + BLOCK)] for start in runs])


def _codes(dim: int) -> int:
    """Bytes a vector: the largest number of parts of at least four dimensions that divides d."""
    return next(parts for parts in range(max(1, dim // 4), 0, -1) if dim % parts == 0)


def _refuse_full(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted:
        what = f"the lists take {wanted / 2**20:,.0f} MiB, and {free / 2**20:,.0f} MiB are free"
        raise WriteError(what, str(folder), "make room on its disk, or raise ram_gb")


def _bytes(kind: Kind, n: int, dim: int) -> int:
    per_vector = {"ivf": 2 * dim + 8, "ivf-pq": _codes(dim) + 8, "hnsw": 2 * dim + 8 * _NEIGHBOURS + 16}
    return n * per_vector[kind]
