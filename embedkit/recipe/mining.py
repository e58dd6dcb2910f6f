"""How hard negatives are searched for: once with `embedkit mine`, or again and again while a model trains."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, create_model, field_validator, model_validator

from embedkit.errors import RecipeError
from embedkit.foreign.limits import SEED
from embedkit.recipe.base import Block, Holds, Leads, invalid, validate_named
from embedkit.recipe.filters import parse_all, paths_of, with_paths

DEPTH = 100


class Search(Block):
    """What is retrieved, what of it may be a negative, and how many become one."""

    depth: int = Field(
        DEPTH, ge=1, le=10_000, description="Documents retrieved per query. Filters see these; ranks count from 1."
    )
    keep: int = Field(8, ge=1, le=1024, description="Negatives kept per query, of those that pass all filters.")
    filters: Annotated[tuple[str, ...], Holds(paths_of, with_paths)] = Field(
        (),
        description="Rules as NAME=ARG, one after the other (`embedkit mine --help` lists them). Known positives, the "
        "query itself and documents of the same text never become negatives.",
    )
    choose: Literal["best", "even", "simans", "stride"] = Field(
        "best",
        description="Which of those that pass: the best, an even draw, SimANS' draw around the positive's score, or "
        "stride: every fifth in cycles (UniME-V2).",
    )
    index: Literal["auto", "exact", "ivf", "ivf-pq", "hnsw"] = Field(
        "auto", description="auto: exact where that takes about a minute, else approximate."
    )
    recall: float | None = Field(
        None, gt=0, le=1, description="Recall@50 that an approximate index must reach on a probe of the queries."
    )
    ram_gb: float = Field(4.0, gt=0, le=100_000, description="Memory for vectors and index, in GiB.")
    seed: int = Field(
        0, ge=0, le=SEED, description="Of draws, index and probe. Not train.seed: runs of several seeds share a search."
    )

    @field_validator("filters")
    @classmethod
    def _filters_are_known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            parse_all(value)
        except RecipeError as error:
            raise invalid(error.what, error.cure) from error
        return value

    @model_validator(mode="after")
    def _enough_retrieved(self) -> Search:
        if self.keep > self.depth:
            raise invalid(f"{self.keep} negatives of {self.depth} retrieved documents", "raise depth, or lower keep")
        return self


class Refresh(Block):
    """When negatives are searched for again."""

    every: int | Literal["epoch"] | None = Field(
        None, description="Updates from one search to the next, or `epoch`. None: they are searched for once."
    )

    @model_validator(mode="after")
    def _counts(self) -> Refresh:
        if isinstance(self.every, int) and self.every < 1:
            raise invalid(f"every {self.every} updates", "a number from 1, or `epoch`")
        return self


class StrategyConfig(Block):
    """Base of all strategies: what becomes of the negatives at a refresh."""

    name: str


class Static(StrategyConfig):
    """The first search is the only one, whatever `refresh` says."""

    name: Literal["static"] = "static"


class Ance(StrategyConfig):
    """Every refresh encodes queries and documents with the model as it is then (ANCE, arXiv 2007.00808)."""

    name: Literal["ance"] = "ance"


class Conan(StrategyConfig):
    """Negatives that have become easy give way to the next ones of the first search (arXiv 2408.15710).

    At a refresh a query's negatives are replaced where ``factor * score < score when they came`` and ``|score| <
    below``, for the mean similarity of query and negatives. Only queries and their negatives are encoded again.
    """

    name: Literal["conan"] = "conan"
    factor: float = Field(1.15, gt=1, le=10, description="How much easier they must have become.")
    below: float = Field(0.8, gt=0, le=1, description="Negatives above this similarity always stay.")


class Curriculum(StrategyConfig):
    """As ance, in a window of ranks that narrows from `first` to `last`, linearly over the refreshes."""

    name: Literal["curriculum"] = "curriculum"
    first: tuple[int, int] = Field((30, 100), description="Ranks of the first refresh, both included.")
    last: tuple[int, int] = Field((1, 30), description="Ranks of the last refresh.")

    @model_validator(mode="after")
    def _windows(self) -> Curriculum:
        for name in ("first", "last"):
            low, high = getattr(self, name)
            if not 1 <= low <= high:
                raise invalid(f"ranks {low} to {high}", f"{name}: [30, 100]; ranks count from 1 and rise")
        return self


def _strategy(value: Any, info: Any) -> Any:
    return validate_named("strategy", value, info)


AnyStrategy = Annotated[SerializeAsAny[StrategyConfig], BeforeValidator(_strategy)]

if TYPE_CHECKING:
    _From = Search
else:  # `from` is a word of Python, and no name for a field in a class
    _From = create_model(
        "_From",
        __base__=Search,
        **{"from": (int, Field(0, ge=0, description="Update before which negatives are searched for the first time."))},
    )


class Mining(_From):
    """Hard negatives of every source with queries and positives, found by the model in training."""

    refresh: Refresh = Refresh()
    mode: Literal["sync", "background"] = Field(
        "sync",
        description="sync: training waits for a search. background: another process searches with a copy of the model, "
        "and its negatives take effect `lag` updates later.",
    )
    lag: int | None = Field(
        None,
        ge=1,
        description="background: updates from the start of a search to the use of its result, which training waits for "
        "if need be. None: one refresh interval.",
    )
    strategy: AnyStrategy = Ance()
    corpus: Annotated[str | None, Leads("files")] = Field(
        None,
        description="Documents to search besides the positives and negatives of the data: any format of a source, "
        "column `text`, and `title` where there is one.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        "auto", description="background: where the copy of the model runs; `cuda` is the last GPU where there are more."
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="background on a CPU: threads of the search (half), training has the rest.",
    )
    batch_tokens: int = Field(8192, ge=16, description="Padded tokens per batch when encoding.")

    @property
    def first(self) -> int:
        """The update before which negatives are searched for the first time: the key `from`."""
        return int(getattr(self, "from"))

    def facts(self) -> list[str]:
        """What it does to a source, for the plan."""
        every = self.refresh.every
        again = "once" if every is None else "every epoch" if every == "epoch" else f"every {every:,} updates"
        again = again if self.strategy.name != "static" else "once"
        start = f" from update {self.first:,} on" if self.first else ""
        beside = " in the background" if self.mode == "background" and again != "once" else ""
        what = f"negatives mined {again}{start}{beside} ({self.strategy.name}): {self.keep} of {self.depth} retrieved"
        return [f"{what}, {', '.join(self.filters)}" if self.filters else what]

    @model_validator(mode="after")
    def _fits(self) -> Mining:
        every = self.refresh.every
        if self.lag is not None and self.mode == "sync":
            raise invalid("a search that training waits for has no lag", "remove lag, or set mode: background")
        if self.lag is not None and isinstance(every, int) and self.lag > every:
            what = f"a lag of {self.lag} updates where a search begins every {every}"
            raise invalid(what, "lag: at most refresh.every, so that one search runs at a time")
        return self
