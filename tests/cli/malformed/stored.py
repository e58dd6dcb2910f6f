"""Vectors on disk, through `embedkit mine`: a damaged store is made again, given ones with their ids are refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pyarrow import parquet

from tests.cli.conftest import Done
from tests.cli.malformed.case import DATA, Case, Spoil
from tests.cli.malformed.ground import FILES, MINE
from tests.model import damaged

NEEDS = ("q.jsonl", "c.jsonl")
GIVEN = (*MINE, *FILES, "--corpus-vectors", "vec")
ARRAY = (*MINE, *FILES, "--corpus-vectors", "v.npy", "--corpus-ids", "ids.jsonl")
STORE = (*MINE, *FILES, "--store", "store")
IDS = "".join(f'"d{i}"\n' for i in range(24))


def _array(change: Callable[[np.ndarray], Any], ids: str = IDS) -> Spoil:
    """The encoded corpus as a plain array with a file of ids."""

    def spoil(folder: Path) -> None:
        (whole,) = (folder / "vec").glob("vectors-*.npy")
        np.save(folder / "v.npy", change(np.load(whole)))
        (folder / "ids.jsonl").write_text(ids)

    return spoil


def _holes(found: np.ndarray, value: float) -> np.ndarray:
    found[3, 5] = value
    return found


ARRAYS: dict[str, Spoil] = {
    "NaN": _array(lambda found: _holes(found, np.nan)),
    "infinity": _array(lambda found: _holes(found, np.inf)),
    "numbers beyond float32": _array(lambda found: _holes(found.astype(np.float64), 1e300)),
    "one dimension": _array(lambda found: found.ravel()),
    "three dimensions": _array(lambda found: found[None]),
    "texts": _array(lambda found: found.astype(str)),
    "complex numbers": _array(lambda found: found.astype(complex)),
    "true and false": _array(lambda found: found > 0),
    "objects": _array(lambda found: np.array([None] * 24, dtype=object)),
    "no columns": _array(lambda found: found[:, :0]),
    "no rows": _array(lambda found: found[:0]),
    "a row less": _array(lambda found: found[:-1]),
    "another size": _array(lambda found: found[:, :16]),
    "an id less": _array(lambda found: found, IDS.partition("\n")[2]),
    "an id twice": _array(lambda found: found, IDS.replace('"d1"', '"d0"')),
    "ids of others": _array(lambda found: found, IDS.replace("d", "x")),
    "an id that is a list": _array(lambda found: found, IDS.replace('"d1"', '["d1"]')),
    "an id that is a fraction": _array(lambda found: found, IDS.replace('"d1"', "1.5")),
    "an id of 20,000 brackets": _array(lambda found: found, IDS.replace('"d1"', "[" * 20_000)),
    "an id without quotes": _array(lambda found: found, IDS.replace('"d1"', "d1")),
    "a file that is empty": lambda folder: (_array(lambda v: v)(folder), (folder / "v.npy").write_bytes(b"")),
    "a file that is cut": lambda folder: (_array(lambda v: v)(folder), damaged.cut("v.npy", 500)(folder)),
    "a file that is text": lambda folder: (_array(lambda v: v)(folder), (folder / "v.npy").write_text("0.1 0.2")),
    "a file that is a folder": lambda folder: (_array(lambda v: v)(folder), damaged.folder("v.npy")(folder)),
    "ids that are not there": lambda folder: (_array(lambda v: v)(folder), (folder / "ids.jsonl").unlink()),
    "ids that are no UTF-8": lambda folder: (_array(lambda v: v)(folder), (folder / "ids.jsonl").write_bytes(b"\xff")),
}  # fmt: skip


def _encoding(**values: Any) -> Spoil:
    return damaged.field("vec/encode.json", **values)


def _lacking(name: str) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / "vec/encode.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({key: value for key, value in found.items() if key != name}), encoding="utf-8")

    return spoil


FOLDERS: dict[str, Spoil] = {
    "no record": damaged.without("vec/encode.json"),
    "a record that is empty": damaged.text("vec/encode.json", ""),
    "a record that is null": damaged.text("vec/encode.json", "null"),
    "a record that is a list": damaged.text("vec/encode.json", "[]"),
    "a record of 20,000 brackets": damaged.text("vec/encode.json", "[" * 20_000),
    "a record that is no UTF-8": damaged.data("vec/encode.json", b'{"a": "\xff"}'),
    "a record of another version": _encoding(format=9),
    "a record without its files": _lacking("files"),
    "files that are a number": _encoding(files=5),
    "files that are numbers": _encoding(files=[5]),
    "files that are a text": _encoding(files="vectors.npy"),
    "files that are null": _encoding(files=None),
    "no files": _encoding(files=[]),
    "a file that is not there": _encoding(files=["no.npy"]),
    "a file outside": _encoding(files=["../c.jsonl"]),
    "not whole": _encoding(whole=False),
    "whole that is missing": _lacking("whole"),
    "a fingerprint of another model": _encoding(fingerprint="0" * 64),
    "a fingerprint that is a number": _encoding(fingerprint=5),
    "no fingerprint": _lacking("fingerprint"),
    "ids that end early": damaged.cut("vec/ids.jsonl", 30),
    "a folder of nothing": lambda folder: [path.unlink() for path in (folder / "vec").iterdir()],
}


def _shards(ending: str, change: Callable[[Path], Any]) -> Spoil:
    return lambda folder: [change(path) for path in (folder / "store").rglob(f"*{ending}")]


def _replaced(old: bytes, new: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(path.read_bytes().replace(old, new, 1))


STORES: dict[str, Spoil] = {
    "keys that are empty": _shards(".keys", lambda path: path.write_bytes(b"")),
    "keys that are cut": _shards(".keys", lambda path: path.write_bytes(path.read_bytes()[:-8])),
    "keys with a byte changed": _shards(".keys", lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\x99")),
    "keys of another version": _shards(".keys", _replaced(b'"format": ', b'"format": 9')),
    "a head of 20,000 brackets": _shards(".keys", lambda path: path.write_bytes(b"[" * 20_000 + b"\n")),
    "a head that is null": _shards(".keys", lambda path: path.write_bytes(b"null\n")),
    "vectors that are empty": _shards(".npy", lambda path: path.write_bytes(b"")),
    "vectors that are cut": _shards(".npy", lambda path: path.write_bytes(path.read_bytes()[:-40])),
    "vectors of another kind": _shards(".npy", lambda path: np.save(path, np.zeros((3, 2)))),
    "vectors that are a pickle": _shards(".npy", lambda path: np.save(path, np.array([{}], dtype=object))),
    "vectors that are not there": _shards(".npy", lambda path: path.unlink()),
    "what a kill left": lambda folder: [
        (path.parent / ".embedkit-x.part").write_bytes(b"half") for path in (folder / "store").rglob("space.json")
    ],
}
SPACES: dict[str, Spoil] = {
    "empty": _shards("space.json", lambda path: path.write_bytes(b"")),
    "null": _shards("space.json", lambda path: path.write_bytes(b"null")),
    "20,000 brackets": _shards("space.json", lambda path: path.write_bytes(b"[" * 20_000)),
    "no UTF-8": _shards("space.json", lambda path: path.write_bytes(b'{"model": "\xff"}')),
    "of another model": _shards("space.json", _replaced(b'"model": "', b'"model": "0')),
    "a folder": _shards("space.json", lambda path: (path.unlink(), path.mkdir())),
}


def cases() -> Iterator[Case]:
    for name, spoil in ARRAYS.items():
        yield Case("given vectors", name, spoil, ARRAY, DATA, (*NEEDS, "vec"))
    for name, spoil in FOLDERS.items():
        yield Case("given vectors", f"folder: {name}", spoil, GIVEN, DATA, (*NEEDS, "vec"))
    for name, spoil in STORES.items():
        yield Case("store", f"made again: {name}", spoil, STORE, 0, (*NEEDS, "store"), then=as_mined)
    for name, spoil in SPACES.items():
        yield Case("store", f"space: {name}", spoil, STORE, DATA, (*NEEDS, "store"))
    plain = _array(lambda found: found)
    yield Case("given vectors", "sound: an array", plain, ARRAY, 0, (*NEEDS, "vec"), then=as_mined)
    yield Case("given vectors", "sound: a folder", lambda _: None, GIVEN, 0, (*NEEDS, "vec"), then=as_mined)
    no_ids = damaged.without("vec/ids.jsonl")  # as many vectors as documents are theirs in order
    yield Case("given vectors", "sound: no ids", no_ids, GIVEN, 0, (*NEEDS, "vec"), then=as_mined)
    yield Case("store", "as it was", lambda _: None, STORE, 0, (*NEEDS, "store"), then=as_mined)


def as_mined(folder: Path, done: Done) -> None:
    """The negatives are those that were found with sound vectors."""
    found, sound = (parquet.read_table(root / "m.parquet") for root in (folder, folder.parent / "ground"))
    for name in ("query_id", "positive_id", "negative_id", "negative"):
        assert found.column(name).equals(sound.column(name)), f"{name} is another"
