"""Reranking: the order in which the given candidates of each query come."""

from __future__ import annotations

import numpy as np

from embedkit.evaluation import similarity
from embedkit.evaluation.content import Content, read_columns
from embedkit.evaluation.kinds.base import Measured, means
from embedkit.evaluation.metrics import retrieval_metrics
from embedkit.evaluation.ranking import rank_candidates
from embedkit.evaluation.side import Side
from embedkit.recipe.kinds import RerankingTask

KS = (1, 10)


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
    rankings = []
    for row, query in enumerate(data.retrieval.queries):
        ids = data.candidates[query]
        scores = between(asked[query_of[row]][None], texts[text_of[[place[i] for i in ids]]])[0]
        gains = np.array([data.retrieval.qrels[query][i] for i in ids])
        rankings.append(rank_candidates(scores, gains, ids))
    found = retrieval_metrics(rankings, KS)
    kept = {name: found[name] for name in task.metrics if name in found}
    units = {"map": kept["map"], "mrr": np.array([1 / ranking.rank[0] for ranking in rankings]), **kept}
    details = {
        "items": len(rankings),
        "documents": len(place),
        "candidates": sum(map(len, data.candidates.values())),
        "similarity": name,
    }
    return Measured(means(units), units, details)
