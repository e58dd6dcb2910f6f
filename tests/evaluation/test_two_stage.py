"""A reranker behind a first stage: every metric from the order that a person would write down by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedkit.errors import RecipeError
from embedkit.evaluation.content import Content
from embedkit.evaluation.forecast import forecast
from embedkit.evaluation.loading import StsData
from embedkit.evaluation.suite import evaluate_suite
from embedkit.evaluation.tasks import run_task
from embedkit.evaluation.two_stage import FirstStage, TwoStage, fused
from embedkit.recipe.kinds import PairTask, RerankingTask
from embedkit.recipe.mteb import MtebTask
from embedkit.recipe.suite import RetrievalTask, StsTask, Suite
from embedkit.types import RetrievalData

DOCUMENTS, QUERIES = 40, 7
TASK = RetrievalTask(name="r", folder="f", ks=(1, 5, 10))


class Table:
    """Scores by the numbers in the texts; an encoder and a reranker."""

    similarity = "dot"

    def __init__(self, seed: int, levels: int | None = None) -> None:
        self.values = np.random.default_rng(seed).standard_normal((QUERIES, DOCUMENTS)).astype(np.float32)
        if levels is not None:
            self.values = np.round(self.values * levels) / levels
        self.calls = 0
        self.seen: list[tuple[str, str]] = []

    def encode(self, texts: Sequence[str], *, role: str = "query", **_: Any) -> np.ndarray:
        self.calls += 1
        numbers = [int(text[1:]) for text in texts]
        return self.values[numbers] if role == "query" else np.eye(DOCUMENTS, dtype=np.float32)[numbers]

    def score(self, texts: Sequence[tuple[str, str]], **_: Any) -> np.ndarray:
        self.seen += texts
        return np.array([self.values[int(q[1:]), int(d[1:])] for q, d in texts], np.float32)

    def fingerprint(self) -> str:
        return str(self.values.sum())


def data(seed: int = 0, same_ids: bool = False) -> RetrievalData:
    rng = np.random.default_rng(seed)
    names = [f"{'q' if same_ids and i < QUERIES else 'd'}{i}" for i in range(DOCUMENTS)]
    qrels = {
        f"q{q}": {names[d]: int(rng.integers(1, 3)) for d in rng.choice(np.arange(QUERIES, DOCUMENTS), 4, False)}
        for q in range(QUERIES)
    }
    return RetrievalData(
        {f"q{q}": f"q{q}" for q in range(QUERIES)}, {n: f"d{i}" for i, n in enumerate(names)}, qrels, f"{seed}"
    )


def by_hand(
    first: np.ndarray, second: np.ndarray, own: RetrievalData, depth: int, ignore: bool, weight: float | None
) -> dict[str, float]:
    """Sort ids with Python, count nDCG and recall from the list."""
    found: dict[str, list[float]] = {"ndcg@5": [], "recall@5": [], "mrr@10": []}
    ids = list(own.corpus)
    for q, query in enumerate(own.queries):
        kept = [i for i in range(DOCUMENTS) if not (ignore and ids[i] == query)]
        ranked = sorted(kept, key=lambda i: (first[q, i], ids[i]), reverse=True)  # larger ids first among equals
        head, tail = ranked[:depth], ranked[depth:]
        final = second[q] if weight is None else first[q] + weight / (1 + np.exp(-second[q].astype(float)))
        order = sorted(head, key=lambda i: (final[i], ids[i]), reverse=True) + tail
        gains = [own.qrels[query].get(ids[i], 0) for i in order]
        ideal = sorted(own.qrels[query].values(), reverse=True)
        discounted = [sum(g / np.log2(2 + r) for r, g in enumerate(some[:5])) for some in (gains, ideal)]
        found["ndcg@5"].append(discounted[0] / discounted[1])
        found["recall@5"].append(sum(g > 0 for g in gains[:5]) / len(ideal))
        place = next((r for r, g in enumerate(gains[:10], 1) if g > 0), None)
        found["mrr@10"].append(0.0 if place is None else 1 / place)
    return {name: 100 * float(np.mean(values)) for name, values in found.items()}


@pytest.mark.parametrize("weight", [None, 2.0])
@pytest.mark.parametrize("depth", [1, 6, 40, 100])
@pytest.mark.parametrize(("levels", "same_ids"), [(None, False), (2, False), (2, True)])
def test_metrics_are_those_of_the_whole_system(
    depth: int, levels: int | None, same_ids: bool, weight: float | None
) -> None:
    first, second, own = Table(1, levels), Table(2, levels), data(3, same_ids)
    task = TASK.model_copy(update={"ignore_identical_ids": same_ids})
    found = run_task(TwoStage(second, FirstStage(first, depth, weight)), task, own)
    wanted = by_hand(first.values, second.values, own, depth, same_ids, weight)
    assert {name: found.metrics[name] for name in wanted} == pytest.approx(wanted)
    assert len(second.seen) == QUERIES * min(depth, DOCUMENTS - same_ids)
    alone = by_hand(first.values, first.values, own, depth, same_ids, None)
    assert found.details["first_stage"]["ndcg@5"] == pytest.approx(alone["ndcg@5"], abs=1e-3)


def test_a_reranker_that_agrees_changes_nothing() -> None:
    first, own = Table(1, 2), data(4)
    found = run_task(TwoStage(first, FirstStage(first, 9)), TASK, own)
    plain = run_task(first, TASK, own)
    for name in ("ndcg@10", "recall@10", "map"):
        assert found.metrics[name] == pytest.approx(plain.metrics[name])
    assert {n: len(v) for n, v in found.units.items()} == {n: len(v) for n, v in plain.units.items()}


def test_auc_of_a_perfect_order() -> None:
    second, own = Table(2), data(5)
    ids = list(own.corpus)
    for q, query in enumerate(own.queries):
        second.values[q] = [10 + own.qrels[query][i] if i in own.qrels[query] else 0 for i in ids]
    found = run_task(TwoStage(second, FirstStage(Table(1), DOCUMENTS)), TASK, own)
    assert (found.metrics["auc"], found.metrics["ndcg@10"], found.metrics["recall@5"]) == (100, 100, 100)


def test_equal_documents_are_scored_once() -> None:
    own = data(6)
    own = RetrievalData(own.queries, {**own.corpus, "d39": "d38"}, own.qrels, "twice")
    second = Table(2)
    run_task(TwoStage(second, FirstStage(Table(1), DOCUMENTS)), TASK, own)
    assert len(second.seen) == len(set(second.seen)) == QUERIES * (DOCUMENTS - 1)


def test_the_first_stage_searches_once() -> None:
    first, own = Table(1), data(7)
    stage = FirstStage(first, 5)
    suite = Suite(tasks=(TASK,))
    two = TwoStage(Table(2), stage)
    assert forecast(two, suite, [own]).texts == QUERIES * 5
    for seed in (2, 3):
        run_task(TwoStage(Table(seed), stage), TASK, own)
    assert first.calls == 2  # documents and queries
    run_task(TwoStage(Table(2), stage), TASK.model_copy(update={"max_length": 9}), own)
    assert first.calls == 4


def test_graded_pairs_are_ranked_by_the_score(tmp_path: Path) -> None:
    table = Table(2)
    pairs = [(f"q{i}", f"d{i}") for i in range(QUERIES)]
    gold = np.array([table.values[i, i] for i in range(QUERIES)])
    own = StsData([a for a, _ in pairs], [b for _, b in pairs], gold, np.zeros(QUERIES, np.int64), ("all",), "d")
    file = tmp_path / "s.tsv"
    file.write_text("sentence1\tsentence2\tscore\na\tb\t1\n")
    suite = Suite(tasks=(StsTask(name="s", files=(str(file),)),))
    scores = evaluate_suite(TwoStage(table), suite, data=[own], resamples=100)
    assert scores.tasks[0].metrics["spearman"] == pytest.approx(100)
    assert scores.tasks[0].interval is not None


def test_intervals_are_those_of_the_queries(tmp_path: Path) -> None:
    two = TwoStage(Table(2), FirstStage(Table(1), 20))
    (tmp_path / "qrels").mkdir()
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        (tmp_path / name).write_text("{}")
    suite = Suite(tasks=(TASK.model_copy(update={"folder": str(tmp_path)}),))
    scores = evaluate_suite(two, suite, data=[data(8)], resamples=200)
    interval = scores.tasks[0].interval
    assert interval is not None and interval.low < scores.tasks[0].metrics["ndcg@10"] < interval.high
    assert scores.fingerprint != TwoStage(Table(2), FirstStage(Table(1), 21)).fingerprint()


@pytest.mark.parametrize(
    ("task", "says"),
    [(TASK, "there is none"), (MtebTask(name="m", task="STS12"), "has no embeddings")],
)
def test_what_a_reranker_alone_cannot_do(task: Any, says: str) -> None:
    with pytest.raises(RecipeError, match=says) as caught:
        TwoStage(Table(1)).check(task)
    assert caught.value.cure


def test_fusion_adds_a_weighted_probability() -> None:
    np.testing.assert_allclose(fused(np.array([1.0, 0.0]), np.array([0.0, 100.0]), 2.0), [2.0, 2.0])


def test_given_candidates_are_put_in_order() -> None:
    """MAP over a query's own candidates, counted by hand."""
    table, own = Table(2), data(9)
    candidates = {query: [*own.qrels[query], "d0", "d1", "d2"] for query in own.queries}
    qrels = {query: {i: own.qrels[query].get(i, 0) for i in ids} for query, ids in candidates.items()}
    content = Content("x", retrieval=RetrievalData(own.queries, own.corpus, qrels), candidates=candidates)
    found = run_task(TwoStage(table), RerankingTask(name="r", files=("f",)), content)
    precisions = []
    for q, query in enumerate(own.queries):
        order = sorted(candidates[query], key=lambda i: (table.values[q, int(i[1:])], i), reverse=True)
        hits = [r for r, i in enumerate(order, 1) if qrels[query][i]]
        precisions.append(np.mean([(k + 1) / r for k, r in enumerate(hits)]))
    assert found.metrics["map"] == pytest.approx(100 * float(np.mean(precisions)))
    assert found.details["pairs"] == QUERIES * 7 and len(found.units["map"]) == QUERIES


def test_pairs_are_told_apart() -> None:
    table = Table(2)
    pairs = [(f"q{i % QUERIES}", f"d{i}") for i in range(DOCUMENTS)]
    match = [int(table.values[i % QUERIES, i] > 0.3) for i in range(DOCUMENTS)]
    test = {"first": [a for a, _ in pairs], "second": [b for _, b in pairs], "label": match}
    found = run_task(TwoStage(table), PairTask(name="p", files=("f",)), Content("x", test=test))
    assert found.metrics[PairTask.main] == pytest.approx(100) and set(found.units) == {"similarity", "match"}
