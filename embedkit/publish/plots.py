"""Plots of a run as SVG text: small, sharp in print, and inside the page. Each says in words what it shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedkit.publish import view
from embedkit.publish.figures import (
    BLUE,
    CYCLE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    SMALL,
    STYLE,
    Plot,
    as_svg,
    new_figure,
)
from embedkit.publish.lines import over_updates, series, show_level, smooth, task_name, whisker, words
from embedkit.terminal.times import duration
from embedkit.types import LOGGED, RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIMILARITIES = ("similarity", "cosine", "hardest_negative")
"""Metrics whose names hold one of these lie on one scale and share a panel."""
LEAST = 0.1
"""Points by which the axis of differences goes to both sides at least."""


def draw(record: RunRecord) -> list[Plot]:
    """Every plot for which the record holds something."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        plots = [before_after(record), evaluation(record), loss(record), metrics(record)]
        plots += [triplets(source["debias"], i) for i, source in enumerate(record.data) if "debias" in source]
        plots.append(cost(record))
    return [plot for plot in plots if plot is not None]


def loss(record: RunRecord) -> Plot | None:
    """Loss, and under it the learning rate."""
    steps, values = series(record.curve, "loss")
    if len(steps) < 2:
        return None
    figure, (top, bottom) = new_figure(3.4, 2, height_ratios=(3, 1), sharex=True)
    smooth(top, steps, values, BLUE, "-")
    top.set_title("loss")
    bottom.plot(*series(record.curve, "learning_rate"), color=GREY)
    bottom.set_title("learning rate")
    bottom.yaxis.set_major_formatter("{x:g}")
    over_updates(bottom)
    alt = f"Training loss from {values[0]:.4g} at update {steps[0]:.0f} to {values[-1]:.4g} at update {steps[-1]:.0f}."
    return Plot("loss", "Loss and learning rate", alt, as_svg(figure, "loss"))


def metrics(record: RunRecord) -> Plot | None:
    """What the objective reports: similarities share one panel, every other metric that moves has its own."""
    names = [n for n in dict.fromkeys(k for line in record.curve for k in line) if n not in LOGGED]
    names = [n for n in names if len(set(series(record.curve, n)[1])) > 1]
    if not names:
        return None
    together = [n for n in names if any(w in n for w in SIMILARITIES)][: len(CYCLE)]
    panels = ([together] if together else []) + [[n] for n in names if n not in together][:5]
    figure, axes = new_figure(1.1 + 1.25 * len(panels), len(panels), sharex=True)
    for ax, group in zip(axes, panels, strict=True):
        for name, (colour, dash) in zip(group, CYCLE, strict=False):
            smooth(ax, *series(record.curve, name), colour, dash, label=words(name))
        title = words(group[0]) if len(group) == 1 else "cosine similarity"
        ax.set_title(title, pad=_legend(ax) if len(group) > 1 else None)
        show_level(ax)
    over_updates(axes[-1])
    ends = (f"{words(n)} from {v[0]:.3g} to {v[-1]:.3g}" for n in names for v in [series(record.curve, n)[1]])
    return Plot("metrics", "Training metrics", "During training: " + ", ".join(ends) + ".", as_svg(figure, "metrics"))


def evaluation(record: RunRecord) -> Plot | None:
    """The metric that chooses the checkpoint, at every evaluation; the chosen one is marked."""
    name = view.selected_metric(record)
    steps, values = series(record.evaluations, name)
    if not steps:
        return None
    untrained = view.selected_before(record)
    if untrained is not None:
        steps, values = [0, *steps], [untrained, *values]
    figure, (ax,) = new_figure(2.4, 1)
    ax.plot(steps, values, color=BLUE, marker="o", markersize=4)
    title = f"{name[5:]}, 0 to 100"
    alt = f"{name[5:]} at {len(steps)} evaluations, from {values[0]:.2f} to {values[-1]:.2f}"
    if record.best_step in steps:
        best = values[steps.index(record.best_step)]
        ax.plot(record.best_step, best, marker="*", markersize=15, color=ORANGE, linestyle="none", zorder=4)
        title += f"   ★ kept: {best:.2f} at update {record.best_step}"
        alt += f"; the checkpoint of update {record.best_step} with {best:.2f} was kept"
    ax.margins(x=0.04, y=0.15)
    show_level(ax)
    ax.set_title(title)
    over_updates(ax)
    return Plot("evaluation", "Evaluation during training", f"{alt}.", as_svg(figure, "evaluation"))


def before_after(record: RunRecord) -> Plot | None:
    """Scores before and after with their intervals; beside them the paired difference against zero."""
    lines = [line for line in view.task_lines(record) if line.before and line.after]
    if not lines:
        return None
    figure, (left, right) = new_figure(1.1 + 0.42 * len(lines), columns=2, width_ratios=(3, 2), sharey=True)
    places = list(range(len(lines)))[::-1]
    for y, line in zip(places, lines, strict=True):
        whisker(left, line.before, y + 0.13, GREY, "o", label="before" if y == 0 else None)
        whisker(left, line.after, y - 0.13, BLUE, "D", label="after" if y == 0 else None)
        if line.difference is not None:
            colour = {"win": GREEN, "loss": ORANGE}.get(line.verdict, GREY)
            marker = {"win": "^", "loss": "v"}.get(line.verdict, "o")
            whisker(right, line.difference, y, colour, marker)
    left.set_yticks(places, [task_name(line.task) for line in lines])
    left.set_ylim(-0.6, len(lines) - 0.4)
    left.margins(x=0.06)
    left.set_title("score, 0 to 100")
    figure.legend(loc="outside lower left", ncols=2)
    right.axvline(0, color=INK, linewidth=1)
    right.margins(x=0.12)
    low, high = right.get_xlim()
    right.set_xlim(min(low, -LEAST), max(high, LEAST))
    right.set_title("difference")
    right.tick_params(left=False)
    for ax in (left, right):
        ax.grid(visible=False, axis="y")
    alt = "; ".join(
        f"{line.task} {line.before.value:.2f} before, {line.after.value:.2f} after, {view.VERDICTS[line.verdict][2:]}"
        for line in lines
        if line.before and line.after
    )
    return Plot("before-after", "Before and after", f"{alt}.", as_svg(figure, "before-after"))


def cost(record: RunRecord) -> Plot | None:
    """Seconds by stage; padding and, where it was logged, throughput over the updates."""
    stages = [(k, v) for k, v in record.timings.items() if v > 0]
    if not stages:
        return None
    padding = series(record.curve, "padding")
    timed = [{**c, "rate": c["tokens"] / c["seconds"]} for c in record.curve if c.get("seconds") and "tokens" in c]
    curves = [("padding, share of the encoder's tokens", padding), ("real tokens per second", series(timed, "rate"))]
    curves = [(title, points) for title, points in curves if len(points[0]) > 1 and max(points[1]) > 0]
    heights = (0.35 + 0.22 * len(stages), *(1.0 for _ in curves))
    figure, (bars, *rest) = new_figure(sum(heights) + 1.0 + 0.3 * len(curves), 1 + len(curves), height_ratios=heights)
    names, seconds = zip(*stages[::-1], strict=True)
    drawn = bars.barh(names, seconds, color=BLUE, height=0.62)
    bars.bar_label(drawn, [duration(s) for s in seconds], padding=4)
    bars.set_title("wall time by stage")
    bars.margins(x=0.2)
    bars.grid(visible=False, axis="y")
    bars.set_xlabel("seconds")
    for ax, (title, points) in zip(rest, curves, strict=True):
        ax.plot(*points, color=BLUE)
        ax.set_ylim(bottom=0)
        ax.set_title(title)
    if rest:
        over_updates(rest[-1])
    alt = "Wall time: " + ", ".join(f"{name} {duration(s)}" for name, s in stages)
    if padding[1]:
        alt += f"; padding is {sum(padding[1]) / len(padding[1]):.1%} of the encoder's tokens on average"
    return Plot("cost", "Time and padding", f"{alt}.", as_svg(figure, "cost"))


def draw_triplets(report: dict[str, Any]) -> Plot:
    """`triplets` on its own, outside a run's report."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        return triplets(report)


def triplets(report: dict[str, Any], number: int = 0) -> Plot:
    """What positives and negatives look like when chosen by meaning alone (before), and as they were drawn (after).

    The number in a title says how often a positive has more of it than a negative: at 0.5 it says nothing.

    Args:
        report: diagnostics of `embedkit.mining.debias`.
        number: of the source, in the name of the plot.
    """
    names = {"surface": "surface similarity", "length": "length difference", "meaning": "cosine in meaning"}
    moments = {"before": "before", "drawn": "after"}
    figure, axes = new_figure(4.6, len(names), len(moments), sharex="row", sharey="row")
    said = []
    for place, ax in enumerate(axes):
        feature, when = list(names)[place // 2], list(moments)[place % 2]
        for role, (colour, dash) in zip(("positive", "negative"), CYCLE, strict=False):
            bars = report[when][role][feature]["histogram"]
            low = -1.0 if feature == "meaning" else 0.0
            edges = [low + (1 - low) * i / len(bars) for i in range(len(bars) + 1)]
            ax.stairs(bars, edges, color=colour, linestyle=dash, linewidth=1.5, label=role if place == 0 else None)
        auc = report[when].get(feature, {}).get("auc")
        ax.set_title(f"{feature}, {moments[when]}" + ("" if auc is None else f": {auc:.2f}"))
        if auc is not None:
            said.append(f"more {names[feature]} in a positive than in a negative, {moments[when]}: {auc:.0%}")
    figure.legend(loc="outside lower left", ncols=2)
    alt = "; ".join(said) or "No pairs to compare."
    name = f"triplets-{number}" if number else "triplets"
    return Plot(name, "Positives and negatives before and after debiasing", f"{alt}.", as_svg(figure, name))


def _legend(ax: Axes) -> float:
    """A legend between the panel and its title, two names a row; returns by how many points the title must rise."""
    rows = -(-len(ax.get_legend_handles_labels()[1]) // 2)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0, borderpad=0.2, fontsize=SMALL)
    return 4 + 1.35 * SMALL * rows
