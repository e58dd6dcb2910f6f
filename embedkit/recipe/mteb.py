"""What a suite may say about tasks of mteb, official ones and those made of local files. No mteb and no torch here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator

from embedkit.recipe.base import Block, invalid

PREFIX = "mteb:"
"""``mteb:SciFact,STS12`` and ``mteb:NanoBEIR`` are suites."""
MAIN = "main_score"
"""What mteb calls the main metric of any task; `details["metric"]` of a score says which one it is."""

Place = Callable[[str], str]
_FILES = "TSV, CSV, JSONL or Parquet; several are read as one set."


class _Data(Block):
    files: tuple[str, ...] = Field(min_length=1, description=_FILES)

    def moved(self, place: Place) -> _Data:
        """The same block with `place` of every path."""
        names = [name for name in ("files", "train") if name in type(self).model_fields]
        return self.model_copy(update={name: tuple(map(place, getattr(self, name))) for name in names})


class StsFiles(_Data):
    """Graded pairs."""

    kind: Literal["sts"] = Field("sts", description="What the files hold.")
    sentence1: str = Field("sentence1", description="Column of the first text.")
    sentence2: str = Field("sentence2", description="Column of the second text.")
    score: str = Field("score", description="Column of the gold score; any scale.")


class RetrievalFolder(Block):
    """A BEIR folder."""

    kind: Literal["retrieval"] = Field("retrieval", description="What the files hold.")
    folder: str = Field(description="corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv.")
    split: str = Field("test", description="Name of the file in qrels/.")

    def moved(self, place: Place) -> RetrievalFolder:
        """The same block with `place` of the folder."""
        return self.model_copy(update={"folder": place(self.folder)})


class RerankingFiles(_Data):
    """Queries, each with texts that match and texts that do not: JSONL or Parquet with lists, or one text."""

    kind: Literal["reranking"] = Field("reranking", description="What the files hold.")
    query: str = Field("query", description="Column of the query.")
    positive: str = Field("positive", description="Column of the texts that match it.")
    negative: str = Field("negative", description="Column of the texts that do not.")


class ClassificationFiles(_Data):
    """Labelled texts: a logistic regression on a few of `train` per class, drawn several times, judged on `files`."""

    kind: Literal["classification"] = Field("classification", description="What the files hold.")
    train: tuple[str, ...] = Field(min_length=1, description="Labelled texts that the classifier learns from.")
    text: str = Field("text", description="Column of the text.")
    label: str = Field("label", description="Column of the label.")
    samples_per_label: int = Field(8, gt=0, description="Texts per class of each draw.")
    experiments: int = Field(10, gt=0, description="Draws, whose scores are averaged.")


class MultilabelFiles(_Data):
    """Texts with any number of labels each: nearest neighbours in `train`, judged on `files`."""

    kind: Literal["multilabel"] = Field("multilabel", description="What the files hold.")
    train: tuple[str, ...] = Field(min_length=1, description="Labelled texts that the classifier learns from.")
    text: str = Field("text", description="Column of the text.")
    labels: str = Field("labels", description="Column of the labels: a list, or a text that `separator` cuts.")
    separator: str = Field("|", min_length=1, description="Between the labels of a text, where they are one text.")
    samples_per_label: int = Field(8, gt=0, description="Texts per label of each draw.")
    experiments: int = Field(10, gt=0, description="Draws, whose scores are averaged.")


class ClusteringFiles(_Data):
    """Labelled texts, whose k-means clusters are compared with the labels (v-measure)."""

    kind: Literal["clustering"] = Field("clustering", description="What the files hold.")
    text: str = Field("text", description="Column of the text.")
    label: str = Field("label", description="Column of the label.")


class PairFiles(_Data):
    """Pairs that match (1) or do not (0): average precision of the similarity."""

    kind: Literal["pair_classification"] = Field("pair_classification", description="What the files hold.")
    sentence1: str = Field("sentence1", description="Column of the first text.")
    sentence2: str = Field("sentence2", description="Column of the second text.")
    label: str = Field("label", description="Column that holds 1 or 0.")


class BitextFiles(_Data):
    """Translations: each first text looks for its own second text among all."""

    kind: Literal["bitext"] = Field("bitext", description="What the files hold.")
    sentence1: str = Field("sentence1", description="Column of the first text.")
    sentence2: str = Field("sentence2", description="Column of the second text.")


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
