"""Which searches a run has: when each begins, and from which update its negatives are used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """One search.

    Attributes:
        number: from 0.
        start: it sees the model as it is before this update.
        effect: the first update that uses its negatives; known when it begins, however long it takes.
    """

    number: int
    start: int
    effect: int


def schedule(first: int, every: int | None, lag: int, steps: int) -> list[Turn]:
    """The searches of a run of `steps` updates.

    The first is waited for: negatives are there from `first` on. A search whose negatives would come too late for the
    last update is left out.

    Args:
        first: the update before which the first search begins.
        every: updates from one search to the next; None: there is only one.
        lag: updates from the start of a search to the use of its result; 0: it is waited for.
        steps: updates of the run.
    """
    starts = range(first, steps, every) if every else range(first, min(steps, first + 1))
    turns = [Turn(number, start, start + (lag if number else 0)) for number, start in enumerate(starts)]
    return [turn for turn in turns if turn.effect < steps]
