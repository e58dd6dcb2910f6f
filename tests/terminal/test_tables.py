"""Tables at any width: no number breaks, what matters least goes first, and what went is named."""

from __future__ import annotations

import re

import pytest
from rich.console import Console
from rich.text import Text

from embedkit.terminal.tables import Column, Grid, name_column

NUMBERS = {"pairs": "9,927", "main": "72.63", "interval": "71.02 .. 74.11", "mean": "72.50", "change": "-1.32"}


def grid() -> Grid:
    columns = [name_column("task"), Column("pairs", 3), Column("main"), Column("interval", 1), Column("mean", 4)]
    made = Grid([*columns, Column("change", 2)], "A title", "A note.", "the file holds them")
    made.add("a task with a rather long name", *NUMBERS.values())
    made.add("b", "12", "3.00", "2.00 .. 4.00", "3.10", "+10.00", line_under=True)
    return made


def shown(made: object, width: int) -> list[str]:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(made)
    return captured.get().splitlines()


def cells(line: str) -> list[str]:
    return re.split(r" {2,}", line.strip())


def test_a_wide_terminal_shows_all_columns_in_order() -> None:
    lines = shown(grid(), 100)
    assert cells(lines[2]) == ["task", "pairs", "main", "interval", "mean", "change"]
    assert cells(lines[4]) == ["a task with a rather long name", *NUMBERS.values()]
    assert not any("Left out" in line for line in lines)


@pytest.mark.parametrize(
    ("width", "left", "gone"),
    [
        (60, ["task", "pairs", "main", "interval", "mean", "change"], None),
        (56, ["task", "pairs", "main", "interval", "change"], "mean"),
        (48, ["task", "main", "interval", "change"], "pairs, mean"),
        (40, ["task", "main", "interval"], "pairs, mean, change"),
        (24, ["task", "main"], "pairs, interval, mean, change"),
    ],
)
def test_columns_go_by_their_rank_and_are_named(width: int, left: list[str], gone: str | None) -> None:
    lines = shown(grid(), width)
    assert cells(lines[2]) == left
    text = " ".join(" ".join(lines).split())
    assert (f"Left out, the terminal being narrow: {gone} (the file holds them)." in text) == (gone is not None)


@pytest.mark.parametrize("width", range(12, 101))
def test_no_line_is_too_wide_and_no_number_breaks_at_any_width(width: int) -> None:
    lines = shown(grid(), width)
    assert max(map(len, lines)) <= width
    gone = re.search(r"being narrow: (.*?) \(", " ".join(" ".join(lines).split()))
    left = set(NUMBERS) - set(gone[1].split(", ") if gone else [])
    assert "main" in left
    for name in left:
        assert any(NUMBERS[name] in line for line in lines), name


def test_under_the_width_of_what_must_stay_a_cell_has_a_line_of_its_own() -> None:
    assert shown(grid(), 14)[1:6] == ["a task with a ", "rather long ", "name", "  main 72.63", "b"]


def test_brackets_in_a_cell_are_text_and_a_style_is_a_style() -> None:
    made = Grid([name_column("[bold]name"), Column("x")], "[red]title")
    made.add("[red]x[/red] [/]", Text("1", style="green"))
    lines = shown(made, 60)
    assert lines[0] == "[red]title"
    assert cells(lines[2]) == ["[bold]name", "x"]
    assert cells(lines[4]) == ["[red]x[/red] [/]", "1"]


def test_print_shows_the_table_too() -> None:
    assert str(grid()).splitlines() == shown(grid(), 100)


def test_a_row_must_fill_the_columns() -> None:
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        Grid([name_column("a"), Column("b")]).add("x")
