"""Where lines and tables go: to stdout, without secrets and control characters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedkit.foreign.showing import shown

if TYPE_CHECKING:
    from embedkit.terminal.screen import Screen


def console(*, stderr: bool = False) -> Screen:
    """A terminal that never folds or colours what a script would read, and on which nothing foreign acts."""
    from embedkit.terminal.screen import Screen

    return Screen(stderr=stderr, highlight=False, soft_wrap=True)


def say(line: Any, *, stderr: bool = False) -> None:
    """Print a line of text, its brackets as they are, or a table that fits the terminal."""
    if isinstance(line, str):
        console(stderr=stderr).print(shown(line), markup=False)
    else:
        console(stderr=stderr).print(line, soft_wrap=False)
