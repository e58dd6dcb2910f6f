"""From the grade of a document to the weight of its pair in the loss."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from embedkit.recipe.base import Block


class Grades(Block):
    """How a document's grade becomes its pair's weight (for GCL, arXiv 2404.08535, which does not publish its own
    functions: these are ours)."""

    function: Literal["identity", "log", "gain", "reciprocal", "discount"] = Field(
        "identity",
        description="With g the grade: identity g, log log2(1 + g), gain 2^g - 1 (that of DCG); with g a rank from 1: "
        "reciprocal 1 / g, discount 1 / log2(1 + g) (that of DCG).",
    )
    divide_by: float = Field(1.0, gt=0, description="Grades are divided by this first (100 for percent).")

    def weight(self, grade: float) -> float:
        """The weight of a pair whose document has this grade.

        Raises:
            ValueError: the grade has none: it is negative, or below 1 where a rank belongs.
        """
        g = grade / self.divide_by
        if self.function in ("reciprocal", "discount"):
            if g < 1:
                raise ValueError(f"grade {grade:g} is no rank from 1")
            return 1 / g if self.function == "reciprocal" else 1 / math.log2(1 + g)
        if g < 0:
            raise ValueError(f"negative grade {grade:g}")
        try:
            found = {"identity": lambda: g, "log": lambda: math.log2(1 + g), "gain": lambda: 2.0**g - 1}[
                self.function
            ]()
        except OverflowError:
            found = math.inf
        if not math.isfinite(found):
            raise ValueError(f"grade {grade:g} is too large for {self.function}")
        return found
