"""What a suite may say about tasks of mteb, official ones and those made of local files. No mteb and no torch here."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator

from embedkit.recipe.base import Block, invalid
from embedkit.recipe.columns import (
    GradedColumns,
    LabelColumns,
    LabelsColumns,
    MatchColumns,
    PairColumns,
    Place,
    RerankColumns,
    TrainColumns,
)

PREFIX = "mteb:"
"""``mteb:SciFact,STS12`` and ``mteb:NanoBEIR`` are suites."""
MAIN = "main_score"
"""What mteb calls the main metric of any task; `details["metric"]` of a score says which one it is."""


class StsFiles(GradedColumns):
    """Graded pairs."""

    kind: Literal["sts"] = Field("sts", description="What the files hold.")


class RetrievalFolder(Block):
    """A BEIR folder."""

    kind: Literal["retrieval"] = Field("retrieval", description="What the files hold.")
    folder: str = Field(description="corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv.")
    split: str = Field("test", description="Name of the file in qrels/.")

    def moved(self, place: Place) -> RetrievalFolder:
        """The same block with `place` of the folder."""
        return self.model_copy(update={"folder": place(self.folder)})


class RerankingFiles(RerankColumns):
    """Queries, each with texts that match and texts that do not: JSONL or Parquet with lists, or one text."""

    kind: Literal["reranking"] = Field("reranking", description="What the files hold.")


class ClassificationFiles(TrainColumns):
    """Labelled texts: a logistic regression on a few of `train` per class, drawn several times, judged on `files`."""

    kind: Literal["classification"] = Field("classification", description="What the files hold.")
    samples_per_label: int = Field(8, gt=0, description="Texts per class of each draw.")
    experiments: int = Field(10, gt=0, description="Draws, whose scores are averaged.")


class MultilabelFiles(LabelsColumns):
    """Texts with any number of labels each: nearest neighbours in `train`, judged on `files`."""

    kind: Literal["multilabel"] = Field("multilabel", description="What the files hold.")
    samples_per_label: int = Field(8, gt=0, description="Texts per label of each draw.")
    experiments: int = Field(10, gt=0, description="Draws, whose scores are averaged.")


class ClusteringFiles(LabelColumns):
    """Labelled texts, whose k-means clusters are compared with the labels (v-measure)."""

    kind: Literal["clustering"] = Field("clustering", description="What the files hold.")


class PairFiles(MatchColumns):
    """Pairs that match (1) or do not (0): average precision of the similarity."""

    kind: Literal["pair_classification"] = Field("pair_classification", description="What the files hold.")


class BitextFiles(PairColumns):
    """Translations: each first text looks for its own second text among all."""

    kind: Literal["bitext"] = Field("bitext", description="What the files hold.")


Data: TypeAlias = Annotated[
    StsFiles
    | RetrievalFolder
    | RerankingFiles
    | ClassificationFiles
    | MultilabelFiles
    | ClusteringFiles
    | PairFiles
    | BitextFiles,
    Field(discriminator="kind"),
]
KINDS: tuple[type[Block], ...] = (
    StsFiles,
    RetrievalFolder,
    RerankingFiles,
    ClassificationFiles,
    MultilabelFiles,
    ClusteringFiles,
    PairFiles,
    BitextFiles,
)


class MtebTask(Block):
    """A task measured by mteb: an official one by its name, or local files in one of its kinds."""

    main: ClassVar[str] = MAIN
    metrics: ClassVar[tuple[str, ...]] = (MAIN,)

    type: Literal["mteb"] = "mteb"
    name: str = Field("", description="Name in the suite; default: `task`.")
    task: str | None = Field(None, description="An official task of mteb by its name there, e.g. STS12.")
    benchmark: str | None = Field(
        None, description="Take `task` with the languages and splits that it has in this benchmark of mteb."
    )
    data: Data | None = Field(
        None, description="Local files: of the official `task` in place of the Hub's, or a task of your own."
    )
    language: str = Field("eng-Latn", description="Of a task of your own: ISO 639-3 and ISO 15924.")
    max_length: int | None = Field(None, gt=2, description="Tokens kept; None keeps the model's setting.")

    @model_validator(mode="before")
    @classmethod
    def _named_after_the_task(cls, value: Any) -> Any:
        return {**value, "name": value["task"]} if isinstance(value, dict) and _nameless(value) else value

    @model_validator(mode="after")
    def _official_or_own(self) -> MtebTask:
        if self.task is None and self.data is None:
            raise invalid("an mteb task needs `task`, `data` or both", "name an official task, or give files in `data`")
        if self.task is None and self.benchmark is not None:
            raise invalid("benchmark without task", "name the `task` of the benchmark, or remove `benchmark`")
        if not self.name:
            raise invalid("an mteb task of your own needs a name", "add `name`")
        return self

    def moved(self, place: Place) -> MtebTask:
        """The same task with `place` of every path."""
        return self if self.data is None else self.model_copy(update={"data": self.data.moved(place)})


def _nameless(value: dict[str, Any]) -> bool:
    return "name" not in value and isinstance(value.get("task"), str)


def names_of(reference: str) -> list[str]:
    """The names in ``mteb:A,MTEB(eng, v2)``: cut at commas that stand in no brackets."""
    names, depth = [""], 0
    for letter in reference.removeprefix(PREFIX):
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth <= 0:
            names.append("")
        else:
            names[-1] += letter
    return [name.strip() for name in names if name.strip()]
