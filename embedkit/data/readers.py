"""Reading local files row by row, with the line each row stands on and a reason for each that cannot be read.

A blank line inside a file is a bad row; blank lines at its end are not rows. Line numbers count from 1, the header
included; a CSV row that spans lines has the number of its first; a Parquet row has its row number.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import zlib
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from embedkit.errors import DataError, RecipeError

PEEK = 1000
"""Rows of a JSONL file that are read to learn its columns."""

_ENDINGS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "txt",
}
_BROKEN = "broken encoding"


class Record(NamedTuple):
    """One row of a file: its values by column, or the reason why it has none."""

    line: int
    values: dict[str, Any] | None
    reason: str = ""


def format_of(path: Path) -> str:
    """The format by the file's ending, ``.gz`` aside.

    Raises:
        DataError: an ending that says nothing.
    """
    ending = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if ending.lower() not in _ENDINGS:
        raise DataError(
            f"the ending {ending!r} does not say the format",
            str(path),
            "set `format:` to jsonl, csv, tsv, parquet or txt",
        )
    return _ENDINGS[ending.lower()]


def columns_of(path: Path, form: str, encoding: str = "utf-8") -> list[str]:
    """Column names in the order of the file: the header, the Parquet schema, the keys of the first `PEEK` JSON
    objects (none if no line is an object), ``text`` for plain text.

    Raises:
        DataError: the file is empty, unreadable or names a column twice.
    """
    if form == "txt":
        return ["text"]
    if form == "parquet":
        with _parquet(path) as file:
            return list(file.schema_arrow.names)
    with contextlib.closing(_lines(path, encoding)) as lines:
        if form == "jsonl":
            found = (r.values for r in islice(_jsonl(lines), PEEK) if r.values is not None)
            return list(dict.fromkeys(key for values in found for key in values))
        return _header(path, _csv_rows(lines) if form == "csv" else _tsv_rows(lines))


def read(path: Path, form: str, encoding: str = "utf-8", columns: Iterable[str] = ()) -> Iterator[Record]:
    """All rows of a file, good and bad, in order.

    Args:
        path: the file; gzipped or not, found out by its first bytes.
        form: jsonl, csv, tsv, parquet or txt.
        encoding: of text files.
        columns: what the caller will look at; only these are read from Parquet. All when empty.

    Raises:
        DataError: the file cannot be read on (it is missing, truncated, not in this format).
        RecipeError: unknown encoding.
    """
    if form == "parquet":
        yield from _parquet_rows(path, list(columns))
        return
    with contextlib.closing(_lines(path, encoding)) as lines:
        if form == "jsonl":
            yield from _jsonl(lines)
        elif form == "txt":
            yield from _txt(lines)
        else:
            rows = _csv_rows(lines) if form == "csv" else _tsv_rows(lines)
            yield from _table(_header(path, rows), rows)


def open_bytes(path: Path) -> IO[bytes]:
    """The file's bytes, unzipped if they are gzipped.

    Raises:
        DataError: there is no such file.
    """
    try:
        raw = path.open("rb")
    except OSError as error:
        raise DataError(f"cannot be opened: {error.strerror}", str(path), "check the path") from error
    if raw.peek(2)[:2] != b"\x1f\x8b":
        return raw
    return gzip.open(raw, "rb")  # type: ignore[return-value]


def _lines(path: Path, encoding: str) -> Generator[str, None, None]:
    """Physical lines with their ends. Bytes that are not in `encoding` become lone surrogates, see `is_broken`."""
    try:
        # A byte order mark is no part of the first column's name.
        encoding = "utf-8-sig" if "a".encode(encoding) == b"a" and encoding.lower() in ("utf-8", "utf8") else encoding
    except LookupError as error:
        raise RecipeError(f"unknown encoding {encoding!r}", "data.sources.encoding", "e.g. utf-8, latin-1") from error
    number = 0
    with open_bytes(path) as raw:
        text = io.TextIOWrapper(raw, encoding, errors="surrogateescape", newline="\n")
        try:
            for number, line in enumerate(text, 1):  # noqa: B007
                yield line
        except UnicodeError as error:
            raise DataError(f"not {encoding}: {error}", f"{path}:{number + 1}", "set `encoding:`") from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise DataError(f"the gzip stream is broken: {error}", f"{path}:{number + 1}", "fetch it again") from error


def is_broken(text: str) -> bool:
    """Whether `text` holds something no encoder can take: undecodable bytes or half of a surrogate pair."""
    if text.isascii():
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def _without_blank_end(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Numbered lines without their ends; blank ones only where a line that is not blank follows."""
    blank: list[int] = []
    for number, line in enumerate(lines, 1):
        line = line.rstrip("\r\n")
        if not line.strip():
            blank.append(number)
            continue
        for earlier in blank:
            yield earlier, ""
        blank.clear()
        yield number, line


def _jsonl(lines: Iterable[str]) -> Iterator[Record]:
    for number, line in _without_blank_end(lines):
        if not line:
            yield Record(number, None, "empty line")
        elif is_broken(line):
            yield Record(number, None, _BROKEN)
        else:
            try:
                values = json.loads(line)
            except (ValueError, RecursionError):
                yield Record(number, None, "malformed JSON")
                continue
            if isinstance(values, dict):
                yield Record(number, values)
            else:
                yield Record(number, None, "not a JSON object")


def _txt(lines: Iterable[str]) -> Iterator[Record]:
    for number, line in _without_blank_end(lines):
        if not line:
            yield Record(number, None, "empty line")
        elif is_broken(line):
            yield Record(number, None, _BROKEN)
        else:
            yield Record(number, {"text": line})


_Row = tuple[int, "list[str] | None", str]


def _tsv_rows(lines: Iterable[str]) -> Iterator[_Row]:
    """Tab-separated fields; quotes are ordinary characters."""
    for number, line in _without_blank_end(lines):
        yield (number, line.split("\t"), "") if line else (number, None, "empty line")


def _csv_rows(lines: Iterable[str]) -> Iterator[_Row]:
    """RFC 4180 fields: quotes may hold commas, doubled quotes and line breaks."""
    csv.field_size_limit(2**31 - 1)  # the default refuses documents of more than 128 KiB
    reader = csv.reader(lines, strict=True)
    blank: list[int] = []
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, None, f"malformed CSV ({error})"
            continue
        if not fields:
            blank.append(number)
            continue
        yield from ((earlier, None, "empty line") for earlier in blank)
        blank.clear()
        yield number, fields, ""


def _header(path: Path, rows: Iterator[_Row]) -> list[str]:
    line, names, reason = next(rows, (1, None, "the file is empty"))
    where = f"{path}:{line}"
    if names is None:
        raise DataError(f"no header: {reason}", where, "the first line must name the columns")
    if any(is_broken(name) for name in names):
        raise DataError(f"the header has a {_BROKEN}", where, "set `encoding:` to the file's encoding")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"the header names {twice[0]!r} twice", where, "give every column its own name")
    return names


def _table(names: list[str], rows: Iterator[_Row]) -> Iterator[Record]:
    for number, fields, reason in rows:
        if fields is None:
            yield Record(number, None, reason)
        elif any(is_broken(field) for field in fields):
            yield Record(number, None, _BROKEN)
        elif len(fields) != len(names):
            yield Record(number, None, f"{len(fields)} columns where the header has {len(names)}")
        else:
            yield Record(number, dict(zip(names, fields, strict=True)))


@contextlib.contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import parquet

    with open_bytes(path) as raw:
        try:
            # Parquet is read from its end, so a gzipped one has to be unzipped first.
            source = io.BytesIO(raw.read()) if isinstance(raw, gzip.GzipFile) else raw
            yield parquet.ParquetFile(source)
        except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
            raise DataError(f"not a readable Parquet file: {error}", str(path), "check the file") from error


def _parquet_rows(path: Path, columns: list[str]) -> Iterator[Record]:
    number = 0
    with _parquet(path) as file:
        for batch in file.iter_batches(batch_size=4096, columns=columns or None):
            for number, values in enumerate(batch.to_pylist(), number + 1):  # noqa: B020
                yield Record(number, values)
