"""The audit of mined negatives: one page with their scores and ranks, what filters took out, and what may be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.disk import files
from embedkit.foreign.showing import shown, shown_deep
from embedkit.mining.problem import Problem
from embedkit.mining.suspects import Suspect, Suspects
from embedkit.mining.table import MinedTable
from embedkit.publish import palette
from embedkit.publish.figures import BLUE, ORANGE, STYLE, Plot, as_svg, new_figure
from embedkit.publish.pages import environment
from embedkit.vectors.index.build import IndexReport

PAGE = "index.html"
BINS = 40
LONGEST = 600
"""Characters of a text on the page."""
FATES = {"negative": "became a negative", "not chosen": "passed, but was not chosen", "filtered": "was filtered out"}


@dataclass(frozen=True)
class Audit:
    """What is looked at.

    Attributes:
        problem: queries and documents.
        table: their negatives.
        positive_scores: [pairs] as `Miner.positive_scores` gives them.
        suspects: of the same search.
        about: what stands in the file's metadata.
        name: of the file.
    """

    problem: Problem
    table: MinedTable
    positive_scores: np.ndarray
    suspects: Suspects
    about: Mapping[str, Any]
    name: str


def write_audit(folder: Path, audit: Audit) -> Path:
    """Write ``index.html`` below `folder`: it needs no other file, and every text in it is escaped.

    Returns:
        The page.

    Raises:
        WriteError: it cannot be written.
    """
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        drawn = [plot for plot in (_scores(audit), _ranks(audit)) if plot is not None]
    counts = audit.about["counts"]
    context = {
        "title": shown(audit.name),
        "facts": _facts(audit),
        "plots": drawn,
        "filters": [
            (shown(name), removed, removed / max(1, counts["candidates"]))
            for name, removed in audit.about["filters"].items()
        ],
        "candidates": counts["candidates"],
        "suspects": [_suspect(audit, suspect) for suspect in audit.suspects.worst],
        "settings": shown_deep(list(audit.about["settings"].items())),
        "light": palette.LIGHT,
        "dark": palette.DARK,
    }
    page = folder / PAGE
    files.write_text(page, environment().get_template("audit.html.j2").render(context))
    return page


def _facts(audit: Audit) -> list[tuple[str, str]]:
    about, counts = audit.about, audit.about["counts"]
    model = about["model"]
    found = audit.suspects.counts
    facts = [
        ("Negatives", f"{counts['negatives']:,} of {counts['candidates']:,} retrieved documents"),
        (
            "Queries",
            f"{counts['queries']:,} with {counts['positives']:,} positives; {counts['without']:,} "
            f"({counts['without'] / counts['queries']:.1%}) have no negative",
        ),
        ("Documents", f"{counts['documents']:,}"),
        ("Index", IndexReport(**about["index"]).line()),
    ]
    if counts["positives"]:
        kinds = f"{found['negative']:,} became negatives, {found['filtered']:,} were filtered out"
        facts.append(
            (
                "False-negative suspects",
                f"{sum(found.values()):,} retrieved documents score as high as the "
                f"lowest positive of their query: {kinds}",
            )
        )
    if model["name"] or model["fingerprint"]:
        facts.append(("Model", shown(" ".join(part for part in (model["name"], model["fingerprint"][:16]) if part))))
    return facts


def _scores(audit: Audit) -> Plot | None:
    """Histograms of the similarities, each as shares of its own kind."""
    there = audit.table.rows >= 0
    sets = {"positives": audit.positive_scores, "negatives": audit.table.scores[there]}
    sets = {name: values for name, values in sets.items() if len(values)}
    if not sets:
        return None
    low = min(float(values.min()) for values in sets.values())
    high = max(float(values.max()) for values in sets.values())
    edges = np.linspace(low, high if high > low else low + 1e-3, BINS + 1)
    figure, (ax,) = new_figure(2.6)
    said = []
    for (name, values), colour, dash in zip(sets.items(), (BLUE, ORANGE), ("-", "--"), strict=False):
        bars = np.histogram(values, edges)[0] / len(values)
        ax.stairs(bars, edges, color=colour, linestyle=dash, linewidth=1.5, label=f"{name} ({len(values):,})")
        said.append(f"{name} have a median similarity of {np.median(values):.3f}")
    ax.set_xlabel("similarity to the query")
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    figure.legend(loc="outside lower left", ncols=2)
    return Plot(
        "scores", "Scores of positives and negatives", f"{'; '.join(said).capitalize()}.", as_svg(figure, "scores")
    )


def _ranks(audit: Audit) -> Plot | None:
    """Where the negatives stood among the retrieved."""
    ranks = audit.table.rank[audit.table.rows >= 0]
    if not len(ranks):
        return None
    last = int(ranks.max())
    edges = np.unique(np.linspace(0, last, min(last, BINS) + 1).round()) + 0.5
    figure, (ax,) = new_figure(2.6)
    ax.stairs(np.histogram(ranks, edges)[0], edges, color=BLUE, fill=True)
    ax.set_xlabel("rank among the retrieved, before filters")
    ax.set_ylabel("negatives")
    alt = f"Negatives have ranks {int(ranks.min())} to {last}, the median is {np.median(ranks):.0f}."
    return Plot("ranks", "Ranks of the negatives", alt, as_svg(figure, "ranks"))


def _suspect(audit: Audit, suspect: Suspect) -> dict[str, Any]:
    problem = audit.problem
    first = sum(len(answers) for answers in problem.positives[: suspect.query])
    answers = problem.positives[suspect.query]
    lowest = answers[int(np.argmin(audit.positive_scores[first : first + len(answers)]))]
    return {
        "query": shown(problem.queries[suspect.query], most=LONGEST),
        "positive": shown(problem.documents[lowest], most=LONGEST),
        "document": shown(problem.documents[suspect.row], most=LONGEST),
        "ids": [
            shown(text, most=80)
            for text in (
                problem.query_ids[suspect.query],
                problem.document_ids[lowest],
                problem.document_ids[suspect.row],
            )
        ],
        "score": f"{suspect.score:.3f}",
        "positive_score": f"{suspect.positive_score:.3f}",
        "rank": suspect.rank,
        "fate": FATES[suspect.fate],
    }
