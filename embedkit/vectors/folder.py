"""The folder of `embedkit encode`: ``vectors-00000-of-00004.npy`` in the order of the texts, and ``encode.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from embedkit.disk import files
from embedkit.errors import DataError
from embedkit.foreign.parsing import from_json
from embedkit.vectors.shards import mapped, write_header
from embedkit.vectors.view import BLOCK, View

RECORD, IDS, LINES = "encode.json", "ids.jsonl", "lines.npy"
FORMAT = 1


def names(shards: int) -> list[str]:
    """The files of the vectors, in order."""
    return [f"vectors-{i:05d}-of-{shards:05d}.npy" for i in range(shards)]


def rows(count: int, shards: int) -> list[range]:
    """The texts of each file: equal shares, but for one."""
    return [range(count * i // shards, count * (i + 1) // shards) for i in range(shards)]


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write ``encode.json``.

    Raises:
        WriteError: it cannot be written.
    """
    files.write_json(folder / RECORD, {"format": FORMAT, **record})


def read_record(folder: Path) -> dict[str, Any] | None:
    """What `write_record` wrote, without its format; None where there is none.

    Raises:
        DataError: it is damaged, or of another version.
    """
    file = folder / RECORD
    try:
        found = from_json(file.read_bytes())
        if found.pop("format") != FORMAT:
            raise DataError("written by another version of embedkit", str(file), "encode again, into another folder")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"not the record of an encoding: {error}", str(file), "encode again") from error
    return dict(found)


def write_vectors(path: Path, view: View, dtype: str) -> None:
    """Write all rows of a view as one ``.npy`` file [n, d], a block at a time.

    Raises:
        WriteError: it cannot be written; nothing is left half-written.
    """
    little = np.dtype(dtype).newbyteorder("<")
    with files.new_file(path) as file:
        write_header(file, little, (len(view), view.dim))
        for block in view.blocks(BLOCK):
            file.write(block.astype(little).tobytes())


def is_whole(path: Path, shape: tuple[int, int], dtype: str) -> bool:
    """Whether a file of vectors is there with this shape and type."""
    try:
        found = mapped(path)
    except (OSError, ValueError):
        return False
    return found.shape == shape and found.dtype == np.dtype(dtype)
