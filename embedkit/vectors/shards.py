"""Files of vectors, each whole or absent: ``000042.npy`` [n, d], and ``000042.keys``, which makes it count."""

from __future__ import annotations

import json
import mmap
import zlib
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from embedkit.disk import files
from embedkit.errors import DataError
from embedkit.foreign.parsing import from_json
from embedkit.vectors.space import Space

FORMAT = 1
VECTORS, KEYS, ASIDE = ".npy", ".keys", ".damaged"
MAPS = 128
"""Files mapped at once: each takes one of the process's file descriptors."""
_FEW, _PART, _TOUCHED = 16, 2**19, 2**25
"""Of a large reading, for each part: the least rows, the most bytes of rows, and about the most bytes between the first
and the last. Each row may map 2 MiB around it."""
_FORGET = getattr(mmap, "MADV_DONTNEED", None)
"""None where the system cannot (Windows)."""


class DamagedShard(Exception):
    """A shard that cannot be used, and why."""


def write_array(file: BinaryIO, array: np.ndarray) -> None:
    """Write an array as ``.npy``, as `numpy.save` would.

    That hands a real file to C, whose last buffer is lost without a word where the disk is full.
    """
    array = np.ascontiguousarray(array)
    write_header(file, array.dtype, array.shape)
    file.write(array.data)


def write_header(file: BinaryIO, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """The beginning of a ``.npy`` file, whose numbers follow in C order."""
    head = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, head)


@dataclass(frozen=True)
class Shard:
    """Vectors [n, d] in a file that is there and has the size it should have.

    Attributes:
        path: of the vectors.
        keys: [n, 2] uint64, of the texts.
    """

    path: Path
    keys: np.ndarray

    @classmethod
    def write(cls, path: Path, space: Space, keys: np.ndarray, vectors: np.ndarray) -> None:
        """Write the vectors [n, d], then the keys [n, 2], each under a temporary name first.

        Raises:
            WriteError: the disk is full, for one; nothing is left then.
        """
        content = keys.astype("<u8").tobytes()
        head = {"format": FORMAT, "space": space.digest, "count": len(keys), "crc32": zlib.crc32(content)}
        try:
            with files.new_file(path) as file:
                write_array(file, vectors)
            with files.new_file(path.with_suffix(KEYS)) as file:
                file.write(json.dumps(head).encode() + b"\n" + content)
        except BaseException:
            with suppress(OSError):
                path.unlink()
            raise

    @classmethod
    def read(cls, path: Path, space: Space) -> Shard:
        """Open a shard and check it.

        Raises:
            DamagedShard: of another space or format, cut short, or not a shard at all.
        """
        try:
            head, _, content = path.with_suffix(KEYS).read_bytes().partition(b"\n")
            found: dict[str, Any] = from_json(head)
            if found["format"] != FORMAT:
                raise DamagedShard(f"its format is {found['format']!r}, not {FORMAT}")
            if found["space"] != space.digest:
                raise DamagedShard("its vectors are of another model or setting")
            if len(content) != 16 * found["count"] or zlib.crc32(content) != found["crc32"]:
                raise DamagedShard("its keys are cut or changed")
            _check(mapped(path), int(found["count"]), space)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedShard(str(error) or type(error).__name__) from error
        return cls(path, np.frombuffer(content, "<u8").reshape(-1, 2))


def _check(vectors: np.ndarray, count: int, space: Space) -> None:
    if vectors.shape != (count, space.dim) or vectors.dtype != np.dtype(space.dtype):
        what = f"it holds {vectors.dtype} {list(vectors.shape)}, not {space.dtype} [{count}, {space.dim}]"
        raise DamagedShard(what)


def mapped(path: Path) -> np.ndarray:
    """The array of a ``.npy`` file, mapped.

    Raises:
        OSError, ValueError: it is not there, cut, or no such file.
    """
    found: np.ndarray = np.lib.format.open_memmap(path, mode="r")
    return found


def read_mapped(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """[m, d] a copy of the rows [m] of an array [n, d] that may be mapped, in float32.

    What a large reading touched does not stay resident in this process. The system's cache keeps it.
    """
    kept = isinstance(array, np.memmap) and array.mode == "r"  # of another mode, changes would be forgotten
    pages = getattr(array, "_mmap", None) if kept else None
    if len(rows) <= _FEW or pages is None or _FORGET is None:
        return array[rows].astype(np.float32, copy=False)
    order, width = np.argsort(rows, kind="stable"), array.itemsize * array.shape[1]
    reach = width * (1 + int(rows[order[-1]]) - int(rows[order[0]]))
    step = max(_FEW, min(_PART // width, len(rows) * _TOUCHED // reach))
    out = np.empty((len(rows), array.shape[1]), np.float32)
    for start in range(0, len(rows), step):
        part = order[start : start + step]
        out[part] = array[rows[part]]
        pages.madvise(_FORGET)
    return out


def set_aside(path: Path) -> None:
    """Rename a shard so that it does not count; nothing is removed."""
    for file in (path.with_suffix(KEYS), path):  # in this order: without keys it does not count
        with suppress(OSError):
            file.replace(file.with_name(file.name + ASIDE))


class Maps:
    """Mapped shards, the latest used ones within a bound of bytes: what small readings touch stays resident until then.

    Args:
        limit: bytes; at least one file is mapped.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self._bytes = limit, 0
        self._open: OrderedDict[Path, np.ndarray] = OrderedDict()

    def __call__(self, path: Path) -> np.ndarray:
        """The vectors of a shard.

        Raises:
            DataError: it is gone.
        """
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        try:
            found = mapped(path)
        except (OSError, ValueError) as error:
            what = f"vectors that were there cannot be read any more: {error}"
            raise DataError(what, str(path), "start again: what is missing is encoded again") from error
        self._open[path] = found
        self._bytes += found.nbytes
        while len(self._open) > 1 and (self._bytes > self.limit or len(self._open) > MAPS):
            self._bytes -= self._open.popitem(last=False)[1].nbytes
        return found
