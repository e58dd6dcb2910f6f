"""Options of Symile."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.multi_view import MultiView


class Symile(MultiView):
    """Three fields or more told from other combinations by their multilinear product (Saporta et al. 2024)."""

    least: ClassVar[int] = 2
    name: Literal["symile"] = "symile"
    scale: float = Field(100.0, gt=0, le=1e5, description="Multiplies the products, which are tiny: 100 to 1000.")
    learn_scale: bool = Field(False, description="Train log(scale) together with the encoder, without weight decay.")
    negatives: Literal["all", "shuffled"] = Field(
        "shuffled", description="shuffled: as many combinations as examples. all: every one, batch^(fields - 1)."
    )
    mask_duplicates: bool = Field(
        True, description="Combinations whose texts are all known to match are left out; the authors leave none out."
    )

    def meets(self, n: int, p: int) -> tuple[int, str]:
        return (n**p if self.negatives == "all" else n) - 1, "those all known to match"

    def columns(self, n: int, p: int, m: int) -> int:
        return n**p if self.negatives == "all" else n
