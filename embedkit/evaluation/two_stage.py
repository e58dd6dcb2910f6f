"""A reranker on tasks: behind a first stage on retrieval, on its own where the candidates are given.

The first stage searches the whole corpus; the reranker puts the first `depth` documents of every query in another
order. All others stay behind them as the first stage has them, so every relevant document has a rank, and every metric
of retrieval is that of the whole system.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from embedkit.errors import RecipeError
from embedkit.evaluation import similarity
from embedkit.evaluation.content import Content
from embedkit.evaluation.kept import Keeps
from embedkit.evaluation.kinds.base import Measured, means
from embedkit.evaluation.kinds.pairs import judged
from embedkit.evaluation.kinds.reranking import ranked
from embedkit.evaluation.loading import StsData
from embedkit.evaluation.metrics import name_main, retrieval_metrics, sts_metrics
from embedkit.evaluation.noise import steady
from embedkit.evaluation.ranking import BLOCK_BYTES, Ranking, Relevant, places, tie_order
from embedkit.evaluation.side import Side
from embedkit.recipe.kinds import PairTask, RerankingTask
from embedkit.recipe.suite import RetrievalTask, StsTask, Task
from embedkit.types import Encodes, RetrievalData, TaskScore

Pairs = Sequence[tuple[str, str]]
ByPair = Mapping[tuple[str, str], float]
MEASURED = "retrieval, reranking, pair_classification or sts"
OWN = "the reranker's score"


class ScoresPairs(Protocol):
    """What is needed of a reranker; `embedkit.model.running.reranker.Reranker` is one."""

    def score(self, texts: Pairs, *, batch_tokens: int = 8192, progress: bool = False) -> np.ndarray:
        """float32 [n]; higher is more relevant."""
        ...

    def fingerprint(self) -> str:
        """Content hash of weights and settings."""
        ...


@dataclass(frozen=True)
class Found:
    """What the first stage found for one query.

    Attributes:
        documents: [k] positions in the corpus, best first.
        scores: [k] its scores of them.
        relevant: the relevant documents.
        rank: [R] where it has them, from 1.
        others: documents that are not relevant, those left out for this query not counted.
    """

    documents: np.ndarray
    scores: np.ndarray
    relevant: Relevant
    rank: np.ndarray
    others: int


@dataclass
class FirstStage:
    """A search in front of a reranker. What it finds is kept: it is the same for every state of the reranker.

    Attributes:
        encoder: a bi-encoder.
        depth: documents per query that are handed on.
        weight: see `fused`; None: the reranker's order alone.
        kept: where its vectors are kept, so that the next reranker behind it has none to wait for; None: nowhere.
    """

    encoder: Encodes
    depth: int = 100
    weight: float | None = None
    kept: Keeps | None = None
    _found: dict[str, list[Found]] = field(default_factory=dict)

    def search(self, task: RetrievalTask, data: RetrievalData, batch_tokens: int, progress: bool) -> list[Found]:
        """What is found for every query, in order."""
        key = repr((data.digest, task.max_length, task.similarity, task.ignore_identical_ids, list(data.queries)))
        if key not in self._found:
            side = Side(self.encoder, task.name, task.max_length, batch_tokens, progress, self.kept)
            self._found[key] = _search(side, task, data, self.depth)
        return self._found[key]


def _search(side: Side, task: RetrievalTask, data: RetrievalData, depth: int) -> list[Found]:
    texts, text_of = side.encode(list(data.corpus.values()), "document")
    asked, query_of = side.encode(list(data.queries.values()), "query")
    name = similarity.chosen(task.similarity, side.encoder)
    texts, asked, between = similarity.prepared(name, texts), similarity.prepared(name, asked), similarity.between(name)
    ids = list(data.corpus)
    place, order = {document: i for i, document in enumerate(ids)}, tie_order(ids)
    queries, found = list(data.queries), []
    rows = max(1, BLOCK_BYTES // (4 * len(ids)))
    for start in range(0, len(queries), rows):
        block = between(asked[query_of[start : start + rows]], texts)
        for query, scores in zip(queries[start : start + rows], block, strict=True):
            gains = {place[document]: gain for document, gain in data.qrels[query].items() if gain > 0}
            ignored = place.get(query, -1) if task.ignore_identical_ids else -1
            relevant = Relevant(np.array(list(gains)), np.array(list(gains.values())), ignored)
            found.append(_found(steady(scores)[text_of], relevant, order, depth))
    return found


def _found(scores: np.ndarray, relevant: Relevant, order: np.ndarray, depth: int) -> Found:
    if relevant.ignored >= 0:
        scores[relevant.ignored] = -np.inf
    count = len(scores) - (relevant.ignored >= 0)
    depth = min(depth, count)
    near = np.flatnonzero(scores >= np.partition(scores, -depth)[-depth]) if depth else np.empty(0, np.int64)
    best = near[np.lexsort((order[near], -scores[near]))][:depth]
    rank = places(scores, relevant.documents, order)
    return Found(best, scores[best], relevant, rank, count - len(rank))


def fused(first: np.ndarray, scores: np.ndarray, weight: float) -> np.ndarray:
    """``first + weight x sigmoid(scores)``: LamRA's fusion of both stages (arXiv 2412.01720), any shape.

    The first stage's scores have a scale of their own, which the weight must fit.
    """
    return first + weight / (1 + np.exp(-scores.astype(np.float64)))


class TwoStage:
    """A reranker, with the first stage that it works behind where there is one.

    Args:
        reranker: scores pairs.
        first: None: it is measured on tasks that bring their candidates only.
    """

    def __init__(self, reranker: ScoresPairs, first: FirstStage | None = None) -> None:
        self.reranker, self.first = reranker, first

    @property
    def longest(self) -> int | None:
        """Tokens of a text that the first stage has room for."""
        return None if self.first is None else getattr(self.first.encoder, "longest", None)

    def fingerprint(self) -> str:
        """Content hash of both, and of how they are put together."""
        own = self.reranker.fingerprint()
        if self.first is None:
            return own
        whole = f"{own} {self.first.encoder.fingerprint()} {self.first.depth} {self.first.weight}"
        return hashlib.sha256(whole.encode()).hexdigest()

    def check(self, task: Task) -> None:
        """Refuse a task that a reranker cannot be measured on.

        Raises:
            RecipeError: it needs embeddings, or a first stage that is not there.
        """
        if isinstance(task, RetrievalTask) and self.first is None:
            what = "a reranker puts the results of a search in order, and there is none"
            raise RecipeError(what, f"task {task.name}", "name a bi-encoder: eval.first_stage.model, or --first-stage")
        if not isinstance(task, (StsTask, PairTask, RerankingTask, RetrievalTask)):
            what = f"a reranker has no embeddings, which tasks of type {task.type} need"
            raise RecipeError(what, f"task {task.name}", f"measure it on tasks of type {MEASURED}")

    def pairs(self, task: Task, data: Any, batch_tokens: int, progress: bool = False) -> list[tuple[str, str]]:
        """What it will have to score, each pair once."""
        found: Iterator[tuple[str, str]]
        if isinstance(task, StsTask):
            found = zip(data.first, data.second, strict=True)
        elif isinstance(task, PairTask):
            found = zip(data.test["first"], data.test["second"], strict=True)
        elif isinstance(task, RerankingTask):
            found = self._candidates(data)
        else:
            assert isinstance(task, RetrievalTask) and self.first is not None, "`check` comes first"
            searched = self.first.search(task, data, batch_tokens, progress)
            texts, asked = list(data.corpus.values()), zip(data.queries.values(), searched, strict=True)
            found = ((query, texts[i]) for query, one in asked for i in one.documents.tolist())
        return list(dict.fromkeys(found))

    def _candidates(self, data: Content) -> Iterator[tuple[str, str]]:
        assert data.retrieval is not None and data.candidates is not None
        for query, ids in data.candidates.items():
            yield from ((data.retrieval.queries[query], data.retrieval.corpus[i]) for i in ids)

    def measure(self, task: Task, data: Any, *, batch_tokens: int, progress: bool) -> TaskScore:
        """Metrics in points, as `embedkit.evaluation.tasks.run_task` gives them.

        Raises:
            RecipeError: as `check`.
            DataError: a score is not finite.
        """
        self.check(task)
        pairs = self.pairs(task, data, batch_tokens, progress)
        start = time.perf_counter()
        scores = steady(self.reranker.score(pairs, batch_tokens=batch_tokens, progress=progress))
        seconds = time.perf_counter() - start
        found = self._measured(task, data, dict(zip(pairs, scores.tolist(), strict=True)))
        details = {**found.details, "pairs": len(pairs), "seconds": round(seconds, 3), "digest": data.digest}
        details["pairs_per_second"] = round(len(pairs) / max(seconds, 1e-9), 1)
        if len(scores) > 1 and np.ptp(scores) == 0:
            details["note"] = "all scores are equal"
        points = {name: 100 * value for name, value in found.metrics.items()}
        return TaskScore(task.name, task.type, task.main, points, units=found.units, details=details)

    def _measured(self, task: Task, data: Any, scores: ByPair) -> Measured:
        if isinstance(task, StsTask):
            return self._sts(task, data, scores)
        if isinstance(task, PairTask):
            both = zip(data.test["first"], data.test["second"], strict=True)
            compared = np.array([scores[pair] for pair in both], np.float32)
            return judged(compared, np.array(data.test["label"]), {"similarity": OWN})
        if isinstance(task, RerankingTask):
            texts = data.retrieval

            def of(query: str, ids: Sequence[str]) -> np.ndarray:
                return np.array([scores[texts.queries[query], texts.corpus[i]] for i in ids], np.float32)

            return ranked(task, data, of, {"similarity": OWN})
        assert isinstance(task, RetrievalTask)
        return self._retrieval(task, data, scores)

    def _sts(self, task: StsTask, data: StsData, scores: ByPair) -> Measured:
        found = np.array([scores[pair] for pair in zip(data.first, data.second, strict=True)], np.float32)
        units = {"cosine": found, "gold": data.gold, "subset": data.subset}
        counts = np.bincount(data.subset).tolist() if task.subset else []
        details = {"aggregate": task.aggregate, "subsets": dict(zip(data.subsets, counts, strict=False))}
        return Measured(name_main(sts_metrics(**units), task.aggregate), units, details | {"similarity": OWN})

    def _retrieval(self, task: RetrievalTask, data: RetrievalData, scores: ByPair) -> Measured:
        assert self.first is not None
        found = self.first.search(task, data, 0, False)  # kept since `pairs`
        texts, order = list(data.corpus.values()), tie_order(list(data.corpus))
        rankings = []
        for query, one in zip(data.queries.values(), found, strict=True):
            own = np.array([scores[query, texts[i]] for i in one.documents.tolist()], np.float64)
            if self.first.weight is not None:
                own = fused(one.scores, own, self.first.weight)
            rankings.append(reordered(one, own, order))
        units = retrieval_metrics(rankings, task.cutoffs)
        alone = retrieval_metrics([_unchanged(one) for one in found], task.cutoffs)
        details = {
            "queries": len(data.queries),
            "documents": len(data.corpus),
            "judgements": sum(len(one.relevant.documents) for one in found),
            "depth": self.first.depth,
            "weight": self.first.weight,
            "ignore_identical_ids": task.ignore_identical_ids,
            "first_stage": {name: round(100 * float(values.mean()), 4) for name, values in alone.items()},
        }
        return Measured(means(units), units, details)


def reordered(found: Found, scores: np.ndarray, order: np.ndarray) -> Ranking:
    """The ranking when the documents that were found come in the order of other scores.

    Args:
        found: by the first stage.
        scores: [k] of ``found.documents``; of equal ones the first by `order`.
        order: [n] from `tie_order`.
    """
    again = found.documents[np.lexsort((order[found.documents], -scores))]
    new = {document: rank for rank, document in enumerate(again.tolist(), 1)}
    rank = [new.get(d, r) for d, r in zip(found.relevant.documents.tolist(), found.rank.tolist(), strict=True)]
    return _ranking(found, np.array(rank, np.int64), int(again[0]) if len(again) else -1)


def _unchanged(found: Found) -> Ranking:
    return _ranking(found, found.rank, int(found.documents[0]) if len(found.documents) else -1)


def _ranking(found: Found, rank: np.ndarray, top: int) -> Ranking:
    relevant, size = found.relevant, len(rank)
    best_first = np.argsort(rank, kind="stable")
    from_below = size + found.others + 1 - rank  # Mann-Whitney U: no ties are left
    auc = float((from_below.sum() - size * (size + 1) / 2) / (size * found.others)) if found.others else float("nan")
    gains = relevant.gains[best_first].astype(np.float64)
    return Ranking(rank[best_first], gains, auc, int(relevant.documents[best_first[0]]), top)
