"""Plots of several runs in one: their scores side by side, their curves over each other. Each says in words what it
shows; a run has one colour, dash and marker in all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedkit.publish import view
from embedkit.publish.compared import Against, Entrant, score_of
from embedkit.publish.figures import CYCLE, FAINT, INK, SMALL, STYLE, Plot, as_svg, new_figure
from embedkit.publish.lines import over_updates, series, show_level, smooth, task_name, whisker, words
from embedkit.types import LOGGED, Interval, RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = frozenset({"scores", "evaluation", "loss", "metrics"})
"""Of the plots."""
MARKERS = ("o", "D", "^", "s", "v", "P", "X", "*", "<", "p", ">", "h")
TASKS = 8
"""Tasks that are drawn; the table has all."""
PANELS = 6
"""Metrics that are drawn."""
NAME = 26
"""Characters of a run's name in a legend."""
ROW = 0.2
"""Inches for one run of one task."""


@dataclass(frozen=True)
class Look:
    """How a run looks: no two share colour and dash, or marker."""

    colour: str
    dash: str
    marker: str
    label: str


def draw(entrants: Sequence[Entrant], compared: Sequence[Against]) -> list[Plot]:
    """Every plot for which there is something in at least one run."""
    import matplotlib as mpl

    looks = {own.letter: look(i, own) for i, own in enumerate(entrants)}
    with mpl.rc_context(STYLE):
        found = [scores(entrants, compared, looks), evaluations(entrants, looks), loss(entrants, looks)]
        found.append(metrics(entrants, looks))
    return [plot for plot in found if plot is not None]


def look(number: int, own: Entrant) -> Look:
    """Of the run with this number."""
    colours, dashes = zip(*CYCLE, strict=True)
    turn = number // len(CYCLE)
    name = own.name if len(own.name) <= NAME else f"…{own.name[1 - NAME :]}"
    return Look(
        colours[number % len(CYCLE)],
        dashes[(number + turn) % len(CYCLE)],
        MARKERS[number % len(MARKERS)],
        f"{own.letter}  {name}",
    )


def scores(entrants: Sequence[Entrant], compared: Sequence[Against], looks: Mapping[str, Look]) -> Plot | None:
    """Scores of every task with their intervals; beside them the paired differences from the first run."""
    found = {own.letter: score_of(own.record) for own in entrants}
    tasks = list(dict.fromkeys(task for own in found.values() for task in own))
    if not tasks:
        return None
    tasks = tasks if len(tasks) <= TASKS else [*tasks[: TASKS - 1], tasks[-1]]
    against = {other.letter: {c.task: c.difference for c in other.comparison} for other in compared}
    height = ROW * len(entrants) * len(tasks)
    figure, (left, right) = new_figure(1.0 + height + _room(len(entrants)), columns=2, width_ratios=(3, 2), sharey=True)
    said = []
    for i, task in enumerate(tasks):
        for j, (letter, style) in enumerate(looks.items()):
            y = -(i + (j + 0.5) / len(looks))
            own, change = found[letter].get(task), against.get(letter, {}).get(task)
            label = style.label if i == 0 else None
            whisker(left, own[1] if own else None, y, style.colour, style.marker)
            left.plot([], [], color=style.colour, marker=style.marker, linestyle="none", label=label)
            whisker(right, change if _judged(change) else None, y, style.colour, style.marker)
            if own:
                said.append(f"{task} of {letter} {own[1].value:.2f}")
        if i:
            left.axhline(-i, color=FAINT, linewidth=0.8)
            right.axhline(-i, color=FAINT, linewidth=0.8)
    left.set_yticks([-(i + 0.5) for i in range(len(tasks))], [task_name(task) for task in tasks])
    left.set_ylim(-len(tasks), 0)
    for ax, title in ((left, "score, 0 to 100"), (right, f"difference from {entrants[0].letter}")):
        ax.set_title(title)
        ax.margins(x=0.08)
        ax.tick_params(left=False)
        ax.grid(visible=False, axis="y")
    right.axvline(0, color=INK, linewidth=1)
    _legend(figure, left)
    return Plot("scores", "Scores", f"{'; '.join(said)}.", as_svg(figure, "scores"))


def evaluations(entrants: Sequence[Entrant], looks: Mapping[str, Look]) -> Plot | None:
    """The metric that chooses each run's checkpoint, at every evaluation during training."""
    names = list(dict.fromkeys(view.selected_metric(own.record) for own in entrants))
    panels = [(name.removeprefix("eval_"), _during(entrants, name)) for name in names]
    panels = [(name, lines) for name, lines in panels if lines]
    title = "Evaluation during training"
    return _overlay(
        "evaluation",
        title,
        panels,
        looks,
        lambda ax, style, steps, values: ax.plot(
            steps, values, color=style.colour, linestyle=style.dash, marker=style.marker, markersize=4
        ),
    )


def loss(entrants: Sequence[Entrant], looks: Mapping[str, Look]) -> Plot | None:
    """Loss and learning rate of all runs."""
    panels = [(words(name), _curves(entrants, name)) for name in ("loss", "learning_rate")]
    return _overlay("loss", "Loss and learning rate", [p for p in panels if p[1]], looks, _line)


def metrics(entrants: Sequence[Entrant], looks: Mapping[str, Look]) -> Plot | None:
    """What the objectives report and moves in at least one run; first what most runs report."""
    logged = dict.fromkeys(key for own in entrants for line in own.record.curve for key in line if key not in LOGGED)
    panels = [(words(name), _curves(entrants, name)) for name in logged]
    panels = [p for p in panels if any(len(set(values)) > 1 for _, values in p[1].values())]
    panels.sort(key=lambda panel: -len(panel[1]))
    return _overlay("metrics", "Training metrics", panels[:PANELS], looks, _line)


Lines = dict[str, tuple[list[float], list[float]]]
"""Letter -> updates and values."""


def _overlay(
    name: str,
    title: str,
    panels: Sequence[tuple[str, Lines]],
    looks: Mapping[str, Look],
    put: Callable[[Axes, Look, list[float], list[float]], Any],
) -> Plot | None:
    """A panel per quantity, in it a line per run."""
    if not panels:
        return None
    figure, axes = new_figure(0.7 + 1.3 * len(panels) + _room(len(looks)), len(panels), sharex=True)
    said = []
    for ax, (quantity, lines) in zip(axes, panels, strict=True):
        for letter, (steps, values) in lines.items():
            put(ax, looks[letter], steps, values)
            said.append(f"{quantity} of {letter} from {values[0]:.4g} to {values[-1]:.4g}")
        ax.set_title(quantity)
        ax.margins(y=0.1)
        show_level(ax)
    drawn = {letter for _, lines in panels for letter in lines}
    for letter, style in looks.items():
        if letter in drawn:
            axes[0].plot([], [], color=style.colour, linestyle=style.dash, label=style.label)
    over_updates(axes[-1])
    _legend(figure, axes[0])
    return Plot(name, title, f"{'; '.join(said)}.", as_svg(figure, name))


def _line(ax: Axes, style: Look, steps: list[float], values: list[float]) -> None:
    smooth(ax, steps, values, style.colour, style.dash)


def _curves(entrants: Sequence[Entrant], name: str) -> Lines:
    found = {own.letter: series(own.record.curve, name) for own in entrants}
    return {letter: points for letter, points in found.items() if len(points[0]) > 1}


def _during(entrants: Sequence[Entrant], name: str) -> Lines:
    """At update 0 stands what was measured before training, where that is the same quantity."""
    found = {}
    for own in entrants:
        steps, values = series(own.record.evaluations, name)
        before = _untrained(own.record, name)
        if steps and before is not None:
            steps, values = [0, *steps], [before, *values]
        if steps:
            found[own.letter] = steps, values
    return found


def _untrained(record: RunRecord, name: str) -> float | None:
    return view.selected_before(record) if view.selected_metric(record) == name else None


def _judged(change: Interval | None) -> bool:
    return change is not None and change.level < 1


def _legend(figure: Figure, ax: Axes) -> None:
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=1, fontsize=SMALL)


def _room(runs: int) -> float:
    """Inches that a legend of so many lines takes."""
    return 0.1 + 0.17 * runs
