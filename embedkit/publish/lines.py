"""What plots are made of: logged values over the updates, whiskers, names on axes."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from embedkit.types import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME = 16
"""Characters in a line of a name on an axis."""
LEVEL = 1e-3
"""A quantity that varies by less than this share of itself is drawn as level."""


def series(lines: Sequence[dict[str, Any]], name: str) -> tuple[list[float], list[float]]:
    """(updates, values) of the lines that hold a finite `name`."""
    pairs = [(line["step"], line[name]) for line in lines if "step" in line and _finite(line.get(name))]
    return [s for s, _ in pairs], [v for _, v in pairs]


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and value == value and abs(value) != float("inf")


def smooth(ax: Axes, steps: list[float], values: list[float], colour: str, dash: str, label: str | None = None) -> None:
    """A line; with many points also a running mean over a twentieth of them, the points behind it."""
    width = len(values) // 20
    if width > 1:
        ax.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
        values = [sum(part) / len(part) for i in range(len(values)) for part in [values[max(0, i - width) : i + 1]]]
    ax.plot(steps, values, color=colour, linestyle=dash, label=label)


def whisker(ax: Axes, value: Interval | None, y: float, colour: str, marker: str, label: str | None = None) -> None:
    """A score and its interval on the line `y`; nothing where it is None."""
    if value is not None:
        ax.plot([value.low, value.high], [y, y], color=colour, linewidth=2)
        ax.plot(value.value, y, color=colour, marker=marker, markersize=6, linestyle="none", label=label)


def over_updates(ax: Axes) -> None:
    """The axis of updates: whole numbers."""
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    ax.set_xlabel("update")


def show_level(ax: Axes) -> None:
    """Where all values are nearly one, a range around it: noise must not fill the panel, nor labels have ten digits."""
    low, high = ax.get_ylim()
    least = LEVEL * max(abs(low), abs(high))
    if 0 < high - low < least:
        ax.set_ylim((low + high - least) / 2, (low + high + least) / 2)


def task_name(task: str) -> str:
    """The name of a task on an axis: two short lines at most."""
    first, *more = textwrap.wrap(task, NAME) or [""]
    if len(more) > 1:
        more = [more[0][: NAME - 1] + "…"]
    return "\n".join([first, *more])


def words(name: str) -> str:
    """A logged name as it is read."""
    return name.replace("_", " ")
