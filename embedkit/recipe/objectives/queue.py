"""Options of the objectives whose candidates are a queue of earlier keys."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig


class _Keyed(ObjectiveConfig):
    """Queries against keys of a slowly moving copy of the encoder."""

    momentum: float | None = Field(
        0.999,
        ge=0,
        lt=1,
        description="Keys are embedded by a copy of the encoder, copy = momentum copy + (1 - momentum) encoder after "
        "every update, without dropout. null: by the encoder itself, as constants.",
    )
    mask_duplicates: bool = Field(
        True, description="Keys whose text is known to match the query are left out (by text hash)."
    )

    @property
    def target_momentum(self) -> float | None:
        return self.momentum


class MoCo(_Keyed):
    """InfoNCE against a queue of the keys of earlier batches (MoCo, arXiv 1911.05722)."""

    remembers: ClassVar[bool] = True

    name: Literal["moco"] = "moco"
    temperature: float = Field(0.07, gt=0, le=10, description="Logits are cosine / temperature.")
    queue: int = Field(65536, ge=1, description="Keys kept, the oldest go first.")
    top: int | None = Field(
        None, ge=1, description="Only the keys most similar to the query are negatives, this many; null: all (MoCo)."
    )

    def columns(self, n: int, p: int, m: int) -> int:
        return self.queue

    def state_bytes(self, dim: int) -> int:
        return self.queue * (4 * dim + 16)


class ASCL(_Keyed):
    """Soft targets over the neighbours of the key, among earlier keys or those of the batch (arXiv 2207.11163)."""

    remembers: ClassVar[bool] = True

    name: Literal["ascl"] = "ascl"
    momentum: float | None = Field(
        0.99,
        ge=0,
        lt=1,
        description="Keys are embedded by a copy of the encoder, copy = momentum copy + (1 - momentum) encoder after "
        "every update, without dropout. null: by the encoder itself, as constants.",
    )
    temperature: float = Field(0.1, gt=0, le=10, description="Of the query's softmax.")
    target_temperature: float = Field(
        0.05, gt=0, le=10, description="Of the key's softmax over its neighbours; small beside the spread of cosines."
    )
    neighbours: int = Field(1, ge=1, description="K, neighbours that share in the target.")
    targets: Literal["soft", "adaptive", "hard"] = Field(
        "soft", description="A neighbour's share: min(1, c K r) (soft), c or 1 for each of the K nearest."
    )
    queue: int = Field(4096, ge=0, description="Keys kept; 0: the keys of the other rows of the batch instead.")

    def columns(self, n: int, p: int, m: int) -> int:
        return self.queue or n

    def state_bytes(self, dim: int) -> int:
        return self.queue * (4 * dim + 16)
