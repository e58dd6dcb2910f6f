"""The plots, measured as they are drawn: nothing lies over another thing, and axes say plain numbers."""

from __future__ import annotations

import re
from typing import Any

import matplotlib as mpl
import pytest

from embedkit.publish import lines, palette, plots
from embedkit.types import RunRecord
from tests.publish import records


def figures(monkeypatch: pytest.MonkeyPatch, record: RunRecord) -> dict[str, Any]:
    """The drawn figures by name, laid out."""
    found: dict[str, Any] = {}

    def keep(figure: Any, name: str) -> str:
        figure.canvas.draw()
        found[name] = figure
        return "<svg/>"

    monkeypatch.setattr(plots, "as_svg", keep)
    plots.draw(record)
    return found


def logged(**metrics: list[float]) -> RunRecord:
    """A record whose curve holds these metrics, one value per update."""
    updates = range(len(next(iter(metrics.values()))))
    curve = [{"step": i + 1, "loss": 1.0 - i / 100, "learning_rate": 1e-5} for i in updates]
    for name, values in metrics.items():
        for line, value in zip(curve, values, strict=True):
            line[name] = value
    return records.record(curve=curve)


def ticks(axis: Any) -> list[tuple[float, Any]]:
    """Place and label of each tick that is seen."""
    low, high = sorted(axis.get_view_interval())
    return [
        (t.get_loc(), t.label1) for t in axis.get_major_ticks() if low <= t.get_loc() <= high and t.label1.get_text()
    ]


SIMILAR = ("positive_similarity", "negative_similarity", "hardest_negative", "query_cosine")


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_legend_lies_between_title_and_lines(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    values = {name: [0.1 * i, 0.2 + 0.1 * i, 0.15 + 0.1 * i] for i, name in enumerate(SIMILAR[:count])}
    figure = figures(monkeypatch, logged(**values))["metrics"]
    ax = figure.axes[0]
    legend, title = ax.get_legend().get_window_extent(), ax._left_title.get_window_extent()
    assert ax._left_title.get_text() == "cosine similarity"
    assert not legend.overlaps(title)
    assert not legend.overlaps(ax.bbox.padded(-1))
    assert figure.bbox.containsx(legend.x0) and figure.bbox.containsx(legend.x1)
    assert figure.bbox.containsy(title.y1)


def test_titles_and_labels_of_all_plots_lie_inside_and_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    made = records.record()
    for scores in (made.scores_before, made.scores_after):
        assert scores is not None
        scores["tasks"][0]["task"] = "ATaskWithALongNameThatHasNoPlaceToBreakAtAll"
        scores["tasks"][1]["task"] = "a task with a long name of many words in it"
    made.comparison[0]["task"], made.comparison[1]["task"] = (t["task"] for t in made.scores_after["tasks"][:2])  # type: ignore[index]
    for name, figure in figures(monkeypatch, made).items():
        titles = [ax._left_title for ax in figure.axes]
        names = [label for ax in figure.axes for _, label in ticks(ax.yaxis) if label.get_visible()]
        boxes = [t.get_window_extent() for t in titles if t.get_text()]
        for box in boxes + [t.get_window_extent() for t in names]:
            assert box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1, name
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i]), name


@pytest.mark.parametrize(
    "values",
    [
        [126.985, 126.991, 126.99],
        [126.99, 126.99 + 1e-12, 126.99],
        [1e-7, 2e-7, 3e-7],
        [1.5e9, 1.6e9, 1.7e9],
        [-126.99, -126.98, -126.985],
    ],
)
def test_an_axis_has_no_offset_and_no_power_in_a_corner(monkeypatch: pytest.MonkeyPatch, values: list[float]) -> None:
    figure = figures(monkeypatch, logged(rank=values))["metrics"]
    (ax,) = figure.axes
    assert ax.yaxis.get_offset_text().get_text() == ""
    found = ticks(ax.yaxis)
    assert len(found) >= 2
    for place, label in found:
        assert float(label.get_text().replace("\u2212", "-")) == pytest.approx(place, rel=1e-9)
        assert len(label.get_text()) <= 12


def test_a_level_quantity_is_drawn_level(monkeypatch: pytest.MonkeyPatch) -> None:
    (ax,) = figures(monkeypatch, logged(rank=[126.99, 126.99 + 1e-9, 126.99 - 1e-9]))["metrics"].axes
    low, high = ax.get_ylim()
    assert (low + high) / 2 == pytest.approx(126.99, abs=1e-4)
    assert high - low == pytest.approx(126.99e-3, rel=1e-2)


def test_equal_models_get_an_axis_of_differences_around_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    made = records.record()
    for compared in made.comparison:
        compared["difference"] = {"value": 1e-17, "low": -1e-17, "high": 1e-17, "level": 0.95}
    ax = figures(monkeypatch, made)["before-after"].axes[1]
    assert ax.get_xlim() == (-plots.LEAST, plots.LEAST)
    assert ax.xaxis.get_offset_text().get_text() == ""


def test_updates_are_whole_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = figures(monkeypatch, logged(rank=[1.0, 2.0, 4.0]))["loss"]
    assert [label.get_text() for _, label in ticks(figure.axes[-1].xaxis)] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("task", "shown"),
    [
        ("STS-B", "STS-B"),
        ("a task of several words", "a task of\nseveral words"),
        ("NineteenCharactersX", "NineteenCharacte\nrsX"),
        ("a" * 40, "a" * 16 + "\n" + "a" * 15 + "…"),
        ("", ""),
    ],
)
def test_a_name_on_an_axis_takes_two_short_lines(task: str, shown: str) -> None:
    assert lines.task_name(task) == shown


def test_a_plot_in_the_page_has_the_page_s_colours_and_a_file_its_own() -> None:
    for plot in plots.draw(records.record()):
        assert "var(" not in plot.svg
        used = set(re.findall(r"#[0-9a-fA-F]{6}\b", plot.svg))
        assert used <= set(palette.LIGHT.values()), "a colour that does not follow the page"
        inside = palette.follow_page(plot.svg)
        assert not re.search(r"#[0-9a-fA-F]{6}\b", inside)
        assert {"--ink", "--paper"} <= set(re.findall(r"var\((--\w+)\)", inside))


def test_a_colour_has_one_name_and_both_pages_have_all_names() -> None:
    assert len(set(palette.LIGHT.values())) == len(palette.LIGHT)
    assert list(palette.LIGHT) == list(palette.DARK)


def contrast(first: str, second: str) -> float:
    """Of two colours, as WCAG 2 defines it, from 1 to 21."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    darker, lighter = sorted((luminance(first), luminance(second)))
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("colours", [palette.LIGHT, palette.DARK], ids=["light", "dark"])
def test_texts_and_lines_are_seen_on_their_backgrounds(colours: dict[str, str]) -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for text in ("ink", "quiet", "win", "loss"):
        for ground in ("paper", "panel", "warn"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for line in ("grey", "blue", "orange", "green", "purple"):
        assert contrast(colours[line], colours["paper"]) >= 3, line


def test_drawing_leaves_the_settings_of_others_alone() -> None:
    before = dict(mpl.rcParams)
    plots.draw(records.record())
    assert dict(mpl.rcParams) == before
