"""Options of the objectives that sentence-embedding papers added to InfoNCE."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from embedkit.recipe.objectives import AnyObjective, ObjectiveConfig, columns


class DCLR(ObjectiveConfig):
    """Debiased contrastive learning (Zhou et al. 2022): a guide's false negatives weigh 0, noise makes negatives."""

    in_batch: ClassVar[bool] = True

    name: Literal["dclr"] = "dclr"
    variant: Literal["released", "paper"] = Field(
        "released",
        description="released: the authors' code, cross-entropy of every entry, a false negative keeps the logit 0. "
        "paper: its formula, false negatives are removed and the positive is not in the denominator.",
    )
    phi: float = Field(
        0.9,
        gt=-1,
        le=1,
        description="Candidates with a guide cosine above this are false negatives (BERT 0.9, RoBERTa 0.85).",
    )
    noise_times: float = Field(
        1.0, ge=0, le=100, description="Noise negatives per example of the batch (BERT 1, RoBERTa 2.5)."
    )
    noise_steps: int = Field(4, ge=0, le=100, description="Gradient-ascent steps on the noise.")
    step_length: float = Field(1e-3, gt=0, description="Length of a step; every gradient is normalised to 1.")
    temperature: float = Field(0.05, gt=0, le=10, description="Logits are cosines / temperature.")
    noise_temperature: float | None = Field(
        None, gt=0, le=10, description="Temperature of the ascent; None takes temperature. Variant paper only."
    )

    @property
    def needs_guide(self) -> bool:
        return True

    def columns(self, n: int, p: int, m: int) -> int:
        return columns("q-d", n, p, m) + self.noise(n)

    def noise(self, n: int) -> int:
        """Noise negatives of a pool of n examples."""
        return int(n * self.noise_times)

    @model_validator(mode="after")
    def _ascent(self) -> DCLR:
        if self.variant == "released" and self.noise_temperature is not None:
            raise ValueError("noise_temperature belongs to variant: paper; the released code has one temperature")
        return self


class MACL(ObjectiveConfig):
    """Model-aware contrastive learning (Huang et al. 2023): the temperature follows the mean positive similarity."""

    in_batch: ClassVar[bool] = True

    name: Literal["macl"] = "macl"
    tau0: float = Field(0.05, gt=0, le=10, description="Temperature where the mean positive similarity is a0.")
    alpha: float = Field(0.5, ge=0, le=1, description="How far the temperature follows; 0 keeps tau0.")
    a0: float = Field(0.0, ge=0, le=1, description="Positive similarity that leaves the temperature alone.")

    def columns(self, n: int, p: int, m: int) -> int:
        return columns("q-d", n, p, m)


class SupCon(ObjectiveConfig):
    """Supervised contrastive loss over all views (Khosla et al. 2020; SupCL-Seq): one label, or one text, attracts."""

    in_batch: ClassVar[bool] = True
    needs: ClassVar[frozenset[str]] = frozenset({"query"})

    name: Literal["supcon"] = "supcon"
    temperature: float = Field(0.05, gt=0, le=10, description="Logits are cosines / temperature.")
    base_temperature: float | None = Field(
        0.07, gt=0, le=10, description="The loss is multiplied by temperature / this; None multiplies by 1."
    )
    labels: bool = Field(
        True, description="True: examples of one label are positives. False: only the views of one text."
    )

    def roles(self) -> frozenset[str]:
        return self.needs | ({"label"} if self.labels else {"positive"})

    def columns(self, n: int, p: int, m: int) -> int:
        return (1 + p) * n * (1 + p)


class Rank(ObjectiveConfig):
    """Entropy of the batch's spectrum, or its exponential, the effective rank: a term for `sum` (ours, RR-style)."""

    scope: ClassVar[Literal["row", "batch"]] = "batch"
    needs: ClassVar[frozenset[str]] = frozenset({"query"})

    name: Literal["rank"] = "rank"
    quantity: Literal["entropy", "effective_rank"] = Field(
        "entropy", description="entropy: von Neumann's H, natural logarithm. effective_rank: exp(H)."
    )
    of: Literal["query", "all"] = Field(
        "query", description="query: one row per example. all: positives and explicit negatives too."
    )


class EnergyHinge(ObjectiveConfig):
    """max(0, margin + hardest negative's cosine - positive's cosine) (PromCSE); a term for `sum`."""

    in_batch: ClassVar[bool] = True

    name: Literal["energy_hinge"] = "energy_hinge"
    margin: float = Field(0.2, ge=0, le=2, description="In cosines.")

    def columns(self, n: int, p: int, m: int) -> int:
        return columns("q-d", n, p, m)


class ContrastiveTension(ObjectiveConfig):
    """Binary cross-entropy of sigmoid(dot product) against a score in 0..1 (Carlsson et al. 2021)."""

    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive", "score"})
    name: Literal["contrastive_tension"] = "contrastive_tension"


class ViewPairs(ObjectiveConfig):
    """The inner objective on pairs of views, one pair at a time (WhitenedCSE: the sum over its positives)."""

    name: Literal["view_pairs"] = "view_pairs"
    objective: AnyObjective
    pairs: Literal["first", "all"] = Field(
        "first", description="first: the query with each positive. all: every two of the query and its positives."
    )
    reduction: Literal["sum", "mean"] = Field("sum", description="Of the pairs' losses.")

    def inner(self) -> tuple[ObjectiveConfig, ...]:
        return (self.objective,)

    def columns(self, n: int, p: int, m: int) -> int:
        return self.objective.columns(n, 1, m)
