"""Where lines and tables go: to stdout, as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def console(*, stderr: bool = False) -> Console:
    """A terminal that never folds or colours what a script would read."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def say(line: Any) -> None:
    """Print a line of text as it is, or a table that fits the terminal."""
    if isinstance(line, str):
        console().print(line, markup=False)
    else:
        console().print(line, soft_wrap=False)
