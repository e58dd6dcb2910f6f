"""What an evaluation found besides its metrics, for the report: groups, texts changed by rule, calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embedkit.types import RunRecord

MOST = 30
"""Groups of a task that are shown."""


@dataclass(frozen=True)
class Table:
    """One table of the report.

    Attributes:
        title: above it.
        heads: of its columns.
        rows: texts; all but the first column are numbers.
        note: below it.
    """

    title: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    note: str


def sections(record: RunRecord) -> list[tuple[str, list[Table]]]:
    """Heading and tables of what there is."""
    found = [("Groups", _of(record, "groups", _groups)), ("Robustness", _of(record, "perturbed", _perturbed))]
    found.append(("What a similarity means", _of(record, "calibration", _calibrated)))
    found.append(("Sparse embeddings", _of(record, "sparsity", _sparsity)))
    return [(heading, tables) for heading, tables in found if tables]


def _of(record: RunRecord, key: str, made: Callable[[Mapping[str, Any], Any, Any], Table]) -> list[Table]:
    before = {task["task"]: task.get("details", {}).get(key) for task in (record.scores_before or {}).get("tasks", ())}
    found = []
    for task in (record.scores_after or record.scores_before or {}).get("tasks", ()):
        own = task.get("details", {}).get(key)
        if own:
            old = before.get(task["task"]) if record.scores_after else None
            found.append(made(task, own, old or {}))
    return found


def _groups(task: Mapping[str, Any], own: Mapping[str, Any], old: Mapping[str, Any]) -> Table:
    values = {row["name"]: row["value"] for row in old.get("rows", ())}
    rows = sorted(own["rows"], key=lambda row: (row["value"] is None, row["value"]))
    return Table(
        f"{task['task']} by {own['column']}, {own['metric']}",
        ("group", "items", *(("before", "after") if old else ("score",)), "interval"),
        [
            (
                row["name"],
                f"{row['items']:,}",
                *([_number(values.get(row["name"]))] if old else []),
                _number(row["value"]),
                _span(row["interval"]),
            )
            for row in rows[:MOST]
        ],
        _gap(own, len(rows)),
    )


def _perturbed(task: Mapping[str, Any], own: Mapping[str, Any], old: Mapping[str, Any]) -> Table:
    return Table(
        f"{task['task']}, {task['main']}",
        ("changed by", "texts", "score", *(("drop before", "drop after") if old else ("drop",)), "interval"),
        [
            (
                rule,
                f"{found['changed']:,} of {found['items']:,}",
                f"{found['value']:.2f}",
                *([f"{old[rule]['drop']:+.2f}" if rule in old else "—"] if old else []),
                f"{found['drop']:+.2f}",
                _span(found["interval"]),
            )
            for rule, found in own.items()
        ],
        "Typing errors and case leave the meaning as it is; word order and negation change it, and a score that stays "
        "has not read them.",
    )


def _calibrated(task: Mapping[str, Any], own: Sequence[Mapping[str, float]], old: Any) -> Table:
    return Table(
        f"{task['task']}, {'after training' if old else 'pairs by similarity'}",
        ("similarity", "mean", "pairs", "matching"),
        [
            (
                f"{row['from']:.3f} to {row['to']:.3f}",
                f"{row['mean']:.3f}",
                f"{row['pairs']:,}",
                f"{100 * row['matching']:.1f} %",
            )
            for row in own
        ],
        "Parts of equally many pairs, equal similarities in one. Matching: share of the pairs that match.",
    )


def _sparsity(task: Mapping[str, Any], own: Mapping[str, float], old: Mapping[str, float]) -> Table:
    names = {"active_query": "active per query", "active_document": "active per document", "flops": "FLOPS"}
    return Table(
        f"{task['task']}, {own['dim']:,} coordinates",
        ("", *(("before", "after") if old else ("now",))),
        [(words, *([f"{old[key]:,.2f}"] if old else []), f"{own[key]:,.2f}") for key, words in names.items()],
        "Active: coordinates that are not 0. FLOPS: products that one document costs for one query in an inverted "
        "index, on average.",
    )


def _gap(own: Mapping[str, Any], count: int) -> str:
    gap, more = own["gap"], f" The {MOST} lowest of {count:,} groups." if count > MOST else ""
    if gap is None:
        return f"Fewer than two groups can be compared.{more}"
    apart = f" ({_span(gap['interval'])})" if gap["interval"] else ""
    ends = f"{gap['best']} to {gap['worst']}"
    return f"Gap: {gap['value']:.2f}{apart}, {ends}. A group without an interval is too small to count.{more}"


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.2f}"


def _span(ends: list[float] | None) -> str:
    return "—" if ends is None else f"{ends[0]:.2f} to {ends[1]:.2f}"
