"""Seconds in words, and times that are not known exactly."""

from __future__ import annotations

import re

import pytest

from embedkit.terminal.times import about, duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (552, "9 min 12 s"),
        (11_100, "3 h 05 min"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "less than 10 s"),
        (9.9, "less than 10 s"),
        (12, "about 10 s"),
        (41, "about 40 s"),
        (58, "about 1 min"),
        (95, "about 1.5 min"),
        (239, "about 4 min"),
        (3_500, "about 58 min"),
        (3_580, "about 1 h"),
        (8_460, "about 2 h 20 min"),
        (90_000, "about 25 h"),
        (400_000, "about 5 days"),
    ],
)
def test_about(seconds: float, words: str) -> None:
    assert about(seconds) == words


def test_about_is_within_a_tenth_and_a_bit_of_the_truth() -> None:
    units = {"s": 1, "min": 60, "h": 3600, "days": 86_400}
    seconds = 10.0
    while seconds < 5e6:
        said = sum(float(n) * units[u] for n, u in re.findall(r"([\d.]+) (s|min|h|days)", about(seconds)))
        assert abs(said - seconds) <= 0.25 * seconds, (seconds, about(seconds))
        seconds *= 1.013
