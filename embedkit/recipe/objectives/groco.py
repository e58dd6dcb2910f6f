"""Options of contrast by sorting."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from embedkit.recipe.objectives.multi_view import MultiView


class GroCo(MultiView):
    """A text's views are to sort above its hardest negatives in a relaxed sorting network (Shvetsova et al. 2023)."""

    name: Literal["groco"] = "groco"
    top_k: int = Field(10, ge=1, le=200, description="Hardest negatives of an anchor.")
    steepness: float = Field(
        1.0,
        gt=0,
        le=1000,
        description="Of the exchanges; 1 (authors) gives weak gradients on cosines, 10 stronger ones.",
    )
    detach_others: bool = Field(True, description="Gradient reaches the anchor alone (the authors).")

    def meets(self, n: int, p: int) -> tuple[int, str]:
        return min(self.top_k, n - 1), "those of its text"

    def columns(self, n: int, p: int, m: int) -> int:
        return (1 + p) * max(n, (self.top_k + p) ** 3)
