"""Options of SupCon with replayed rows whose positives a previous model embeds."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig


class ReplaySupCon(ObjectiveConfig):
    """SupCon of replayed rows: the model that training started from supplies the positives, the student the negatives
    (ours, after COCONUT, arXiv 2310.02699); in a `sum` with what teaches the new task."""

    in_batch: ClassVar[bool] = True
    explicit: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset({"query", "label", "memory"})

    name: Literal["replay_supcon"] = "replay_supcon"
    temperature: float = Field(0.05, gt=0, le=10, description="Logits are cosine / temperature.")
    against: Literal["batch", "memory"] = Field(
        "batch", description="What a replayed row is contrasted with: all other rows, or other replayed rows only."
    )

    @property
    def target_momentum(self) -> float | None:
        return 1.0

    def meets(self, n: int, p: int) -> tuple[int, str]:
        return (n - 1) * (1 + p), "those of its label"

    def columns(self, n: int, p: int, m: int) -> int:
        return (1 + p) * n * (1 + p)
