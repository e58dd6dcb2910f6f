"""A small world to mine in: texts that say which vector they have."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from embedkit.mining.assembly import Assembly
from embedkit.mining.miner import By, Miner
from embedkit.mining.problem import Problem
from embedkit.recipe.mining import Search
from embedkit.vectors.given import given_embedder
from embedkit.vectors.store import VectorStore
from embedkit.vectors.view import unit

DIM = 8


def vector(text: str, turn: float = 0.0) -> np.ndarray:
    """The vector of a text; `turn` is another model's."""
    rng = np.random.default_rng(abs(hash_of(text)))
    base, other = rng.normal(size=DIM), rng.normal(size=DIM)
    return (1 - turn) * base + turn * other


def hash_of(text: str) -> int:
    return int.from_bytes(text.encode()[-8:].rjust(8, b"\0"), "big")


class World:
    """Vectors of a model called `name`, and every text it was asked for."""

    def __init__(self, name: str = "a", turn: float = 0.0) -> None:
        self.name, self.turn, self.asked = name, turn, list[str]()

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return unit(np.stack([vector(text, self.turn) for text in texts]).astype(np.float32))

    @property
    def by(self) -> By:
        one = given_embedder(self, name=self.name, dim=DIM)
        return By(one, one)


def problem(queries: int = 12, documents: int = 60, positives: int = 2) -> Problem:
    gathered = Assembly()
    for i in range(queries):
        gathered.query(f"query {i}", [f"document {(i * 7 + j) % documents}" for j in range(positives)])
    for i in range(documents):
        gathered.document(f"document {i}")
    return gathered.finish()


def miner(folder: Path, problem_: Problem | None = None, **search: object) -> Miner:
    options = {"depth": 20, "keep": 4, **search}
    return Miner(problem_ or problem(), Search(**options), VectorStore(folder))  # type: ignore[arg-type]
