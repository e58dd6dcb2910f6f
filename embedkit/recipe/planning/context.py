"""What a rule of `check` may look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from embedkit.disk.model_files import Saved
from embedkit.recipe.memory import EncoderSize
from embedkit.recipe.objectives.base import needs
from embedkit.recipe.planning.facts import SourceFacts
from embedkit.recipe.pool import negatives_per_query
from embedkit.recipe.reading.problems import Problem
from embedkit.recipe.reading.tree import KeyPath
from embedkit.recipe.schema import Recipe
from embedkit.recipe.suite import Suite


@dataclass(frozen=True)
class Context:
    """A recipe and what is known around it.

    Attributes:
        recipe: the recipe.
        processes: how many will train.
        sources: facts of each source.
        model: sizes of the encoder, None where unknown.
        updates: of the whole run, None where unknown.
        suite: measured during training; None where there is none or it is not read.
        environ: environment variables.
        saved: what the small files of the model say; None where it is not on this machine.
    """

    recipe: Recipe
    processes: int
    sources: tuple[SourceFacts, ...]
    model: EncoderSize | None
    updates: int | None
    suite: Suite | None
    environ: Mapping[str, str]
    saved: Saved | None = None

    @property
    def pool(self) -> int:
        """Examples whose embeddings meet in one loss."""
        size = self.recipe.train.batch_size
        return size if self.recipe.negatives.across_processes else size // self.processes

    @property
    def width(self) -> int | None:
        """Size of the embeddings that the objective sees, behind all heads; None where the model's is unknown."""
        head = self.recipe.model.head
        heads = [head.dim if head is not None else None, *(getattr(h, "dim", None) for h in self.recipe.heads)]
        given = [dim for dim in heads if dim is not None]
        return given[-1] if given else None if self.model is None else self.dim(self.model)

    def dim(self, model: EncoderSize) -> int:
        """Size of the saved model's embeddings; of a sparse encoder that of its vocabulary."""
        return model.vocabulary if self.recipe.model.kind == "sparse" else model.dim

    def slots(self, source: SourceFacts) -> tuple[int, int]:
        """Positives and explicit negatives per example of a source."""
        if source.unlabelled:
            return self.recipe.views.count - 1, 0
        needed, given = needs(source.objective), source.gives("negative")
        positives = int("positive" in needed or source.gives("positive") is not False)  # SupCon on labels has none
        if positives and self.recipe.data.one_positive == "all" and source.positives:
            positives = source.positives
        if given is False and "negative" not in needed:
            return positives, 0  # what is asked for stays empty
        asked = self.recipe.negatives.per_query
        return positives, negatives_per_query(asked, needed="negative" in needed, given=given is True)


def place(source: SourceFacts, *keys: str) -> KeyPath:
    """Where a key of a source is written."""
    return ("data", "sources", source.index, *keys)


def objective_path(source: SourceFacts) -> KeyPath:
    """Where the objective of a source is written."""
    return place(source, "objective") if source.config.objective is not None else ("objective",)


def problem(path: KeyPath, what: str, cure: str) -> Problem:
    """A problem whose place in a file is filled in later."""
    return Problem("", path, what, cure)
