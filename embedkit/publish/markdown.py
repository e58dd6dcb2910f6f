"""Markdown pages: templates whose texts stay texts, and how numbers stand in them."""

from __future__ import annotations

import html
import re
from typing import Any

from embedkit.foreign.showing import visible
from embedkit.publish.pages import environment
from embedkit.types import Interval


def templates(*, markdown: bool) -> Any:
    """The environment of pages with scores: Markdown, where every text is escaped but what passes `raw`, or HTML."""
    made = environment(autoescape=False, finalize=escaped) if markdown else environment()
    made.filters |= {"score": score, "range": span, "raw": Verbatim}
    return made


class Verbatim(str):
    """Text that stands in a code block, where nothing is to be escaped."""


def escaped(value: Any) -> Any:
    """Escape what Markdown or HTML would read as markup, so that a text stays a text, also inside a table cell.

    Bare addresses, which many readers make links, stay texts too; a mail address needs an empty comment for that.
    """
    if not isinstance(value, str) or isinstance(value, Verbatim):
        return value
    text = html.escape(" ".join(visible(value, lines=True).split()), quote=False)
    text = re.sub(r"([\\`*_\[\]|~#$])", r"\\\1", text)
    text = re.sub(r"(?i)(?<=[a-z0-9+.-]):(?=//)|(?<=mailto):|(?<=xmpp):", r"\\:", text)
    text = re.sub(r"(?i)(www)\.", r"\1\\.", text)
    text = re.sub(r"(?<=[\w.+-])@(?=[\w-]+\.\w)", "<!-- -->@", text)
    return re.sub(r"^(?=[-+=](?:\s|$)|[-=][-=\s]*$)|^(\d{1,9})(?=[.)](?:\s|$))", r"\1\\", text)


def score(value: Interval | float | None) -> str:
    """A score with two digits; a dash where it was not measured."""
    if value is None:
        return "—"
    return f"{value.value:.2f}" if isinstance(value, Interval) else f"{value:.2f}"


def span(value: Interval | None) -> str:
    """The ends of an interval of a difference; a dash where it has none."""
    return "—" if value is None or value.low == value.high else f"{value.low:+.2f} to {value.high:+.2f}"
