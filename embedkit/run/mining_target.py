"""What `mine` writes, and what it needs beside that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from embedkit.disk import files
from embedkit.errors import DataError, EmbedkitError, RecipeError
from embedkit.mining import tuples
from embedkit.mining.problem import Problem
from embedkit.publish.audit import PAGE


@dataclass(frozen=True)
class Target:
    """What is written.

    Attributes:
        out: the negatives.
        export: tuples; None: none.
        negatives: of a tuple; None: as many as are kept.
        audit: folder of the page; None: none.
    """

    out: Path
    export: Path | None = None
    negatives: int | None = None
    audit: Path | None = None

    @property
    def scratch(self) -> Path:
        """For an index that does not fit into memory; only the holder of `out` has it."""
        return self.out.with_name(f"{files.OURS}-{self.out.name}.index")

    @property
    def parts(self) -> Path:
        """What shards gave where a pool searches; a search that is begun again finds there what is done."""
        return self.out.with_name(f"{files.OURS}-{self.out.name}.parts")

    @property
    def written(self) -> Path:
        """Queries that a language model wrote; stays, too."""
        return self.out.with_suffix(".queries")

    @property
    def answers(self) -> Path:
        """What a judge said; stays, so that it is not asked again."""
        return self.out.with_suffix(".answers")

    def check(self) -> None:
        """Refuse names that say another format.

        Raises:
            RecipeError: which one.
        """
        if self.out.suffix != ".parquet":
            raise RecipeError("the file of negatives must end with .parquet", "--out", "e.g. --out mined.parquet")
        if self.export is not None:
            tuples.check_name(self.export)
            if self.export.absolute() == self.out.absolute():
                raise RecipeError("is the file of negatives, too", "--export", "name another file")
        elif self.negatives is not None:
            raise RecipeError("negatives of no tuples", "--export-negatives", "give --export FILE")

    def refuse_existing(self) -> None:
        """Refuse what would be replaced.

        Raises:
            EmbedkitError: what is there.
        """
        page = None if self.audit is None else self.audit / PAGE
        for path in (self.out, self.export, page):
            if path is None:
                continue
            with files.writing(path):
                there = path.exists()
            if there:
                raise EmbedkitError("exists already", str(path), "name another place, or add --overwrite")

    def check_positives(self, problem: Problem) -> None:
        """Refuse tuples of queries without positives.

        Raises:
            DataError: no query has any.
        """
        if self.export is not None and not any(problem.positives):
            raise DataError(
                "tuples have a positive, and no query has one", "--export", "leave it out, or give positives"
            )
