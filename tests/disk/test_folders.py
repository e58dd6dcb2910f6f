"""A run's record is read back as it was written, or refused with the reason."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedkit.disk.folders import RunFolder
from embedkit.errors import RecordError
from tests.publish import records


def test_a_record_comes_back(tmp_path: Path) -> None:
    folder, made = RunFolder(tmp_path), records.record(updates=300, inputs={"data.sources.0.path": {"a.tsv": "1f"}})
    assert folder.read_record() is None
    folder.write_record(made)
    assert folder.read_record() == made
    assert json.loads(folder.record.read_text())["format"] == 1


def test_the_recipe_is_read_as_far_as_it_can_be(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.recipe_text == ""
    folder.recipe.write_bytes(b"a: caf\xe9\n")
    assert folder.recipe_text == "a: caf\ufffd\n"


DAMAGED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a field of another type": (lambda r: {**r, "curve": 5}, "damaged: curve: "),
    "a text for a number": (lambda r: {**r, "seed": "42"}, "damaged: seed: "),
    "scores without tasks": (lambda r: {**r, "scores_after": {"average": 1.0}}, "damaged: scores_after: "),
    "a task without its main metric": (
        lambda r: {**r, "scores_before": {"average": 1.0, "tasks": [{"task": "A", "main": "m", "metrics": {}}]}},
        "damaged: scores_before: ",
    ),
    "an interval of other fields": (
        lambda r: {**r, "comparison": [{"task": "A", "difference": {"mean": 1.0}}]},
        "damaged: comparison: ",
    ),
    "times that are NaN": (lambda r: {**r, "timings": {"training": math.nan}}, "damaged: timings: "),
    "energy without end": (lambda r: {**r, "energy": {"processor": math.inf}}, "damaged: energy: "),
    "a score that is NaN": (lambda r: {**r, "scores_after": {"average": math.nan, "tasks": []}}, "scores_after: "),
    "a block that is none": (lambda r: {**r, "recipe": {"train": [1]}}, "damaged: recipe: "),
    "a source that is none": (lambda r: {**r, "data": [{"skipped": 5}]}, "damaged: data: "),
    "of a newer version": (
        lambda r: {**r, "format": 2, "versions": {"embedkit": "9.1"}},
        "another version of embedkit (9.1)",
    ),
    "of a newer version without a number": (
        lambda r: {**r, "mined": [], "judged": {}},
        "another version of embedkit (0.1.0); unknown here: judged, mined",
    ),
    "another program's": (lambda r: {"config": {}, "history": []}, "is not the record of a run"),
    "a list": (lambda r: [1], "is not the record of a run"),
    "null": (lambda r: None, "is not the record of a run"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_no_record_of_this_version(tmp_path: Path, name: str) -> None:
    folder = RunFolder(tmp_path)
    folder.write_record(records.record())
    change, words = DAMAGED[name]
    folder.record.write_text(json.dumps(change(json.loads(folder.record.read_text()))))
    with pytest.raises(RecordError) as caught:
        folder.read_record()
    assert words in caught.value.what and caught.value.where == str(folder.record) and caught.value.cure


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b'{"recipe_hash": "x", "recipe": {}, "da', "is cut or damaged"),
        (b"\xff\xfe{\x00", "is cut or damaged"),
        (b"[" * 100_000, "is cut or damaged"),
    ],
)
def test_what_is_no_json(tmp_path: Path, content: bytes, words: str) -> None:
    folder = RunFolder(tmp_path)
    folder.record.write_bytes(content)
    with pytest.raises(RecordError, match=words):
        folder.read_record()


def test_what_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "run.json").mkdir()
    with pytest.raises(RecordError, match="cannot be read"):
        RunFolder(tmp_path).read_record()
