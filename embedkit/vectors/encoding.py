"""From texts to vectors in the store: what is missing is encoded, within bounds of memory, and kept as it comes."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.errors import DataError, EmbedkitError
from embedkit.spread.pool import Pool, uses_gpu
from embedkit.terminal import progress as terminal
from embedkit.vectors.keys import NONE, KeyIndex, keys_of
from embedkit.vectors.space import Embedder, Encode, Space
from embedkit.vectors.store import Shelf, VectorStore, as_rows
from embedkit.vectors.view import View

WINDOW = 16_384
"""Texts read at once, at most; also the most vectors of a shard."""
CALL = 2048
"""Texts given to the encoder at once: equal in length, for they are sorted within a window."""
PATIENCE = 60.0
"""Seconds of encoding that may be lost: a shard is written at the end of a window, and when it takes longer."""
WAVE = 64
"""Windows that are handed to a pool together: as many texts are held at once."""
_PIECE = 512
_COPIES = 4


def encode_into(
    shelf: Shelf,
    texts: Sequence[str],
    encode: Encode,
    *,
    rows: range | None = None,
    call: int = CALL,
    progress: bool = False,
    what: str = "encoding",
    unit: str = "texts",
    bar: terminal.Bar | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> View:
    """Encode the texts that have no vector yet, and give the vectors of all.

    Killed and started again, it goes on after the last shard that is whole; the calls of `encode`, and hence the last
    bits of the vectors, are then those of an uncut run. Memory: ``shelf.ram_gb`` besides 32 bytes a text.

    Args:
        shelf: where vectors are kept.
        texts: n texts, read once from front to back as ``texts[start:stop]``; they may repeat.
        encode: gives [m, dim] for m texts, which are different and sorted, longest first.
        rows: only these texts; None: all.
        call: texts given to `encode` at once.
        progress: show a bar.
        what: the work, for the bar.
        unit: what the texts are, for the bar.
        bar: one that is there, instead of a new one.
        clock: gives seconds.

    Returns:
        [n, dim] float32, row i of text i (of `rows`, where they are given).

    Raises:
        EmbedkitError: a vector that is not finite (the text's number is named), or not one of `dim` for each text.
        WriteError: the disk is full, for one. Everything encoded before is kept.
    """
    rows = range(len(texts)) if rows is None else rows
    places = np.empty(len(rows), np.int64)
    with nullcontext(bar) if bar else terminal.progress(what, len(rows), unit, show=progress) as shown:
        for start, window in _windows(texts, rows, shelf):
            keys = keys_of(window)
            lacking = shelf.lacking(keys)
            shown.skip(len(window) - len(lacking))
            numbers = range(start, start + len(window))
            encode_window(shelf, window, numbers, lacking.tolist(), encode, call=call, told=shown.advance, clock=clock)
            places[start - rows.start :][: len(window)] = shelf.find(keys)
    return shelf.at(places)


def encode_window(
    shelf: Shelf,
    texts: Sequence[str],
    numbers: Sequence[int],
    which: Sequence[int],
    encode: Encode,
    *,
    call: int = CALL,
    told: Callable[[int], None] = lambda count: None,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Encode some of a window's texts, longest first, and write them, at least when `PATIENCE` is over.

    Args:
        shelf: where vectors are kept.
        texts: of the window.
        numbers: how errors call them.
        which: those to encode, by their places; different texts that have no vector.
        encode, call, clock: see `encode_into`.
        told: receives how many more are done.
    """
    block = _Block(shelf, texts, numbers, clock)
    try:
        order = sorted(which, key=lambda i: -len(texts[i]))
        for at in range(0, len(order), call):
            block.encode(order[at : at + call], encode)
            told(len(order[at : at + call]))
    except BaseException:
        with suppress(EmbedkitError):  # what is done may have cost hours, or money
            block.write()
        raise
    block.write()


def vectors_of(
    texts: Sequence[str], by: Embedder | View, store: VectorStore, *, pool: Pool | None = None, **options: Any
) -> View:
    """The vectors of texts, by a model, a callable, or given ones.

    Args:
        texts: n texts.
        by: what encodes them (`Embedder.of`, `given_embedder`), or their vectors in the same order (`given_vectors`).
        store: where vectors are kept.
        pool: encodes, where `by` can be made in its processes.
        options: of `encode_into`.

    Raises:
        DataError: not one given vector for each text.
    """
    if isinstance(by, Embedder):
        shelf = store.of(by.space)
        if pool is not None and by.remake is not None:
            return encode_spread(shelf, texts, by, pool, **options)
        return encode_into(shelf, texts, by.encode, **options)
    if len(by) != len(texts):
        what = f"{len(by):,} vectors for {len(texts):,} texts"
        raise DataError(what, "vectors", "give one vector for each text, or ids of the vectors")
    return by


def encode_spread(
    shelf: Shelf,
    texts: Sequence[str],
    by: Embedder,
    pool: Pool,
    *,
    rows: range | None = None,
    progress: bool = False,
    what: str = "encoding",
    unit: str = "texts",
    bar: terminal.Bar | None = None,
) -> View:
    """`encode_into` by the processes of a pool: a task is a window, and each writes its own shards.

    The windows and the calls of the encoder within them are those of `encode_into`. A text that repeats is encoded
    once; what has a vector is no part of a task.

    Args:
        shelf: in a folder that every machine of the pool sees.
        texts, rows, progress, what, unit, bar: as of `encode_into`.
        by: what encodes, with a `remake`.
        pool: the processes.

    Raises:
        DataError: a machine does not see the folder.
        EmbedkitError, WriteError: as `encode_into`.
    """
    rows = range(len(texts)) if rows is None else rows
    kept = np.empty((len(rows), 2), np.uint64)
    with (
        nullcontext(bar) if bar else terminal.progress(what, len(rows), unit, show=progress) as shown,
        shelf.marked() as mark,
    ):
        make = _Encodes(shelf.folder.absolute(), shelf.space, shelf.ram_gb, by.remake, mark)
        windows = _windows(texts, rows, shelf)
        while wave := list(islice(windows, WAVE)):
            tasks, seen = [], KeyIndex()
            for start, window in wave:
                keys = keys_of(window)
                kept[start - rows.start :][: len(window)] = keys
                lacking = shelf.lacking(keys)
                lacking = lacking[seen.find(keys[lacking]) == NONE]
                seen.add(keys[lacking], lacking)
                shown.skip(len(window) - len(lacking))
                if len(lacking):
                    tasks.append(([start + i for i in lacking.tolist()], [window[i] for i in lacking.tolist()]))
            for number, _ in pool.map(make, tasks, gpu=uses_gpu(by.remake)):
                shown.advance(len(tasks[number][0]))
            shelf.refresh()
    return shelf.at(shelf.find(kept))


@dataclass(frozen=True)
class _Encodes:
    """Makes, in another process, what encodes a task's texts into the store."""

    folder: Path
    space: Space
    ram_gb: float
    remake: Callable[[], Encode] | None
    mark: str

    def __call__(self) -> Callable[[tuple[list[int], list[str]]], None]:
        if not (self.folder / self.mark).is_file():
            what = f"the machine {socket.gethostname()} does not see this folder"
            raise DataError(what, str(self.folder), "give a folder that all machines of the cluster share")
        assert self.remake is not None
        encode, shelf = self.remake(), Shelf(self.folder, self.space, ram_gb=self.ram_gb)

        def work(task: tuple[list[int], list[str]]) -> None:
            numbers, texts = task
            encode_window(shelf, texts, numbers, shelf.missing(texts).tolist(), encode)

        return work


class _Block:
    """Vectors of a window that are not written yet."""

    def __init__(self, shelf: Shelf, texts: Sequence[str], numbers: Sequence[int], clock: Callable[[], float]) -> None:
        self._shelf, self._texts, self._numbers, self._clock = shelf, texts, numbers, clock
        self._done: list[tuple[list[int], np.ndarray]] = []
        self._since = clock()

    def encode(self, which: list[int], encode: Encode) -> None:
        texts = [self._texts[i] for i in which]
        numbers = [self._numbers[i] for i in which]
        self._done.append((which, as_rows(encode(texts), texts, self._shelf.space, numbers)))
        if self._clock() - self._since > PATIENCE:
            self.write()

    def write(self) -> None:
        """One shard, in the order of the corpus, which is how it will be read."""
        if not self._done:
            return
        which = np.concatenate([np.array(part) for part, _ in self._done])
        rows = np.concatenate([rows for _, rows in self._done])
        self._done = []
        order = np.argsort(which)
        self._shelf.add([self._texts[i] for i in which[order]], rows[order])
        self._since = self._clock()


def _windows(texts: Sequence[str], rows: range, shelf: Shelf) -> Iterator[tuple[int, list[str]]]:
    """The texts in order with the number of the first: as many as memory has room for, with their vectors."""
    room = shelf.ram_gb * 2**30 / 4
    most = int(min(WINDOW, max(1, room // (_COPIES * 4 * shelf.space.dim))))
    start, count = rows.start, rows.stop
    while start < count:
        window: list[str] = []
        size = 0
        while len(window) < most and size < room / 4 and start + len(window) < count:
            at = start + len(window)
            piece = texts[at : min(at + _PIECE, start + most, count)]
            if not len(piece):
                what = f"{at:,} texts where {count:,} were said to be"
                raise DataError(what, "texts", "leave the corpus as it is while it is encoded")
            window += piece
            size += sum(map(len, piece))
        yield start, window
        start += len(window)
