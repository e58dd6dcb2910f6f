"""Prints the verdicts as a table with counts, and writes them as JSON."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.conformance.runner import Outcome

_STYLE = {"conforms": "green", "FAILED": "bold red", "not implemented yet": "yellow"}
_WIDTH = 150  # of a pipe or a log file: no id is cut


def summary(outcomes: list[Outcome]) -> str:
    """The last line of a run."""
    count = Counter(outcome.verdict for outcome in outcomes)
    return (
        f"conformance: {count['conforms']} conform, {count['FAILED']} failed, "
        f"{count['not implemented yet']} not implemented yet, of {len(outcomes)} entries"
    )


def show(outcomes: list[Outcome], *, verbose: bool = False) -> None:
    """Print one row per entry that was compared, the counts, and (verbose) why each other entry was not."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_WIDTH)
    ran = [outcome for outcome in outcomes if outcome.verdict != "not implemented yet"]
    for file in dict.fromkeys(outcome.entry.file for outcome in outcomes):
        console.print(_table(file, [outcome for outcome in ran if outcome.entry.file == file]))
    for outcome in outcomes:
        if outcome.verdict == "FAILED":
            console.print(Text(f"FAILED {outcome.entry.file} {outcome.entry.id}: {outcome.reason}", style="red"))
    _errors(console, outcomes)
    _waiting(console, outcomes, verbose)
    console.print(Text(summary(outcomes), style="bold"), soft_wrap=True)


def _table(file: str, outcomes: list[Outcome]) -> Table:
    table = Table(title=file, title_justify="left", box=None, pad_edge=False, header_style="bold")
    table.add_column("id", no_wrap=True, overflow="fold")
    table.add_column("quantity", no_wrap=True)
    for name in ("expected", "ours"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("rel. error", justify="right", no_wrap=True)
    table.add_column("values", justify="right")
    table.add_column("verdict")
    for outcome in outcomes:
        table.add_row(*_cells(outcome))
    return table


def _cells(outcome: Outcome) -> list[Text]:
    main, worst = outcome.main, outcome.worst
    return [
        Text(outcome.entry.id),
        Text(main.path if main else ""),
        Text(_number(main.expected) if main else ""),
        Text(_number(main.ours) if main else ""),
        Text(f"{worst.error:.1e}" if worst else ""),
        Text(str(len(outcome.comparisons) or "")),
        Text(outcome.verdict, style=_STYLE[outcome.verdict]),
    ]


def _number(value: Any) -> str:
    if isinstance(value, list):
        return f"[{_number(value[0])}, ...] {len(value)}" if value else "[]"
    return f"{value:.10g}" if isinstance(value, float) else str(value)[:24]


def _errors(console: Console, outcomes: list[Outcome]) -> None:
    done = [outcome for outcome in outcomes if outcome.verdict == "conforms"]
    console.print("\nrel. error: the largest |ours - expected| / max(|expected|, 1e-3) over the values of an entry")
    for rtol in sorted({outcome.rtol for outcome in done}):
        group = [outcome for outcome in done if outcome.rtol == rtol]
        values = sum(len(outcome.comparisons) for outcome in group)
        worst = max(outcome.worst.error for outcome in group if outcome.worst)
        console.print(f"  tolerance {rtol:.0e}: {len(group)} entries, {values} values, largest error {worst:.1e}")
    left_out = [f"{o.entry.id} {', '.join(o.missing)}" for o in done if o.missing]
    if left_out:
        console.print(Text(f"  values of these entries that embedkit has no counterpart of: {'; '.join(left_out)}"))


def _waiting(console: Console, outcomes: list[Outcome], verbose: bool) -> None:
    waiting = [outcome for outcome in outcomes if outcome.verdict == "not implemented yet"]
    if not waiting:
        return
    console.print(f"\nnot implemented yet: {len(waiting)} entries" + ("" if verbose else " (reasons: --verbose)"))
    if verbose:
        for o in waiting:
            console.print(Text(f"  {o.entry.file} {o.entry.id}: {o.reason}"))
        return
    for file in dict.fromkeys(o.entry.file for o in waiting):
        count = Counter(_short(o.entry.name) for o in waiting if o.entry.file == file)
        names = [f"{name} ({n})" if n > 1 else name for name, n in count.items()]
        console.print(Text(f"  {file}: {'; '.join(names)}"))


def _short(name: str) -> str:
    return name if len(name) <= 48 else f"{name[:45]}..."


def status(outcomes: list[Outcome]) -> dict[str, int]:
    """How many entries conform with each objective in them, by its name."""
    count = Counter(name for o in outcomes if o.verdict == "conforms" for name in o.objectives)
    return dict(sorted(count.items()))


def write(outcomes: list[Outcome], path: Path) -> None:
    """Write every comparison of every entry, and the counts, as JSON."""
    count = Counter(outcome.verdict for outcome in outcomes)
    document = {
        "conforming": count["conforms"],
        "failed": count["FAILED"],
        "not_implemented": count["not implemented yet"],
        "entries": [_plain(outcome) for outcome in outcomes],
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _plain(outcome: Outcome) -> dict[str, Any]:
    return {
        "file": outcome.entry.file,
        "id": outcome.entry.id,
        "name": outcome.entry.name,
        "verdict": outcome.verdict,
        "reason": outcome.reason,
        "rtol": outcome.rtol,
        "not_compared": outcome.missing,
        "values": [
            {"path": c.path, "expected": c.expected, "ours": c.ours, "error": _finite(c.error)}
            for c in outcome.comparisons
        ],
    }


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
