"""What a reader of a run wants to know about its mined negatives."""

from __future__ import annotations

from typing import Any

from embedkit.terminal.times import duration
from embedkit.types import RunRecord

HEADS = ("negatives", "used from", "number", "similarity", "below positive", "suspects", "new", "recall", "waited")
"""Of the table of versions."""


def rows(record: RunRecord) -> list[tuple[str, ...]]:
    """A line per version of every source's negatives, in the order of `HEADS`."""
    several = len({entry["source"] for entry in record.mining}) > 1
    return [_row(entry, several) for entry in record.mining]


def note(record: RunRecord) -> str:
    """What the columns mean, what filters removed, and what the searches cost."""
    removed: dict[str, int] = {}
    for entry in record.mining:
        for name, count in (entry.get("removed") or {}).items():
            removed[name] = removed.get(name, 0) + int(count)
    parts = [
        "Similarity: mean over the negatives. Below positive: mean lead of a query's lowest positive. Suspects: share "
        "that scores at least as high as that positive; they may be answers nobody labelled. New: share that the "
        "version before did not have. Recall: of the index against exact search."
    ]
    if removed:
        parts.append("Filters removed " + ", ".join(f"{count:,} ({name})" for name, count in removed.items()) + ".")
    without = max((int(entry.get("without") or 0) for entry in record.mining), default=0)
    if without:
        parts.append(f"Up to {without:,} queries had no negative.")
    if cost := waited(record):
        parts.append(cost + ".")
    return " ".join(parts)


def waited(record: RunRecord) -> str:
    """How long training waited for searches, in percent of its time; empty where nothing was mined."""
    if not record.mining:
        return ""
    seconds = sum(float(entry["waited"]) for entry in record.mining)
    training = record.timings.get("training", 0.0)
    share = f", {seconds / training:.0%} of its time" if training else ""
    return f"Training waited {duration(seconds)} for negatives{share}"


def _row(entry: dict[str, Any], several: bool) -> tuple[str, ...]:
    name = f"version {entry['version']} of update {entry['searched']:,}"
    score, margin = entry.get("score"), entry.get("margin")
    index = entry["index"]
    return (
        f"{entry['source']}, {name}" if several else name,
        f"update {entry['used']:,}",
        f"{entry['negatives']:,}",
        "—" if score is None else f"{score:.3f}",
        "—" if margin is None else f"{margin:.3f}",
        f"{entry['suspects']:.1%}",
        f"{entry['changed']:.0%}",
        f"{index['recall']:.3f} ({index['kind']})",
        duration(entry["waited"]),
    )
