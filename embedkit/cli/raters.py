"""``embedkit raters``: graded labels of several raters, freed of the raters' severity."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedkit.cli.console import say
from embedkit.errors import EmbedkitError, RecipeError

if TYPE_CHECKING:
    from embedkit.evaluation.raters import Corrected

Grades = Annotated[
    Path, typer.Option("--ratings", metavar="FILE", help="A row for each grade: tsv, csv, jsonl, parquet.")
]
Out = Annotated[Path, typer.Option("--out", metavar="FILE.jsonl", help="A row for each text, with its score.")]
DEFAULT_SPREAD = 3.0
MOST_SHOWN = 30


def raters(
    ratings: Grades = ...,  # type: ignore[assignment]
    out: Out = ...,  # type: ignore[assignment]
    text: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="COLUMN", help="What was graded; again for a pair. Default: text."),
    ] = None,
    rater: Annotated[str, typer.Option("--rater", metavar="COLUMN", help="Who graded.")] = "rater",
    rating: Annotated[str, typer.Option("--rating", metavar="COLUMN", help="The grade, a whole number.")] = "rating",
    item: Annotated[
        str | None, typer.Option("--item", metavar="COLUMN", help="Which question was asked, if there were several.")
    ] = None,
    spread: Annotated[
        float, typer.Option("--spread", metavar="X", help="Of the prior, in logits; large is weak.")
    ] = DEFAULT_SPREAD,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.jsonl.")] = False,
) -> None:
    """Turn grades of several raters, people or language models, into one score per text.

    The many-facet Rasch model tells a text's level from a rater's severity and a question's difficulty. OUT.jsonl has
    the texts with `score` (the grade that a mean rater would give) and `weight` (how sure it is), for a recipe's roles.
    OUT.json has the raters with their severity, and infit: about 1 is good, far above erratic, far below too uniform.

    \b
      embedkit raters --ratings grades.tsv --out scores.jsonl
      embedkit raters --ratings grades.tsv --text sentence1 --text sentence2 --rater judge --out scores.jsonl
    """
    from embedkit.disk import files, locks
    from embedkit.evaluation.raters import corrected, read

    if out.suffix != ".jsonl":
        raise RecipeError("the file must end with .jsonl", "--out", "e.g. --out scores.jsonl")
    if spread <= 0:
        raise RecipeError(f"a spread of {spread}", "--spread", "give a positive number")
    beside = out.with_suffix(".json")
    with files.writing(out):
        there = [path for path in (out, beside) if path.exists()]
    if there and not overwrite:
        raise EmbedkitError("exists already", str(there[0]), "name another file, or add --overwrite")
    columns = text or ["text"]
    with locks.hold_file(out, "correcting grades"):
        found = corrected(read(ratings, columns, rater, rating, item), spread)
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in found.rows(columns))
        files.write_text(out, "".join(lines))
        files.write_json(beside, found.report())
    _show(found)
    say(f"{len(found.table.texts):,} rows -> {out}")


def _show(found: Corrected) -> None:
    from embedkit.evaluation.raters import ERRATIC, UNIFORM
    from embedkit.foreign.showing import shown
    from embedkit.terminal.tables import Column, Grid, name_column

    report = found.report()
    made = Grid(
        [
            name_column("rater"),
            *(Column(name) for name in ("grades", "severity", "infit", "outfit")),
            Column("", right=False),
        ],
        "Raters, the most severe first",
        f"{report['ratings']:,} grades of {report['texts']:,} texts. Standard deviation of the grades of one text: "
        f"{report['apart']['given']:.2f}, without severity {report['apart']['corrected']:.2f}.",
        "OUT.json holds all",
    )
    for row in sorted(report["raters"], key=lambda row: -row["severity"])[:MOST_SHOWN]:
        said = "erratic" if row["infit"] > ERRATIC else "too uniform" if row["infit"] < UNIFORM else ""
        numbers = (f"{row[name]:.2f}" for name in ("severity", "infit", "outfit"))
        made.add(shown(row["rater"]), f"{row['ratings']:,}", *numbers, said)
    say(made)
    for kind, count in report["extreme"].items():
        if count:
            say(f"{count:,} {kind} have only the lowest or only the highest grade: the prior bounds them")
