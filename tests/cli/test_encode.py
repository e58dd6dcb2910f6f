"""``embedkit encode``: the files, what is refused, and going on where it was stopped."""

from __future__ import annotations

import json
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from embedkit.disk.locks import hold_folder
from embedkit.inputs.parquet import MINED
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from embedkit.vectors.given import given_vectors
from tests.cli.conftest import Done, spawn
from tests.tiny import sentences

Run = Callable[..., Done]
OPTIONS = ("--device", "cpu", "--offline")


def expected(texts: list[str], role: str = "document", **options: int) -> np.ndarray:
    return Encoder.load(Model(base="tiny"), device="cpu").encode(texts, role=role, **options)


def read(folder: str = "out") -> np.ndarray:
    return np.concatenate([np.load(p) for p in sorted(Path(folder).glob("vectors-*.npy"))])


def names(folder: str = "out") -> list[str]:
    return sorted(p.name for p in Path(folder).iterdir())


def test_a_text_file_in_order(embedkit: Run, work: Path) -> None:
    texts = sentences(64)
    done = embedkit("encode", "tiny", "--texts", "text.txt", "--out", "out", "--shards", "3", *OPTIONS)
    assert done.code == 0, done.err
    assert "forecast: less than 10 s for 64 texts" in done.out and "64 vectors of 32 dimensions, float32" in done.out
    files = [f"vectors-{i:05d}-of-00003.npy" for i in range(3)]
    assert names() == ["encode.json", "lines.npy", *files]
    assert [len(np.load(f"out/{name}")) for name in files] == [21, 21, 22]
    np.testing.assert_allclose(read(), expected(texts), atol=1e-6)
    assert np.load("out/lines.npy").tolist() == list(range(1, 65))
    record = json.loads(Path("out/encode.json").read_text())
    assert record["fingerprint"] == Encoder.load(Model(base="tiny"), device="cpu").fingerprint()
    wanted = {"count": 64, "dim": 32, "dtype": "float32", "prompt": "", "shards": 3, "files": files, "whole": True}
    assert {key: record[key] for key in wanted} == wanted


def test_settings_columns_and_ids(embedkit: Run, work: Path) -> None:
    texts = [*sentences(10), sentences(10)[3]]
    rows = [{"body": t, "key": f"d{i}"} for i, t in enumerate(texts)]
    Path("c.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    options = ("--column", "body", "--ids", "key", "--dtype", "f16", "--dim", "8", "--normalize", "--max-length", "5")
    done = embedkit("encode", "tiny", "--texts", "c.jsonl", "--out", "out", *options, "--role", "query", *OPTIONS)
    assert done.code == 0, done.err
    want = expected(texts, "query", max_length=5)[:, :8]
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    assert read().dtype == np.float16
    np.testing.assert_allclose(read(), want, atol=2.0**-11)
    assert [json.loads(line) for line in Path("out/ids.jsonl").read_text().splitlines()] == [r["key"] for r in rows]
    view = given_vectors(Path("out"), wanted=["d7", "d10", "d3"])
    np.testing.assert_array_equal(view[:], read()[[7, 10, 3]].astype(np.float32))
    np.testing.assert_array_equal(view[1:2], view[2:3])


def test_again_it_does_what_is_missing(embedkit: Run, work: Path) -> None:
    command = ("encode", "tiny", "--texts", "text.txt", "--out", "out", "--shards", "4", *OPTIONS)
    assert embedkit(*command).code == 0
    whole, files = read(), sorted(Path("out").glob("vectors-*"))
    times = [f.stat().st_mtime_ns for f in files]
    again = embedkit(*command)
    assert again.code == 0 and "were whole already" in again.out and "forecast" not in again.out
    files[1].unlink()
    files[2].write_bytes(files[2].read_bytes()[:-4])
    again = embedkit(*command)
    assert "for 32 texts" in again.out and again.code == 0
    np.testing.assert_allclose(read(), whole, atol=1e-6)
    assert [f.stat().st_mtime_ns == t for f, t in zip(files, times, strict=True)] == [True, False, False, True]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (("--dtype", "f16"), "dtype is not the same"),
        (("--max-length", "7", "--dim", "4"), "dim, max_length are not the same"),
        (("--texts", "other.txt"), "texts is not the same"),
        (("--shards", "2"), "shards is not the same"),
        (("--model", "other"), "model is not the same"),
    ],
)
def test_another_encoding_is_refused_and_nothing_lost(
    embedkit: Run, work: Path, change: tuple[str, ...], what: str
) -> None:
    from tests.tiny import tiny_bert

    tiny_bert("other", seed=1)
    Path("other.txt").write_text("\n".join(sentences(64)[::-1]) + "\n")
    assert embedkit("encode", "tiny", "--texts", "text.txt", "--out", "out", *OPTIONS).code == 0
    before = {p: p.read_bytes() for p in Path("out").iterdir()}
    model, change = ("other", ()) if "--model" in change else ("tiny", change)
    texts = () if "--texts" in change else ("--texts", "text.txt")
    done = embedkit("encode", model, *texts, "--out", "out", *change, *OPTIONS)
    assert done.code == 1 and what in done.err
    assert {p: p.read_bytes() for p in Path("out").iterdir()} == before


@pytest.mark.parametrize(
    ("arguments", "code", "what"),
    [
        (("--texts", "no.txt"), 3, "no such file"),
        (("--texts", "empty.txt"), 3, "has no rows"),
        (("--texts", "empty.jsonl"), 3, "empty.jsonl: has no rows"),
        (("--texts", "gaps.jsonl"), 3, "gaps.jsonl:2: no text"),
        (("--texts", "mixed.jsonl", "--ids", "id"), 3, "mixed.jsonl:2: the id of an earlier row comes again"),
        (("--texts", "old.parquet"), 3, "written by another version of embedkit: format 0"),
        (("--texts", "gaps.txt"), 3, "gaps.txt:2: empty line"),
        (("--texts", "text.txt", "--column", "body"), 3, "no column 'body'"),
        (("--texts", "twice.jsonl", "--ids", "id"), 3, "twice.jsonl:3: the id of an earlier row comes again"),
        (("--texts", "text.txt", "--role", "both"), 2, "--role: there is no 'both'"),
        (("--texts", "text.txt", "--dtype", "int8"), 2, "--dtype: there is no 'int8'"),
        (("--texts", "text.txt", "--dim", "33"), 2, "--dim: 33 dimensions asked"),
        (("--texts", "text.txt", "--shards", "65"), 2, "65 shards of 64 texts"),
        (("--texts", "text.txt", "--max-length", "99"), 2, "--max-length: max_length 99 is more than"),
        (("--texts", "text.txt", "--device", "gpu"), 2, "--device: there is no device 'gpu' here"),
        (("--texts", "text.txt", "--device", "meta"), 2, "--device: there is no device 'meta' here"),
    ],
)
def test_errors(embedkit: Run, work: Path, arguments: tuple[str, ...], code: int, what: str) -> None:
    Path("empty.txt").touch()
    Path("gaps.txt").write_text("a\n\nb\n")
    Path("empty.jsonl").touch()
    Path("gaps.jsonl").write_text('{"text": "a"}\n{"id": 2}\n{"text": "c"}\n')
    Path("mixed.jsonl").write_text('{"text": "a", "id": 7}\n{"text": "b", "id": "7"}\n')
    old = pa.table({"text": ["a", "b"]}).replace_schema_metadata({MINED: json.dumps({"format": "0"})})
    parquet.write_table(old, "old.parquet")
    Path("twice.jsonl").write_text("".join(json.dumps({"text": "a", "id": i}) + "\n" for i in (1, "2", 2)))
    done = embedkit("encode", "tiny", *arguments, "--out", "out", "--offline")
    assert (done.code, what in done.err) == (code, True), done
    assert not Path("out").exists() or not names()


def test_a_filled_folder_and_a_busy_one_are_left_alone(embedkit: Run, work: Path) -> None:
    Path("out").mkdir()
    Path("out/keep").touch()
    done = embedkit("encode", "tiny", "--texts", "text.txt", "--out", "out", *OPTIONS)
    assert done.code == 1 and "holds something else" in done.err and names() == ["keep"]
    with hold_folder(Path("busy"), "encoding"):
        done = embedkit("encode", "tiny", "--texts", "text.txt", "--out", "busy", *OPTIONS)
    assert done.code == 1 and "has been encoding here since" in done.err


def test_bad_rows_are_left_out_where_they_may_be(embedkit: Run, work: Path) -> None:
    Path("gaps.txt").write_text("ba de\n\nfi go\n")
    done = embedkit("encode", "tiny", "--texts", "gaps.txt", "--out", "out", "--skip-bad-rows", *OPTIONS)
    assert done.code == 0 and "1 bad rows left out" in done.out
    assert np.load("out/lines.npy").tolist() == [1, 3]
    np.testing.assert_allclose(read(), expected(["ba de", "fi go"]), atol=1e-6)


def test_killed_it_goes_on_to_the_same_bits(embedkit: Run, work: Path) -> None:
    Path("many.txt").write_text("\n".join(sentences(20_000, shortest=9)) + "\n")
    command = ("encode", "tiny", "--texts", "many.txt", "--shards", "2", *OPTIONS)
    child = spawn(*command, "--out", "cut")
    folder = Path("cut/.embedkit-vectors")
    while child.poll() is None and not list(folder.glob("*/*.keys")):
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL and not json.loads(Path("cut/encode.json").read_text())["whole"]
    done = embedkit(*command, "--out", "cut")
    assert done.code == 0 and "for 10,000 texts" in done.out, done
    assert embedkit(*command, "--out", "whole").code == 0
    np.testing.assert_array_equal(read("cut"), read("whole"))
    assert not list(Path("cut").glob(".*"))


@pytest.mark.parametrize("limit", [200, 4000, 9000])
def test_a_full_disk_loses_nothing(embedkit: Run, work: Path, limit: int) -> None:
    """In the middle of the record, of a shard that is encoded, and of a file of vectors; then there is room again."""
    command = ("encode", "tiny", "--texts", "text.txt", "--out", "out", "--shards", "1", *OPTIONS)
    assert embedkit(*command[:4], "--out", "whole", *OPTIONS).code == 0
    Path("twice.txt").write_text("\n".join([*sentences(64), *sentences(64)[:40]]) + "\n")  # the file is the larger one
    texts = "twice.txt" if limit == 9000 else "text.txt"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        done = embedkit(*command, "--texts", texts)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert done.code == 1 and "cure: " in done.err and "Traceback" not in done.err, done
    assert not list(Path("out").glob("vectors-*")) and not list(Path("out").rglob("*.part"))
    assert embedkit(*command, "--texts", texts).code == 0
    np.testing.assert_array_equal(read()[:64], read("whole"))


def test_a_model_that_gives_no_numbers(embedkit: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = Encoder.encode

    def broken(self: Encoder, texts: list[str], **options: Any) -> np.ndarray:
        found = encode(self, texts, **options)
        found[[text == sentences(64)[7] for text in texts]] = np.nan
        return found

    monkeypatch.setattr(Encoder, "encode", broken)
    done = embedkit("encode", "tiny", "--texts", "text.txt", "--out", "out", *OPTIONS)
    assert done.code == 1 and "text 7: 1 of 64 vectors are not finite" in done.err and "Traceback" not in done.err
    assert not list(Path("out").glob("vectors-*"))
    monkeypatch.undo()
