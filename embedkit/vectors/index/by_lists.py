"""An inverted file searched list by list: all queries that look into a list meet its rows in one matrix product."""

from __future__ import annotations

from typing import Any

import numpy as np

WORTH = 8
"""Queries that look into a list, on average, from which on the products are faster than faiss' own search."""
_SCORES = 2**24
"""Held at once."""


def pays(index: Any, queries: int) -> bool:
    """Whether so many queries are worth it."""
    return bool(queries * index.nprobe >= WORTH * index.nlist)


def search(index: Any, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """What ``index.search`` gives, but for rounding: scores and ids [q, k], best first.

    faiss walks through the lists of one query after the other, and reads every row anew for each. The order of the
    work, and what it is put together of, are those of faiss' ``contrib.big_batch_search``, whose own loop holds all
    scores of a list.

    Args:
        index: faiss' ``IndexIVF`` of vectors or codes, compared by inner product, without residuals.
        queries: [q, d] float32.
        k: rows per query.
    """
    import torch
    from faiss.contrib.big_batch_search import BigBatchSearcher, BlockComputer

    decoding = BlockComputer(index, method="pairwise_distances")
    searcher = BigBatchSearcher(index, queries, k)
    searcher.decode_func, searcher.by_residual = decoding.decode_func, decoding.by_residual
    searcher.coarse_quantization()
    searcher.reorder_assign()
    for number in range(index.nlist):
        asking, vectors, ids, rows = searcher.prepare_bucket(number)
        if not len(asking) or not len(ids):
            continue
        columns = torch.from_numpy(rows.reshape(len(ids), -1)).T
        step = max(1, _SCORES // len(ids))
        for start in range(0, len(asking), step):
            part = slice(start, start + step)
            scores = torch.from_numpy(vectors[part]) @ columns
            searcher.add_results_to_heap(asking[part], scores.numpy(), ids, None)
    searcher.rh.finalize()
    return searcher.rh.D, searcher.rh.I
