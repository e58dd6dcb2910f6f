"""Rows that were measured later join a table: same settings, and the rows that both have gave the same scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.objectives.summary import COMPARED, holm, leading
from benchmarks.objectives.table import BASE, REFERENCE
from embedkit.errors import RecipeError

SAME = ("base", "steps", "batch", "length", "rates", "seeds", "sizes")
"""Settings that rows of one table share."""
SCORE = 0.005
"""By which two measurements of one row may differ: what the page shows as the same."""


def partners(stored: Mapping[str, Any] | None, names: Sequence[str]) -> list[str]:
    """The rows to measure: those asked for and, where they join a table, the one that leads it."""
    leader = stored["best"] if stored and names else None
    return [*names, *([leader] if leader not in (None, BASE, *names) else [])]


def refuse_other_settings(stored: Mapping[str, Any], made: Mapping[str, Any], where: str) -> None:
    """Before anything is trained.

    Raises:
        RecipeError: the table was made with other settings.
    """
    if other := [name for name in SAME if stored["made"][name] != made[name]]:
        said = ", ".join(f"{name} {stored['made'][name]}, here {made[name]}" for name in other)
        raise RecipeError(f"the rows would join a table made with other settings: {said}", where, CURE)


def joined(stored: Mapping[str, Any], found: Mapping[str, Any], wanted: Iterable[str], where: str) -> dict[str, Any]:
    """The table with the rows of both; those measured again replace their former selves.

    Args:
        stored: the table as it is, of one kind of data.
        found: what was measured now, with its own ``made``.
        wanted: every row that this kind of data could have.
        where: file of the table, for errors.

    Raises:
        RecipeError: a row of both has other scores now, or a new one leads the table: what lies behind it needs all
            rows measured together.
    """
    old, new = stored["rows"], found["rows"]
    for name in (BASE, REFERENCE, stored["best"]):
        if name in old and not _alike(old[name], new.get(name, {})):
            was, now = old[name].get("by_seed"), new.get(name, {}).get("by_seed")
            raise RecipeError(f"`{name}` had {was} in the table and has {now} here", where, CURE)
    rows = {**old, **new}
    if (best := leading(rows)) != stored["best"]:
        raise RecipeError(f"`{best}` leads the table now, and no row was compared with it", where, CURE)
    for key in COMPARED:
        holm([entry[key] for entry in rows.values() if entry.get(key)])
    missing = [name for name in wanted if name not in rows]
    made = {name: value for name, value in found["made"].items() if name in ("versions", "command", "date")}
    later = [*stored["made"].get("joined", []), {"rows": [name for name in new if name not in old], **made}]
    return {**found, "rows": rows, "missing": missing, "made": {**stored["made"], "joined": later}}


def _alike(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Both measured, with the same scores seed by seed."""
    before, now = old.get("by_seed", []), new.get("by_seed", [])
    return len(before) == len(now) and all(abs(a - b) <= SCORE for a, b in zip(before, now, strict=True))


CURE = "measure all rows (without --objectives), or write to another place (--out)"
