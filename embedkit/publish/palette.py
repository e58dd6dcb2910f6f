"""The colours of the report: one name, one colour on a light page and one on a dark page."""

from __future__ import annotations

import re

LIGHT = {
    "ink": "#1f2430",
    "quiet": "#5a6272",
    "line": "#d9dce3",
    "paper": "#ffffff",
    "panel": "#f5f6f9",
    "win": "#00734f",
    "loss": "#b04a00",
    "warn": "#fdf3ec",
    "grey": "#7a7a7a",
    "blue": "#0072b2",
    "orange": "#d55e00",
    "green": "#009e73",
    "purple": "#b0568e",
}
"""Of lines and marks: Okabe and Ito's palette, told apart with any kind of colour vision, its purple darkened to be
seen on white. Lines differ in dash or marker as well."""

DARK = {
    "ink": "#e6e9ef",
    "quiet": "#a4acbb",
    "line": "#343b49",
    "paper": "#14171f",
    "panel": "#1c212c",
    "win": "#4fd1a5",
    "loss": "#ff9d5c",
    "warn": "#2b2119",
    "grey": "#969eac",
    "blue": "#56b4e9",
    "orange": "#ff8b3d",
    "green": "#2ec99b",
    "purple": "#e4a0c8",
}

_NAMES = {colour: name for name, colour in LIGHT.items()}
_COLOUR = re.compile("|".join(_NAMES))


def follow_page(svg: str) -> str:
    """A plot whose colours are those of the page around it, be it light or dark."""
    return _COLOUR.sub(lambda found: f"var(--{_NAMES[found[0]]})", svg)
