"""Rows of Parquet files, through pyarrow."""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedkit.errors import DataError
from embedkit.foreign.parsing import from_json
from embedkit.inputs.opening import HEAD, open_bytes, refuse_foreign
from embedkit.inputs.rows import Record

MINED = "embedkit.mined"
"""Key of the metadata of a file of mined negatives."""
FORMATS = {MINED: "1"}
"""Kinds of Parquet files that embedkit writes, with the version of each that it reads."""
_BATCH = 4096


def columns(path: Path) -> list[str]:
    """The names of the columns.

    Raises:
        DataError: not a readable Parquet file, or one that another version of embedkit wrote.
    """
    with _opened(path) as file:
        _about(file, path)
        return list(file.schema_arrow.names)


def count(path: Path) -> int:
    """How many rows the file says it has.

    Raises:
        DataError: not a readable Parquet file.
    """
    with _opened(path) as file:
        return int(file.metadata.num_rows)


def rows(path: Path, names: list[str]) -> Iterator[Record]:
    """All rows, with the columns `names` (all if empty).

    Raises:
        DataError: not a readable Parquet file.
    """
    number = 0
    with _opened(path) as file:
        for batch in file.iter_batches(batch_size=_BATCH, columns=names or None):
            try:
                found = batch.to_pylist()
            except UnicodeDecodeError:
                yield from _one_by_one(batch, number)
                number += len(batch)
                continue
            for number, values in enumerate(found, number + 1):  # noqa: B020
                yield Record(number, values)


def about_of(path: Path) -> dict[str, Any] | None:
    """What a file that embedkit wrote says about itself; None for any other.

    Raises:
        DataError: not a readable Parquet file, or one that another version of embedkit wrote.
    """
    with _opened(path) as file:
        return _about(file, path)


def _about(file: Any, path: Path) -> dict[str, Any] | None:
    metadata = file.schema_arrow.metadata or {}
    for kind, version in FORMATS.items():
        if kind.encode() not in metadata:
            continue
        try:
            found = from_json(metadata[kind.encode()])
            written = found["format"]
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{kind} in its metadata is damaged", str(path), "make the file again") from None
        if written != version:
            what = f"was written by another version of embedkit: format {written} of {kind}, and {version} is read here"
            raise DataError(what, str(path), "make it again with this version, or read it with that one")
        return dict(found)
    return None


def _one_by_one(batch: Any, number: int) -> Iterator[Record]:
    """The rows of a batch in which some text is no UTF-8."""
    for place in range(len(batch)):
        try:
            (values,) = batch.slice(place, 1).to_pylist()
            yield Record(number + place + 1, values)
        except UnicodeDecodeError:
            yield Record(number + place + 1, None, "broken encoding")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import parquet

    with open_bytes(path) as raw:
        try:
            head = raw.peek(HEAD)
            if not head.startswith(b"PAR1"):
                refuse_foreign(head, path)
            # Parquet is read from its end, so a gzipped one has to be unzipped first.
            source = raw if raw.seekable() else io.BytesIO(raw.read())
            yield parquet.ParquetFile(source)
        except (pa.ArrowException, OSError, EOFError, zlib.error) as error:
            raise DataError(f"not a readable Parquet file: {error}", str(path), "check the file") from error
