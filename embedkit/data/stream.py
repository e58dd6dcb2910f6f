"""Streams: examples read in order through a shuffle buffer, never all in memory."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from embedkit.errors import DataError
from embedkit.types import Example

T = TypeVar("T")


class Stream:
    """An endless sequence of examples: pass after pass over the source, each shuffled with its own seed.

    Position p always names the same example for the same source, buffer and seed. Reading forward is cheap;
    jumping forward reads past what lies between, jumping back starts from the beginning.

    Args:
        open_pass: starts one pass over the source.
        buffer: rows in the shuffle buffer. Each row leaves it at a random moment, so a row can move forward by
            any distance and back by about `buffer` rows.
        seed: of the shuffle.
        name: of the source, for messages.
    """

    def __init__(self, open_pass: Callable[[], Iterator[Example]], buffer: int, seed: int, name: str) -> None:
        self._open_pass, self._buffer, self._seed, self._name = open_pass, buffer, seed, name
        self._next = 0
        self._examples = self._endless()

    def get(self, positions: Sequence[int]) -> list[Example]:
        """The examples at increasing `positions`.

        Raises:
            DataError: a bad row is met, or the source has no rows.
        """
        if not positions:
            return []
        if list(positions) != sorted(set(positions)):
            raise ValueError("positions of a stream must increase")
        if positions[0] < self._next:
            self._next, self._examples = 0, self._endless()
        found = []
        for position in positions:
            found.append(next(itertools.islice(self._examples, position - self._next, None)))
            self._next = position + 1
        return found

    def _endless(self) -> Iterator[Example]:
        for epoch in itertools.count():
            rows = 0
            for example in shuffled(self._open_pass(), self._buffer, random.Random(f"{self._seed}:{epoch}")):  # noqa: S311
                yield example
                rows += 1
            if not rows:
                raise DataError("the stream gave no usable row", self._name, "check the source")


def shuffled(items: Iterable[T], buffer: int, rng: random.Random) -> Iterator[T]:
    """All items, each held back in a buffer and released at random."""
    held: list[T] = []
    for item in items:
        if len(held) < buffer:
            held.append(item)
            continue
        place = rng.randrange(buffer)
        yield held[place]
        held[place] = item
    rng.shuffle(held)
    yield from held
