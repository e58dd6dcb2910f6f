"""What an evaluation suite may say: tasks with their type, files and columns. No torch here."""

from __future__ import annotations

import difflib
import re
from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field, model_validator

from embedkit.errors import RecipeError
from embedkit.foreign.quoting import listed
from embedkit.recipe.base import Block, invalid
from embedkit.recipe.columns import OWN_SIMILARITY, GradedColumns, Grouped, Perturbed, Place, Similarity
from embedkit.recipe.kinds import OwnTask
from embedkit.recipe.mteb import MtebTask
from embedkit.recipe.pydocs import PydocsSource


class StsTask(GradedColumns, Grouped, Perturbed):
    """Graded pairs: correlation of the similarity with the score."""

    main: ClassVar[str] = "spearman"
    metrics: ClassVar[tuple[str, ...]] = tuple(
        name + suffix for name in ("spearman", "pearson") for suffix in ("", "_all", "_mean", "_wmean")
    )

    type: Literal["sts"] = "sts"
    name: str
    subset: str | None = Field(None, description="Column that names sub-datasets, for `mean` and `wmean`.")
    aggregate: Literal["all", "mean", "wmean"] = Field(
        "all", description="Which of the three is the task's main number; all three are always shown."
    )
    similarity: Similarity | None = Field(None, description=OWN_SIMILARITY)
    max_length: int | None = Field(None, gt=2, description="Tokens kept; None keeps the model's setting.")


class RetrievalTask(Grouped, Perturbed):
    """Queries against a corpus with relevance judgements, in BEIR layout, or from pydocs."""

    type: Literal["retrieval"] = "retrieval"
    name: str
    folder: str | None = Field(None, description="BEIR folder: corpus.jsonl, queries.jsonl, qrels/SPLIT.tsv.")
    split: str = Field("test", description="Name of the file in qrels/.")
    pydocs: PydocsSource | None = Field(None, description="Use the held-out packages of the pydocs corpus.")
    pydocs_split: Literal["test", "dev"] = "test"
    metric: str = Field("ndcg@10", description="The task's main number: ndcg@K, recall@K, mrr@K, map@K, map or auc.")
    ks: tuple[int, ...] = Field((1, 5, 10, 100), min_length=1, description="Cut-offs of nDCG, recall, MRR and MAP.")
    similarity: Similarity | None = Field(None, description=OWN_SIMILARITY)
    ignore_identical_ids: bool = Field(
        False,
        description="Leave out the document that has the query's own id (ArguAna, Quora), as MTEB does there. "
        "Wrong where ids of queries and documents only look alike (SciFact).",
    )
    limit_queries: int | None = Field(None, gt=0, description="Use the first queries only (for speed while training).")
    max_length: int | None = Field(None, gt=2, description="Tokens kept; None keeps the model's setting.")

    @model_validator(mode="after")
    def _one_origin(self) -> RetrievalTask:
        if (self.folder is None) == (self.pydocs is None):
            raise invalid(f"retrieval task {self.name!r} needs exactly one of folder, pydocs", "give one of the two")
        return self

    @model_validator(mode="after")
    def _metric_is_known(self) -> RetrievalTask:
        if not re.fullmatch(r"(ndcg|recall|mrr|map)@[1-9]\d*|map|auc", self.metric):
            raise ValueError(
                f"retrieval task {self.name!r}: unknown metric {self.metric!r}; "
                "known: ndcg@K, recall@K, mrr@K, map@K, map, auc"
            )
        if min(self.ks) < 1:
            raise ValueError(f"retrieval task {self.name!r}: a cut-off in ks is below 1: {min(self.ks)}")
        return self

    def moved(self, place: Place) -> RetrievalTask:
        """The same task with `place` of every path."""
        return self if self.folder is None else self.model_copy(update={"folder": place(self.folder)})

    @property
    def main(self) -> str:
        """Name of the metric that stands for the task."""
        return self.metric

    @property
    def cutoffs(self) -> tuple[int, ...]:
        """Every K that is measured: `ks` and the one of `metric`."""
        own = self.metric.partition("@")[2]
        return tuple(sorted({*self.ks, *([int(own)] if own else [])}))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics of the task."""
        kinds = ("ndcg", "recall", "mrr", "map")
        return (*(f"{kind}@{k}" for kind in kinds for k in self.cutoffs), "map", "auc")


Task = Annotated[StsTask | RetrievalTask | OwnTask | MtebTask, Field(discriminator="type")]


class Suite(Block):
    """A list of tasks under a name."""

    name: str = "suite"
    description: str = ""
    tasks: tuple[Task, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_differ(self) -> Suite:
        names = [t.name for t in self.tasks]
        if len(set(names)) != len(names):
            twice = sorted({n for n in names if names.count(n) > 1})
            raise invalid(f"two tasks of suite {self.name!r} are called {listed(twice)}", "rename one")
        return self

    def check_selection(self, select: str) -> None:
        """Refuse a checkpoint metric that the suite does not measure.

        Args:
            select: ``average``, or ``TASK/METRIC``.

        Raises:
            RecipeError: with the nearest valid name.
        """
        known = ["average", *(f"{task.name}/{metric}" for task in self.tasks for metric in task.metrics)]
        if select not in known:
            near = difflib.get_close_matches(select, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            mains = ", ".join(f"{task.name}/{task.main}" for task in self.tasks)
            raise RecipeError(
                f"suite {self.name!r} does not measure {select!r}", "eval.select", f"{hint}known: average, {mains}, ..."
            )


SuiteRef: TypeAlias = str | Suite
