"""Problems found in a recipe, gathered so that all of them are reported at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from embedkit.errors import RecipeError
from embedkit.foreign.limits import SHOWN_PROBLEMS
from embedkit.foreign.quoting import cut


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        where: ``file:line`` or ``override key=value``.
        path: key path, e.g. ``("train", "learning_rate")``; empty where the problem has none.
        what: the fact.
        cure: what to do about it.
    """

    where: str
    path: tuple[str | int, ...]
    what: str
    cure: str

    def __str__(self) -> str:
        return str(self.error())

    def error(self) -> RecipeError:
        key = dotted(self.path)
        return RecipeError(f"{key}: {self.what}" if key else self.what, self.where, self.cure)


def raise_problems(problems: Sequence[Problem]) -> None:
    """Raise one RecipeError that lists every problem; return if there is none."""
    if len(problems) == 1:
        raise problems[0].error()
    if problems:
        more = f", the first {SHOWN_PROBLEMS}" if len(problems) > SHOWN_PROBLEMS else ""
        shown = [problem.error() for problem in problems[:SHOWN_PROBLEMS]]
        raise RecipeError(f"{len(problems)} problems{more}", below=shown)


def dotted(path: Sequence[str | int]) -> str:
    """A key path as overrides write it: ``data.sources.0.path``."""
    return ".".join(cut(str(key)) for key in path)
