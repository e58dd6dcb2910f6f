"""Errors that say what is wrong, where, and how to cure it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf
from numbers import Integral

from embedkit.foreign.quoting import quoted
from embedkit.foreign.showing import LONGEST, shown


class EmbedkitError(Exception):
    """Base of every error a user can cause.

    All of it is as `embedkit.foreign.showing.shown` gives it: what names and messages of others hold is visible, and
    each part is one line.

    Args:
        what: the fact, in one sentence.
        where: the place: ``recipe.yaml:12``, ``train.jsonl:403``, a key path, an option.
        cure: what to do about it.
        below: lines under the fact, or errors that it sums up.

    Attributes:
        exit_code: what the command line returns (1 failed, 2 recipe wrong, 3 data wrong).
    """

    exit_code = 1

    def __init__(self, what: str, where: str = "", cure: str = "", below: Sequence[str | EmbedkitError] = ()) -> None:
        self.what, self.where, self.cure = (shown(part, most=LONGEST) for part in (what, where, cure))
        self.below = tuple(part if isinstance(part, EmbedkitError) else shown(part, most=LONGEST) for part in below)
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        text = "\n".join([text, *map(str, self.below)])
        return f"{text}\n  cure: {self.cure}" if self.cure else text

    def __reduce__(self) -> tuple[type[EmbedkitError], tuple[str, str, str, tuple[str | EmbedkitError, ...]]]:
        return type(self), (self.what, self.where, self.cure, self.below)


class RecipeError(EmbedkitError):
    """The recipe, an override or a suite file is wrong."""

    exit_code = 2


class DataError(EmbedkitError):
    """A data file, a row or a column is wrong."""

    exit_code = 3


class TrainingError(EmbedkitError):
    """Training cannot go on: a non-finite loss, a checkpoint that does not fit."""


class WriteError(EmbedkitError):
    """A file or folder cannot be written: the disk is full, nothing may be written there, something is in the way."""


class BusyError(EmbedkitError):
    """Another process is at work in the folder."""


class RecordError(EmbedkitError):
    """A run's record cannot be read: it is damaged, of another version, or not one."""


class VersionError(EmbedkitError):
    """Installed packages do not work together; the message names them with their versions."""


def check_whole(value: object, where: str, least: int, most: float = inf) -> None:
    """Refuse an argument that is no whole number within bounds; NumPy's whole numbers are some.

    Raises:
        RecipeError: with the bounds.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or not least <= int(value) <= most:
        bounds = f"of at least {least}" if most == inf else f"from {least} to {most}"
        raise RecipeError(f"a whole number {bounds} is expected, found {quoted(value)}", where, "give one")


@contextmanager
def about(place: str, instead_of: str) -> Iterator[None]:
    """Errors about one key of a recipe are about another one here: a guide is loaded as the model is.

    Args:
        place: where the user wrote it.
        instead_of: the key that the code inside names.
    """
    try:
        yield
    except (RecipeError, VersionError) as error:
        if error.where != instead_of:
            raise
        raise type(error)(error.what, place, error.cure.replace(instead_of, place), error.below) from error
