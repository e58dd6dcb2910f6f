"""A file's bytes: unzipped within bounds, and refused where they are plainly something else."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path
from typing import IO, Any

from embedkit.errors import DataError
from embedkit.foreign.limits import UNPACKED, UNPACKED_RATIO

HEAD = 1 << 16
"""Bytes that are looked at before a file is read."""
_GZIP = b"\x1f\x8b"
_FOREIGN = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself", "fetch the file: `git lfs pull`"),
    (b"PK\x03\x04", "a zip archive (an .xlsx is one too)", "unpack it, or save the table as CSV"),
    (b"\xfd7zXZ\x00", "packed with xz", "unpack it, or pack it with gzip"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "unpack it, or pack it with gzip"),
    (b"PAR1", "a Parquet file", "give it the ending .parquet, or set `format: parquet`"),
    (b"ARROW1", "an Arrow file", "convert it: datasets.Dataset.from_file(FILE).to_parquet(NEW)"),
    (b"SQLite format 3\x00", "an SQLite database", "export the table as CSV"),
    (b"%PDF-", "a PDF", "extract its text first"),
)


def open_bytes(path: Path) -> io.BufferedReader[Any]:
    """The file's bytes, unzipped if they are gzipped.

    Raises:
        DataError: there is no such file, or the system cannot read it; while it is read, that it unpacks to more than
            `UNPACKED` bytes and more than `UNPACKED_RATIO` times its size.
    """
    try:
        raw = io.BufferedReader(io.FileIO(path), HEAD)
    except (OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or str(error)
        raise DataError(f"cannot be opened: {what}", str(path), "check the path") from error
    try:
        packed = raw.peek(2)[:2] == _GZIP
    except OSError as error:
        raw.close()
        raise unreadable(error, path) from error
    if not packed:
        return raw
    return io.BufferedReader(_Unzipped(raw, path), HEAD)


def unreadable(error: OSError, path: Path, line: int = 0) -> DataError:
    """The error for a file that is there, and that the system gives no further byte of.

    Args:
        error: of the system.
        path: the file.
        line: the last one that was read.
    """
    after = f" after line {line:,}" if line else ""
    what = f"cannot be read{after}: {error.strerror or error}"
    return DataError(what, str(path), "look at the system's log and the disk; fetch the file again")


def refuse_foreign(head: bytes, path: Path) -> None:
    """Refuse a file that is no text, by its first bytes.

    Raises:
        DataError: it is an archive, a database, ...
    """
    for start, what, cure in _FOREIGN:
        if head.startswith(start):
            raise DataError(what, str(path), cure)


class _Unzipped(io.RawIOBase):
    """A gzip stream that ends in an error where it unpacks without measure.

    Args:
        raw: the packed file; closed with this.
        path: for messages.
    """

    def __init__(self, raw: IO[bytes], path: Path) -> None:
        self._raw, self._packed, self._path = raw, gzip.GzipFile(fileobj=raw), path
        self._most = max(UNPACKED, UNPACKED_RATIO * os.fstat(raw.fileno()).st_size)
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._packed.read1(len(buffer))
        self._read += len(block)
        if self._read > self._most:
            what = (
                f"unpacks to more than {self._most:,} bytes, over {UNPACKED_RATIO} times its size: damaged or hostile"
            )
            raise DataError(what, str(self._path), "if it is what you mean, unpack it with gunzip first")
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._packed.close()
        self._raw.close()
        super().close()
