"""``embedkit report``: write the report of a run again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embedkit.cli.console import say


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder that `embedkit train --out` wrote.")],
) -> None:
    """Write a run's report again, from what the run kept: nothing is trained, loaded or encoded.

    \b
      embedkit report runs/a                        report/index.html, report.md and the plots
    """
    from embedkit.publish.report import write_report

    say(f"report: {write_report(run)}")
