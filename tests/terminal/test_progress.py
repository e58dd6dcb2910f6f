"""A bar in a terminal, a line now and then elsewhere, nothing for what is quick."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.errors import LiveError

from embedkit.terminal import progress as terminal
from embedkit.terminal.progress import Bar, progress, watched


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def bar(clock: Clock, *, terminal: bool, total: int | None = 5_000, show: bool = True) -> tuple[Bar, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100, color_system=None)
    return Bar("encoding", total, "texts", show=show, console=console, clock=clock), out


def test_a_log_gets_a_line_every_half_minute() -> None:
    clock = Clock()
    made, out = bar(clock, terminal=False)
    for _ in range(100):
        clock.now += 1
        made.advance(40)
    made.close()
    assert out.getvalue().splitlines() == [
        "encoding: 1,200 of 5,000 texts, 40 a second, about 1.5 min left",
        "encoding: 2,400 of 5,000 texts, 40 a second, about 1 min left",
        "encoding: 3,600 of 5,000 texts, 40 a second, about 35 s left",
    ]


def test_what_is_quick_shows_nothing_and_what_is_not_a_bar_that_goes() -> None:
    clock = Clock()
    made, out = bar(clock, terminal=True)
    clock.now += 1
    made.advance(100)
    assert out.getvalue() == ""
    clock.now += 2
    made.advance(100)
    assert "encoding" in out.getvalue() and "200/5000" in out.getvalue()
    made.close()
    assert out.getvalue().endswith("\x1b[2K") or "\x1b[1A\x1b[2K" in out.getvalue()


@pytest.mark.parametrize("in_terminal", [True, False])
def test_nothing_is_shown_where_nothing_is_wanted(in_terminal: bool) -> None:
    clock = Clock()
    made, out = bar(clock, terminal=in_terminal, show=False)
    clock.now += 500
    made.advance(100)
    made.close()
    assert (out.getvalue(), made.done) == ("", 100)


def test_a_line_without_a_total_and_with_a_note() -> None:
    made, _ = bar(Clock(), terminal=False, total=None)
    made.advance(20, note="3 retries")
    assert made.line(8.0) == "encoding: 20 texts, 2.5 a second, 3 retries"


def test_items_come_through_and_are_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "PATIENCE", -1.0)
    monkeypatch.setattr(terminal, "EVERY", -1.0)
    assert list(watched({"a": 1, "b": 2}.items(), "reading", "packages")) == [("a", 1), ("b", 2)]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["reading: 1 of 2 packages", "reading: 2 of 2 packages"]


def test_a_bar_ends_when_the_work_fails() -> None:
    with pytest.raises(KeyError), progress("x", 3, "y") as made:
        raise KeyError
    assert made._show is False


def test_what_was_done_before_says_nothing_about_the_rate() -> None:
    clock = Clock()
    made, out = bar(clock, terminal=False)
    made.skip(3_000)
    clock.now += 40
    made.advance(400)
    assert out.getvalue() == "encoding: 3,400 of 5,000 texts, 10 a second, about 2.5 min left\n"


def test_a_drawn_bar_has_a_rate() -> None:
    clock = Clock()
    made, out = bar(clock, terminal=True)
    for _ in range(4):
        clock.now += 2
        made.advance(80)
    made.close()
    assert "40 a second" in out.getvalue()


def test_a_bar_within_a_bar_is_drawn_or_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich before 14.1 refuses a second one: the work goes on without it."""
    clock = Clock()
    outer, out = bar(clock, terminal=True)
    inner = Bar("scoring", 10, "pairs", console=outer._console, clock=clock)
    clock.now += 3
    outer.advance(1)

    def refuse(*_: object) -> bool:
        raise LiveError("Only one live display may be active at once")

    monkeypatch.setattr(Console, "set_live", refuse)
    for _ in range(3):
        inner.advance(1)
    inner.close()
    outer.advance(1)
    outer.close()
    assert inner.done == 3 and "encoding" in out.getvalue() and "scoring" not in out.getvalue()
