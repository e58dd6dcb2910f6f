"""Files of labelled texts and pairs with their columns: what tasks of one kind share, whoever measures them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, TypeVar

from pydantic import Field, field_validator

from embedkit.recipe.base import Block, invalid

Place = Callable[[str], str]
Similarity: TypeAlias = Literal["cos", "dot"]
Rule: TypeAlias = Literal["typos", "case", "order", "negation"]
OWN_SIMILARITY = (
    "What compares embeddings. None: what the model says of itself (its `similarity_fn_name`), else the cosine."
)
F = TypeVar("F", bound="Files")


class Grouped(Block):
    """A task whose items fall into groups."""

    group: str | None = Field(
        None,
        description="Column of the files (of queries.jsonl in a folder), by whose values the main number is given too, "
        "with the gap between the best group and the worst.",
    )


class Perturbed(Block):
    """A task that is measured again with other texts."""

    perturb: tuple[Rule, ...] | None = Field(
        None,
        min_length=1,
        description="Measure again with the queries (first texts, texts that are classified) changed by these rules: "
        "typing errors, case, word order, negation (English).",
    )

    @field_validator("perturb")
    @classmethod
    def _each_once(cls, value: tuple[Rule, ...] | None) -> tuple[Rule, ...] | None:
        if value is not None and len(set(value)) < len(value):
            raise invalid("perturb names a rule twice", "remove one")
        return value


class Files(Block):
    """Rows of one or more files."""

    files: tuple[str, ...] = Field(min_length=1, description="TSV, CSV, JSONL or Parquet; several are read as one set.")

    def moved(self: F, place: Place) -> F:
        """The same block with `place` of every path."""
        names = [name for name in ("files", "train") if name in type(self).model_fields]
        return self.model_copy(update={name: tuple(map(place, getattr(self, name))) for name in names})


class PairColumns(Files):
    """Two texts a row."""

    sentence1: str = Field("sentence1", description="Column of the first text.")
    sentence2: str = Field("sentence2", description="Column of the second text.")


class GradedColumns(PairColumns):
    """Graded pairs."""

    score: str = Field("score", description="Column of the gold score; any scale.")


class MatchColumns(PairColumns):
    """Pairs that match (1) or do not (0)."""

    label: str = Field("label", description="Column that holds 1 or 0.")


class RerankColumns(Files):
    """Queries, each with texts that match and texts that do not."""

    query: str = Field("query", description="Column of the query.")
    positive: str = Field("positive", description="Column of the texts that match it.")
    negative: str = Field("negative", description="Column of the texts that do not.")


class LabelColumns(Files):
    """A text and its label a row."""

    text: str = Field("text", description="Column of the text.")
    label: str = Field("label", description="Column of the label.")


class ParallelColumns(Files):
    """The same questions in several languages, a row for each question in each language."""

    language: str = Field("language", description="Column of the language.")
    item: str | None = Field("item", description="Column that names the question; null: `answer` does.")
    query: str = Field("query", description="Column of the question.")
    answer: str = Field("answer", description="Column of the text that answers it, or of a list of some.")


class ChoiceColumns(Files):
    """Queries, each with the one right text and with wrong ones."""

    query: str = Field("query", description="Column of the query.")
    right: str = Field("right", description="Column of the text that is right.")
    wrong: str = Field("wrong", description="Column of a wrong text, or of a list of some.")


class AnalogyColumns(Files):
    """Pairs of texts that stand in a relation."""

    first: str = Field("first", description="Column of the first text.")
    second: str = Field("second", description="Column of the second text.")
    relation: str = Field("relation", description="Column of the relation's name.")


class TrainColumns(LabelColumns):
    """Labelled texts to learn from, and others to be judged on."""

    train: tuple[str, ...] = Field(min_length=1, description="Labelled texts that the classifier learns from.")


class LabelsColumns(Files):
    """Texts with any number of labels each."""

    train: tuple[str, ...] = Field(min_length=1, description="Labelled texts that the classifier learns from.")
    text: str = Field("text", description="Column of the text.")
    labels: str = Field("labels", description="Column of the labels: a list, or a text that `separator` cuts.")
    separator: str = Field("|", min_length=1, description="Between the labels of a text, where they are one text.")
