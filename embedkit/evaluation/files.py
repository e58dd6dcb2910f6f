"""Rows of evaluation files with the place of each, on top of `embedkit.inputs.records`; a bad row is an error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from embedkit.data.bad_rows import BadRows
from embedkit.disk.files import sha256
from embedkit.errors import DataError
from embedkit.foreign import showing
from embedkit.foreign.quoting import did_you_mean, listed, quoted
from embedkit.inputs.cures import PLAIN
from embedkit.inputs.records import BROKEN, columns_of, count, format_of, read
from embedkit.inputs.texts import fault, is_empty

logger = showing.logger(__name__)

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
            raise _missing(name, wanted, found, form, path)
    odd = BadRows()
    for line, values, reason, lines, note in read(path, form, columns=wanted):
        if values is None:
            raise DataError(reason if lines == 1 else f"{reason}, {lines:,} lines", f"{path}:{line}", _cure(reason))
        if note:
            odd.note(f"{path}:{line}", note)
        yield f"{path}:{line}", values
    for remark in odd.remarks:
        logger.warning("%s", remark)


def _missing(name: str, wanted: Sequence[str], found: list[str], form: str, path: Path) -> DataError:
    """A column is missing, or the whole header is, or there is no row."""
    if not found:
        return DataError("no row has a field", str(path), f"give a JSON object a line: {', '.join(wanted)}")
    if form in ("tsv", "csv") and not set(wanted) & set(found):
        separator = "<TAB>" if form == "tsv" else ","
        what = f"the first line names none of {', '.join(wanted)}; it reads {quoted(separator.join(found))}"
        return DataError(
            what, f"{path}:1", f"put a header line first: `{separator.join(wanted)}`, or correct the names"
        )
    hint = did_you_mean(name, [other for other in found if other not in wanted])
    return DataError(f"no column {quoted(name)}", f"{path}:1", f"{hint}columns: {listed(found)}")


def _cure(reason: str) -> str:
    cure = "correct the row or remove it"
    return f"{cure}; if the file is Latin-1, {PLAIN.encoding('latin-1')}" if reason == BROKEN else cure


def count_rows(path: Path) -> int:
    """Rows of a file, bad ones included; JSON is not parsed."""
    return count(path, format_of(path))


def column(row: Row, name: str) -> Any:
    """The value of a column.

    Raises:
        DataError: this row (of a JSONL file) lacks it.
    """
    where, values = row
    if name not in values:
        raise DataError(f"no field {quoted(name)}", where, f"fields of this row: {listed(values)}")
    return values[name]


def text_column(row: Row, name: str, *, empty: bool = False) -> str:
    """A column that must hold text, with something to see in it unless `empty`.

    Raises:
        DataError: it does not.
    """
    value = column(row, name)
    if not isinstance(value, str):
        raise DataError(f"{name}: expected text, got {quoted(value)}", row[0], "correct the row")
    wrong = "" if empty and is_empty(value) else fault(value)
    if wrong:
        what = f"{name} is empty" if wrong == "empty text" else f"{wrong} in {name}"
        raise DataError(what, row[0], "correct the field or remove the row")
    return value


def file_digest(path: Path) -> str:
    """First 16 hex digits of the SHA-256 of a file as it lies on disk."""
    return sha256(path)[:16]
