"""How far another form of a model is from it: text by text, and in how similar texts are to each other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from embedkit.types import Encodes
from embedkit.vectors.view import unit

ALONE = 8
"""Texts that are also embedded one by one."""


@dataclass(frozen=True)
class Parity:
    """What a comparison of embeddings found.

    Attributes:
        texts: how many texts.
        dim: numbers of an embedding of the other form.
        cosines: role -> cosine of each text's two embeddings, in the order of the texts; empty where they have
            different sizes.
        largest: the largest difference between two numbers of theirs; None likewise.
        agreement: Spearman correlation between the cosines of all pairs of texts in the one form and in the other.
        alone: least cosine of a text's embedding with that of the same text in a batch; below 1 where the other form
            looks at the whole batch, as activations that are quantised while it runs do.
        worst: the text whose cosine is least; empty where there are none.
    """

    texts: int
    dim: int
    cosines: dict[str, list[float]] = field(default_factory=dict)
    largest: float | None = None
    agreement: float = 1.0
    alone: float = 1.0
    worst: str = ""

    @property
    def least(self) -> float | None:
        """The least cosine; None where the sizes differ."""
        return min((min(values) for values in self.cosines.values()), default=None)

    @property
    def mean(self) -> float | None:
        """The mean cosine; None where the sizes differ."""
        every = [value for values in self.cosines.values() for value in values]
        return float(np.mean(every)) if every else None

    def plain(self) -> dict[str, Any]:
        """As JSON has it: numbers and no text."""
        found = asdict(self)
        found.pop("worst")
        rounded = {role: [round(value, 7) for value in values] for role, values in self.cosines.items()}
        return found | {"least": self.least, "mean": self.mean, "cosines": rounded}


def parity(model: Encodes, other: Encodes, texts: Sequence[str], roles: Sequence[str]) -> Parity:
    """Compare two models on texts.

    Args:
        model: the one that the other should be.
        other: the other.
        texts: at least two.
        roles: whose prompts the texts get, ``query`` or ``document``, one after the other.
    """
    want = {role: model.encode(texts, role=role) for role in roles}
    got = {role: other.encode(texts, role=role) for role in roles}
    dim = next(iter(got.values())).shape[1]
    agreement = min(_agreement(want[role], got[role]) for role in roles)
    one_by_one = {role: np.concatenate([other.encode([text], role=role) for text in texts[:ALONE]]) for role in roles}
    alone = min(float(_cosines(one_by_one[role], got[role][:ALONE]).min()) for role in roles)
    if dim != next(iter(want.values())).shape[1]:
        return Parity(len(texts), dim, agreement=agreement, alone=alone)
    cosines = {role: _cosines(got[role], want[role]).tolist() for role in roles}
    role = min(cosines, key=lambda name: min(cosines[name]))
    worst = texts[int(np.argmin(cosines[role]))]
    return Parity(len(texts), dim, cosines, _largest(got, want), agreement, alone, worst)


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine of row i of the one with row i of the other, [n] float64; 0 with a row of zeros or of no numbers."""
    first, second = a.astype(np.float64), b.astype(np.float64)
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (first * second).sum(axis=1) / norms
    return np.clip(np.nan_to_num(found, nan=0.0, posinf=0.0, neginf=0.0), -1.0, 1.0)


def _largest(got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray]) -> float:
    worst = max(float(np.abs(got[role] - want[role]).max()) for role in want)
    return worst if np.isfinite(worst) else float("inf")


def _agreement(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman correlation of the similarities; 0 where all of one form's are equal, or something is no number."""
    from scipy.stats import rankdata

    upper = np.triu_indices(len(a), 1)
    similarities = [(unit(rows) @ unit(rows).T)[upper] for rows in (a, b)]
    if not all(np.isfinite(values).all() and np.ptp(values) > 0 for values in similarities):
        return 0.0
    first, second = (rankdata(values) for values in similarities)
    return float(np.corrcoef(first, second)[0, 1])


def rates(sides: Sequence[Callable[[], object]], count: int, rounds: int = 3) -> list[float]:
    """Texts a second of each side: the median of alternating rounds, after one that does not count.

    Args:
        sides: each embeds the same `count` texts when it is called.
        count: texts.
        rounds: timed ones.
    """
    seconds: list[list[float]] = [[] for _ in sides]
    for number in range(rounds + 1):
        for side, taken in zip(sides, seconds, strict=True):
            start = time.perf_counter()
            side()
            if number:
                taken.append(time.perf_counter() - start)
    return [count / max(statistics.median(taken), 1e-9) for taken in seconds]
