"""What verbs print, and where: results to stdout, errors to stderr."""

from __future__ import annotations

import os

from embedkit.errors import EmbedkitError
from embedkit.foreign.showing import shown
from embedkit.terminal.output import console, say

__all__ = ["INTERRUPTED", "LAUNCHED", "OFFLINE", "STOPPED", "console", "go_offline", "report", "say", "say_plan"]

OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
"""The switches of the Hugging Face libraries; they are read at import."""
LAUNCHED = "EMBEDKIT_LAUNCHED"
"""Set in the processes that ``--nproc`` starts: what happens once is done by the launching process."""

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C ended."""
STOPPED = 143
"""Exit code of a command that the system stopped by a signal, whichever it was: 128 + SIGTERM."""


def say_plan(lines: list[str], width: int = 13) -> None:
    """Print the lines of a plan, the word in front (`width` columns) in colour."""
    from rich.text import Text

    out = console()
    for line in lines:
        word, text = line[:width], Text(shown(line))
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
