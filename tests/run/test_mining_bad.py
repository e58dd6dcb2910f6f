"""Mining while training with bad input and a full disk: an error that says so or a count, and nothing is lost."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file

from embedkit.errors import DataError, EmbedkitError, TrainingError, WriteError
from embedkit.inputs.parquet import MINED
from embedkit.mining import background, online
from embedkit.model.running.encoder import Encoder
from tests.run.mined import go, material, recipe

pytestmark = pytest.mark.cpu
STATIC = {"strategy": "static"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return material(tmp_path_factory.mktemp("bad"))


def short(steps: int, **blocks: Any) -> dict[str, Any]:
    train = {"batch_size": 8, "steps": steps, "device": "cpu", "learning_rate": 1e-3, "save_every": 2}
    return {"train": train, **blocks}


def jsonl(path: Path, *rows: Any) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


BAD = {
    "empty": ([], "there are no rows", "empty.jsonl"),
    "gaps": (
        [{"_id": "a", "text": ""}, {"_id": "b"}],
        "there are no usable rows; skipped: {'no text': 2}",
        "gaps.jsonl",
    ),
    "twice": (
        [{"_id": "a", "text": "x"}, {"_id": "a", "text": "y"}],
        "the id 'a' is that of an earlier document",
        "twice.jsonl:2",
    ),
    "mixed": (
        [{"_id": 7, "text": "x"}, {"_id": "7", "text": "y"}],
        'ids 7 and "7", a number and a text, are one id',
        "mixed.jsonl:2",
    ),
    "other": ([{"body": "x"}], "no column 'text'", "other.jsonl"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_corpus_that_cannot_be(folder: Path, tmp_path: Path, name: str) -> None:
    rows, what, where = BAD[name]
    jsonl(folder / f"{name}.jsonl", *rows)
    with pytest.raises(DataError) as caught:
        go(folder, str(tmp_path / "run"), recipe({**STATIC, "corpus": f"{name}.jsonl"}, **short(2)))
    assert (caught.value.what, caught.value.where) == (what, where) and caught.value.cure
    assert not (tmp_path / "run" / "mined").exists() and not (tmp_path / "run" / "model").exists()


def test_files_of_another_version_are_refused(folder: Path, tmp_path: Path) -> None:
    old = pa.table({"query": ["a b"], "positive": ["x"], "text": ["x"]})
    parquet.write_table(old.replace_schema_metadata({MINED: json.dumps({"format": "0"})}), folder / "old.parquet")
    for blocks in ({"mining": {**STATIC, "corpus": "old.parquet"}}, {"data": {"sources": [{"path": "old.parquet"}]}}):
        with pytest.raises(DataError, match="written by another version of embedkit: format 0"):
            go(folder, str(tmp_path / "run"), recipe(**{"mining": None, **short(2), **blocks}))


def test_one_document_that_is_the_positive_and_a_depth_beyond_it(folder: Path, tmp_path: Path) -> None:
    """Nothing is made up: the query has no negative, which is counted and said."""
    pair = json.loads((folder / "pairs.jsonl").read_text().splitlines()[0])
    jsonl(folder / "one.jsonl", *[pair] * 8)
    jsonl(folder / "only.jsonl", {"_id": "d", "text": pair["positive"]})
    lines: list[str] = []
    made = recipe({**STATIC, "corpus": "only.jsonl"}, **short(2, data={"sources": [{"path": "one.jsonl"}]}))
    found = go(folder, str(tmp_path / "run"), made, said=lines)
    assert [(v["negatives"], v["without"], v["index"]["rows"]) for v in found.mining] == [(0, 1, 1)]
    assert "negatives    one.jsonl: there is one document for a depth of 12: all are retrieved" in lines
    assert any("version 0 of update 0: 0 (1 queries have none)" in line for line in lines)


@pytest.mark.slow
def test_a_model_that_gives_no_numbers_stops_the_run_where_it_was(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, search = Encoder.encode, online.search

    def broken(self: Encoder, texts: Any, **options: Any) -> np.ndarray:
        found = encode(self, texts, **options)
        found[3] = np.nan
        return found

    def second(where: Path, *rest: Any) -> None:
        if where.name == "update-000002":
            monkeypatch.setattr(Encoder, "encode", broken)
        search(where, *rest)

    monkeypatch.setattr(online, "search", second)
    with pytest.raises(EmbedkitError, match="vectors are not finite, first of") as caught:
        go(folder, str(tmp_path / "run"), recipe(**short(4)))
    assert caught.value.where.startswith("text ") and "NaN or infinity" in caught.value.cure
    monkeypatch.undo()
    go(folder, str(tmp_path / "run"), recipe(**short(4)), resume=True)


def limited(limit: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """A limit on the size of files stops a write in its middle, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        return function(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def no_half(run: Path) -> bool:
    return not [path for path in run.rglob(".embedkit*") if path.suffix == ".part" or path.is_dir()]


def assert_same(run: Path, other: Path) -> None:
    a, b = (load_file(folder / "model" / "model.safetensors") for folder in (run, other))
    assert a.keys() == b.keys() and not [n for n in a if not torch.equal(a[n], b[n])]


@pytest.mark.parametrize("limit", [700, *(pytest.param(n, marks=pytest.mark.slow) for n in (100, 3000))])
def test_a_full_disk_while_training_waits_for_a_search(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    """The name of a space, the vectors of the queries, those of the documents; with room the run is the uncut one."""
    if not (folder / "sync").exists():
        go(folder, "sync", recipe(**short(4)))
    search = online.search

    def second(where: Path, *rest: Any) -> None:
        if where.name == "update-000002":
            limited(limit, search, where, *rest)
        else:
            search(where, *rest)

    monkeypatch.setattr(online, "search", second)
    run = tmp_path / "run"
    with pytest.raises(WriteError, match=r"larger than the system allows|could not be written whole"):
        go(folder, str(run), recipe(**short(4)))
    assert no_half(run) and "vectors" in str(json.loads((run / "run.json").read_text())["failed"])
    monkeypatch.undo()
    go(folder, str(run), recipe(**short(4)), resume=True)
    assert_same(run, folder / "sync")


@pytest.mark.slow
@pytest.mark.parametrize("part", ["copy of the model", "search"])
@pytest.mark.parametrize("limit", [100, 3000])
def test_a_full_disk_beside_the_training(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, limit: int
) -> None:
    """While the copy of the model is written, and in the process that searches."""
    made = recipe({"mode": "background"}, **short(6))
    if not (folder / "background").exists():
        go(folder, "background", made)
    prepare, popen = background.Background.prepare, subprocess.Popen

    def full(self: Any, *rest: Any) -> None:
        limited(limit, prepare, self, *rest)

    def starting(command: list[str], **options: Any) -> Any:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        before: Any = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))}
        return popen(command, **options, **(before if "embedkit.mining.background" in command else {}))

    if part == "search":
        monkeypatch.setattr(subprocess, "Popen", starting)
    else:
        monkeypatch.setattr(background.Background, "prepare", full)
    run = tmp_path / "run"
    with pytest.raises(TrainingError if part == "search" else WriteError) as caught:
        go(folder, str(run), made)
    assert no_half(run) and "Traceback" not in str(caught.value)
    if part == "search" and limit > 300:  # else its own words have no room, and stand in the log alone
        assert caught.value.what.startswith("the search for negatives failed: ") and ".npy" in caught.value.where
        assert "then resume the run" in caught.value.cure
    monkeypatch.undo()
    go(folder, str(run), made, resume=True)
    assert_same(run, folder / "background")
    shutil.rmtree(run)
