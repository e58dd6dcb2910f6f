"""The last line of a comparison."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from embedkit.evaluation import verdict
from embedkit.evaluation.compare import Comparison
from embedkit.types import Interval


def comparison(low: float, high: float, name: str, permutation: float | None = 0.001) -> Comparison:
    middle = (low + high) / 2
    return Comparison(
        "STS-B", "spearman", 70.0, 70.0 + middle, Interval(middle, low, high), 0.01, name, 1000, permutation
    )


@pytest.mark.parametrize(
    ("found", "word"),
    [
        (comparison(1, 3, "win"), "BETTER"),
        (comparison(-3, -1, "loss"), "WORSE"),
        (comparison(-1, 2, "tie"), "UNCLEAR"),
        (comparison(1, 3, "win", permutation=0.06), "UNCLEAR"),
        (comparison(-3, -1, "loss", permutation=0.05), "UNCLEAR"),
        (comparison(1, 3, "win", permutation=None), "BETTER"),
    ],
)
def test_both_must_agree(found: Comparison, word: str) -> None:
    assert verdict.verdict(found) == word
    assert verdict.line([found]).startswith(f"VERDICT: {word} | STS-B/spearman | 70.0000 | ")


def test_a_script_can_read_the_line() -> None:
    line = verdict.line([comparison(1, 2, "win"), replace(comparison(1, 3, "win"), task="a|b\nc")])
    fields = [part.strip() for part in line.split("|")]
    assert len(line.splitlines()) == 1 and len(fields) == 5
    assert fields[2:4] == ["70.0000", "72.0000"]
    assert re.fullmatch(r"\+2\.0000 \[\+1\.0000, \+3\.0000\]", fields[4])


def test_the_sentence_names_what_was_measured() -> None:
    one, two = comparison(1, 3, "win"), replace(comparison(-1, 2, "tie"), task="average", metric="main")
    assert verdict.sentence([one], "a", "b") == (
        "b is better than a: STS-B spearman 72.00 against 70.00, +2.00 (95 % interval +1.00 to +3.00, "
        "permutation test p 0.001)."
    )
    assert "cannot be told from this data: the average of 1 tasks" not in verdict.sentence([one, one, two], "a", "b")
    assert "cannot be told from this data: the average of 2 tasks" in verdict.sentence([one, one, two], "a", "b")
