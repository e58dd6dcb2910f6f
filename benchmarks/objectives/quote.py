"""Quote the comparison in the pages of the methods, so that no figure is copied by hand.

    python -m benchmarks.objectives.quote

In `docs/methods` the lines between ``<!-- compared: ROW, ... -->`` and ``<!-- end -->`` are written anew: rows as
`objectives.yaml` names them, each on every kind of data that it was measured on. What was not measured keeps its words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.compare.page import interval, mean, rows
from benchmarks.compare.quote import ROOT, SIGNS, filled, written
from benchmarks.objectives.table import BASE

HEAD = ["objective", "base", "trained on", "updates", "untrained", "trained", "to InfoNCE", "pairs", "seeds"]
READING = (
    "Same rows, updates, seeds and grid of learning rates for every objective, with its defaults; the metrics and how "
    "to read it: [the comparison](../objectives/README.md)."
)


def main() -> int:
    """Write all quotations; print the files that changed."""
    return written(ROOT, quotations(ROOT))


def quotations(root: Path) -> dict[Path, str]:
    """What the pages of the methods below `root` ought to say, given ``docs/objectives/*.json``."""
    stored = sorted((root / "docs" / "objectives").glob("*.json"))
    found = {path.stem: json.loads(path.read_text(encoding="utf-8"))["kinds"] for path in stored}
    pages = sorted((root / "docs" / "methods").glob("*.md"))
    return {
        path: filled(
            path.read_text(encoding="utf-8"), "compared", lambda names: measured(names.replace(",", " ").split(), found)
        )
        for path in pages
    }


def measured(names: list[str], found: Mapping[str, Any]) -> str | None:
    """The table of these objectives; None where none of them was measured."""
    body = [line for name in names for line in _lines(name, found)]
    return f"{rows(HEAD, body, left=3)}\n\n{READING}" if body else None


def _lines(name: str, found: Mapping[str, Any]) -> Iterator[list[str]]:
    for base, kinds in found.items():
        for kind in kinds.values():
            own = kind["rows"].get(name)
            if own is None or "average" not in own:
                continue
            made, difference = kind["made"], own["difference"]
            told = f"{difference['value']:+.2f}{SIGNS[difference['verdict']]}" if difference else ""
            spread = [interval(difference[key]) if difference else "" for key in ("pairs", "seeds")]
            updates = f"{made['steps']} of {round(made['batch'] * kind['share'])}"
            untrained = f"{kind['rows'][BASE]['average']:.2f}"
            link = f"[{base}](../objectives/{base}.md)"
            yield [f"`{name}`", link, kind["title"], updates, untrained, mean(own), told, *spread]


if __name__ == "__main__":
    raise SystemExit(main())
