"""Vectors that users bring: files of them, an array, or any callable that turns texts into them."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.errors import DataError
from embedkit.foreign.parsing import from_json
from embedkit.vectors import folder as folders
from embedkit.vectors.keys import NONE, KeyIndex, first_of_each, keys_of_ids
from embedkit.vectors.shards import mapped, read_mapped
from embedkit.vectors.space import Dtype, Embedder, Encode, Space
from embedkit.vectors.view import View, not_finite

UNNAMED = "unnamed"
_BLOCK = 65_536


def given_embedder(encode: Encode, *, name: str = "", dim: int | None = None, dtype: Dtype = "float32") -> Embedder:
    """A callable as an encoder: an API, or a model of another library.

    Args:
        encode: gives [n, d] numbers for n texts.
        name: stands for the model, its version and its settings: where it stays the same, vectors that were stored
            under it are taken for those of this callable. Without a name none are ever found again, which is right for
            a callable that changes.
        dim: d; None asks for the vector of one text.
        dtype: on disk.

    Raises:
        DataError: the vector of one text is none.
    """
    if dim is None:
        found = np.asarray(encode(["a"]))
        if found.ndim != 2 or len(found) != 1 or not found.shape[1]:
            what = f"one text gives an array of shape {list(found.shape)}"
            raise DataError(what, "encoding", "give [n, d] numbers for n texts")
        dim = found.shape[1]
    space = Space(f"given {name}" if name else f"{UNNAMED} {secrets.token_hex(16)}", dim, dtype=dtype)
    return Embedder(space, encode, lambda: encode)


def given_vectors(
    vectors: Path | np.ndarray | Sequence[Path],
    *,
    ids: Iterable[str | int] | None = None,
    wanted: Iterable[str | int] | None = None,
    count: int | None = None,
    dim: int | None = None,
) -> View:
    """Vectors of files or of an array, mapped, in the order of the texts they are for.

    Args:
        vectors: a ``.npy`` file [n, d], several of them one after the other, a folder of `embedkit encode`, or an
            array.
        ids: of the vectors, in their order. None: those of the folder where `wanted` is given.
        wanted: ids of the texts, in the order of the view; a number is the same id as its digits. None: the vectors
            are in the order of the texts already.
        count: texts there are.
        dim: numbers that a vector must have.

    Raises:
        DataError: a file is missing, cut or no array of numbers; another count or size than is needed; an id repeats,
            or a wanted one has no vector. While it is read: a vector that is not finite, by its row.
    """
    where, parts, files = _parts(vectors)
    found = _Given(where, parts, files=files)
    if dim is not None and found.dim != dim:
        raise DataError(f"vectors of {found.dim} dimensions, not {dim}", where, "give vectors of the same model")
    if wanted is not None:
        if ids is None:
            ids = read_ids(vectors / folders.IDS) if isinstance(vectors, Path) and vectors.is_dir() else None
        if ids is None:
            raise DataError("vectors without ids are asked for by id", where, "give the id of every vector")
        found = _Given(where, parts, _places(where, ids, wanted, len(found)), files)
    if count is not None and len(found) != count:
        what = f"{len(found):,} vectors for {count:,} texts"
        raise DataError(what, where, "give one vector for each text, or ids of the vectors")
    return found


def read_ids(file: Path) -> Iterator[str | int]:
    """Ids from a file: ``.npy`` (texts or whole numbers), ``.jsonl`` (one of them a line, in JSON), else one a line.

    Raises:
        DataError: it cannot be read, or a line is no id.
    """
    try:
        if file.suffix == ".npy":
            found = mapped(file)
            if found.ndim != 1 or found.dtype.kind not in "iuU":
                raise DataError(f"{found.dtype} {list(found.shape)} are no ids", str(file), "give [n] texts or numbers")
            for start in range(0, len(found), _BLOCK):
                yield from found[start : start + _BLOCK].tolist()
            return
        with file.open(encoding="utf-8", newline="\n") as lines:
            for number, line in enumerate(lines, 1):
                text = line.rstrip("\r\n")
                yield _parsed(text, f"{file}:{number}") if file.suffix == ".jsonl" else text
    except (OSError, ValueError) as error:
        raise DataError(f"ids cannot be read: {error}", str(file), "check the file") from error


def _parsed(line: str, where: str) -> str | int:
    try:
        found = from_json(line)
    except ValueError:
        found = None
    if isinstance(found, bool) or not isinstance(found, (str, int)):
        raise DataError("no id", where, "give a text or a whole number in JSON on every line")
    return found


def _parts(vectors: Path | np.ndarray | Sequence[Path]) -> tuple[str, list[np.ndarray], list[Path] | None]:
    """Where they are, for messages, the arrays, one after the other, and their files."""
    if isinstance(vectors, np.ndarray):
        _check([vectors], ["vectors"])
        return "vectors", [vectors], None
    paths = [vectors] if isinstance(vectors, Path) else list(vectors)
    if len(paths) == 1 and paths[0].is_dir():
        paths = _of_folder(paths[0])
    if not paths:
        raise DataError("no file of vectors is given", "vectors", "give at least one")
    parts = []
    for path in paths:
        try:
            parts.append(mapped(path))
        except (OSError, ValueError) as error:
            raise DataError(f"not a file of vectors: {error}", str(path), "give a .npy file [n, d]") from error
    _check(parts, [str(path) for path in paths])
    return str(vectors if isinstance(vectors, Path) else paths[0]), parts, [path.absolute() for path in paths]


def _of_folder(folder: Path) -> list[Path]:
    record = folders.read_record(folder)
    if record is None:
        raise DataError(f"has no {folders.RECORD}", str(folder), "give a folder of `embedkit encode`, or .npy files")
    if not record.get("whole"):
        raise DataError("the encoding is not done", str(folder), "run the same `embedkit encode` again: it goes on")
    names = record.get("files")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) and Path(n).name == n for n in names):
        what = f"{folders.RECORD} does not name the files of its vectors"
        raise DataError(what, str(folder), "encode again, into another folder")
    return [folder / name for name in names]


def _check(parts: Sequence[np.ndarray], names: Sequence[str]) -> None:
    for part, name in zip(parts, names, strict=True):
        if part.ndim != 2 or part.dtype.kind not in "fiu" or not part.shape[1]:
            raise DataError(f"{part.dtype} {list(part.shape)} are no vectors", name, "give numbers, [n, d]")
        if part.shape[1] != parts[0].shape[1]:
            what = f"vectors of {part.shape[1]} dimensions, after some of {parts[0].shape[1]}"
            raise DataError(what, name, "give vectors of one model")


def _places(where: str, ids: Iterable[str | int], wanted: Iterable[str | int], count: int) -> np.ndarray:
    """[m] the vector of each wanted id."""
    keys = keys_of_ids(ids)
    if len(keys) != count:
        raise DataError(f"{len(keys):,} ids for {count:,} vectors", where, "give the id of every vector, once")
    again = np.flatnonzero(~first_of_each(keys))
    if len(again):
        what = f"the id of vector {again[0]:,} (from 0) is that of one before it"
        raise DataError(what, where, "give every vector an id of its own")
    index = KeyIndex()
    index.add(keys, np.arange(count))
    asked = list(wanted)
    places = index.find(keys_of_ids(asked))
    none = np.flatnonzero(places == NONE)
    if len(none):
        what = f"{len(none):,} of {len(places):,} texts have no vector, first id {asked[none[0]]!r:.80}"
        raise DataError(what, where, "give a vector for every text")
    return places


class _Given(View):
    """Arrays one after the other.

    Args:
        where: for messages.
        parts: [n_i, d] numbers each.
        places: the row of each text; None: all rows in their order.
        files: of the parts: another process maps them, too.
    """

    def __init__(
        self,
        where: str,
        parts: Sequence[np.ndarray],
        places: np.ndarray | None = None,
        files: Sequence[Path] | None = None,
    ) -> None:
        self.dim, self._where, self._parts, self._places = parts[0].shape[1], where, parts, places
        self._files = files
        self._starts = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        return int(self._starts[-1]) if self._places is None else len(self._places)

    def part(self, rows: range) -> View:
        places = np.arange(rows.start, rows.stop) if self._places is None else self._places[rows.start : rows.stop]
        return _Given(self._where, self._parts, places, self._files)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        parts = self._parts if self._files is None else None
        return _given_again, (self._where, parts, self._places, self._files)

    def _rows(self, at: np.ndarray) -> np.ndarray:
        row = at if self._places is None else self._places[at]
        with np.errstate(over="ignore"):
            out = self._read(row)
        bad = not_finite(out)
        if len(bad):
            what = f"row {row[bad[0]]} (from 0) is not finite in float32"
            raise DataError(what, self._where, "encode its text again, or leave it out")
        return out

    def _read(self, row: np.ndarray) -> np.ndarray:
        if len(self._parts) == 1:
            return read_mapped(self._parts[0], row)
        part = np.searchsorted(self._starts, row, side="right") - 1
        out = np.empty((len(row), self.dim), np.float32)
        for number in np.unique(part):
            here = part == number
            out[here] = read_mapped(self._parts[number], row[here] - self._starts[number])
        return out


def _given_again(where: str, parts: Sequence[np.ndarray] | None, places: np.ndarray | None, files: Any) -> _Given:
    """In another process, which must see the same files."""
    if parts is None:
        try:
            parts = [mapped(file) for file in files]
        except (OSError, ValueError) as error:
            what = f"not there on {socket.gethostname()}: {error}"
            raise DataError(what, where, "keep vectors where every machine of the cluster sees them") from error
    return _Given(where, parts, places, files)
