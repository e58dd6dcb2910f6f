"""Options of the adapter for sentence-transformers' losses."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig


class STLoss(ObjectiveConfig):
    """Any sentence-transformers loss that has `compute_loss_from_embeddings`, by class name."""

    scope: ClassVar[Literal["row", "batch"]] = "batch"
    name: Literal["st"] = "st"
    loss: str = Field(description="Class name, e.g. OnlineContrastiveLoss.")
    arguments: dict[str, Any] = Field(
        default_factory=dict,
        description="Its keyword arguments, the model excepted; a function by its name, e.g. dot_score.",
    )
    inputs: tuple[Literal["query", "positive", "negative"], ...] = Field(
        ("query", "positive"), description="Which embeddings it gets, in order."
    )
    target: Literal["none", "score", "label", "guide"] = Field(
        "none",
        description="What it gets as labels; `guide`: the `guide` model's embedding of the query, as the teacher's of "
        "every input (MSELoss over translations, Reimers and Gurevych 2020).",
    )

    @property
    def needs_guide(self) -> bool:
        return self.target == "guide"

    def sees(self, n: int, p: int, m: int) -> str:
        return "for each embedding the guide's of its query" if self.target == "guide" else ""

    @property
    def compares(self) -> None:
        return None

    def roles(self) -> frozenset[str]:
        return frozenset(self.inputs) | ({self.target} - {"none", "guide"})
