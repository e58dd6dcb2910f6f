"""``embedkit report``: write the report of a run again, or a page that compares runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embedkit.cli.console import say
from embedkit.cli.options import AsJson
from embedkit.errors import RecipeError

Out = Annotated[
    Path | None, typer.Option("--out", metavar="DIR", help="Where the comparison goes; default: comparison.")
]


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders that `embedkit train --out` wrote.")],
    out: Out = None,
    json: AsJson = False,
) -> None:
    """Write a run's report again, or compare runs in one page: nothing is trained, loaded or encoded.

    \b
      embedkit report runs/a                        report/index.html, report.md and the plots
      embedkit report runs/a runs/b runs/c          comparison/index.html: b and c against a
      embedkit report runs/a runs/b --out a-b --json
    """
    from embedkit.foreign.showing import as_json
    from embedkit.publish import comparison
    from embedkit.publish.report import write_report

    if len(runs) == 1:
        if out is not None:
            raise RecipeError(
                "the report of one run stands in its folder", "--out", "leave it out, or name another run"
            )
        page, found = write_report(runs[0]), comparison.of_one(runs[0]) if json else {}
    else:
        page, found = comparison.write_comparison(runs, out or Path(comparison.FOLDER))
    if json:
        typer.echo(as_json({"report": str(page), **found}, allow_nan=False))
        return
    for answer in found.get("comparisons", ()):
        say(answer["sentence"])
    if found:
        say(comparison.table(found))
    say(f"report: {page}")
