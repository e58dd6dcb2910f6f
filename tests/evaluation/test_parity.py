"""Comparing two forms of a model: what is told of equal, turned, damaged and shorter embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from embedkit.evaluation.parity import ALONE, parity, rates

TEXTS = [f"text {i}" for i in range(12)]
ROWS = np.random.default_rng(0).standard_normal((12, 8)).astype(np.float32)


class Table:
    """A model that looks embeddings up; `batch` adds the number of texts that were asked for together."""

    def __init__(self, rows: np.ndarray, batch: float = 0.0) -> None:
        self.rows, self.batch = rows, batch

    def encode(self, texts: Sequence[str], *, role: str = "query", **_: object) -> np.ndarray:
        found = self.rows[[TEXTS.index(text) for text in texts]]
        return found + np.float32(self.batch * len(texts)) + np.float32(role == "document")

    def fingerprint(self) -> str:
        return "table"


def test_the_same_model() -> None:
    found = parity(Table(ROWS), Table(ROWS), TEXTS, ["query", "document"])
    assert found.least == pytest.approx(1) and found.mean == pytest.approx(1)
    assert found.largest == 0 and found.agreement == pytest.approx(1) and found.alone == pytest.approx(1)
    assert [len(values) for values in found.cosines.values()] == [12, 12]


def test_values_against_the_formulas() -> None:
    other = ROWS.copy()
    other[3] = -other[3]
    other[5, 2] += 0.25
    found = parity(Table(ROWS), Table(other), TEXTS, ["query"])
    a, b = ROWS.astype(float), other.astype(float)
    want = [float(x @ y / np.sqrt((x @ x) * (y @ y))) for x, y in zip(a, b, strict=True)]
    assert found.cosines["query"] == pytest.approx(want, abs=1e-12)
    assert found.least == pytest.approx(-1) and found.worst == "text 3"
    assert found.largest == pytest.approx(2 * np.abs(ROWS[3]).max())
    assert found.agreement < 0.9


def test_a_zero_row_is_no_match() -> None:
    other = ROWS.copy()
    other[0] = 0
    assert parity(Table(ROWS), Table(other), TEXTS, ["query"]).least == 0


def test_not_a_number_is_no_match() -> None:
    other = ROWS.copy()
    other[4, 1] = np.nan
    found = parity(Table(ROWS), Table(other), TEXTS, ["query"])
    assert found.least == 0 and found.worst == "text 4" and found.largest == float("inf")


def test_other_sizes_have_similarities_and_no_cosines() -> None:
    turned = ROWS @ np.linalg.qr(np.random.default_rng(1).standard_normal((8, 8)))[0].astype(np.float32)
    wide = np.concatenate([turned, np.zeros((12, 2), np.float32)], axis=1)
    found = parity(Table(ROWS), Table(wide), TEXTS, ["query"])
    assert found.least is None and found.mean is None and found.largest is None and found.dim == 10
    assert found.agreement == pytest.approx(1, abs=1e-6)


def test_embeddings_that_depend_on_the_batch_are_found() -> None:
    found = parity(Table(ROWS), Table(ROWS, batch=0.5), TEXTS, ["query"])
    a, b = ROWS[:ALONE].astype(float) + 0.5, ROWS[:ALONE].astype(float) + 6.0
    want = min(float(x @ y / np.sqrt((x @ x) * (y @ y))) for x, y in zip(a, b, strict=True))
    assert found.alone == pytest.approx(want, abs=1e-6) and want < 0.95


def test_rates_alternate_and_leave_the_first_round_out(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, order = [0.0], []

    def side(name: str, seconds: list[float]) -> object:
        order.append(name)
        clock[0] += seconds[order.count(name) - 1]
        return None

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    found = rates([lambda: side("a", [100, 1, 2, 3]), lambda: side("b", [100, 4, 4, 9])], 8)
    assert order == ["a", "b"] * 4 and found == [4.0, 2.0]
