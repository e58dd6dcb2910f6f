"""Options of the contrast with label texts as anchors."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig


class LabelAnchors(ObjectiveConfig):
    """Texts and the texts of their labels in one contrast, the latter at wide angles (EACL); for `label_texts`."""

    in_batch: ClassVar[bool] = True
    scope: ClassVar[Literal["row", "batch"]] = "batch"
    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "label"})

    name: Literal["label_anchors"] = "label_anchors"
    temperature: float = Field(0.1, gt=0, le=10, description="Logits are ((1 + cosine) / 2) / temperature.")
    angle_weight: float = Field(
        0.1, ge=0, le=1000, description="Of the angle term. It needs three classes or more; 0 leaves it out."
    )
    count_lone: bool = Field(
        False,
        description="Whether a row without a positive counts, with 18.42 and no gradient (the released code), or not.",
    )

    def sees(self, n: int, p: int, m: int) -> str:
        return f"the texts of other classes among {n} texts, and their label texts"
