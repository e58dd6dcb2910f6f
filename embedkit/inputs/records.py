"""Reading files row by row, with the line each row stands on and a reason for each that cannot be read.

A blank line inside a file is a bad row; blank lines at its end are not rows. Line numbers count from 1, the header
included; a CSV row that spans lines has the number of its first; a Parquet row has its row number.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from embedkit.errors import DataError
from embedkit.foreign.quoting import quoted
from embedkit.inputs import parquet
from embedkit.inputs.cures import PLAIN, Cures
from embedkit.inputs.lines import CARRIAGE_RETURN, TOO_LONG, TextFile
from embedkit.inputs.quotes import CsvRows
from embedkit.inputs.rows import Fields, Record
from embedkit.inputs.texts import is_broken

PEEK = 1000
"""Rows of a JSONL file that are read to learn its columns."""
BROKEN = "broken encoding"

_ENDINGS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "txt",
}


def format_of(path: Path) -> str:
    """The format by the file's ending, ``.gz`` aside.

    Raises:
        DataError: an ending that says nothing.
    """
    ending = path.with_suffix("").suffix if path.suffix.lower() == ".gz" else path.suffix
    if ending.lower() not in _ENDINGS:
        raise DataError(
            f"the ending {quoted(ending)} does not say the format",
            str(path),
            "set `format:` to jsonl, csv, tsv, parquet or txt",
        )
    return _ENDINGS[ending.lower()]


def columns_of(path: Path, form: str, encoding: str = "utf-8", cures: Cures = PLAIN) -> list[str]:
    """Column names in the order of the file: the header, the Parquet schema, the keys of the first `PEEK` JSON
    objects (none if no line is an object), ``text`` for plain text.

    Raises:
        DataError: the file is empty, unreadable or names a column twice.
    """
    if form == "txt":
        return ["text"]
    if form == "parquet":
        return _distinct(parquet.columns(path), str(path))
    if form == "jsonl":
        with contextlib.closing(_jsonl(TextFile(path, encoding, cures, next_line=True))) as records:
            found = (r.values for r in islice(records, PEEK) if r.values is not None)
            return list(dict.fromkeys(key for values in found for key in values))
    with contextlib.closing(_fields(TextFile(path, encoding, cures), form)) as rows:
        return _header(path, next(rows, None), cures)


def read(
    path: Path, form: str, encoding: str = "utf-8", columns: Iterable[str] = (), cures: Cures = PLAIN
) -> Iterator[Record]:
    """All rows of a file, good and bad, in order.

    Args:
        path: the file; gzipped or not, found out by its first bytes.
        form: jsonl, csv, tsv, parquet or txt.
        encoding: of text files.
        columns: what the caller will look at; only these are read from Parquet. All when empty.
        cures: advice for errors.

    Raises:
        DataError: the file cannot be read on (it is missing, truncated, not in this format).
        RecipeError: unknown encoding.
    """
    if form == "parquet":
        yield from parquet.rows(path, list(columns))
        return
    file = TextFile(path, encoding, cures, next_line=form == "jsonl")
    if form == "jsonl":
        yield from _jsonl(file)
    elif form == "txt":
        yield from _txt(file)
    else:
        with contextlib.closing(_fields(file, form)) as rows:
            yield from _table(_header(path, next(rows, None), cures), rows)


def count(path: Path, form: str, encoding: str = "utf-8", cures: Cures = PLAIN) -> int:
    """Rows of a file, bad ones included, as `read` gives them; JSON and fields are not parsed.

    Raises:
        DataError, RecipeError: as `read`.
    """
    if form == "parquet":
        return parquet.count(path)
    file = TextFile(path, encoding, cures, next_line=form == "jsonl")
    if form == "csv":
        return max(0, sum(1 for _ in _fields(file, form)) - 1)
    return max(0, sum(1 for _ in file.numbered()) - (form == "tsv"))


def _jsonl(file: TextFile) -> Generator[Record, None, None]:
    for number, line in file.numbered():
        reason = _unreadable(line)
        if reason or line is None:
            yield Record(number, None, reason)
            continue
        try:
            values = json.loads(line, object_pairs_hook=_once)
        except _GivenTwice as twice:
            yield Record(number, None, str(twice))
        except RecursionError:
            yield Record(number, None, "JSON nested too deeply")
        except json.JSONDecodeError:
            yield Record(number, None, CARRIAGE_RETURN if "\r" in line else "malformed JSON")
        except ValueError:  # Python converts no number of more than 4,300 digits
            yield Record(number, None, "a number of too many digits")
        else:
            good = isinstance(values, dict)
            yield Record(number, values if good else None, "" if good else "not a JSON object")


class _GivenTwice(ValueError):
    """A JSON object names a key twice."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _GivenTwice(f"key {quoted(_twice([key for key, _ in pairs]))} given twice")
    return found


def _txt(file: TextFile) -> Iterator[Record]:
    for number, line in file.numbered():
        reason = _unreadable(line) or (CARRIAGE_RETURN if line and "\r" in line else "")
        yield Record(number, None if reason else {"text": line}, reason)


def _unreadable(line: str | None) -> str:
    if line is None:
        return TOO_LONG
    return "empty line" if not line else BROKEN if is_broken(line) else ""


def _fields(file: TextFile, form: str) -> Generator[Fields, None, None]:
    if form == "csv":
        yield from CsvRows(file)
        return
    for number, line in file.numbered():  # tab-separated: quotes are ordinary characters
        reason = TOO_LONG if line is None else CARRIAGE_RETURN if "\r" in line else "" if line else "empty line"
        yield Fields(number, None if reason or line is None else line.split("\t"), reason)


def _header(path: Path, first: Fields | None, cures: Cures) -> list[str]:
    line, names, reason, *_ = first or Fields(1, None, "the file is empty")
    where = f"{path}:{line}"
    if names is None:
        raise DataError(f"no header: {reason}", where, "the first line must name the columns")
    if any(is_broken(name) for name in names):
        raise DataError(f"the header has a {BROKEN}", where, cures.encoding("latin-1") + " if it is Latin-1")
    return _distinct(names, where)


def _distinct(names: list[str], where: str) -> list[str]:
    if len(set(names)) < len(names):
        what = f"the header names {quoted(_twice(names))} twice"
        raise DataError(what, where, "give every column its own name; the first line must name the columns")
    return names


def _twice(names: Iterable[str]) -> str:
    return next(name for name, times in Counter(names).items() if times > 1)


def _table(names: list[str], rows: Iterable[Fields]) -> Iterator[Record]:
    for number, fields, reason, lines, note in rows:
        if fields is None:
            yield Record(number, None, reason, lines)
        elif any(is_broken(field) for field in fields):
            yield Record(number, None, BROKEN, lines)
        elif len(fields) != len(names):
            yield Record(number, None, f"{len(fields)} columns where the header has {len(names)}", lines)
        else:
            yield Record(number, dict(zip(names, fields, strict=True)), "", lines, note)
