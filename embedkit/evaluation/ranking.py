"""Exact ranks of relevant documents, from embeddings.

Every retrieval metric is a function of the ranks of the relevant documents. Counting how many documents score
higher gives those ranks exactly, for the whole corpus, in one pass of blocked matrix products: no result list is
cut, the ROC-AUC comes from the same counts, and ties are decided as trec_eval decides them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.evaluation.noise import steady

BLOCK_BYTES = 64 * 2**20
SORT_FROM = 16


@dataclass(frozen=True)
class Ranking:
    """Where the relevant documents of one query stand.

    Attributes:
        rank: [R] int64 from 1, ascending.
        gain: [R] float64, the judgements in the same order.
        auc: probability that a relevant document scores higher than another document of the corpus, ties half
            (Mann-Whitney). Documents judged 0 and unjudged ones are "other".
        first: position in the corpus of the relevant document that stands first.
        top: position of the document on rank 1, whatever it is.
    """

    rank: np.ndarray
    gain: np.ndarray
    auc: float
    first: int = -1
    top: int = -1


@dataclass(frozen=True)
class Relevant:
    """The relevant documents of one query.

    Attributes:
        documents: [R] positions in the corpus.
        gains: [R] judgements, all above 0.
        ignored: position of a document that is left out for this query, or -1.
    """

    documents: np.ndarray
    gains: np.ndarray
    ignored: int = -1


def tie_order(ids: Sequence[str]) -> np.ndarray:
    """[n] int64: the place of each document among documents of equal score. trec_eval puts the larger id first."""
    order = np.empty(len(ids), dtype=np.int64)
    order[sorted(range(len(ids)), key=lambda i: ids[i], reverse=True)] = np.arange(len(ids))
    return order


def rank_relevant(
    queries: Any,
    texts: Any,
    text_of: np.ndarray,
    relevant: Sequence[Relevant],
    order: np.ndarray,
    block_bytes: int = BLOCK_BYTES,
    similarity: Callable[[Any, Any], np.ndarray] | None = None,
) -> Iterator[Ranking]:
    """Rank the relevant documents of each query by inner product, or by another similarity.

    Args:
        queries: [q, d] float32; with `similarity` they, and `texts`, may be sparse.
        texts: [u, d] float32, embeddings of the distinct document texts.
        text_of: [n] the text of each document; documents with one text get bit-equal scores.
        relevant: per query.
        order: [n] from `tie_order`.
        block_bytes: bound on the memory of one block of scores; at least one query is scored at once.
        similarity: [b, d] and [u, d] -> [b, u]; None: the inner product.

    Yields:
        One `Ranking` per query, in order.
    """
    rows = max(1, block_bytes // (4 * len(text_of)))
    distinct = texts.shape[0] == len(text_of) and bool(np.array_equal(text_of, np.arange(len(text_of))))
    for start in range(0, queries.shape[0], rows):
        part = queries[start : start + rows]
        block = part @ texts.T if similarity is None else similarity(part, texts)
        for offset, scores in enumerate(block):
            scores = steady(scores)
            yield _rank(scores if distinct else scores[text_of], relevant[start + offset], order)


def rank_candidates(scores: np.ndarray, gains: np.ndarray, ids: Sequence[str]) -> Ranking:
    """Rank the relevant ones among the candidates of one query.

    Args:
        scores: [c] similarities.
        gains: [c] judgements, 0 of what is not relevant; some of both.
        ids: [c], which ties are decided by.
    """
    relevant = np.flatnonzero(gains > 0)
    return _rank(steady(scores), Relevant(relevant, gains[relevant]), tie_order(ids))


def _rank(scores: np.ndarray, relevant: Relevant, order: np.ndarray) -> Ranking:
    count = len(scores)
    if relevant.ignored >= 0:
        scores = scores.copy()
        scores[relevant.ignored] = -np.inf
    higher, equal = _higher_equal(scores, scores[relevant.documents])
    rank = _places(scores, relevant.documents, order, higher, equal)
    left_out = int(relevant.ignored >= 0)
    size, others = len(rank), count - left_out - len(rank)
    # Mann-Whitney U from the mid-ranks counted from the lowest score.
    middle = count - left_out - higher - (equal - 1) / 2
    auc = float((middle.sum() - size * (size + 1) / 2) / (size * others))
    best_first = np.argsort(rank, kind="stable")
    best = int(relevant.documents[best_first[0]])
    top = best if rank[best_first[0]] == 1 else _top(scores, order)
    return Ranking(rank[best_first], relevant.gains[best_first].astype(np.float64), auc, best, top)


def places(scores: np.ndarray, documents: np.ndarray, order: np.ndarray) -> np.ndarray:
    """[R] ranks from 1 of `documents` among all with `scores` [n]; of equal ones the first by `order`."""
    return _places(scores, documents, order, *_higher_equal(scores, scores[documents]))


def _places(
    scores: np.ndarray, documents: np.ndarray, order: np.ndarray, higher: np.ndarray, equal: np.ndarray
) -> np.ndarray:
    rank = higher + 1
    for i in np.flatnonzero(equal > 1):
        tied = np.flatnonzero(scores == scores[documents[i]])
        rank[i] += np.count_nonzero(order[tied] < order[documents[i]])
    return rank


def _top(scores: np.ndarray, order: np.ndarray) -> int:
    """The document with the highest score; of equal ones the first by `order`."""
    tied = np.flatnonzero(scores == scores.max())
    return int(tied[np.argmin(order[tied])])


def _higher_equal(scores: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many of `scores` [n] are above and equal to each of `values` [R]: by counting, or by sorting once."""
    if len(values) < SORT_FROM:
        higher = np.array([np.count_nonzero(scores > v) for v in values], dtype=np.int64)
        equal = np.array([np.count_nonzero(scores == v) for v in values], dtype=np.int64)
        return higher, equal
    ascending = np.sort(scores)
    upper = np.searchsorted(ascending, values, side="right")
    return len(scores) - upper, upper - np.searchsorted(ascending, values, side="left")
