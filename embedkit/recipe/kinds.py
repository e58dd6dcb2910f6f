"""Tasks that embedkit measures itself besides STS and retrieval: a class for each kind. No torch here."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias, get_args

from pydantic import Field, model_validator

from embedkit.recipe.base import LONG_TEXTS, Block, invalid
from embedkit.recipe.columns import (
    OWN_SIMILARITY,
    AnalogyColumns,
    ChoiceColumns,
    Grouped,
    LabelColumns,
    MatchColumns,
    PairColumns,
    ParallelColumns,
    Perturbed,
    Place,
    RerankColumns,
    Similarity,
    TrainColumns,
)
from embedkit.recipe.templates import TemplateRange


class _Measured(Block):
    """What every task has."""

    metrics: ClassVar[tuple[str, ...]]

    name: str
    max_length: int | None = Field(None, gt=2, description="Tokens kept; None keeps the model's setting.")


class _Compared(_Measured):
    """A task that compares embeddings with each other."""

    similarity: Similarity | None = Field(None, description=OWN_SIMILARITY)


class ClassificationTask(TrainColumns, _Measured, Grouped, Perturbed):
    """Labelled texts: a logistic regression on embeddings of `train`, judged on `files`."""

    main: ClassVar[str] = "accuracy"
    metrics = ("accuracy", "f1", "f1_weighted", "precision", "recall", "ece", "brier")

    type: Literal["classification"] = "classification"
    samples_per_label: int | None = Field(
        8, gt=0, description="Texts per class of each draw; null: all of `train`, in one fit."
    )
    experiments: int = Field(10, gt=0, description="Draws, whose scores are averaged.")


class FewShotTask(TrainColumns, _Measured, Grouped, Perturbed):
    """Labelled texts: what a logistic regression learns from a few of `train` per class, for several such numbers."""

    type: Literal["few_shot"] = "few_shot"
    shots: tuple[int, ...] = Field((1, 2, 4, 8, 16), min_length=1, description="Texts per class.")
    draws: int = Field(10, gt=1, description="How often they are drawn, for each number.")
    prompts: TemplateRange | None = Field(
        None,
        description="Judge every text in several templates (PAFT): the texts to learn from get one of `seen` each, and "
        "accuracy and F1 are means over `unseen`.",
    )

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
        names = ("accuracy", "f1") if self.prompts is None else ("accuracy", "f1", "accuracy_worst", "accuracy_seen")
        return tuple(f"{name}@{shots}" for name in names for shots in self.shots)


class LabelPromptTask(LabelColumns, _Compared, Grouped, Perturbed):
    """Labelled texts without training texts: each gets the label whose own text is the most similar."""

    model_config = LONG_TEXTS
    main: ClassVar[str] = "accuracy"
    metrics = ("accuracy", "f1", "accuracy_worst")

    type: Literal["label_prompts"] = "label_prompts"
    labels: dict[str, str] | None = Field(
        None, description="Label -> text that says what it means; null: the label itself, with spaces for underscores."
    )
    templates: tuple[str, ...] = Field(
        ("{}",), min_length=1, description="What is put around the text of a label, at {}; the scores are averaged."
    )

    @model_validator(mode="after")
    def _labels_differ(self) -> LabelPromptTask:
        for template in self.templates:
            if template.count("{}") != 1:
                raise invalid(f"template {template!r} has {template.count('{}')} places for a label", "write one {}")
        if len({" ".join(t.split()) for t in self.templates}) < len(self.templates):
            raise invalid("a template is given twice", "remove one")
        texts = [" ".join(text.split()) for text in (self.labels or {}).values()]
        if self.labels is not None and len(texts) < 2:
            raise invalid(f"labels has {len(texts)} of them", "give at least two, or leave `labels` out")
        if "" in texts:
            raise invalid("a label has an empty text", "write what it means")
        if len(set(texts)) < len(texts):
            twice = next(text for text in texts if texts.count(text) > 1)
            raise invalid(f"two labels have the text {twice!r}", "write what tells them apart")
        return self


class TransferTask(LabelColumns, _Measured, Grouped):
    """Labelled texts in SentEval's manner: a logistic regression whose strength is chosen in folds."""

    main: ClassVar[str] = "accuracy"
    metrics = ("accuracy", "f1")

    type: Literal["transfer"] = "transfer"
    train: tuple[str, ...] = Field(
        (),
        description="Labelled texts to learn from, in whose folds the strength is chosen; none: each fold of `files` "
        "is judged by what is learnt from the others.",
    )
    folds: int = Field(10, gt=1, le=100, description="How many, outside and inside.")
    strengths: tuple[float, ...] = Field(
        (0.25, 0.5, 1.0, 2.0, 4.0, 8.0), min_length=1, description="C of the regression, among which is chosen."
    )

    @model_validator(mode="after")
    def _strengths_are_positive(self) -> TransferTask:
        if min(self.strengths) <= 0 or len(set(self.strengths)) < len(self.strengths):
            raise invalid(f"strengths {list(self.strengths)}: expected different positive numbers", "e.g. [0.5, 1, 2]")
        return self


class ClusteringTask(LabelColumns, _Measured):
    """Labelled texts, whose k-means clusters are compared with the labels."""

    main: ClassVar[str] = "v_measure"
    metrics = ("v_measure", "ami")

    type: Literal["clustering"] = "clustering"
    subclass: str | None = Field(
        None,
        description="Column of a finer label, each value inside one label: whether the classes keep these apart is "
        "measured too (class collapse).",
    )


class PairTask(MatchColumns, _Compared, Grouped, Perturbed):
    """Pairs that match (1) or do not (0): average precision of the similarity."""

    main: ClassVar[str] = "ap"
    metrics = ("ap", "auc", "f1", "accuracy")

    type: Literal["pair_classification"] = "pair_classification"


class RerankingTask(RerankColumns, _Compared, Grouped, Perturbed):
    """Queries, each with texts that match and texts that do not: JSONL or Parquet with lists, or one text."""

    main: ClassVar[str] = "map"
    metrics = ("map", "mrr", *(f"{name}@{k}" for name in ("ndcg", "mrr", "recall") for k in (1, 10)), "auc")

    type: Literal["reranking"] = "reranking"


class BitextTask(PairColumns, _Compared, Grouped, Perturbed):
    """Translations: each first text looks for its own second text among all."""

    main: ClassVar[str] = "f1"
    metrics = ("f1", "accuracy", "precision")

    type: Literal["bitext"] = "bitext"


class ConsistencyTask(ParallelColumns, _Compared):
    """The same questions in several languages against one set of answers: found everywhere, and at the same rank?"""

    main: ClassVar[str] = "recall@1"
    metrics = ("recall@1", "recall@10", "mrr", "rank_variance", "rank_std", "rank_variance_median")

    type: Literal["consistency"] = "consistency"


class ChoiceTask(ChoiceColumns, _Compared, Grouped):
    """Queries with several texts of which one is right, and the others nearly so: is it the most similar one?"""

    main: ClassVar[str] = "accuracy"
    metrics = ("accuracy", "margin")

    type: Literal["choice"] = "choice"
    ties: Literal["wrong", "right"] = Field(
        "wrong",
        description="What counts where a wrong text is as similar as the right one. right: as in the figures that ARO "
        "gives for word order, where a constant similarity has 100.",
    )


class AnalogyTask(AnalogyColumns, _Compared):
    """Pairs of texts by relation: does the same relation lead in the same direction?"""

    main: ClassVar[str] = "consistency"
    metrics = ("consistency", "alignment", "accuracy")

    type: Literal["analogy"] = "analogy"
    shuffles: int = Field(10, gt=0, le=1000, description="How often the second texts of a relation are dealt anew.")


class NoAnswerTask(_Compared):
    """Queries that some document answers, and queries that none does: is it seen from the best similarity?"""

    main: ClassVar[str] = "balanced_accuracy"
    metrics = ("balanced_accuracy", "auc", "hallucination_rate", "error_rate", "coverage")

    type: Literal["no_answer"] = "no_answer"
    folder: str = Field(
        description="BEIR folder: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv; a query whose documents are all judged "
        "0 has no answer."
    )
    split: str = Field("test", description="Name of the file in qrels/.")
    dev: str = Field("dev", description="Of the file whose queries the threshold is chosen on.")
    candidates: Literal["judged", "corpus"] = Field(
        "judged", description="Documents that are searched: those judged for the query, or all of them."
    )

    @model_validator(mode="after")
    def _chosen_elsewhere(self) -> NoAnswerTask:
        if self.dev == self.split:
            cure = "give other queries in `dev`: a threshold that is chosen on the test queries knows the answers"
            raise invalid(f"dev and split are both {self.split!r}", cure)
        return self

    def moved(self, place: Place) -> NoAnswerTask:
        """The same task with `place` of the folder."""
        return self.model_copy(update={"folder": place(self.folder)})


OwnTask: TypeAlias = (
    ClassificationTask
    | FewShotTask
    | LabelPromptTask
    | TransferTask
    | ClusteringTask
    | PairTask
    | RerankingTask
    | BitextTask
    | ConsistencyTask
    | ChoiceTask
    | AnalogyTask
    | NoAnswerTask
)
OWN: tuple[type[Block], ...] = get_args(OwnTask)
