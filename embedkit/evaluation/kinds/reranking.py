"""Reranking: the order in which the given candidates of each query come."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from embedkit.evaluation import similarity
from embedkit.evaluation.content import Content, read_columns
from embedkit.evaluation.kinds.base import Measured, means
from embedkit.evaluation.metrics import retrieval_metrics
from embedkit.evaluation.ranking import rank_candidates
from embedkit.evaluation.side import Side
from embedkit.recipe.kinds import RerankingTask

KS = (1, 10)
Scores = Callable[[str, Sequence[str]], np.ndarray]


def read(task: RerankingTask) -> Content:
    """Read the files.

    Raises:
        DataError: see `embedkit.evaluation.content`.
    """
    return read_columns(task)


def measure(side: Side, task: RerankingTask, data: Content) -> Measured:
    """MAP, MRR and others of `metrics.retrieval_metrics`, over each query's candidates; an item is a query."""
    assert data.retrieval is not None and data.candidates is not None
    (documents, document_role), (queries, query_role) = data.texts
    texts, text_of = side.encode(documents, document_role)
    asked, query_of = side.encode(queries, query_role)
    name = similarity.chosen(task.similarity, side.encoder)
    texts, asked = similarity.prepared(name, texts), similarity.prepared(name, asked)
    between = similarity.between(name)
    place = {document: i for i, document in enumerate(data.retrieval.corpus)}
    row_of = {query: query_of[row] for row, query in enumerate(data.retrieval.queries)}

    def scores(query: str, ids: Sequence[str]) -> np.ndarray:
        return between(asked[row_of[query]][None], texts[text_of[[place[i] for i in ids]]])[0]

    return ranked(task, data, scores, {"similarity": name})


def ranked(task: RerankingTask, data: Content, scores: Scores, details: dict[str, Any]) -> Measured:
    """The metrics when the candidates of every query come by falling score.

    Args:
        task, data: as in `measure`.
        scores: of candidates, by the ids of a query and of its candidates.
        details: are added to.
    """
    assert data.retrieval is not None and data.candidates is not None
    rankings = []
    for query in data.retrieval.queries:
        ids = data.candidates[query]
        gains = np.array([data.retrieval.qrels[query][i] for i in ids])
        rankings.append(rank_candidates(scores(query, ids), gains, ids))
    found = retrieval_metrics(rankings, KS)
    kept = {name: found[name] for name in task.metrics if name in found}
    units = {"map": kept["map"], "mrr": np.array([1 / ranking.rank[0] for ranking in rankings]), **kept}
    counts = {
        "items": len(rankings),
        "documents": len(data.retrieval.corpus),
        "candidates": sum(map(len, data.candidates.values())),
    }
    return Measured(means(units), units, counts | details)
