"""One task: encode its texts once and measure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from embedkit.errors import RecipeError
from embedkit.evaluation import geometry as shape
from embedkit.evaluation import groups, lexical, penalty, similarity
from embedkit.evaluation import insight as insights
from embedkit.evaluation.kept import Keeps
from embedkit.evaluation.kinds.all import KINDS
from embedkit.evaluation.kinds.base import Read
from embedkit.evaluation.loading import StsData, load_retrieval, load_sts
from embedkit.evaluation.metrics import name_main, points, retrieval_metrics, sts_metrics
from embedkit.evaluation.mteb import running
from embedkit.evaluation.mteb.running import MtebData, Results
from embedkit.evaluation.noise import all_equal
from embedkit.evaluation.ranking import Relevant, rank_relevant, tie_order
from embedkit.evaluation.side import Side
from embedkit.evaluation.stored import WHERE, Form, Stored
from embedkit.evaluation.two_stage import TwoStage
from embedkit.recipe.kinds import OwnTask
from embedkit.recipe.mteb import MtebTask
from embedkit.recipe.suite import RetrievalTask, StsTask, Task
from embedkit.types import Encodes, RetrievalData, TaskScore
from embedkit.vectors.view import unit

TaskData = StsData | RetrievalData | MtebData | Read
ALL_EQUAL = "all embeddings are equal"


def load_task(task: Task) -> TaskData:
    """The data of a task, whose files are absolute paths.

    Raises:
        DataError: see `embedkit.evaluation.loading`.
    """
    if isinstance(task, MtebTask):
        return running.read(task)
    return groups.added(task, _read(task))


def _read(task: Task) -> Any:
    if isinstance(task, StsTask):
        return load_sts(task)
    return load_retrieval(task) if isinstance(task, RetrievalTask) else KINDS[type(task)].read(task)


def inputs(data: TaskData) -> list[tuple[list[str], str]]:
    """The texts of a task in the order they are encoded, each group with its role; texts may repeat."""
    if isinstance(data, StsData):
        return [([*data.first, *data.second], "query")]
    if not isinstance(data, RetrievalData):
        return data.texts
    return [(list(data.corpus.values()), "document"), (list(data.queries.values()), "query")]


def run_task(
    encoder: Encodes | TwoStage,
    task: Task,
    data: TaskData,
    *,
    batch_tokens: int = 8192,
    progress: bool = False,
    geometry: bool = False,
    insight: bool = False,
    kept: Keeps | None = None,
    results: Results | None = None,
    stored: Form | None = None,
) -> TaskScore:
    """Measure a model on a task.

    Documents of retrieval and reranking are encoded with role ``document``, all other texts with role ``query``.
    Embeddings are compared by `task.similarity`, or by what the model says of itself.
    Every distinct text is encoded once. Metrics are in points, 0..100; no intervals yet.

    Args:
        encoder: the model; a reranker as `embedkit.evaluation.two_stage` has it.
        task: what to measure.
        data: from `load_task`.
        batch_tokens: padded tokens per batch.
        progress: show bars.
        kept: where vectors of this model are kept; None: they are not.
        results: mteb only: where its results are kept.
        stored: how embeddings are stored before they are compared; None: they are not. Not for mteb, nor for rerankers.
        geometry: STS only: add `embedkit.evaluation.geometry.measure` over all distinct sentences to the details.
        insight: add what a report shows (`embedkit.evaluation.insight`), and to the details the geometry of a sample.

    Raises:
        EmbedkitError: an embedding that is not finite.
    """
    if isinstance(encoder, TwoStage):
        return encoder.measure(task, data, batch_tokens=batch_tokens, progress=progress)
    side = Side(encoder, task.name, task.max_length, batch_tokens, progress, kept, _stored(stored, encoder, task, data))
    if isinstance(task, StsTask):
        assert isinstance(data, StsData)
        return _sts(side, task, data, geometry, insight)
    if isinstance(task, MtebTask):
        assert isinstance(data, MtebData)
        return running.run(encoder, task, data, side, batch_tokens=batch_tokens, results=results)
    if isinstance(task, RetrievalTask):
        assert isinstance(data, RetrievalData)
        return _retrieval(side, task, data, insight)
    return _kind(side, task, data)


def _stored(form: Form | None, encoder: Encodes, task: Task, data: TaskData) -> Stored | None:
    if form is None:
        return None
    asks = any(role == "document" for _, role in inputs(data))
    return Stored(form, similarity.chosen(getattr(task, "similarity", None), encoder), asks)


def check_stored(encoder: Encodes | TwoStage, tasks: Iterable[Task], form: Form) -> None:
    """Refuse to store embeddings where there are none, where mteb has them, or more numbers than they have.

    Raises:
        RecipeError: says which.
    """
    if isinstance(encoder, TwoStage):
        raise RecipeError("a reranker has no embeddings to store", WHERE, "leave the option out")
    if lexical.is_sparse(encoder):
        what = "the embeddings of a sparse encoder are stored sparse, in none of these forms"
        raise RecipeError(what, WHERE, "leave the option out")
    form.check(int(getattr(encoder, "dim", 0)))
    for task in tasks:
        if isinstance(task, MtebTask):
            what = f"task {task.name} is measured by mteb, with the embeddings as they are"
            raise RecipeError(what, WHERE, "choose tasks of embedkit's own types")


def _kind(side: Side, task: OwnTask, data: TaskData) -> TaskScore:
    assert not isinstance(data, (StsData, RetrievalData))
    found = KINDS[type(task)].measure(side, task, data)
    details = {**found.details, "digest": data.digest, **side.details()}
    notes = [note for note in (ALL_EQUAL if side.all_equal else "", found.note) if note]
    if notes:
        details["note"] = "; ".join(notes)
    return TaskScore(task.name, task.type, task.main, points(found.metrics), units=found.units, details=details)


def _sts(side: Side, task: StsTask, data: StsData, geometry: bool, insight: bool) -> TaskScore:
    ((pairs, role),) = inputs(data)
    found, place = side.encode(pairs, role)
    name = similarity.chosen(task.similarity, side.encoder)
    rows, compared = unit(found), similarity.prepared(name, found)
    first, second = np.split(place, 2)
    units = {
        "cosine": similarity.paired(name, compared[first], compared[second]),
        "gold": data.gold,
        "subset": data.subset,
    }
    metrics = sts_metrics(**units)
    details = {
        "pairs": len(data.gold),
        "subsets": dict(zip(data.subsets, np.bincount(data.subset).tolist(), strict=True)) if task.subset else {},
        "aggregate": task.aggregate,
        "similarity": name,
        "digest": data.digest,
        **side.details(),
    }
    if all_equal(rows):
        details["note"] = ALL_EQUAL
    arrays: insights.Arrays = {}
    if insight:
        details["geometry"], arrays = insights.of_sts(task.name, found, first, second, data, units["cosine"])
    if geometry:
        close = shape.positives(data.gold)
        details["geometry"] = asdict(shape.measure(rows, first[close], second[close]))
        details["penalty"] = penalty.by_temperature(rows, first[close], second[close])
    return _score(task, name_main(metrics, task.aggregate), units, details, arrays)


def _retrieval(side: Side, task: RetrievalTask, data: RetrievalData, insight: bool) -> TaskScore:
    ids = list(data.corpus)
    documents, queries = inputs(data)
    texts, text_of = side.encode(*documents)
    asked, query_of = side.encode(*queries)
    name = similarity.chosen(task.similarity, side.encoder)
    texts, asked = similarity.prepared(name, texts), similarity.prepared(name, asked)
    place = {document: i for i, document in enumerate(ids)}
    relevant = []
    for query in data.queries:
        gains = {place[document]: gain for document, gain in data.qrels[query].items() if gain > 0}
        ignored = place.get(query, -1) if task.ignore_identical_ids else -1
        relevant.append(Relevant(np.array(list(gains)), np.array(list(gains.values())), ignored))
    between = similarity.between(name)
    if side.stored is not None:
        between = side.stored.search(between, _depth(task))
    asked = asked[query_of]
    rankings = list(rank_relevant(asked, texts, text_of, relevant, tie_order(ids), similarity=between))
    units = retrieval_metrics(rankings, task.cutoffs)
    equal = similarity.one_vector(texts)
    if equal:  # an order by ids would be measured as if it were the model's
        units = {name: np.full_like(values, 0.5 if name == "auc" else 0.0) for name, values in units.items()}
    metrics = {name: float(values.mean()) for name, values in units.items()}
    details = {
        "queries": len(data.queries),
        "documents": len(data.corpus),
        "judgements": sum(len(r.documents) for r in relevant),
        "similarity": name,
        "ignore_identical_ids": task.ignore_identical_ids,
        "digest": data.digest,
        **side.details(),
    }
    if equal:
        details["note"] = ALL_EQUAL
    arrays: insights.Arrays = {}
    if lexical.is_sparse(side.encoder):
        details["sparsity"] = lexical.sparsity(asked, texts)
        if not equal and (words := lexical.note(details["sparsity"])):
            details["note"] = words
    elif insight:
        paired = partial(similarity.paired, name)
        details["geometry"], arrays = insights.of_retrieval(
            task.name, asked, texts, text_of, relevant, rankings, paired
        )
    return _score(task, metrics, units, details, arrays)


def _depth(task: RetrievalTask) -> int:
    """Results that the main metric looks at."""
    cutoff = task.main.partition("@")[2]
    return int(cutoff) if cutoff else max(task.cutoffs)


def _score(
    task: StsTask | RetrievalTask,
    metrics: dict[str, float],
    units: dict[str, np.ndarray],
    details: dict[str, Any],
    insight: insights.Arrays,
) -> TaskScore:
    return TaskScore(task.name, task.type, task.main, points(metrics), units=units, details=details, insight=insight)
