"""Hundreds of malformed inputs through the command line: a typed error with a cure, or what is there read right."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from tests.cli.conftest import Done
from tests.cli.malformed import ground, judged, models, others, recipes, rows, runs, stored, tables
from tests.cli.malformed.case import Case, Hang, complaint, deadline, identity

Run = Callable[..., Done]
LEAST = 300
FAST = (
    ("recipe", "YAML: anchors that repeat ten times each"),
    ("recipe", "YAML: 20,000 brackets"),
    ("recipe", "YAML: a key given twice"),
    ("recipe", "value: NaN"),
    ("recipe", "file: is a link to itself"),
    ("recipe", "changed bytes 3"),
    ("rows", "jsonl: a row that ends early"),
    ("rows", "jsonl: UTF-16 without a mark"),
    ("rows", "jsonl: half of a surrogate pair"),
    ("rows", "jsonl.gz: cut in the middle"),
    ("rows", "csv: an open quote"),
    ("rows", "csv, sound: line breaks and doubled quotes"),
    ("rows", "ids: a number and its digits"),
    ("rows", "place: is a pipe"),
    ("parquet", "lists"),
    ("parquet", "cut: a footer longer than the file"),
    ("qrels", "a document that is not there"),
    ("BEIR", "as it was"),
    ("suite", "a split that is not there"),
    ("graded pairs", "a score that is NaN"),
)
"""Some of every kind that needs no run, no store and no model but the tiny one."""


def all_cases() -> Iterator[Case]:
    return chain.from_iterable(room.cases() for room in (recipes, rows, tables, judged, models, runs, stored, others))


class Outcome(NamedTuple):
    """What came of a case: what is wrong with it, what the case is known by, and whether the command succeeded."""

    wrong: str
    known: str
    succeeded: bool = False


def outcome(case: Case, base: Path, number: int, embedkit: Run, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    """Run a case in a folder of its own, which is removed."""
    folder = base.parent / f"case-{number}"
    folder.mkdir()
    (folder / "tiny").symlink_to((base / "tiny").resolve())
    for name in case.needs:
        source = base / name
        shutil.copytree(source, folder / name) if source.is_dir() else shutil.copy(source, folder / name)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    case.spoil(folder)
    known = identity(case, folder)
    try:
        with deadline():
            done = embedkit(*case.command)
    except Hang:
        return Outcome("it hangs", known)
    found = Outcome(complaint(case, done, folder), known, done.code == 0)
    monkeypatch.chdir(base)
    shutil.rmtree(folder)
    return found


@pytest.fixture
def base(material: Path, tmp_path: Path, embedkit: Run, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of sound inputs, without those that take a run or a model's training."""
    folder = tmp_path / "ground"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    ground.files(folder, material)
    return folder


def test_some_of_them(base: Path, embedkit: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {(case.kind, case.name): case for case in all_cases()}
    wrong = {}
    for number, name in enumerate(FAST):
        what = outcome(found[name], base, number, embedkit, monkeypatch).wrong
        if what:
            wrong[name] = what
    assert not wrong, "\n".join(f"{': '.join(name)}: {what}" for name, what in wrong.items())


@pytest.mark.slow
def test_all_of_them(
    base: Path, embedkit: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    ground.made(base, embedkit)
    done = embedkit("encode", "sound", "--texts", "texts.txt", "--out", "sound-vectors", *ground.CPU)
    assert done.code == 0, done.err
    np.save("sound.npy", ground.vectors(base, "sound-vectors"))
    wrong: list[str] = []
    known: set[str] = set()
    refused, read = Counter[str](), Counter[str]()
    for number, case in enumerate(all_cases()):
        found = outcome(case, base, number, embedkit, monkeypatch)
        if found.known not in known:
            (read if found.succeeded else refused)[case.kind] += 1
        known.add(found.known)
        if found.wrong:
            wrong.append(f"{case.kind}: {case.name}: {found.wrong}")
    with capfd.disabled():
        print("\n\nrefused  read  kind of input")
        for kind in dict.fromkeys([*refused, *read]):
            print(f"{refused[kind]:7} {read[kind]:5}  {kind}")
        print(f"{refused.total():7} {read.total():5}  {len(known)} different inputs, {len(wrong)} that end wrong")
    assert len(known) >= LEAST
    assert not wrong, "\n".join(wrong)
