"""Options of the objectives among several views of a text."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig


class MultiView(ObjectiveConfig):
    """Base of the objectives that compare every view of a text, the query and the positives, with those of others."""

    in_batch: ClassVar[bool] = True
    explicit: ClassVar[bool] = False

    def meets(self, n: int, p: int) -> tuple[int, str]:
        return (n - 1) * (1 + p), "those of its text"

    def columns(self, n: int, p: int, m: int) -> int:
        return (1 + p) * n * (1 + p)


class MVInfoNCE(MultiView):
    """One softmax per text over all its views (Koromilas et al. 2025); made for three views or more."""

    name: Literal["mv_infonce"] = "mv_infonce"
    temperature: float = Field(0.5, gt=0, le=10, description="Logits are cosines / temperature.")
    denominator: Literal["all", "cross"] = Field(
        "all", description="all: a view's candidates are all other views (the authors' code). cross: not of its number."
    )


class MVDHEL(MultiView):
    """Views of one number are spread out, views of one text drawn together (Koromilas et al. 2025); two views: DHEL."""

    name: Literal["mv_dhel"] = "mv_dhel"
    temperature: float = Field(0.5, gt=0, le=10, description="Logits are cosines / temperature.")

    def meets(self, n: int, p: int) -> tuple[int, str]:
        return n - 1, "those of its text"

    def columns(self, n: int, p: int, m: int) -> int:
        return (1 + p) * n


class PolyView(MultiView):
    """Cross-entropy of every two views of a text, averaged (poly-view, geometric form; as in arXiv 2507.06979)."""

    name: Literal["poly_view"] = "poly_view"
    temperature: float = Field(0.2, gt=0, le=10, description="Logits are cosines / temperature.")
