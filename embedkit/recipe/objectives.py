"""Options of the built-in objectives: the only place that says what an objective may be told, and its defaults."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from embedkit.recipe.base import Block, validate_named

Direction = Literal["q-d", "d-q", "q-q", "d-d"]
Similarity = Literal["cos", "dot"]
GuideRule = Literal["absolute", "relative", "threshold"]
SoftTargets = Literal["none", "positive", "all"]


class ObjectiveConfig(Block):
    """Base of all objective options.

    `needs` names the roles a source must give; `scope` says how the step evaluates it (``row``: one loss per
    row, cut into blocks; ``batch``: one scalar over the whole batch); `reweightable` whether `weighting` applies.
    """

    name: str
    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive"})
    scope: ClassVar[Literal["row", "batch"]] = "row"
    reweightable: ClassVar[bool] = False
    in_batch: ClassVar[bool] = False

    @property
    def needs_guide(self) -> bool:
        """Whether it reads the guide's embeddings with these options."""
        return False

    def roles(self) -> frozenset[str]:
        """Roles that a source must give with these options."""
        return self.needs

    def inner(self) -> tuple[ObjectiveConfig, ...]:
        """The objectives that a wrapper is made of; none for a plain objective."""
        return ()

    def columns(self, n: int, p: int, m: int) -> int:
        """The most logits a row has in any matrix, in a pool of n examples with p positives and m negatives each."""
        if self.inner():
            return max(one.columns(n, p, m) for one in self.inner())
        return p + m if self.scope == "row" else 1


def _objective(value: Any, info: Any) -> Any:
    return validate_named("objective", value, info)


AnyObjective = Annotated[SerializeAsAny[ObjectiveConfig], BeforeValidator(_objective)]


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


class Nothing(ObjectiveConfig):
    """No objective on embeddings: the auxiliary losses alone (pretraining, TSDAE)."""

    needs: ClassVar[frozenset[str]] = frozenset()
    name: Literal["none"] = "none"


class CoSENT(ObjectiveConfig):
    """Ranking of pair cosines by graded score: log(1 + sum exp(scale (c_m - c_n))) over score_m < score_n."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "score"})
    scope: ClassVar[Literal["row", "batch"]] = "batch"
    name: Literal["cosent"] = "cosent"
    scale: float = Field(20.0, gt=0, description="Multiplies the cosine differences; 1 / temperature.")


class AnglE(ObjectiveConfig):
    """CoSENT on the AnglE similarity in complex space (arXiv 2309.12871): the angle term only."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "score"})
    scope: ClassVar[Literal["row", "batch"]] = "batch"
    name: Literal["angle"] = "angle"
    scale: float = Field(20.0, gt=0, description="Multiplies the similarity differences.")


class CosineMSE(ObjectiveConfig):
    """Mean squared error between the pair's cosine and its score (scores on the cosine's scale)."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "score"})
    name: Literal["cosine_mse"] = "cosine_mse"


class Triplet(ObjectiveConfig):
    """max(0, d(q, p) - d(q, n) + margin), averaged over the row's explicit negatives."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "negative"})
    name: Literal["triplet"] = "triplet"
    margin: float = Field(5.0, ge=0, description="5 suits euclidean, about 0.2 suits cosine.")
    distance: Literal["euclidean", "cosine"] = Field(
        "euclidean", description="euclidean: on embeddings as they are; cosine: 1 - cosine."
    )


class MarginMSE(ObjectiveConfig):
    """Squared error of the margin s(q, p) - s(q, n) against the teacher's margin (Hofstätter et al. 2020)."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "negative", "score"})
    name: Literal["margin_mse"] = "margin_mse"
    similarity: Similarity = Field("dot", description="Similarity of the student.")


class KLDistillation(ObjectiveConfig):
    """KL(teacher || student) over the row's own candidates [positive, negatives], both with softmax."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "negative", "score"})
    name: Literal["kl"] = "kl"
    similarity: Similarity = Field("cos", description="Similarity of the student.")
    temperature: float = Field(0.05, gt=0, description="Temperature of the student's softmax.")
    teacher_temperature: float = Field(1.0, gt=0, description="Temperature of the teacher's softmax.")
    rescale: bool = Field(
        False,
        description="Multiply by the student's temperature squared (Hinton; sentence-transformers). With a sharp "
        "temperature this makes the loss tiny; BGE and LLM-R do not.",
    )


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
    target: Literal["none", "score", "label"] = Field("none", description="What it gets as labels.")

    def roles(self) -> frozenset[str]:
        return frozenset(self.inputs) | ({self.target} - {"none"})


class Matryoshka(ObjectiveConfig):
    """The inner objective on prefixes of the embedding, weighted sum (arXiv 2205.13147)."""

    name: Literal["matryoshka"] = "matryoshka"
    objective: AnyObjective
    dims: tuple[int, ...] = Field(min_length=1, description="Prefix lengths, e.g. [384, 256, 128, 64].")
    weights: tuple[float, ...] | None = Field(None, description="One per dim; all ones when absent.")

    def inner(self) -> tuple[ObjectiveConfig, ...]:
        return (self.objective,)

    @model_validator(mode="after")
    def _weights_match(self) -> Matryoshka:
        if self.weights is not None and len(self.weights) != len(self.dims):
            raise ValueError(f"matryoshka has {len(self.dims)} dims but {len(self.weights)} weights")
        if len(set(self.dims)) != len(self.dims) or min(self.dims) < 1:
            raise ValueError("matryoshka dims must be positive and distinct")
        return self


class SumTerm(Block):
    """One term of a sum."""

    weight: float = Field(1.0, description="Factor of this term.")
    objective: AnyObjective


class Sum(ObjectiveConfig):
    """Weighted sum of objectives on the same batch."""

    name: Literal["sum"] = "sum"
    terms: tuple[SumTerm, ...] = Field(min_length=1)

    def inner(self) -> tuple[ObjectiveConfig, ...]:
        return tuple(term.objective for term in self.terms)


def leaves(config: ObjectiveConfig) -> list[ObjectiveConfig]:
    """The objectives inside wrappers; a plain objective is its own only leaf."""
    inner = config.inner()
    return [leaf for one in inner for leaf in leaves(one)] if inner else [config]


def needs(config: ObjectiveConfig) -> frozenset[str]:
    """Roles that a source must give for this objective."""
    return frozenset().union(*(leaf.roles() for leaf in leaves(config)))
