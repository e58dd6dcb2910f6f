"""The main number of a task for each group of its items, and the gap between the best group and the worst."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from embedkit.errors import DataError
from embedkit.evaluation import stats
from embedkit.evaluation.content import label_of, rows
from embedkit.evaluation.files import column
from embedkit.evaluation.loading import beir_files
from embedkit.evaluation.metrics import codes, name_main, pair_metrics, sts_metrics
from embedkit.foreign.quoting import quoted
from embedkit.recipe.suite import RetrievalTask, Task
from embedkit.types import Groups, Interval, RetrievalData, TaskScore

SMALL = 10
"""A group with fewer items has no interval, and no part in the gap."""
D = TypeVar("D")


def added(task: Task, data: D) -> D:
    """The same data with the groups that the task asks for.

    Raises:
        DataError: no such column, a value that names no group, or one group alone.
    """
    name = getattr(task, "group", None)
    if name is None:
        return data
    if isinstance(task, RetrievalTask):
        assert isinstance(data, RetrievalData)
        where, values = _of_queries(task, name, list(data.queries))
    else:
        files: tuple[str, ...] = getattr(task, "files", ())
        where = ", ".join(files)
        others = [getattr(task, key) for key in ("text", "sentence1", "query") if hasattr(task, key)]
        values = [label_of(column(row, name), name, row) for row in rows(files, (*others, name))]
    names, place = np.unique(np.array(values, dtype=object), return_inverse=True)
    if len(names) < 2:
        raise DataError(f"all items are in one group, {quoted(str(names[0]))}", where, f"leave `group: {name}` out")
    found = Groups(name, tuple(map(str, names)), place)
    holder: Any = data
    if hasattr(holder, "content"):
        return replace(holder, content=replace(holder.content, groups=found))
    return replace(holder, groups=found)


def _of_queries(task: RetrievalTask, name: str, queries: list[str]) -> tuple[str, list[str]]:
    if task.folder is None:
        raise DataError("pydocs has no groups", f"task {task.name}", f"leave `group: {name}` out")
    file = beir_files(Path(task.folder), task.split)[1]
    wanted = set(queries)
    found: dict[str, str] = {}
    for row in rows((str(file),), ("_id", name)):
        if column(row, "_id") in wanted:
            found[str(column(row, "_id"))] = label_of(column(row, name), name, row)
    return str(file), [found[query] for query in queries]


def measured(score: TaskScore, groups: Groups, resamples: int, seed: int) -> dict[str, Any]:
    """The main metric of every group with its interval, and the gap.

    The gap is that of the best group to the worst one as they were found; their items are drawn independently. With
    many groups of equal quality some gap is always found, so its interval says how large it is, not that there is one.

    Args:
        score: with units.
        groups: of its items.
        resamples: of the bootstrap; 0 leaves intervals out.
        seed: of the draws.

    Returns:
        ``column``, ``metric``, ``rows`` (``name``, ``items``, ``value``, ``interval``; a value of None is not defined)
        ``mean`` of the values over the groups, whatever their sizes; and ``gap`` (``best``, ``worst``, ``value``,
        ``interval``), None where fewer than two groups can be compared.
    """
    found: list[dict[str, Any]] = []
    draws: dict[str, Any] = {}
    for place, name in enumerate(groups.names):
        member = groups.codes == place
        part = _part(score, member, name)
        value = _value(part)
        own = None
        if value is not None and member.sum() >= SMALL:
            drawn = stats.draws(part, resamples, seed)[score.main] if resamples else None
            own = None if drawn is None else _ends(stats.interval(value, drawn))
            draws[name] = drawn
        found.append({"name": name, "items": int(member.sum()), "value": value, "interval": own})
    known = [row["value"] for row in found if row["value"] is not None]
    mean = float(np.mean(known)) if known else None
    return {"column": groups.column, "metric": score.main, "rows": found, "mean": mean, "gap": _gap(found, draws)}


def _gap(found: list[dict[str, Any]], draws: dict[str, Any]) -> dict[str, Any] | None:
    values = {row["name"]: row["value"] for row in found if row["name"] in draws}
    if len(values) < 2:
        return None
    best, worst = max(values, key=values.__getitem__), min(values, key=values.__getitem__)
    gap = values[best] - values[worst]
    apart = None if draws[best] is None else _ends(stats.interval(gap, draws[best] - draws[worst]))
    return {"best": best, "worst": worst, "value": gap, "interval": apart}


def _ends(interval: Interval) -> list[float]:
    return [interval.low, interval.high]


def _part(score: TaskScore, member: np.ndarray, name: str) -> TaskScore:
    return replace(
        score, task=f"{score.task} {name}", units={key: values[member] for key, values in score.units.items()}
    )


def _value(part: TaskScore) -> float | None:
    """The main metric of some items, in points; None where it is not defined for them."""
    units = part.units
    if part.type == "sts":
        if len(units["gold"]) < 2 or not np.ptp(units["gold"]):
            return None
        return 100 * name_main(sts_metrics(**units), part.details["aggregate"])[part.main]
    if part.type == stats.PAIRS:
        if not np.ptp(units["match"]):
            return None
        return 100 * pair_metrics(codes(units["similarity"]), units["match"])[part.main]
    return 100 * float(units[part.main].mean())
