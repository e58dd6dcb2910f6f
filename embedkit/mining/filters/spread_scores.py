"""Pairs scored by the processes of a pool."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from embedkit.disk import files
from embedkit.mining.filters.pairs import CALL, ScorePairs
from embedkit.mining.spreading import Spread
from embedkit.spread.pool import uses_gpu
from embedkit.vectors.shards import mapped, write_array

Counted = Callable[[Sequence[tuple[str, str]], Path], tuple[np.ndarray, Counter[str]]]
"""Pairs, and a file that may keep answers -> [m] numbers, and what was met on the way."""


@dataclass(frozen=True)
class SpreadScores:
    """Scores pairs of texts in chunks, each a task whose result is a file, named by the scorer and the texts.

    Attributes:
        spread: the pool, and where results stand.
        make: picklable; gives what scores a chunk.
        key: stands for the scorer and its settings.
        at_once: pairs of a chunk.
        notes: gets what was met.
    """

    spread: Spread
    make: Callable[[], Counted]
    key: str
    at_once: int = CALL
    notes: Counter[str] = field(default_factory=Counter)

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """[m] numbers for m pairs.

        Raises:
            EmbedkitError: what a scorer raised.
            WriteError: a result cannot be written.
        """
        folder = self.spread.folder.absolute()
        files.make_folder(folder)
        chunks = [pairs[start : start + self.at_once] for start in range(0, len(pairs), self.at_once)]
        parts = [folder / f"scores-{self._name(chunk)}.npy" for chunk in chunks]
        tasks = {part: chunk for part, chunk in zip(parts, chunks, strict=True) if not part.exists()}
        for _ in self.spread.pool.map(_Scores(self.make), list(tasks.items()), gpu=uses_gpu(self.make)):
            pass
        for part in parts:
            self.notes.update(json.loads(part.with_suffix(".json").read_bytes()))
        return np.concatenate([np.zeros(0), *(np.array(mapped(part)) for part in parts)])

    def _name(self, chunk: Sequence[tuple[str, str]]) -> str:
        text = json.dumps([self.key, *map(list, chunk)])
        return hashlib.sha256(text.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class _Scores:
    make: Callable[[], Counted]

    def __call__(self) -> Callable[[tuple[Path, Sequence[tuple[str, str]]]], None]:
        score = self.make()

        def work(task: tuple[Path, Sequence[tuple[str, str]]]) -> None:
            path, pairs = task
            found, notes = score(pairs, path.with_suffix(".answers"))
            with files.new_file(path) as file:
                write_array(file, np.asarray(found, np.float64))
                files.write_text(path.with_suffix(".json"), json.dumps(dict(notes)))  # before the other has its name

        return work


def counted(score: ScorePairs) -> Counted:
    """A scorer that has nothing to say besides its numbers."""
    return lambda pairs, answers: (np.asarray(score(pairs)), Counter())
