"""Two towers: queries and positives are encoded by two copies of one model that train apart (Contrastive Tension), or
of which one stays as it is (LiT).

The second tower encodes positives and negatives. One of the two becomes the result; beside a frozen one, the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np

from embedkit.errors import RecipeError
from embedkit.foreign.quoting import quoted
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.views import TOWERS

NAMES = ("first", "second")


class Pair:
    """A trained tower and its frozen partner, as evaluation and mining see them: each encodes its own role.

    What is compared on one side only (STS) is encoded by the tower of queries.

    Attributes:
        trained: the tower that training changes, the result.
        frozen: the other one.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._by_role = dict(zip(TOWERS, (encoder.tower(0), encoder.tower(1)), strict=True))
        locked = [role for role, tower in self._by_role.items() if tower.module.locked]
        self.role = "query" if locked == ["document"] else "document"
        self.trained = self._by_role[self.role]
        self.frozen = self._by_role[locked[0]]

    def of(self, role: str) -> Encoder:
        """The tower that encodes a role.

        Raises:
            RecipeError: there is no such role.
        """
        if role not in self._by_role:
            raise RecipeError(f"there is no role {quoted(role)}", "role", f"one of {', '.join(TOWERS)}")
        return self._by_role[role]

    @property
    def dim(self) -> int:
        return self.trained.dim

    @property
    def similarity(self) -> str:
        return self.trained.similarity

    @property
    def longest(self) -> int | None:
        return self.trained.longest

    def prompt(self, role: str) -> str:
        return self.of(role).prompt(role)

    def encode(
        self,
        texts: Sequence[str],
        *,
        role: str = "query",
        max_length: int | None = None,
        batch_tokens: int = 8192,
        progress: bool = False,
    ) -> np.ndarray:
        """float32 [n, d] by the role's tower, as `Encoder.encode`."""
        tower = self.of(role)
        return tower.encode(texts, role=role, max_length=max_length, batch_tokens=batch_tokens, progress=progress)

    def fingerprint(self) -> str:
        """Content hash of both towers in their roles."""
        both = "\n".join(f"{role} {tower.fingerprint()}" for role, tower in self._by_role.items())
        return hashlib.sha256(both.encode("ascii")).hexdigest()


def candidates(
    encoder: Encoder, keep: Literal["first", "second", "best"], *, evaluated: bool
) -> list[tuple[str, Encoder | Pair]]:
    """The towers that may become the result, by name.

    Args:
        encoder: with one or two towers.
        keep: `model.keep_tower`.
        evaluated: whether something is evaluated during training, so that there is a better one.

    Returns:
        Both for ``best`` where something is evaluated; else one. Where a tower is frozen, the pair.
    """
    towers = (encoder.tower(0), encoder.tower(1))
    if any(tower.module.locked for tower in towers):
        pair = Pair(encoder)
        return [(NAMES[TOWERS.index(pair.role)], pair)]
    both = list(zip(NAMES, towers, strict=True))
    if encoder.module.second is None or (keep == "best" and not evaluated):
        return [*both[:1]]
    return [(name, tower) for name, tower in both if keep in (name, "best")]
