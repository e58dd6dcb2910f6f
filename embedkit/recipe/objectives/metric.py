"""Options of the metric-learning objectives on labels."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from embedkit.recipe.objectives.base import ObjectiveConfig


class Labelled(ObjectiveConfig):
    """Base of the objectives that compare every view of the batch with all others, alike where labels are."""

    in_batch: ClassVar[bool] = True
    explicit: ClassVar[bool] = False
    needs: ClassVar[frozenset[str]] = frozenset({"query", "label"})

    def meets(self, n: int, p: int) -> tuple[int, str]:
        return (n - 1) * (1 + p), "those of its label"

    def columns(self, n: int, p: int, m: int) -> int:
        return (1 + p) * n * (1 + p)


class Circle(Labelled):
    """Pairs are pulled and pushed by how far each is from where it should be (Sun et al. 2020), per anchor."""

    name: Literal["circle"] = "circle"
    margin: float = Field(0.4, ge=0, lt=1, description="Alike cosines should be above 1 - margin, unlike below margin.")
    scale: float = Field(80.0, gt=0, le=1000, description="Of the exponents; 20 to 80 for text encoders.")


class CircleBatch(Labelled):
    """Circle loss with one logarithm over all pairs of the batch (Sun et al. 2020; a widely used implementation)."""

    scope: ClassVar[Literal["row", "batch"]] = "batch"
    name: Literal["circle_batch"] = "circle_batch"
    margin: float = Field(0.25, ge=0, lt=1, description="Alike cosines should be above 1 - margin, unlike below it.")
    scale: float = Field(256.0, gt=0, le=1000, description="Of the exponents; 20 to 80 for text encoders.")


class MultiSimilarity(Labelled):
    """Soft weighting of an anchor's hard positives and negatives by label (Wang et al. 2019)."""

    name: Literal["multi_similarity"] = "multi_similarity"
    alpha: float = Field(2.0, gt=0, le=1000, description="Sharpness for alike views.")
    beta: float = Field(50.0, gt=0, le=1000, description="Sharpness for unlike views; the paper's code has 40 too.")
    base: float = Field(0.5, ge=-1, le=1, description="Cosine that divides alike from unlike.")
    mine: float | None = Field(
        0.1, ge=0, le=2, description="Margin of the authors' selection of hard views; null takes all of them."
    )


class LabelContrastive(Labelled):
    """Hinges on the distances of all pairs by label (Hadsell et al. 2006; as in pytorch-metric-learning)."""

    name: Literal["label_contrastive"] = "label_contrastive"
    positive_margin: float = Field(0.0, ge=0, le=2, description="Alike pairs nearer than this have no loss.")
    negative_margin: float = Field(1.0, ge=0, le=2, description="Unlike pairs farther apart than this have no loss.")


class LabelTriplet(Labelled):
    """Triplets by label, all or the hard ones of a batch (Schroff et al. 2015; as in pytorch-metric-learning)."""

    name: Literal["label_triplet"] = "label_triplet"
    margin: float = Field(0.05, ge=0, le=2, description="In Euclidean distances of unit vectors.")
    smooth: bool = Field(False, description="softplus instead of a hinge.")
    triplets: Literal["all", "semi_hard", "hard", "hardest"] = Field(
        "all",
        description="Of an anchor. semi_hard: the negative farther than the positive, by less than the margin. hard: "
        "nearer. hardest: the farthest positive with the nearest negative. All but hardest hold a cube of the batch.",
    )

    def columns(self, n: int, p: int, m: int) -> int:
        return (1 + p) * int((n * (1 + p)) ** (1 if self.triplets == "hardest" else 2))
