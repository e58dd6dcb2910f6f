"""Rows of small data files with the place each came from: TSV, CSV, JSONL, Parquet, the text forms gzipped or not."""

from __future__ import annotations

import csv
import difflib
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from embedkit.errors import DataError

Row = tuple[str, dict[str, Any]]
"""``file:line`` and the columns of one row."""


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file, its form told by its ending.

    TSV has one header line and no quoting, so a quotation mark is a character like any other. CSV is quoted as
    spreadsheets do. JSONL holds one object per line.

    Raises:
        DataError: unknown ending, unreadable file, broken encoding, or a row that does not fit the header.
    """
    suffixes = [s.lower() for s in path.suffixes]
    ending = suffixes[-2] if suffixes[-1:] == [".gz"] and len(suffixes) > 1 else (suffixes[-1:] or [""])[0]
    if ending not in _READERS:
        raise DataError(f"unknown ending {ending!r}", str(path), f"known: {', '.join(_READERS)}; text forms also .gz")
    return _READERS[ending](path)


def column(row: Row, name: str) -> Any:
    """The value of a column.

    Raises:
        DataError: no such column; the message names the nearest one.
    """
    where, values = row
    if name not in values:
        near = difflib.get_close_matches(name, values, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise DataError(f"no column {name!r}", where, f"{hint}columns: {', '.join(map(str, values))}")
    return values[name]


def text_column(row: Row, name: str, *, empty: bool = False) -> str:
    """A column that must hold text, not white space alone unless `empty`."""
    value = column(row, name)
    if not isinstance(value, str):
        raise DataError(f"{name}: expected text, got {value!r}", row[0], "correct the row")
    if not empty and not value.strip():
        raise DataError(f"{name} is empty", row[0], "fill the field or remove the row")
    return value


def file_digest(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of a file as it lies on disk."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, line without its end) of a UTF-8 file, gzipped or not.

    Raises:
        DataError: the file cannot be read, or a line is not UTF-8.
    """
    opener: Callable[..., Any] = gzip.open if path.suffix.lower() == ".gz" else open
    number = 0
    try:
        with opener(path, "rb") as file:
            for number, raw in enumerate(file, 1):
                line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
                yield number, line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(f"not UTF-8 (byte {error.start})", f"{path}:{number}", "save the file as UTF-8") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DataError(f"cannot be read: {reason}", f"{path}:{number + 1}", "check that the file is whole") from error


def _tsv(path: Path) -> Iterator[Row]:
    return _table(path, ((number, line.split("\t")) for number, line in text_lines(path)))


def _csv(path: Path) -> Iterator[Row]:
    reader = csv.reader((line + "\n" for _, line in text_lines(path)), strict=True)

    def rows() -> Iterator[tuple[int, list[str]]]:
        try:
            for row in reader:
                yield reader.line_num, row
        except csv.Error as error:
            raise DataError(f"not CSV: {error}", f"{path}:{reader.line_num}", "check the quotes of this row") from error

    return _table(path, rows())


def _table(path: Path, rows: Iterator[tuple[int, list[str]]]) -> Iterator[Row]:
    header: list[str] = next(rows, (1, []))[1]
    if len(set(header)) != len(header) or not any(header):
        raise DataError(f"not a header line: {header!r}", f"{path}:1", "name every column once on the first line")
    for number, fields in rows:
        if not any(fields):
            continue
        if len(fields) != len(header):
            what = f"{len(fields)} fields, the header has {len(header)}"
            raise DataError(what, f"{path}:{number}", "correct the row; fields hold no tabs or line breaks")
        yield f"{path}:{number}", dict(zip(header, fields, strict=True))


def _jsonl(path: Path) -> Iterator[Row]:
    for number, line in text_lines(path):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            what = f"not JSON: {error.msg} (column {error.colno})"
            raise DataError(what, f"{path}:{number}", "write one JSON object per line") from error
        if not isinstance(row, dict):
            raise DataError("not a JSON object", f"{path}:{number}", "write one JSON object per line")
        yield f"{path}:{number}", row


def _parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        number = 0
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield f"{path} row {number}", row
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"cannot be read: {error}", str(path), "check that it is a whole Parquet file") from error


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".tsv": _tsv,
    ".csv": _csv,
    ".jsonl": _jsonl,
    ".parquet": _parquet,
}
