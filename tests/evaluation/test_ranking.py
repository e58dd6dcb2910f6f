"""Retrieval metrics against trec_eval, scikit-learn and a naive loop, with ties and graded judgements."""

from __future__ import annotations

import math

import numpy as np
import pytest

from embedkit.evaluation.metrics import retrieval_metrics
from embedkit.evaluation.ranking import SORT_FROM, Ranking, Relevant, rank_relevant, tie_order

KS = (1, 3, 10)


class Case:
    """Integer embeddings in few dimensions: exact scores, many ties, some documents with one text."""

    def __init__(self, seed: int, documents: int = 60, queries: int = 12, most: int = 25) -> None:
        rng = np.random.default_rng(seed)
        self.ids = [f"d{i}" for i in rng.permutation(documents)]
        self.texts = rng.integers(-2, 3, size=(documents // 2, 3)).astype(np.float32)
        self.text_of = np.concatenate([np.arange(documents // 2), rng.integers(0, documents // 2, documents // 2)])
        self.queries = rng.integers(-2, 3, size=(queries, 3)).astype(np.float32)
        self.relevant = []
        for _ in range(queries):
            size = int(rng.integers(1, most))
            self.relevant.append(Relevant(rng.permutation(documents)[:size], rng.integers(1, 4, size)))
        self.scores = self.queries @ self.texts[self.text_of].T

    def rankings(self, **options: int) -> list[Ranking]:
        order = tie_order(self.ids)
        return list(rank_relevant(self.queries, self.texts, self.text_of, self.relevant, order, **options))

    def metrics(self) -> dict[str, np.ndarray]:
        return retrieval_metrics(self.rankings(), KS)

    def gains(self, query: int) -> dict[str, int]:
        r = self.relevant[query]
        return {self.ids[d]: int(g) for d, g in zip(r.documents, r.gains, strict=True)}

    def result_list(self, query: int) -> list[str]:
        scored = zip(self.scores[query].tolist(), self.ids, strict=True)
        return [document for _, document in sorted(scored, reverse=True)]


@pytest.mark.parametrize("seed", range(5))
def test_equal_to_trec_eval(seed: int) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    case = Case(seed)
    names = [str(q) for q in range(len(case.queries))]
    qrels = {name: case.gains(int(name)) for name in names}
    run = {name: dict(zip(case.ids, case.scores[int(name)].tolist(), strict=True)) for name in names}
    cut = ",".join(map(str, KS))
    measures = {"map", "recip_rank", f"ndcg_cut.{cut}", f"recall.{cut}", f"map_cut.{cut}"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    ours = case.metrics()
    for k in KS:
        for our, their in (
            (f"ndcg@{k}", f"ndcg_cut_{k}"),
            (f"recall@{k}", f"recall_{k}"),
            (f"map@{k}", f"map_cut_{k}"),
        ):
            assert ours[our] == pytest.approx([theirs[n][their] for n in names], abs=1e-9), our
    assert ours["map"] == pytest.approx([theirs[n]["map"] for n in names], abs=1e-9)
    reciprocal = [theirs[n]["recip_rank"] for n in names]
    assert ours["mrr@10"] == pytest.approx([r if r >= 0.1 else 0.0 for r in reciprocal], abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_a_naive_loop_over_the_result_list(seed: int) -> None:
    case = Case(seed)
    ours = case.metrics()
    for query in range(len(case.queries)):
        gains, found = case.gains(query), case.result_list(query)
        ideal = sorted(gains.values(), reverse=True)
        for k in KS:
            dcg = sum(gains.get(d, 0) / math.log2(i + 2) for i, d in enumerate(found[:k]))
            best = sum(g / math.log2(i + 2) for i, g in enumerate(ideal[:k]))
            hits = [i for i, d in enumerate(found[:k], 1) if d in gains]
            assert ours[f"ndcg@{k}"][query] == pytest.approx(dcg / best)
            assert ours[f"recall@{k}"][query] == len(hits) / len(gains)
            assert ours[f"mrr@{k}"][query] == (1 / hits[0] if hits else 0.0)
            precision = sum((n + 1) / i for n, i in enumerate(hits))
            assert ours[f"map@{k}"][query] == pytest.approx(precision / len(gains))


def test_auc_is_scikit_learns() -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    case = Case(7)
    for query, auc in enumerate(case.metrics()["auc"]):
        label = np.isin(np.arange(len(case.ids)), case.relevant[query].documents)
        assert auc == pytest.approx(sklearn_metrics.roc_auc_score(label, case.scores[query]), abs=1e-12)


def test_counting_and_sorting_agree() -> None:
    many = Case(3, documents=80, queries=20, most=40)
    assert any(len(r.documents) >= SORT_FROM for r in many.relevant)
    assert any(len(r.documents) < SORT_FROM for r in many.relevant)
    for query, ranking in enumerate(many.rankings()):
        places = [i for i, d in enumerate(many.result_list(query), 1) if d in many.gains(query)]
        assert ranking.rank.tolist() == places


def test_block_size_changes_nothing() -> None:
    case = Case(4)
    for one, other in zip(case.rankings(), case.rankings(block_bytes=1), strict=True):
        assert one.rank.tolist() == other.rank.tolist()
        assert one.gain.tolist() == other.gain.tolist()
        assert one.auc == other.auc


def test_an_ignored_document_leaves_the_ranking() -> None:
    texts = np.array([[5.0], [4.0], [3.0], [2.0]], dtype=np.float32)
    relevant = [Relevant(np.array([2]), np.array([1]), ignored=0), Relevant(np.array([2]), np.array([1]))]
    queries = np.ones((2, 1), dtype=np.float32)
    with_ignored, plain = rank_relevant(queries, texts, np.arange(4), relevant, tie_order(list("abcd")))
    assert (with_ignored.rank.tolist(), plain.rank.tolist()) == ([2], [3])
    assert with_ignored.auc == pytest.approx(1 / 2)  # above d, below b
    assert plain.auc == pytest.approx(1 / 3)


def test_ties_put_the_larger_id_first() -> None:
    assert tie_order(["d10", "d9", "a"]).tolist() == [1, 0, 2]
    same = np.ones((1, 2), dtype=np.float32)
    everything = [Relevant(np.array([0]), np.array([1]))]
    (ranking,) = rank_relevant(same, same, np.array([0, 0, 0]), everything, tie_order(["d10", "d9", "a"]))
    assert ranking.rank.tolist() == [2]
    assert ranking.auc == 0.5


def test_perfect_and_worst_order() -> None:
    best = Ranking(np.array([1, 2]), np.array([3.0, 1.0]), 1.0)
    worst = Ranking(np.array([99, 100]), np.array([3.0, 1.0]), 0.0)
    found = retrieval_metrics([best, worst], KS)
    assert [found[n][0] for n in ("ndcg@3", "ndcg@10", "recall@3", "mrr@1", "map")] == [1, 1, 1, 1, 1]
    assert found["recall@1"][0] == 0.5
    assert [found[n][1] for n in ("ndcg@10", "recall@10", "mrr@10", "map@10", "auc")] == [0, 0, 0, 0, 0]
