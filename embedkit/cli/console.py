"""What verbs print, and where: results to stdout, errors to stderr."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from embedkit.errors import EmbedkitError

if TYPE_CHECKING:
    from rich.console import Console

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
"""The switches of the Hugging Face libraries; they are read at import."""
LAUNCHED = "EMBEDKIT_LAUNCHED"
"""Set in the processes that ``--nproc`` starts: what happens once is done by the launching process."""


def console(*, stderr: bool = False) -> Console:
    """A terminal that never folds or colours what a script would read."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def say(line: Any) -> None:
    """Print a line of text as it is, or a rich table."""
    if isinstance(line, str):
        console().print(line, markup=False)
    else:
        console().print(line, soft_wrap=False)


def say_plan(lines: list[str], width: int = 13) -> None:
    """Print the lines of a plan, the word in front (`width` columns) in colour."""
    from rich.text import Text

    out = console()
    for line in lines:
        word, text = line[:width], Text(line)
        text.stylize("yellow" if word.startswith("warning") else "cyan", 0, width)
        out.print(text)


def report(error: EmbedkitError) -> None:
    """Print an error in red to stderr, its cures plain."""
    from rich.text import Text

    out = console(stderr=True)
    for line in str(error).splitlines():
        out.print(Text(line, style="" if line.lstrip().startswith("cure: ") else "red"))


def go_offline(offline: bool) -> None:
    """Forbid the Hub to every library of this process and of those it starts."""
    if offline:
        os.environ.update(dict.fromkeys(OFFLINE, "1"))
