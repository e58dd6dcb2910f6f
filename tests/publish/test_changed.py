"""What changed between two models: the right queries and pairs, with their own texts, and damaged files named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedkit.errors import RecordError
from embedkit.evaluation.loading import StsData
from embedkit.publish import insight
from embedkit.publish.changed import LONGEST, changed
from embedkit.types import RetrievalData, TaskScore

Q = {f"q{i}": f"query {i}" for i in range(4)}
D = {f"d{i}": f"document {i}" for i in range(5)}


def search(metric: list[float], rank: list[int], first: list[int], top: list[int]) -> TaskScore:
    arrays = {"rank": np.array(rank), "first": np.array(first), "top": np.array(top)}
    return TaskScore("R", "retrieval", "ndcg@10", {}, units={"ndcg@10": np.array(metric)}, insight=arrays)


def test_queries_that_got_better_and_worse() -> None:
    data = RetrievalData(Q, D, {q: {"d0": 1} for q in Q})
    before = search([0.2, 1.0, 0.0, 0.5], [5, 1, 40, 2], [0, 1, 2, 3], [4, 1, 4, 4])
    after = search([1.0, 0.4, 0.8, 0.5], [1, 3, 1, 2], [0, 2, 2, 3], [0, 3, 2, 4])
    counts, better, worse = changed(before, after, data)
    assert counts == {"better": 2, "worse": 1, "same": 1}
    assert [(c.first, c.second, c.before, c.after, c.rival) for c in better] == [
        ("query 2", "document 2", 40, 1, "document 4"),  # equal in the metric: it rose by the larger factor
        ("query 0", "document 0", 5, 1, "document 4"),
    ]
    assert [(c.first, c.second, c.before, c.after, c.rival, c.gain) for c in worse] == [
        ("query 1", "document 1", 1, 3, "document 3", -60)
    ]


def graded(cosine: list[float], aggregate: str = "all") -> TaskScore:
    return TaskScore("S", "sts", "spearman", {}, units={"cosine": np.array(cosine)}, details={"aggregate": aggregate})


def pairs(subset: list[int]) -> StsData:
    first, second = ([f"{side} {i}" for i in range(4)] for side in "ab")
    names = tuple("xy"[: max(subset) + 1])
    return StsData(first, second, np.array([5.0, 4, 1, 0]), np.array(subset), names, "")


def test_pairs_whose_rank_came_nearer_to_that_of_their_grade() -> None:
    before, after = graded([0.1, 0.9, 0.8, 0.2]), graded([0.9, 0.1, 0.8, 0.2])
    counts, better, worse = changed(before, after, pairs([0] * 4))
    assert counts == {"better": 1, "worse": 1, "same": 2}
    shown = [(c.first, c.second, c.before, c.after, c.gold, c.of, c.gain, c.grade) for c in better + worse]
    assert shown == [("a 0", "b 0", 4, 1, 1, 4, 3, 5), ("a 1", "b 1", 1, 4, 2, 4, -1, 4)]


def test_ranks_are_taken_within_subsets_where_the_correlation_is() -> None:
    before, after = graded([0.1, 0.9, 0.8, 0.2], "mean"), graded([0.9, 0.8, 0.1, 0.2], "mean")
    _, better, _ = changed(before, after, pairs([0, 0, 1, 1]))
    assert {(c.of, c.before, c.after, c.gold) for c in better} == {(2, 2, 1, 1), (2, 1, 2, 2)}


def test_a_text_is_one_short_visible_line() -> None:
    data = RetrievalData({"q": "a\nb \x1b[2J\u202e" + "x" * 9999}, D, {"q": {"d0": 1}})
    _, better, _ = changed(search([0.0], [2], [0], [1]), search([1.0], [1], [0], [0]), data)
    assert better[0].first.startswith("a b \\x1b[2J\\u202exxx") and len(better[0].first) == LONGEST


def test_auc_and_roc_are_scikit_learn_s() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    positive, negative = rng.normal(0.5, 1, 200).round(1), rng.normal(0, 1, 300).round(1)
    labels = np.repeat([1, 0], [200, 300])
    values = np.concatenate([positive, negative])
    assert insight.auc(positive, negative) == pytest.approx(metrics.roc_auc_score(labels, values))
    false, true, _ = metrics.roc_curve(labels, values, drop_intermediate=False)
    found = insight.roc(positive, negative)
    for x, y in zip(np.linspace(0, 1, insight.POINTS), found, strict=True):
        assert y == pytest.approx(max(np.interp(x, false, true), true[false <= x].max()), abs=1e-9)


def test_the_file_reads_back_and_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    side: dict[str, Any] = {"geometry": {"alignment": None, "rankme": 3.0}, "spectrum": [1.0], "positive": [1.0]}
    side |= {"negative": [1.0], "auc": None, "roc": [], "cloud": [[0.0, 1.0]], "kind": [0], "held": [1.0, 0.0]}
    task = insight.TaskInsight("A", "sts", "spearman", [0.0, 1.0], 1, 1, insight.Side(**side, pairs=[]), None)
    made = insight.Insight([task], [insight.Lengths("a", "query", 3, 5, 7, 9, 8, 0.5)])
    assert insight.read_insight(tmp_path) == insight.Insight()
    insight.write_insight(tmp_path, made)
    assert insight.read_insight(tmp_path) == made
    path = tmp_path / insight.FILE
    whole = path.read_text()
    for text, says in (
        (whole[:50], "is damaged"),
        ("", "is damaged"),
        ("[]", "is damaged"),
        (whole.replace('"edges": [0.0', '"edges": ["x"'), r"tasks\.0\.edges\.0"),
        (json.dumps({"format": 2}), "another version"),
    ):
        path.write_text(text)
        with pytest.raises(RecordError, match=says):
            insight.read_insight(tmp_path)
