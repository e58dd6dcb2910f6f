"""Options of contrastive attraction and repulsion."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from embedkit.recipe.objectives.multi_view import MultiView


class CACR(MultiView):
    """Far positives are pulled more, near negatives pushed more (Zheng et al. 2021); made for three views or more."""

    name: Literal["cacr"] = "cacr"
    positive_sharpness: float = Field(
        1.0, ge=0, le=100, description="Of the positives' softmax, over squared distances; 0 weighs them alike."
    )
    negative_sharpness: float = Field(
        1.0, ge=0, le=100, description="Of the negatives' softmax; authors 0.9 to 2. 10 compares with temperature 0.05."
    )
    attraction: float = Field(1.0, ge=0, description="Factor of the positives' cost.")
    repulsion: float = Field(1.0, ge=0, description="Factor of the negatives' cost.")
    detach_weights: bool = Field(False, description="Take the weights as constants (the authors' large-scale code).")


class CACRKeys(MultiView):
    """CACR against keys of a slowly moving copy of the encoder (Zheng et al. 2021, large-scale form)."""

    name: Literal["cacr_keys"] = "cacr_keys"
    cost: Literal["rbf", "euclidean"] = Field(
        "rbf", description="rbf: InfoNCE whose views weigh more the worse they are. euclidean: 1 - cosine."
    )
    temperature: float = Field(1.0, gt=0, le=10, description="Of the weights, and of rbf's logits.")
    keys: int = Field(2, ge=1, description="How many views are keys in turn, the query first (authors: 2).")
    momentum: float | None = Field(
        0.99,
        ge=0,
        lt=1,
        description="Keys are embedded by a copy of the encoder, copy = momentum copy + (1 - momentum) encoder after "
        "every update, without dropout. null: by the encoder itself, as constants.",
    )

    @property
    def target_momentum(self) -> float | None:
        return self.momentum

    def meets(self, n: int, p: int) -> tuple[int, str]:
        return n - 1, "those of its text"

    def columns(self, n: int, p: int, m: int) -> int:
        return (1 + p) * n
