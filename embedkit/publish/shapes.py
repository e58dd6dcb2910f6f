"""Plots of what the embeddings tell besides scores: similarities, ROC, spectrum, a map, geometry over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedkit.publish.figures import BLUE, GREY, ORANGE, SMALL, STYLE, Plot, as_svg, new_figure
from embedkit.publish.insight import Insight, Side, TaskInsight
from embedkit.publish.words import MEASURES
from embedkit.types import RunRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 3
"""Tasks that have plots of their own."""
JOINED = 30
"""Positive pairs whose ends are joined on a map."""
LEAST = 1e-6
"""Share of the variance where a spectrum is cut: below is noise of float32."""


def draw(insight: Insight, record: RunRecord) -> list[Plot]:
    """Every plot for which there is something; of the first `MOST` tasks where there are more."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        found = [over_time(record)]
        for i, task in enumerate(insight.tasks[:MOST]):
            found += [separation(task, i), spectrum(task, i), plane(task, i)]
    return [plot for plot in found if plot is not None]


def separation(task: TaskInsight, number: int) -> Plot | None:
    """Histograms of the similarities of positive and other pairs, before and after; under them both ROC curves."""
    sides = [(when, side) for when, side in _sides(task) if side.auc is not None]
    if not sides:
        return None
    heights = [1.0] * len(sides) + [2.2]
    figure, axes = new_figure(1.15 * len(sides) + 3.1, len(sides) + 1, height_ratios=heights)
    for ax, (when, side) in zip(axes, sides, strict=False):
        for values, colour, dash, name in (
            (side.positive, BLUE, "-", "positive pairs"),
            (side.negative, ORANGE, "--", "other pairs"),
        ):
            ax.stairs(values, task.edges, color=colour, linestyle=dash, linewidth=1.4, label=name)
        ax.set_title(f"{when}: similarity of pairs")
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        ax.set_xlim(task.edges[0], task.edges[-1])
        if ax is not axes[len(sides) - 1]:
            ax.tick_params(labelbottom=False)
    curve = axes[-1]
    for when, side in sides:
        places = [i / (len(side.roc) - 1) for i in range(len(side.roc))]
        style: dict[str, Any] = {"color": GREY, "linestyle": "--"} if when == "before" else {"color": BLUE}
        curve.plot([0, *places], [0, *side.roc], label=f"{when}: AUC {side.auc:.3f}", **style)
    curve.set_title("ROC: positive pairs found, of others taken along")
    curve.set_xlim(0, 1)
    curve.set_ylim(0, 1.02)
    curve.legend(loc="lower right", fontsize=SMALL)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
    alt = "; ".join(f"{when}, a positive pair is more similar than another in {side.auc:.1%}" for when, side in sides)
    name = f"similarities-{number}"
    return Plot(name, f"{task.task}: similarities", f"{task.task}: {alt}.", as_svg(figure, name))


def spectrum(task: TaskInsight, number: int) -> Plot | None:
    """Share of the variance that each principal direction holds, before and after."""
    sides = [(when, [v for v in side.spectrum if v > LEAST], side) for when, side in _sides(task)]
    sides = [entry for entry in sides if len(entry[1]) > 1]
    if not sides:
        return None
    figure, (ax,) = new_figure(2.5)
    said = []
    for when, values, side in sides:
        style: dict[str, Any] = {"color": GREY, "linestyle": "--"} if when == "before" else {"color": BLUE}
        rank = side.geometry.get("rankme")
        label = when if rank is None else f"{when}: RankMe {rank:.0f}"
        ax.plot(range(1, len(values) + 1), values, label=label, **style)
        said.append(f"{label}, the first direction holds {values[0]:.1%} of the variance")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    ax.yaxis.set_minor_formatter(lambda value, _: "")
    ax.set_title("share of the variance, by direction")
    ax.set_xlabel("principal direction")
    figure.legend(loc="outside lower left", ncols=2)
    name = f"spectrum-{number}"
    return Plot(name, f"{task.task}: spectrum", f"{task.task}: {'; '.join(said)}.", as_svg(figure, name))


def plane(task: TaskInsight, number: int) -> Plot | None:
    """A sample of the texts in the plane of the two principal directions; lines join positive pairs."""
    sides = [(when, side) for when, side in _sides(task) if side.cloud]
    if not sides:
        return None
    figure, axes = new_figure(2.0 * len(sides) + 0.9, len(sides))
    both = len({kind for _, side in sides for kind in side.kind}) > 1
    for ax, (when, side) in zip(axes, sides, strict=True):
        _points(ax, side, both)
        ax.set_title(f"{when}: {sum(side.held):.0%} of the variance")
        ax.tick_params(bottom=False, left=False, labelbottom=False, labelleft=False)
        ax.margins(0.05)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=3)
    kinds = "queries and documents" if both else "texts"
    alt = f"{task.task}: a sample of {kinds} along their two principal directions, positive pairs joined by lines"
    name = f"map-{number}"
    return Plot(name, f"{task.task}: map", f"{alt}.", as_svg(figure, name))


def _points(ax: Axes, side: Side, both: bool) -> None:
    for i, ((x0, y0), (x1, y1)) in enumerate(side.pairs[:JOINED]):
        ax.plot([x0, x1], [y0, y1], color=GREY, linewidth=0.6, label="positive pair" if i == 0 else None)
    for kind, name, colour, marker in ((1, "documents", ORANGE, "s"), (0, "queries" if both else "texts", BLUE, "o")):
        chosen = [point for point, own in zip(side.cloud, side.kind, strict=True) if own == kind]
        if chosen:
            ax.plot(*zip(*chosen, strict=True), marker=marker, markersize=2.2, color=colour, linestyle="", label=name)


def over_time(record: RunRecord) -> Plot | None:
    """Geometry at every evaluation during training; a panel for each measure, a line for each task."""
    series: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for line in record.evaluations:
        for key, value in line.items():
            task, _, measure = key.removeprefix("eval_").rpartition("/")
            if measure in FOLLOWED and isinstance(value, (int, float)):
                series.setdefault(measure, {}).setdefault(task, []).append((line["step"], value))
    panels = [(name, series[name]) for name in FOLLOWED if any(len(v) > 1 for v in series.get(name, {}).values())]
    if not panels:
        return None
    from matplotlib.ticker import MaxNLocator

    figure, axes = new_figure(0.9 + 1.05 * len(panels), len(panels), sharex=True)
    said = []
    for ax, (name, lines) in zip(axes, panels, strict=True):
        shown = list(lines.items())[:MOST]
        for (_, points), style in zip(shown, LINES, strict=False):
            ax.plot(*zip(*points, strict=True), marker="o", markersize=3, **style)
        ax.set_title(MEASURES[name][0])
        ax.margins(y=0.15)
        said += [f"{MEASURES[name][0]} of {task} from {v[0][1]:.3g} to {v[-1][1]:.3g}" for task, v in shown]
    axes[-1].xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes[-1].set_xlabel("update")
    return Plot("geometry", "Geometry during training", f"{'; '.join(said)}.", as_svg(figure, "geometry"))


FOLLOWED = ("alignment", "uniformity", "mean_cosine", "rankme")
LINES: tuple[dict[str, Any], ...] = (
    {"color": BLUE},
    {"color": ORANGE, "linestyle": "--"},
    {"color": GREY, "linestyle": ":"},
)


def _sides(task: TaskInsight) -> list[tuple[str, Side]]:
    return [(when, side) for when, side in (("before", task.before), ("after", task.after)) if side is not None]
