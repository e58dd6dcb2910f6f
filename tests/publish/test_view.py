"""How a record is put into words."""

from __future__ import annotations

from typing import Any

import pytest

from embedkit.publish import view
from tests.publish import records


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"name": "cosent"}, "cosent"),
        ({"name": "infonce", "temperature": 0.05}, "infonce (temperature 0.05)"),
        ({"name": "matryoshka", "objective": {"name": "cosent"}, "dims": [384, 128]}, "matryoshka of cosent"),
        (
            {
                "name": "sum",
                "terms": [{"weight": 1.0, "objective": {"name": "cosent"}}, {"objective": {"name": "angle"}}],
            },
            "sum of cosent + angle",
        ),
    ],
)
def test_objectives(config: dict[str, Any], words: str) -> None:
    assert view.describe_objective(config) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.7, "1 h 00 min"),
        (11_100, "3 h 05 min"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert view.duration(seconds) == words


@pytest.mark.parametrize(
    ("evaluation", "value"),
    [
        ({"select": "average"}, (46.93 + 51.40 + 82.03) / 3),
        ({"select": "STS-B/pearson"}, 88.0),
        ({"select": "STS-B/unknown"}, None),
        ({"select": "average", "during": "sts-dev"}, None),
    ],
)
def test_the_untrained_value_of_the_selected_metric(evaluation: dict[str, Any], value: float | None) -> None:
    made = records.record()
    made.recipe["eval"] = evaluation
    assert view.selected_before(made) == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    ("energy", "words"),
    [
        ({}, "tokens/s); Linux"),
        ({"processor": 44_280.0, "seconds": 401.2}, "; energy of the training: processor 12.3 Wh; Linux"),
        (
            {"processor": 110.0, "gpus": 4_428_000.0, "seconds": 200.0},
            "; energy of the training: processor 0.0306 Wh, GPUs 1.23 kWh, counted in 3 min 20 s of it; Linux",
        ),
    ],
)
def test_energy_is_told_where_it_was_counted(energy: dict[str, float], words: str) -> None:
    assert words in view.how_long(records.record(energy=energy))
