"""What all plots share: colours, style, and SVG that fits into a page."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedkit.publish.palette import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE, GREY = (LIGHT[name] for name in ("blue", "orange", "green", "purple", "grey"))
INK, FAINT = LIGHT["ink"], LIGHT["line"]
CYCLE = ((BLUE, "-"), (ORANGE, "--"), (GREEN, "-."), (PURPLE, ":"))
STYLE: Any = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.formatter.useoffset": False,  # 126.99, not 0.01 and somewhere else +1.2698e2
    "axes.formatter.limits": (-12, 12),  # nor a power of ten in a corner
    "lines.linewidth": 1.5,
    "legend.frameon": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.parse_math": False,  # names hold texts, not formulas
    "svg.fonttype": "path",
    "svg.hashsalt": "embedkit",
}
SMALL = 8
WIDTH = 4.2
"""Inches: half of a wide page, and no text under 9 pixels on a telephone's."""


@dataclass(frozen=True)
class Plot:
    """A figure for the report.

    Attributes:
        name: file name without ending, and the anchor in the page.
        title: heading.
        alt: what the figure shows, for those who cannot see it.
        svg: the figure.
    """

    name: str
    title: str
    alt: str
    svg: str


def new_figure(height: float, rows: int = 1, columns: int = 1, **kwargs: Any) -> tuple[Figure, Sequence[Axes]]:
    """A figure of `WIDTH` and so many inches of height, with its panels."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, list(figure.subplots(rows, columns, squeeze=False, **kwargs).flat)


def as_svg(figure: Figure, name: str) -> str:
    """The <svg> element alone: no XML head, no date, and ids that do not meet another figure's on the page."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = out.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg).strip()
