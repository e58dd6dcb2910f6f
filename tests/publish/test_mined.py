"""The report's part on mined negatives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embedkit.disk.folders import RunFolder
from embedkit.publish import mined
from embedkit.publish.report import render_report
from tests.publish.records import record


def entry(version: int, **changes: Any) -> dict[str, Any]:
    return {
        "source": "pairs | <b>",
        "version": version,
        "searched": 50 * version,
        "used": 50 * version + 10,
        "changed": 0.25,
        "waited": 4.015,
        "score": 0.61234,
        "margin": 0.1,
        "suspects": 0.034,
        "negatives": 1234,
        "without": 2,
        "removed": {"known positives": 700, "relative margin": 31},
        "index": {"kind": "ivf", "recall": 0.956, "rows": 10, "effort": {"nprobe": 8}},
        "seconds": {"encoding": 3.0, "searching": 1.0},
        **changes,
    }


def test_every_version_is_a_line_and_the_note_has_the_sums(tmp_path: Path) -> None:
    made = record(mining=[entry(0), entry(1, score=None, margin=None)])
    assert mined.rows(made)[0][1:] == ("update 10", "1,234", "0.612", "0.100", "3.4%", "25%", "0.956 (ivf)", "4.0 s")
    assert mined.rows(made)[1][3:5] == ("—", "—")
    note = mined.note(made)
    assert "1,400 (known positives), 62 (relative margin)" in note and "Up to 2 queries" in note
    assert "waited 8.0 s for negatives, 2% of its time" in note
    (tmp_path / "recipe.yaml").write_text("")
    page = render_report(RunFolder(tmp_path), made).read_text()
    assert page.count('data-name="used from"') == 2 and "0.956 (ivf)" in page
    markdown = (tmp_path / "report" / "report.md").read_text()
    lines = markdown.split("## Mined negatives")[1].split("##")[0].strip().splitlines()
    assert [line.count("|") for line in lines[:4]] == [10] * 4


def test_sources_are_named_where_there_are_several(tmp_path: Path) -> None:
    made = record(mining=[entry(0), entry(0, source="other")])
    assert [row[0] for row in mined.rows(made)] == [
        "pairs | <b>, version 0 of update 0",
        "other, version 0 of update 0",
    ]


def test_a_run_without_mining_has_no_such_part(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("")
    assert "Mined negatives" not in render_report(RunFolder(tmp_path), record()).read_text()
