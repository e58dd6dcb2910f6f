"""Calibration: against plain loops, and where it can be told by heart."""

from __future__ import annotations

import numpy as np
import pytest

from embedkit.evaluation.calibration import brier, by_similarity, expected_error
from embedkit.evaluation.kinds.probe import probe


def test_expected_error_against_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    confidence = np.concatenate([rng.random(200), [0.0, 1.0, 1.0]])
    right = rng.random(203) < confidence**2
    total = 0.0
    for b in range(15):
        inside = (confidence >= b / 15) & ((confidence < (b + 1) / 15) | (b == 14))
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert expected_error(confidence, right) == pytest.approx(total)


def test_expected_error_by_heart() -> None:
    assert expected_error(np.full(10, 0.7), np.arange(10) < 7) == pytest.approx(0)
    assert expected_error(np.full(10, 0.9), np.arange(10) < 5) == pytest.approx(0.4)
    assert expected_error(np.array([0.99, 0.01]), np.array([0, 1])) == pytest.approx(0.99)


def test_brier_by_heart() -> None:
    found = brier(np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]), np.array([0, 0, 0]))
    assert found.tolist() == [0.0, 0.5, 2.0]


def test_probabilities_of_the_probe_are_scikit_learns() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(1)
    rows, labels = rng.normal(size=(30, 4)), np.arange(30) % 3
    test, gold = rng.normal(size=(12, 4)), np.arange(12) % 3
    draws = [np.arange(15), np.arange(15, 30)]
    found = probe(rows, labels, test, draws, gold)
    for i, draw in enumerate(draws):
        own = LogisticRegression(max_iter=100).fit(rows[draw], labels[draw]).predict_proba(test)
        assert found.said[i].tolist() == own.argmax(axis=1).tolist()
        assert found.ece[i] == pytest.approx(expected_error(own.max(axis=1), own.argmax(axis=1) == gold))
        assert found.brier[i] == pytest.approx(np.square(own - np.eye(3)[gold]).sum(axis=1))


def test_the_report_says_what_a_similarity_means() -> None:
    from embedkit.publish import details
    from tests.publish.records import record

    rows = by_similarity(np.array([0.1] * 7 + [0.9] * 3), np.array([0] * 7 + [1] * 3))
    task = {"task": "P", "type": "pair_classification", "main": "ap", "details": {"calibration": rows}}
    ((heading, (table,)),) = details.sections(record(scores_before=None, scores_after={"tasks": [task]}))
    assert heading == "What a similarity means"
    assert table.rows == [("0.100 to 0.100", "0.100", "7", "0.0 %"), ("0.900 to 0.900", "0.900", "3", "100.0 %")]


def test_shares_rise_with_the_similarity() -> None:
    similarity = np.linspace(0, 1, 100)
    match = (np.arange(100) >= 50).astype(int)
    found = by_similarity(similarity[::-1], match[::-1])
    assert [row["pairs"] for row in found] == [10] * 10
    assert [row["matching"] for row in found] == [0] * 5 + [1] * 5
    assert found[0]["from"] == 0 and found[-1]["to"] == 1 and found[3]["mean"] == pytest.approx(34.5 / 99)
    (one,) = by_similarity(np.zeros(5), np.array([1, 0, 0, 0, 1]))
    assert one == {"from": 0.0, "to": 0.0, "mean": 0.0, "matching": 0.4, "pairs": 5}
    two = by_similarity(np.array([0.1] * 7 + [0.9] * 3), np.array([0] * 7 + [1] * 3))
    assert [(row["pairs"], row["matching"]) for row in two] == [(7, 0), (3, 1)]
