"""The `data` block of a recipe: sources, their roles, and `negatives`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from embedkit.errors import RecipeError
from embedkit.inputs.decoding import codec_of
from embedkit.recipe.base import Block, Leads, invalid
from embedkit.recipe.clusters import Clusters
from embedkit.recipe.debias import Debias
from embedkit.recipe.few_shots import LabelTexts, Pairs
from embedkit.recipe.grades import Grades
from embedkit.recipe.objectives.base import AnyObjective
from embedkit.recipe.pydocs import PydocsSource
from embedkit.recipe.score_split import ScoreSplit
from embedkit.recipe.templates import Templates

Role = Literal["query", "positive", "negative", "score", "label", "text", "weight", "grade", "cluster", "memory"]


class Source(Block):
    """One data source. Exactly one of hub, path, pydocs, rows."""

    name: str | None = Field(None, description="For logs; made from the origin when absent.")
    hub: Annotated[str | None, Leads("folder")] = Field(None, description="Dataset id on the Hub.")
    config: str | None = Field(None, description="Configuration of the Hub dataset.")
    split: str = Field("train", description="Split of the Hub dataset.")
    revision: str | None = Field(None, description="Revision of the Hub dataset.")
    path: Annotated[str | None, Leads("files")] = Field(
        None,
        description="JSONL, CSV, TSV, Parquet or plain text, any of them gzipped; glob patterns allowed. "
        "Relative to the recipe file, else to the working folder.",
    )
    format: Literal["auto", "jsonl", "csv", "tsv", "parquet", "txt"] = Field("auto", description="By ending.")
    pydocs: PydocsSource | None = None
    rows: tuple[dict[str, Any], ...] | None = Field(None, description="Rows written in the recipe or given in Python.")
    roles: dict[Role, str | tuple[str, ...]] = Field(
        default_factory=dict,
        description="role: column. Never guessed from column order; a column named as a role needs no entry. "
        "`negative` may name several columns; list-valued columns are taken whole.",
    )
    weight: float | None = Field(
        None,
        gt=0,
        description="Share of steps, relative to the other sources; the number of rows when absent.",
    )
    repeat: int | None = Field(
        None,
        gt=0,
        description="Its rows come this many times while those of other sources come once (AdaInf: real rows beside "
        "many generated ones); not together with weight.",
    )
    generated: bool | None = Field(
        None,
        description="true: its rows were written by a model; `data.generated_duplicates` and `views.strength` are "
        "about them. null: they are real.",
    )
    grades: Grades | None = Field(None, description="From grades (role `grade`) to weights. None: as they are.")
    clusters: Clusters | None = None
    limit: int | None = Field(None, gt=0, description="Keep the first rows only.")
    streaming: bool = Field(False, description="Read as a stream with a shuffle buffer; rows are never all in memory.")
    shuffle_buffer: int = Field(10_000, gt=0, description="Rows in the shuffle buffer of a stream.")
    on_bad_row: Literal["error", "skip"] = Field(
        "error", description="error: stop and list the first five with file:line. skip: leave out and count."
    )
    encoding: str = Field(
        "utf-8", description="Of text files: utf-8, latin-1, utf-16, ... A byte order mark is removed."
    )
    debias: Debias | None = Field(None, description="Make triplets of unlabelled text before training.")
    pairs: Pairs | None = Field(None, description="Make scored pairs of labelled texts before training.")
    score_split: ScoreSplit | None = Field(
        None, description="Positives and negatives by the scores of a query's candidates."
    )
    label_texts: LabelTexts | None = Field(None, description="Pair labelled texts with a text of their label.")
    templates: Templates | None = Field(None, description="Put every query, or bare text, into a template.")
    objective: AnyObjective | None = Field(None, description="Overrides the recipe's objective for this source.")

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str) -> str:
        try:
            codec_of(value)
        except RecipeError as error:
            raise invalid(error.what, error.cure) from error
        return value

    @model_validator(mode="after")
    def _one_origin(self) -> Source:
        given = [k for k in ("hub", "path", "pydocs", "rows") if getattr(self, k) is not None]
        if len(given) != 1:
            got = ", ".join(given) or "none"
            cure = f"keep one of {got}" if given else "add e.g. `path: FILE`"
            raise invalid(f"a source needs exactly one of hub, path, pydocs, rows; got {got}", cure)
        return self


class Data(Block):
    """Where the examples come from."""

    sources: tuple[Source, ...] = Field(min_length=1)
    one_positive: Literal["sample", "first", "rotate", "all"] = Field(
        "sample",
        description="Of several positives of one example: draw one per step, always the first, the next one in every "
        "pass over the data, negatives likewise (LLM-R), or take all, in their order; then every example has the same "
        "number (translations, fields of a record).",
    )
    generated_duplicates: Literal["drop", "keep"] | None = Field(
        None,
        description="Rows of sources marked `generated` that equal a real row or an earlier generated one: left out "
        "and counted (drop), or used (keep). null: drop. Rows are equal where query and positives are, but for white "
        "space and the Unicode form of characters.",
    )

    @property
    def drops_duplicates(self) -> bool:
        """Whether generated rows that equal another row are left out."""
        return self.generated_duplicates != "keep" and any(source.generated for source in self.sources)


class Negatives(Block):
    """What a query is contrasted with."""

    per_query: int | None = Field(
        None,
        ge=0,
        description="Explicit negatives used per query and step. None: 1 if the data has negatives, else 0. "
        "A query with more draws from them; with fewer, the missing ones are masked.",
    )
    hardest_of: int | None = Field(
        None,
        ge=1,
        description="Draw this many of a row's negatives and use the per_query of them that the teacher scores "
        "highest; needs a score for each negative. null: use what is drawn.",
    )
    across_processes: bool = Field(True, description="Negatives of all processes are shared, with exact gradients.")

    @model_validator(mode="after")
    def _hardest_of_more(self) -> Negatives:
        if self.hardest_of is not None and self.hardest_of <= (self.per_query or 1):
            what = f"hardest_of {self.hardest_of} leaves no choice: per_query is {self.per_query or 1}"
            raise invalid(what, "set it above per_query, e.g. 15 of which 7 are used")
        return self
