"""Options of SupCon."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.objectives.contrastive import Similarity


class SupCon(ObjectiveConfig):
    """Supervised contrast over all views (Khosla et al. 2020; SupCL-Seq, LM-SupCon): labels, or texts, attract."""

    in_batch: ClassVar[bool] = True
    explicit: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset({"query"})

    name: Literal["supcon"] = "supcon"
    temperature: float = Field(0.05, gt=0, le=10, description="Logits are similarity / temperature.")
    base_temperature: float | None = Field(
        0.07, gt=0, le=10, description="The loss is multiplied by temperature / this; None multiplies by 1."
    )
    labels: bool = Field(
        True, description="True: examples of one label are positives. False: only the views of one text."
    )

    similarity: Similarity = Field("cos", description="cos normalises the embeddings; dot takes them as they are.")

    def roles(self) -> frozenset[str]:
        return self.needs | ({"label"} if self.labels else {"positive"})

    def meets(self, n: int, p: int) -> tuple[int, str]:
        return (n - 1) * (1 + p), "those of its label" if self.labels else "those of its text"

    def columns(self, n: int, p: int, m: int) -> int:
        return (1 + p) * n * (1 + p)
