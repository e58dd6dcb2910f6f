"""Options of InfoNCE, and the softmaxes that its directions make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field, model_validator

from embedkit.recipe.objectives.base import ObjectiveConfig

Direction = Literal["q-d", "d-q", "q-q", "d-d"]
Similarity = Literal["cos", "dot"]
GuideRule = Literal["absolute", "relative", "threshold"]
SoftTargets = Literal["none", "positive", "all"]


class InfoNCE(ObjectiveConfig):
    """Cross-entropy of the positive against in-batch and explicit negatives (SimCSE, DPR, GTE, KaLM)."""

    reweightable: ClassVar[bool] = True
    in_batch: ClassVar[bool] = True

    name: Literal["infonce"] = "infonce"
    temperature: float = Field(0.05, gt=0, le=10, description="Logits are similarity / temperature.")
    learn_temperature: bool = Field(
        False, description="Train log(1 / temperature) together with the encoder, without weight decay."
    )
    temperature_bounds: tuple[float, float] = Field(
        (0.01, 1.0), description="A learned temperature is kept in this range."
    )
    similarity: Similarity = Field("cos", description="cos normalises the embeddings; dot takes them as they are.")
    directions: tuple[Direction, ...] = Field(
        ("q-d",),
        min_length=1,
        description="q-d: query against documents; d-q: document against queries; q-q and d-d: same side.",
    )
    partition: Literal["joint", "per_direction"] = Field(
        "joint",
        description="joint: one softmax over the candidates of all directions (GTE). per_direction: each of q-d "
        "and d-q has its own softmax and the losses are averaged (CLIP); q-q joins q-d and d-d joins d-q.",
    )
    positive_in_denominator: Literal["each", "once", "never"] = Field(
        "each",
        description="each: once for q-d and once for d-q (GTE, sentence-transformers). once: once per softmax (E5, "
        "LLM-R). never: decoupled (DCL); the loss may then be negative.",
    )
    hard_negative_weight: float = Field(
        0.0,
        description="Added to the logit of the row's own explicit negative: the LOG of its weight (SimCSE).",
    )
    in_batch_negatives: bool = Field(
        True, description="False: only the row's own explicit negatives are its negatives."
    )
    other_negatives: bool = Field(
        True, description="Whether the explicit negatives of other rows are negatives of this row too."
    )
    same_side: Literal["others", "positives", "all"] = Field(
        "others",
        description="What d-d contrasts with. others: all documents of other rows (sentence-transformers). positives: "
        "only their positives (KaLM). all: the row's own explicit negatives too (Qwen3).",
    )
    false_negative_margin: float | None = Field(
        None,
        ge=0,
        description="Candidates more similar to the anchor than its positive by more than this are not negatives "
        "(0.1 in Qwen3); never applied to d-d. None keeps them.",
    )
    mask_duplicates: bool = Field(
        True,
        description="Candidates whose text is known to match the query are not negatives (by text hash).",
    )
    guide: GuideRule | None = Field(
        None,
        description="Candidates that the `guide` model finds more similar to the anchor than a limit are not negatives "
        "(GISTEmbed). The limit is its similarity of the row's own pair, less guide_margin (absolute) or less that "
        "share of it (relative), or guide_margin itself (threshold).",
    )
    guide_margin: float = Field(0.0, ge=-1, le=1, description="See guide.")
    soft_targets: SoftTargets = Field(
        "none",
        description="The row's score as the target of its positive (CLHAIF). positive: the loss times the score. all: "
        "the rest, 1 - score, is spread evenly over the negatives.",
    )

    @property
    def needs_guide(self) -> bool:
        return self.guide is not None

    def roles(self) -> frozenset[str]:
        return self.needs if self.soft_targets == "none" else self.needs | {"score"}

    def columns(self, n: int, p: int, m: int) -> int:
        return max(columns(d, n, p, m) for d in self.directions)

    @model_validator(mode="after")
    def _possible(self) -> InfoNCE:
        softmaxes(self.directions, self.partition)
        low, high = self.temperature_bounds
        if not 0 < low < high:
            raise ValueError(f"temperature_bounds must be 0 < low < high, got {low}, {high}")
        if self.learn_temperature and not low <= self.temperature <= high:
            raise ValueError(f"temperature {self.temperature} is outside temperature_bounds [{low}, {high}]")
        if not self.in_batch_negatives and self.directions != ("q-d",):
            raise ValueError("in_batch_negatives: false leaves only the row's own negatives: directions must be [q-d]")
        if self.guide_margin and self.guide is None:
            raise ValueError("guide_margin has no effect without guide: absolute, relative or threshold")
        return self


def softmaxes(directions: Sequence[Direction], partition: Literal["joint", "per_direction"]) -> list[list[Direction]]:
    """The directions that share a softmax.

    Raises:
        ValueError: a direction is given twice, or a softmax would lack the positive.
    """
    if len(set(directions)) != len(directions):
        raise ValueError(f"directions are given twice: {', '.join(directions)}")
    groups = [list(directions)]
    if partition == "per_direction":
        groups = [[d for d in directions if d.startswith(anchor)] for anchor in ("q", "d")]
    for group in groups:
        if group and not {"q-d", "d-q"} & set(group):
            raise ValueError(f"the softmax over {', '.join(group)} holds no positive: add q-d or d-q")
    return [group for group in groups if group]


def columns(direction: Direction, n: int, p: int, m: int) -> int:
    """Logits that a row of a pool of `n` examples with `p` positives and `m` negatives has in a direction."""
    return {"q-d": n * (p + m), "q-q": n, "d-q": n * p, "d-d": n * (p + m) * p}[direction]
