"""From texts to vectors in the store: what is missing is encoded, within bounds of memory, and kept as it comes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from typing import Any

import numpy as np

from embedkit.errors import DataError, EmbedkitError
from embedkit.terminal import progress as terminal
from embedkit.vectors.keys import keys_of
from embedkit.vectors.space import Embedder, Encode
from embedkit.vectors.store import Shelf, VectorStore, as_rows
from embedkit.vectors.view import View

WINDOW = 16_384
"""Texts read at once, at most; also the most vectors of a shard."""
CALL = 2048
"""Texts given to the encoder at once: equal in length, for they are sorted within a window."""
PATIENCE = 60.0
"""Seconds of encoding that may be lost: a shard is written at the end of a window, and when it takes longer."""
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
            block = _Block(shelf, window, start, clock)
            try:
                order = sorted(lacking.tolist(), key=lambda i: -len(window[i]))
                for at in range(0, len(order), call):
                    block.encode(order[at : at + call], encode)
                    shown.advance(len(order[at : at + call]))
            except BaseException:
                with suppress(EmbedkitError):  # what is done may have cost hours, or money
                    block.write()
                raise
            block.write()
            places[start - rows.start :][: len(window)] = shelf.find(keys)
    return shelf.at(places)


def vectors_of(texts: Sequence[str], by: Embedder | View, store: VectorStore, **options: Any) -> View:
    """The vectors of texts, by a model, a callable, or given ones.

    Args:
        texts: n texts.
        by: what encodes them (`Embedder.of`, `given_embedder`), or their vectors in the same order (`given_vectors`).
        store: where vectors are kept.
        options: of `encode_into`.

    Raises:
        DataError: not one given vector for each text.
    """
    if isinstance(by, Embedder):
        return encode_into(store.of(by.space), texts, by.encode, **options)
    if len(by) != len(texts):
        what = f"{len(by):,} vectors for {len(texts):,} texts"
        raise DataError(what, "vectors", "give one vector for each text, or ids of the vectors")
    return by


class _Block:
    """Vectors of a window that are not written yet."""

    def __init__(self, shelf: Shelf, texts: Sequence[str], start: int, clock: Callable[[], float]) -> None:
        self._shelf, self._texts, self._start, self._clock = shelf, texts, start, clock
        self._done: list[tuple[list[int], np.ndarray]] = []
        self._since = clock()

    def encode(self, which: list[int], encode: Encode) -> None:
        texts = [self._texts[i] for i in which]
        numbers = [self._start + i for i in which]
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
