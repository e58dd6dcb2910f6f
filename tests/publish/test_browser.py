"""The report in a real browser: nothing overlaps, is cut or sticks out, wide and narrow, light and dark."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedkit.publish import compared, insight
from embedkit.publish.changed import Change
from embedkit.publish.comparison import write_comparison
from embedkit.publish.report import write_report
from embedkit.types import RunRecord
from tests import browser
from tests.publish import records

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.FOUND is None, reason="needs Chromium"),
]
HOSTILE = [
    "<script>throw new Error('ran')</script><img src=x onerror=\"console.error('ran')\">",
    "x" * 10_000,
    "שלום עולם, זה טקסט ארוך מימין לשמאל " * 20,
    "👩‍👩‍👧‍👦🏳️‍🌈" * 80,
    "a\x00b\x1b[31m\x07\u202eevil\u2066\u200b",
    "</style><style>*{display:none}</style>{{ 7 * 7 }}",
    "漢字かな交じり文" * 60,
]


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    with browser.browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


def side(shift: float) -> insight.Side:
    shares = [0.5**i for i in range(1, 30)]
    points = [[(i * 7 % 13) / 13 - shift, (i * 5 % 11) / 11] for i in range(60)]
    bars = [abs(i - 24) / 600 for i in range(insight.BINS)]
    shape: dict[str, Any] = {"alignment": 0.4, "tolerance": 0.8, "uniformity": -2.5, "mean_cosine": 0.2, "texts": 2048}
    shape |= {"first_direction": 0.2, "hubness": 1.5, "rankme": 91.0, "effective_rank": 88.0, "positives": 7, "dim": 9}
    roc = [i / 63 for i in range(64)]
    pairs = [[points[i], points[i + 1]] for i in range(9)]
    return insight.Side(
        shape, shares, bars, bars[::-1], 0.9, roc, points, [i % 2 for i in range(60)], [0.3, 0.2], pairs
    )


def looked_at(text: str) -> dict[str, Any]:
    """Groups, texts changed by rule, and shares of pairs that match."""
    rows = [{"name": name, "items": 1234, "value": 45.6, "interval": [12.3, 78.9]} for name in (text, "usual")]
    gap = {"best": text, "worst": "usual", "value": 1.2, "interval": [-3.4, 5.6]}
    rule = {"value": 45.6, "drop": 1.2, "relative": 3.4, "interval": [-5.6, 7.8], "changed": 1234, "items": 5678}
    part = {"from": 0.123, "to": 0.456, "mean": 0.3, "matching": 0.5, "pairs": 138}
    return {
        "groups": {"column": text, "metric": "map", "rows": rows, "gap": gap},
        "perturbed": {"typos": rule, "order": rule},
        "calibration": [part] * 3,
    }


def hostile(text: str) -> tuple[RunRecord, insight.Insight]:
    """A record and insight with `text` wherever a user's or a file's text can stand."""
    made = records.record(
        warnings=[text], versions={"machine": text, text: text}, plan={"lines": [f"data         {text}"]}
    )
    made.recipe["model"]["base"] = made.data[0]["name"] = text
    for scores in (made.scores_before, made.scores_after):
        assert scores is not None
        scores["suite"] = scores["tasks"][0]["task"] = text
        scores["tasks"][0]["metrics"][text] = 1.0
        scores["tasks"][0]["details"] = looked_at(text)
    change = Change(text, text, 1034, 1, 1954, None, None, text, 100.0)
    pair = Change(text, text, 12.5, 3, 1379, 2.5, 4.2, "", 9.0)
    edges = [i / insight.BINS for i in range(insight.BINS + 1)]
    counts = {"better": 3, "worse": 2, "same": 1}
    tasks = [
        insight.TaskInsight(text, kind, "ndcg@10", edges, 9, 9, side(0.3), side(0.1), counts, [one] * 2, [one])
        for kind, one in (("retrieval", change), ("sts", pair))
    ]
    return made, insight.Insight(tasks, [insight.Lengths(text, "document", 1000, 40, 300, 12_345, 128, 0.31)])


def check(chromium: browser.Browser, page: Path) -> None:
    for width in (360, 1200):
        for dark in (False, True):
            found = chromium.show(page, width=width, dark=dark)
            where = f"{width} px, {'dark' if dark else 'light'}"
            assert chromium.errors == [], where
            assert found["wide"] <= 0, f"{where}: sticks out by {found['wide']} px"
            assert found["cut"] == [], where
            assert browser.overlaps(found["boxes"]) == [], where
            assert max(box[2] for box in found["boxes"]) <= width, where
            assert len(found["boxes"]) > 100, where
            assert found["paper"] == ("rgb(20, 23, 31)" if dark else "rgb(255, 255, 255)")


def test_a_usual_report(chromium: browser.Browser, tmp_path: Path) -> None:
    run = records.write(tmp_path / "run", records.record())
    insight.write_insight(run, hostile("a query of usual length, about the weather")[1])
    check(chromium, write_report(run))


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_report_with_hostile_texts(chromium: browser.Browser, tmp_path: Path, text: str) -> None:
    made, found = hostile(text)
    run = records.write(tmp_path / "run", made, f"# {text}\n")
    insight.write_insight(run, found)
    check(chromium, write_report(run))


@pytest.mark.parametrize("text", ["a usual text", *HOSTILE], ids=range(1 + len(HOSTILE)))
def test_a_comparison(chromium: browser.Browser, tmp_path: Path, text: str) -> None:
    """Of as many runs as fit, the last measured on other tasks."""
    runs = []
    for i in range(compared.MOST):
        made = hostile(text)[0]
        made.recipe["train"]["learning_rate"] = i * 1e-5
        if i == compared.MOST - 1:
            assert made.scores_after is not None
            del made.scores_after["tasks"][1]
        made.failed, made.data[0]["digest"] = text * (i % 2), str(i)
        runs.append(records.kept(tmp_path / f"a run with a name of usual length {i}", made, seed=i))
    check(chromium, write_comparison(runs, tmp_path / "out")[0])


def test_the_checks_see_what_they_are_for(chromium: browser.Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        "<style>p { position: absolute; top: 0; margin: 0 }</style><p>first text</p><p style='top:4px'>second</p>"
        "<div style='width:50px;overflow:hidden;white-space:nowrap;margin-top:60px'>a long text that is cut off</div>"
        "<div style='width:3000px'>wide</div><script>console.error('said')</script>"
    )
    found = chromium.show(page, width=360, dark=False)
    assert browser.overlaps(found["boxes"]) == [("first text", "second")]
    assert len(found["cut"]) == 1 and found["wide"] > 2000 and len(chromium.errors) == 1
