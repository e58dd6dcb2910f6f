"""How long an evaluation will take: exact where cost follows length, and few texts are spent on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from embedkit.evaluation import forecast as module
from embedkit.evaluation import suite as suites
from embedkit.evaluation.forecast import FIRST, Forecast, forecast
from embedkit.recipe.suite import Suite
from tests.evaluation.hashing import HashingEncoder


class Timed(HashingEncoder):
    """An encoder with a clock: a call costs `start` seconds, each character and special token `each`."""

    def __init__(self, each: float, start: float = 0.0) -> None:
        super().__init__()
        self.now, self.each, self.start = 0.0, each, start

    def encode(self, texts: Sequence[str], **options: Any) -> np.ndarray:
        self.now += self.start + self.each * sum(1 + len(text) for text in texts)
        return super().encode(texts, **options)

    @property
    def spent(self) -> int:
        return sum(len(texts) for _, _, texts in self.calls)


@pytest.fixture(scope="module")
def mini() -> Suite:
    return suites.load_suite("mini")


def told(encoder: Timed, suite: Suite, **options: Any) -> Forecast:
    return forecast(encoder, suite, suites.load_data(suite), clock=lambda: encoder.now, **options)


def really(encoder: Timed, suite: Suite) -> float:
    before = encoder.now
    suites.evaluate_suite(encoder, suite, resamples=0)
    return encoder.now - before


@pytest.mark.parametrize("each", [0.0005, 0.02, 1.0])
def test_the_time_is_right_where_cost_follows_length(mini: Suite, each: float) -> None:
    encoder = Timed(each)
    found = told(encoder, mini)
    asked = encoder.spent
    assert found.encoding == pytest.approx(really(encoder, mini), rel=1e-9)
    assert found.texts == encoder.spent - asked
    assert found.statistics == 0


def test_a_slow_model_answers_after_a_few_texts(mini: Suite) -> None:
    encoder = Timed(1.0)
    found = told(encoder, mini)
    assert found.measured == FIRST
    assert encoder.spent == FIRST + 2


def test_a_long_evaluation_is_measured_on_more_texts(mini: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as the larger sample is little beside the whole, and no one waits for a minute."""
    monkeypatch.setattr(module, "LITTLE", 1.0)
    assert told(Timed(0.02), mini).measured > 2 * FIRST
    monkeypatch.setattr(module, "WAIT", 1.0)
    assert told(Timed(0.02), mini).measured == FIRST


def test_a_cost_of_starting_is_not_taken_for_a_rate(mini: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Timed(0.0005, start=0.2)
    grown, true = told(encoder, mini).encoding, really(encoder, mini)
    monkeypatch.setattr(module, "ENOUGH", 0.0)
    first = told(encoder, mini).encoding
    assert true < grown < first
    assert grown - true < 0.4 * (first - true)


def test_an_evaluation_of_seconds_costs_a_handful_of_texts(mini: Suite) -> None:
    encoder = Timed(1e-6)
    assert told(encoder, mini).seconds < 1
    assert encoder.spent == FIRST + 2


def test_roles_lengths_and_repeats_are_those_of_the_evaluation(mini: Suite) -> None:
    tasks = (mini.tasks[0].model_copy(update={"max_length": 16}), mini.tasks[1])
    encoder = Timed(1e-9, start=0.2)
    found = told(encoder, mini.model_copy(update={"tasks": tasks}))
    assert {(role, length) for role, length, _ in encoder.calls} == {("query", 16), ("document", None), ("query", None)}
    data = suites.load_data(mini)
    distinct = [len(set(texts)) for own in data for texts, _ in module.inputs(own)]
    assert found.texts == sum(distinct)


def test_the_bootstrap_is_foreseen_from_a_few_resamples(mini: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Timed(0.02)

    def draws(*args: Any) -> None:
        encoder.now += 0.03 * args[3]

    monkeypatch.setattr(module, "sts_draws", draws)
    assert told(encoder, mini, resamples=1000).statistics == pytest.approx(30.0)  # one STS task
    assert told(encoder, mini, resamples=2).statistics == pytest.approx(0.06)


def test_in_words() -> None:
    long, slow = Forecast(230.0, 10.0, 10_437, 168), Forecast(100.0, 0.0, 250, 8)
    assert long.words == "about 4 min for 10,437 texts (45 a second, measured on 168 of them)"
    assert slow.words == "about 1.5 min for 250 texts (2.5 a second, measured on 8 of them)"
