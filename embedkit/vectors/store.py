"""The store: a folder for each space, in it shards of vectors that are found by the hash of their text.

A text has one vector in a space, whoever asks and in whatever order. Shards are written one at a time (a lock), whole
(temporary name, then rename), and are never changed; readers need no lock.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.disk import files
from embedkit.disk.locks import hold_folder
from embedkit.errors import DataError, EmbedkitError
from embedkit.foreign import showing
from embedkit.foreign.parsing import from_json
from embedkit.vectors.keys import NONE, KeyIndex, first_of_each, keys_of
from embedkit.vectors.shards import KEYS, VECTORS, DamagedShard, Maps, Shard, read_mapped, set_aside
from embedkit.vectors.space import Space
from embedkit.vectors.view import View, not_finite

logger = showing.logger(__name__)

SPACE = "space.json"
RAM_GB = 2.0
"""Memory that the store may use by default, besides 32 bytes a text: vectors being read and written."""
RECENT = 3600.0
"""Seconds that a space is left alone after its last use, whatever it takes."""
_HASHED = 65_536
_ROW = 32
_LOW = 2**_ROW - 1


class VectorStore:
    """Vectors of any number of spaces below a folder.

    Args:
        root: the folder; made when something is written.
        ram_gb: memory for vectors at once, in GiB.
    """

    def __init__(self, root: Path, *, ram_gb: float = RAM_GB) -> None:
        self.root, self.ram_gb = root, ram_gb

    def of(self, space: Space) -> Shelf:
        """The vectors of one space.

        Raises:
            DataError: its folder holds another space.
        """
        shelf = Shelf(self.root / space.digest, space, ram_gb=self.ram_gb)
        with suppress(OSError):  # not there yet, or a place that is only read
            os.utime(shelf.folder)
        return shelf

    def trim(self, limit: int) -> None:
        """Remove the spaces used longest ago until the rest takes at most `limit` bytes; not those of the last hour."""
        files.sweep(self.root)
        found = []
        for folder in self.root.glob("*"):
            with suppress(OSError):  # another process may be trimming, too
                (folder / SPACE).stat()
                found.append((folder.stat().st_mtime, folder, sum(p.stat().st_size for p in folder.iterdir())))
        total = sum(size for _, _, size in found)
        for used, folder, size in sorted(found):
            if total <= limit or used > time.time() - RECENT:
                break
            aside = self.root / f"{files.OURS}-{folder.name}{files.OLD}"
            with suppress(OSError):
                folder.rename(aside)  # at once: a reader sees all of it or nothing
                total -= size
                shutil.rmtree(aside)


class Shelf:
    """Vectors of one space by text.

    Args:
        folder: of this space alone.
        space: what the vectors depend on.
        ram_gb: memory for vectors at once, in GiB.

    Raises:
        DataError: the folder holds another space.
    """

    def __init__(self, folder: Path, space: Space, *, ram_gb: float = RAM_GB) -> None:
        self.folder, self.space, self.ram_gb = folder, space, ram_gb
        self._index, self._maps = KeyIndex(), Maps(int(ram_gb * 2**30 / 4))
        self._paths: list[Path] = []
        self._known: set[str] = set()
        self._swept = False
        self._check_space()
        self.refresh()

    def __len__(self) -> int:
        """Texts that have a vector."""
        return len(self._index)

    def refresh(self) -> None:
        """See what other processes have written. A shard that is damaged or foreign is set aside, with a warning."""
        for file in sorted(self.folder.glob(f"*{KEYS}")):
            if file.name in self._known:
                continue
            self._known.add(file.name)
            path = file.with_suffix(VECTORS)
            try:
                shard = Shard.read(path, self.space)
            except DamagedShard as error:
                set_aside(path)
                logger.warning("%s is set aside, its texts will be encoded again: %s", path, error)
                continue
            self._enter(path, shard.keys)

    def missing(self, texts: Sequence[str]) -> np.ndarray:
        """[m] positions of the texts that have no vector yet, each different text once, at its first place."""
        return self.lacking(keys_of(texts))

    def lacking(self, keys: np.ndarray) -> np.ndarray:
        """`missing` for texts whose keys [n, 2] are known."""
        self.refresh()
        return np.flatnonzero(first_of_each(keys) & (self._index.find(keys) == NONE))

    def add(self, texts: Sequence[str], vectors: np.ndarray, *, numbers: Sequence[int] | None = None) -> int:
        """Write the vectors of texts that have none yet, as one shard; those that have one keep it.

        Args:
            texts: n texts; they may repeat.
            vectors: [n, dim], numbers.
            numbers: how errors call the texts; by default 0 to n - 1.

        Returns:
            How many were written.

        Raises:
            EmbedkitError: not one vector of `dim` finite numbers for each text.
            WriteError: they cannot be written; nothing is left half-written.
        """
        rows = as_rows(vectors, texts, self.space, numbers)
        keys = keys_of(texts)
        if not len(self.lacking(keys)):
            return 0
        with hold_folder(self.folder, "writing vectors", wait=True):
            self._begin()
            new = self.lacking(keys)  # what another process wrote meanwhile is left out
            if not len(new):
                return 0
            path = self.folder / f"{self._next():06d}{VECTORS}"
            Shard.write(path, self.space, keys[new], rows if len(new) == len(rows) else rows[new])
            self._known.add(path.with_suffix(KEYS).name)
            self._enter(path, keys[new])
        return len(new)

    def rows(self, texts: Sequence[str]) -> np.ndarray:
        """[n, dim] float32, row i of text i.

        Raises:
            DataError: a text has no vector.
        """
        return self.view(texts)[:]

    def view(self, texts: Sequence[str]) -> View:
        """The vectors of a corpus in its order, 8 bytes of memory a text.

        Raises:
            DataError: a text has no vector.
        """
        self.refresh()
        parts = (texts[start : start + _HASHED] for start in range(0, len(texts), _HASHED))
        places = [self._index.find(keys_of(part)) for part in parts]
        return self.at(np.concatenate(places) if places else np.zeros(0, np.int64))

    def find(self, keys: np.ndarray) -> np.ndarray:
        """[n] int64 places of keys [n, 2], for `at`; -1 where there is no vector."""
        return self._index.find(keys)

    def at(self, places: np.ndarray) -> View:
        """The vectors at places [n], as `find` gives them.

        Raises:
            DataError: there is none.
        """
        none = np.flatnonzero(places == NONE)
        if len(none):
            what = f"{len(none):,} of {len(places):,} texts have no vector, first text {none[0]}"
            raise DataError(what, str(self.folder), "encode them first")
        return _ShelfView(places, self.space.dim, self._paths, self._maps)

    @contextmanager
    def marked(self) -> Iterator[str]:
        """The name of a file that is in the folder for a ``with`` block: whoever sees it sees this folder."""
        name = f"{files.OURS}-seen-{secrets.token_hex(8)}"
        files.make_folder(self.folder)
        with files.writing(self.folder):
            (self.folder / name).touch()  # at once, without an unfinished file that a writer here would sweep away
        try:
            yield name
        finally:
            (self.folder / name).unlink(missing_ok=True)

    def _enter(self, path: Path, keys: np.ndarray) -> None:
        places = (len(self._paths) << _ROW) + np.arange(len(keys), dtype=np.int64)
        self._paths.append(path)
        new = first_of_each(keys) & (self._index.find(keys) == NONE)
        self._index.add(keys[new], places[new])

    def _begin(self) -> None:
        """Before the first shard of this process: name the space, remove what killed processes left. Under the lock."""
        if self._swept:
            return
        self._check_space()
        files.write_json(self.folder / SPACE, self.space.plain())
        files.sweep(self.folder)
        for path in self.folder.glob(f"*{VECTORS}"):
            if not path.with_suffix(KEYS).exists():
                path.unlink(missing_ok=True)
        self._swept = True

    def _next(self) -> int:
        """A number that no shard has or had."""
        names = (path.name.partition(".")[0] for path in self.folder.iterdir())
        return 1 + max((int(name) for name in names if name.isdecimal()), default=-1)

    def _check_space(self) -> None:
        file = self.folder / SPACE
        try:
            found = from_json(file.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return
        except (OSError, ValueError) as error:
            raise DataError(f"cannot be read: {error}", str(file), "remove the folder: it is made again") from error
        if found != self.space.plain():
            what = "holds vectors of another model or setting"
            raise DataError(what, str(self.folder), "choose another folder; both sets of vectors stay whole")


class _ShelfView(View):
    def __init__(self, places: np.ndarray, dim: int, paths: list[Path], maps: Maps) -> None:
        self.dim, self._places, self._paths, self._maps = dim, places, paths, maps

    def __len__(self) -> int:
        return len(self._places)

    def part(self, rows: range) -> View:
        places = self._places[rows.start : rows.stop]
        shards, number = np.unique(places >> _ROW, return_inverse=True)
        own = [self._paths[shard].absolute() for shard in shards.tolist()]
        return _ShelfView(number.astype(np.int64) << _ROW | places & _LOW, self.dim, own, Maps(self._maps.limit))

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return _view_again, (self._places, self.dim, [path.absolute() for path in self._paths], self._maps.limit)

    def _rows(self, at: np.ndarray) -> np.ndarray:
        places = self._places[at]
        order = np.argsort(places, kind="stable")  # each file is read from front to back
        shard, row = places[order] >> _ROW, places[order] & _LOW
        borders = [0, *(np.flatnonzero(np.diff(shard)) + 1).tolist(), len(order)]
        out = np.empty((len(at), self.dim), np.float32)
        for start, stop in pairwise(borders):
            if start < stop:
                out[order[start:stop]] = read_mapped(self._maps(self._paths[shard[start]]), row[start:stop])
        return out


def _view_again(places: np.ndarray, dim: int, paths: list[Path], limit: int) -> _ShelfView:
    """In another process, which must see the same files."""
    return _ShelfView(places, dim, paths, Maps(limit))


def as_rows(
    vectors: np.ndarray, texts: Sequence[str], space: Space, numbers: Sequence[int] | None = None
) -> np.ndarray:
    """[n, dim] in the type of the space, checked.

    Raises:
        EmbedkitError: not one vector of `dim` finite numbers for each text.
    """
    found = np.asarray(vectors)
    if found.dtype.kind not in "fiu" or found.ndim != 2:
        what = f"{found.dtype} {list(found.shape)} are no vectors"
        raise EmbedkitError(what, "encoding", f"give numbers, [{len(texts)}, {space.dim}]")
    if found.shape != (len(texts), space.dim):
        what = f"{len(found)} vectors of {found.shape[1]} dimensions for {len(texts)} texts of {space.dim}"
        raise EmbedkitError(what, "encoding", "give one vector for each text, all of one size")
    with np.errstate(over="ignore"):
        rows = np.ascontiguousarray(found, dtype=space.dtype)
    bad = not_finite(rows)
    if not len(bad):
        return rows
    where = f"text {int(bad[0] if numbers is None else numbers[bad[0]])}"
    count = f"{len(bad)} of {len(rows)} vectors"
    text = f"{texts[bad[0]]!r:.80}"
    if np.isfinite(found[bad[0]]).all():
        what = f"{count} have numbers too large for {space.dtype}, first of {text}"
        raise EmbedkitError(what, where, "store them as float32")
    cure = "the weights hold NaN or infinity, or overflow in low precision"
    raise EmbedkitError(f"{count} are not finite, first of {text}", where, cure)
