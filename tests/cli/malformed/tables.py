"""Parquet files: cut, of other columns and types, and those that embedkit itself wrote (mined negatives)."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from embedkit.inputs.parquet import MINED
from tests.cli.malformed.case import DATA, RECIPE, Case, Check, Spoil
from tests.cli.malformed.ground import ENCODE, TEXTS, assert_vectors, vectors

FILE = "bad.parquet"
TWO = ["ba de fi", "go ku la"]
SMALL = ("train.batch_size=2", "train.steps=1", "train.device=cpu", "eval.suite=null", "objective=infonce", "--offline")
TRAIN = ("train", "r.yaml", "data.sources.0.path=m.parquet", *SMALL, "--out", "run")
CHECK = ("check", "r.yaml", "data.sources.0.path=m.parquet", *SMALL[:-1], "--sample", "50", "--offline")


def _table(**columns: Any) -> Spoil:
    return lambda folder: parquet.write_table(pa.table(columns), folder / FILE)


def _about(value: bytes) -> Spoil:
    def spoil(folder: Path) -> None:
        parquet.write_table(pa.table({"text": TWO}).replace_schema_metadata({MINED: value}), folder / FILE)

    return spoil


def _twice(folder: Path) -> None:
    parquet.write_table(pa.Table.from_arrays([pa.array(TWO)] * 2, names=["text", "text"]), folder / FILE)


def _no_text(folder: Path) -> None:
    broken = pa.array([b"ba", b"caf\xe9"], pa.binary()).view(pa.string())
    parquet.write_table(pa.table({"text": broken}), folder / FILE)


WRONG: dict[str, Spoil] = {
    "no such column": _table(body=TWO),
    "numbers": _table(text=[1, 2]),
    "null in one row": _table(text=["ba", None]),
    "null in all rows": _table(text=pa.array([None, None], pa.string())),
    "a column of no type": _table(text=pa.nulls(2)),
    "bytes": _table(text=pa.array([b"ba", b"de"], pa.binary())),
    "lists": _table(text=[["ba"], ["de"]]),
    "structs": _table(text=[{"a": "ba"}, {"a": "de"}]),
    "times": _table(text=pa.array([1, 2], pa.timestamp("s"))),
    "no rows": _table(text=pa.array([], pa.string())),
    "no columns": lambda folder: parquet.write_table(pa.table({}), folder / FILE),
    "a column given twice": _twice,
    "bytes that are no UTF-8": _no_text,
    "an empty text": _table(text=["ba", ""]),
    "a NUL": _table(text=["ba", "d\0e"]),
    "mined, not JSON": _about(b"{"),
    "mined, a list": _about(b"[1]"),
    "mined, null": _about(b"null"),
    "mined, without its format": _about(b"{}"),
    "mined, 20,000 brackets": _about(b"[" * 20_000 + b"]" * 20_000),
    "mined, no UTF-8": _about(b'{"format": "\xff"}'),
    "mined, by another version": _about(b'{"format": "99"}'),
}
SOUND: dict[str, Spoil] = {
    "a dictionary": _table(text=pa.array(TWO).dictionary_encode()),
    "large texts": _table(text=pa.array(TWO, pa.large_string())),
    "odd columns beside the text": _table(x=[[1], None], text=TWO, y=pa.array([1, 2], pa.decimal128(5, 2))),
    "a group for each row": lambda folder: parquet.write_table(
        pa.table({"text": TWO}), folder / FILE, row_group_size=1
    ),
}


def _bytes(change: Callable[[bytes], bytes]) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / "texts.parquet"
        path.write_bytes(change(path.read_bytes()))

    return spoil


CUT: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda content: b"",
    "the mark alone": lambda content: content[:4],
    "the first half": lambda content: content[: len(content) // 2],
    "the last half": lambda content: content[len(content) // 2 :],
    "without the last byte": lambda content: content[:-1],
    "with a byte more": lambda content: content + b"\0",
    "a footer longer than the file": lambda content: content[:-8] + struct.pack("<I", 2**31 - 1) + content[-4:],
    "a footer of nothing": lambda content: content[:-8] + bytes(4) + content[-4:],
    "an encrypted footer": lambda content: content[:-4] + b"PARE",
    "zeros": lambda content: content[:4] + bytes(len(content) - 8) + content[-4:],
}


def _mined(change: Callable[[list[dict[str, Any]]], Any], *, types: dict[str, pa.DataType] | None = None) -> Spoil:
    """The rows of a file of mined negatives, changed, under its own schema but for `types`."""

    def spoil(folder: Path) -> None:
        table = parquet.read_table(folder / "m.parquet")
        rows = table.to_pylist()
        rows = change(rows) or rows
        fields = [field.with_type((types or {}).get(field.name, field.type)) for field in table.schema]
        kept = [field for field in fields if any(field.name in row for row in rows)]
        schema = pa.schema(kept, metadata=table.schema.metadata)
        parquet.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "m.parquet")

    return spoil


def _without(name: str) -> Callable[[list[dict[str, Any]]], Any]:
    return lambda rows: [{key: value for key, value in row.items() if key != name} for row in rows]


def _set(number: int, **values: Any) -> Callable[[list[dict[str, Any]]], Any]:
    return lambda rows: rows[number].update(values)


LISTS = pa.list_(pa.int64())
MINED_WRONG: dict[str, Spoil] = {
    "no query": _mined(_without("query")),
    "a query that is null": _mined(_set(2, query=None)),
    "a query that is empty": _mined(_set(2, query=" ")),
    "a positive that is null": _mined(_set(1, positive=None)),
    "positives that are numbers": _mined(
        lambda rows: [row | {"positive": 5} for row in rows], types={"positive": pa.int64()}
    ),
    "negatives that are numbers": _mined(
        lambda rows: [row | {"negative": [1, 2]} for row in rows], types={"negative": LISTS}
    ),
    "a negative with a NUL": _mined(_set(0, negative=["b\0a", "de"])),
    "by another version": lambda folder: parquet.write_table(
        parquet.read_table(folder / "m.parquet").replace_schema_metadata({MINED: json.dumps({"format": "7"})}),
        folder / "m.parquet",
    ),
    "cut": lambda folder: (folder / "m.parquet").write_bytes((folder / "m.parquet").read_bytes()[:-100]),
    "no rows": _mined(lambda rows: [{**rows[0]}][:0] or [dict.fromkeys(rows[0])]),
}
PLANNED = ("no query", "no rows")
"""What the plan refuses before the rows are read."""


def cases() -> Iterator[Case]:
    for name, spoil in WRONG.items():
        yield Case("parquet", name, spoil, (*ENCODE, FILE), DATA)
    for name, spoil in SOUND.items():
        yield Case("parquet", f"sound: {name}", spoil, (*ENCODE, FILE), 0, then=holds(TWO))
    for name, change in CUT.items():
        spoil, command = _bytes(change), (*ENCODE, "texts.parquet")
        yield Case("parquet", f"cut: {name}", spoil, command, DATA, ("texts.parquet",))
    for tenth in range(1, 10):
        spoil = _bytes(lambda content, tenth=tenth: content[: len(content) * tenth // 10])
        yield Case(
            *("parquet", f"cut: after {tenth} tenths", spoil, (*ENCODE, "texts.parquet"), DATA, ("texts.parquet",))
        )
    needs = ("m.parquet", "r.yaml", "text.txt", "suite.yaml", "sts.tsv")
    for name, spoil in MINED_WRONG.items():
        for verb, command in (("train", TRAIN), ("check", CHECK)):
            code = RECIPE if verb == "train" and name in PLANNED else DATA
            yield Case("mined", f"{name}, {verb}", spoil, command, code, needs)
    none = _mined(_set(0, negative=[None, None], negative_id=[None, None]))
    yield Case("mined", "sound: no negative in a row", none, CHECK, 0, needs)
    yield Case("mined", "sound: no scores", _mined(_without("negative_score")), CHECK, 0, needs)
    yield Case(
        "parquet", "as it was", lambda _: None, (*ENCODE, "texts.parquet"), 0, ("texts.parquet",), (), holds(TEXTS)
    )


def holds(texts: Sequence[str]) -> Check:
    """The vectors are those of the texts."""
    return lambda folder, done: assert_vectors(vectors(folder), texts)
