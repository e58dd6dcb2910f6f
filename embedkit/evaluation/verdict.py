"""One answer to "is it better", for a person and for a script."""

from __future__ import annotations

from collections.abc import Sequence

from embedkit.evaluation.compare import Comparison
from embedkit.evaluation.stats import LEVEL
from embedkit.foreign.showing import shown

BETTER, WORSE, UNCLEAR = "BETTER", "WORSE", "UNCLEAR"
_WORDS = {"win": BETTER, "loss": WORSE, "tie": UNCLEAR}
_DIGITS = 4
ALPHA = round(1 - LEVEL, 9)
"""Both the interval and the permutation test are held to it."""


def headline(comparison: Sequence[Comparison]) -> Comparison:
    """What the answer is about: the average over tasks, or the only task."""
    return comparison[-1]


def verdict(c: Comparison) -> str:
    """``BETTER`` or ``WORSE`` where the interval of the difference excludes zero and, where it was made, the
    permutation test has p below 0.05; else ``UNCLEAR``."""
    if c.permutation is not None and c.permutation >= ALPHA:
        return UNCLEAR
    return _WORDS[c.verdict]


def line(comparison: Sequence[Comparison]) -> str:
    """``VERDICT: BETTER | task/metric | base | new | difference [low, high]``, in points; a bar in a name becomes /."""
    c = headline(comparison)
    d = c.difference
    name = f"{shown(c.task)}/{shown(c.metric)}".replace("|", "/")
    numbers = f"{c.before:.{_DIGITS}f} | {c.after:.{_DIGITS}f} | {d.value:+.{_DIGITS}f}"
    return f"VERDICT: {verdict(c)} | {name} | {numbers} [{d.low:+.{_DIGITS}f}, {d.high:+.{_DIGITS}f}]"


def sentence(comparison: Sequence[Comparison], base: str, new: str) -> str:
    """The same in words.

    Args:
        comparison: from `compare`.
        base, new: names of the two models.
    """
    c = headline(comparison)
    d = c.difference
    what = f"{c.task} {c.metric}" if len(comparison) == 1 else f"the average of {len(comparison) - 1} tasks"
    said = {
        BETTER: f"{new} is better than {base}",
        WORSE: f"{new} is worse than {base}",
        UNCLEAR: f"Whether {new} is better than {base} cannot be told from this data",
    }[verdict(c)]
    interval = f"{100 * d.level:.0f} % interval {d.low:+.2f} to {d.high:+.2f}"
    if d.level == 1:
        interval = "mteb gives no values per query or pair to judge it by"
    test = "" if c.permutation is None else f", permutation test p {c.permutation:.3g}"
    return f"{said}: {what} {c.after:.2f} against {c.before:.2f}, {d.value:+.2f} ({interval}{test})."
