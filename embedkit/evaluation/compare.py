"""Paired comparison of two models that were measured on the same data."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from embedkit.errors import EmbedkitError, RecipeError
from embedkit.evaluation import permutation, stats
from embedkit.types import Interval, Scores, TaskScore

AVERAGE = "average"
MOST = 200.0
"""Points that two scores can differ by: correlations lie between -100 and 100."""


@dataclass(frozen=True)
class Comparison:
    """The change of one number from one model to another.

    Attributes:
        task: name of the task, or ``average`` for the mean over all tasks.
        metric: what was compared; ``main`` for the average.
        before, after: points, 0..100.
        difference: after - before, with the interval of the paired bootstrap.
        p: two-sided bootstrap p-value of "no difference".
        verdict: ``win``, ``loss`` or ``tie``; a tie is an interval that contains zero.
        resamples: how many.
        permutation: two-sided p-value of the paired permutation test; None where it was not asked for.
    """

    task: str
    metric: str
    before: float
    after: float
    difference: Interval
    p: float
    verdict: str
    resamples: int
    permutation: float | None = None


def compare(
    before: Scores,
    after: Scores,
    resamples: int = 1000,
    seed: int = stats.SEED,
    permutations: int = 0,
    without: Collection[str] = (),
) -> list[Comparison]:
    """Main metric of every task and, for several tasks, their average: after - before on the same resamples.

    Args:
        before, after: scores with their units (from `evaluate_suite` or `load_scores`) on the same data.
        resamples: number of bootstrap resamples.
        seed: of the draws.
        permutations: of the permutation test; 0 leaves it out.
        without: tasks that are left out, be it that `apart` says why.

    Raises:
        RecipeError: `resamples` is 0: without them there is nothing to judge by.
        EmbedkitError: the two were not measured on the same tasks and data.
    """
    if resamples < 1:
        raise RecipeError("a comparison needs resamples, got 0", "resamples", "leave it at 1000, or give 100 or more")
    found, changes, swapped = [], [], []
    for old, new in _shared(before, after, without):
        values = old.metrics[old.main], new.metrics[new.main]
        if not new.units:
            found.append(_unjudged(new.task, new.main, *values, resamples))
            continue
        change = stats.draws(new, resamples, seed)[new.main] - stats.draws(old, resamples, seed)[old.main]
        changes.append(change)
        swapped.append(permutation.differences(old, new, permutations, seed) if permutations else np.empty(0))
        found.append(_comparison(new.task, new.main, *values, change, swapped[-1]))
    if len(found) > 1:
        averages = float(np.mean([c.before for c in found])), float(np.mean([c.after for c in found]))
        if len(changes) == len(found):
            means = np.mean(changes, axis=0), np.mean(swapped, axis=0)
        else:
            means = _over_tasks(found, resamples, permutations, seed)
        found.append(_comparison(AVERAGE, "main", *averages, *means))
    return found


def _over_tasks(
    found: Sequence[Comparison], resamples: int, permutations: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Resampled and permuted mean differences where the units are the tasks: how it would be with other tasks."""
    change = np.array([c.after - c.before for c in found])
    drawn = stats.mean_draws({AVERAGE: change}, resamples, stats.generator(seed, AVERAGE))[AVERAGE]
    rng = stats.generator(seed, f"permutation {AVERAGE}")
    return drawn, permutation.signed_means(change, permutations, rng) if permutations else np.empty(0)


def _unjudged(task: str, metric: str, before: float, after: float, resamples: int) -> Comparison:
    """A difference that nothing is known of but its value: its interval is all that two scores can differ by."""
    return Comparison(task, metric, before, after, Interval(after - before, -MOST, MOST, 1.0), 1.0, "tie", resamples)


def _comparison(
    task: str, metric: str, before: float, after: float, change: np.ndarray, swapped: np.ndarray
) -> Comparison:
    difference = stats.interval(after - before, change)
    p, verdict = stats.two_sided_p(change), stats.verdict(difference)
    by_swaps = permutation.two_sided_p(after - before, swapped) if len(swapped) else None
    return Comparison(task, metric, before, after, difference, p, verdict, len(change), by_swaps)


def apart(before: Scores, after: Scores) -> dict[str, str]:
    """The tasks that `compare` cannot pair, with the reason of each: what failed, what one of the two was not measured
    on, other data, another main metric, no values per query or pair."""
    first, second = _by_name(before), _by_name(after)
    found = {}
    for name in dict.fromkeys([*first, *second, *before.failed, *after.failed]):
        failed = before.failed.get(name) or after.failed.get(name)
        if failed is not None:
            found[name] = f"could not be measured: {failed}"
        elif name not in first or name not in second:
            found[name] = f"only the {'second' if name not in first else 'first'} was measured on it"
        elif problem := _unlike(first[name], second[name]):
            found[name] = problem.what
    return found


def _shared(before: Scores, after: Scores, without: Collection[str]) -> list[tuple[TaskScore, TaskScore]]:
    """The tasks that both were measured on; what failed for one of them is left out."""
    left_out = {*before.failed, *after.failed, *without}
    first, second = (
        {name: task for name, task in _by_name(scores).items() if name not in left_out} for scores in (before, after)
    )
    if first.keys() != second.keys() or not first:
        raise EmbedkitError(
            f"the two models were measured on different tasks: {[*_by_name(before)]} and {[*_by_name(after)]}",
            "comparison",
            "evaluate both on one suite",
        )
    for name, new in second.items():
        if problem := _unlike(first[name], new):
            raise problem
    return [(first[name], new) for name, new in second.items()]


def _unlike(old: TaskScore, new: TaskScore) -> EmbedkitError | None:
    """Why two scores of a task cannot be compared."""
    if not (old.details.get("digest") and new.details.get("digest")):
        return EmbedkitError(
            f"the scores of task {new.task!r} do not say what data they are of", "comparison", "evaluate again"
        )
    if (old.main, old.details["digest"]) != (new.main, new.details["digest"]):
        return EmbedkitError(
            f"task {new.task!r} had other data or another main metric for the first model",
            "comparison",
            "evaluate both with the same suite and files",
        )
    if new.type != "mteb" and not (old.units and new.units):
        return EmbedkitError(
            f"the scores of task {new.task!r} lack their per-unit values",
            "comparison",
            "keep samples.npz beside scores.json, or evaluate again",
        )
    return None


def _by_name(scores: Scores) -> dict[str, TaskScore]:
    return {task.task: task for task in scores.tasks}
