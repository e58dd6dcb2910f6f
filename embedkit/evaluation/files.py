"""Rows of evaluation files with the place of each, on top of `embedkit.data.readers`; a bad row is an error."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from embedkit.data.readers import columns_of, format_of, open_bytes, read
from embedkit.errors import DataError

Row = tuple[str, dict[str, Any]]
"""``file:line`` and the columns of one row."""


def read_rows(path: Path, wanted: Sequence[str]) -> Iterator[Row]:
    """The rows of a TSV (header line, no quoting), CSV, JSONL or Parquet file, gzipped or not.

    Args:
        path: the file.
        wanted: columns that it must have.

    Raises:
        DataError: the file cannot be read, has no such column (the message names the nearest), or a row is bad
            (no row is skipped: a score must be of the whole set).
    """
    form = format_of(path)
    found = columns_of(path, form)
    for name in wanted:
        if name not in found:
            near = difflib.get_close_matches(name, [other for other in found if other not in wanted], n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise DataError(f"no column {name!r}", f"{path}:1", f"{hint}columns: {', '.join(found)}")
    for line, values, reason in read(path, form, columns=wanted):
        if values is None:
            raise DataError(reason, f"{path}:{line}", "correct the row or remove it")
        yield f"{path}:{line}", values


def count_rows(path: Path) -> int:
    """Rows of a file, bad ones included; JSONL and TSV are counted without being parsed."""
    form = format_of(path)
    if form not in ("jsonl", "tsv"):
        return sum(1 for _ in read(path, form))
    with open_bytes(path) as lines:
        return sum(1 for line in lines if line.strip()) - (form == "tsv")


def column(row: Row, name: str) -> Any:
    """The value of a column.

    Raises:
        DataError: this row (of a JSONL file) lacks it.
    """
    where, values = row
    if name not in values:
        raise DataError(f"no field {name!r}", where, f"fields of this row: {', '.join(values)}")
    return values[name]


def text_column(row: Row, name: str, *, empty: bool = False) -> str:
    """A column that must hold text, and not white space alone unless `empty`.

    Raises:
        DataError: it does not.
    """
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
