"""Tasks that embedkit measures itself besides STS and retrieval: a class for each kind. No torch here."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator

from embedkit.recipe.base import Block, invalid
from embedkit.recipe.columns import (
    OWN_SIMILARITY,
    LabelColumns,
    MatchColumns,
    PairColumns,
    RerankColumns,
    Similarity,
    TrainColumns,
)

_PROBED = ("accuracy", "f1", "f1_weighted", "precision", "recall")


class _Measured(Block):
    """What every task has."""

    metrics: ClassVar[tuple[str, ...]]

    name: str
    max_length: int | None = Field(None, gt=2, description="Tokens kept; None keeps the model's setting.")


class _Compared(_Measured):
    """A task that compares embeddings with each other."""

    similarity: Similarity | None = Field(None, description=OWN_SIMILARITY)


class ClassificationTask(TrainColumns, _Measured):
    """Labelled texts: a logistic regression on embeddings of `train`, judged on `files`."""

    main: ClassVar[str] = "accuracy"
    metrics = _PROBED

    type: Literal["classification"] = "classification"
    samples_per_label: int | None = Field(
        8, gt=0, description="Texts per class of each draw; null: all of `train`, in one fit."
    )
    experiments: int = Field(10, gt=0, description="Draws, whose scores are averaged.")


class FewShotTask(TrainColumns, _Measured):
    """Labelled texts: what a logistic regression learns from a few of `train` per class, for several such numbers."""

    type: Literal["few_shot"] = "few_shot"
    shots: tuple[int, ...] = Field((1, 2, 4, 8, 16), min_length=1, description="Texts per class.")
    draws: int = Field(10, gt=1, description="How often they are drawn, for each number.")

    @model_validator(mode="after")
    def _shots_rise(self) -> FewShotTask:
        if list(self.shots) != sorted(set(self.shots)) or self.shots[0] < 1:
            raise invalid(f"shots {list(self.shots)}: expected rising numbers from 1", "e.g. [1, 2, 4, 8]")
        return self

    @property
    def main(self) -> str:
        """The accuracy with the most texts."""
        return f"accuracy@{self.shots[-1]}"

    @property
    def metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        """Names of all metrics of the task."""
        return tuple(f"{name}@{shots}" for name in ("accuracy", "f1") for shots in self.shots)


class ClusteringTask(LabelColumns, _Measured):
    """Labelled texts, whose k-means clusters are compared with the labels."""

    main: ClassVar[str] = "v_measure"
    metrics = ("v_measure", "ami")

    type: Literal["clustering"] = "clustering"


class PairTask(MatchColumns, _Compared):
    """Pairs that match (1) or do not (0): average precision of the similarity."""

    main: ClassVar[str] = "ap"
    metrics = ("ap", "auc", "f1", "accuracy")

    type: Literal["pair_classification"] = "pair_classification"


class RerankingTask(RerankColumns, _Compared):
    """Queries, each with texts that match and texts that do not: JSONL or Parquet with lists, or one text."""

    main: ClassVar[str] = "map"
    metrics = ("map", "mrr", *(f"{name}@{k}" for name in ("ndcg", "mrr", "recall") for k in (1, 10)), "auc")

    type: Literal["reranking"] = "reranking"


class BitextTask(PairColumns, _Compared):
    """Translations: each first text looks for its own second text among all."""

    main: ClassVar[str] = "f1"
    metrics = ("f1", "accuracy", "precision")

    type: Literal["bitext"] = "bitext"


OwnTask: TypeAlias = ClassificationTask | FewShotTask | ClusteringTask | PairTask | RerankingTask | BitextTask
OWN: tuple[type[Block], ...] = (
    ClassificationTask,
    FewShotTask,
    ClusteringTask,
    PairTask,
    RerankingTask,
    BitextTask,
)
