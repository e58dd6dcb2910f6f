"""From the cells of one kind of data to its numbers: the rate that was chosen, means, differences, their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student

from benchmarks.compare.summary import Run, mean_draws, paired
from benchmarks.objectives.cells import Cells
from benchmarks.objectives.data import Kind
from benchmarks.objectives.table import BASE, REFERENCE, Row

LEVEL = 0.05
"""Of Holm's procedure, over the rows of one kind of data."""
COMPARED = ("difference", "gain", "behind")
"""What a row is compared with: the reference, the untrained base, the row with the highest mean."""
Measured = dict[str, dict[str, Any]]
"""Row -> its grid, the chosen rate and the runs of the test."""


def measured(
    cells: Cells, rows: Sequence[Row], rates: Sequence[float], seeds: Sequence[int], *, train: bool
) -> Measured:
    """Every row's dev scores over the grid, and the tests with the best rate, seed by seed.

    Args:
        cells: of one kind of data.
        rows: the objectives.
        rates: the grid, the same for all.
        seeds: of the tests; the first is the grid's.
        train: False takes only what is on disk.
    """
    found: Measured = {}
    base = {part: _result(cells, None, 0.0, 0, part, train) for part in ("dev", "test")}
    if base["test"] is not None:
        dev = base["dev"]["average"] if base["dev"] else None
        found[BASE] = {"grid": {}, "rate": None, "dev": dev, "runs": [_run(cells, BASE, 0.0, None, base["test"])]}
    for row in rows:
        grid = {rate: _result(cells, row, rate, seeds[0], "dev", train) for rate in rates}
        scores = {rate: one["average"] for rate, one in grid.items() if one is not None and "failed" not in one}
        if None in grid.values():
            continue  # not measured yet
        own: dict[str, Any] = {"grid": {f"{rate:g}": scores.get(rate) for rate in rates}, "rate": None, "runs": []}
        own["failed"] = sorted({one["failed"] for one in grid.values() if one and "failed" in one})
        if scores:
            own["rate"] = max(scores, key=lambda rate: (scores[rate], -rate))
            tests = [_result(cells, row, own["rate"], seed, "test", train) for seed in seeds]
            own["failed"] += sorted({one["failed"] for one in tests if one and "failed" in one})
            own["runs"] = [
                _run(cells, row.name, own["rate"], seed, one)
                for seed, one in zip(seeds, tests, strict=True)
                if one is not None and "failed" not in one
            ]
        cells.forget()
        if len(own["runs"]) == len(seeds) or own["failed"]:
            found[row.name] = own
    return found


def _result(cells: Cells, row: Row | None, rate: float, seed: int, part: str, train: bool) -> dict[str, Any] | None:
    name = BASE if row is None else row.name
    if not train and not (cells.place.cell(name, rate, seed, part) / "result.json").is_file():
        return None
    return cells.result(row, rate, seed, part)


def _run(cells: Cells, name: str, rate: float, seed: int | None, result: dict[str, Any]) -> Run:
    with np.load(cells.place.cell(name, rate, seed, "test") / "draws.npz", allow_pickle=False) as stored:
        return result, {task: stored[task] for task in stored.files}


def summarise(kind: Kind, rows: Sequence[Row], found: Measured, left_out: Mapping[str, str]) -> dict[str, Any]:
    """The numbers of one kind of data.

    ``difference`` is that to the reference with the same seed, ``gain`` that to the untrained base, both as
    `benchmarks.compare.summary.paired` gives them, with `welch` beside; ``behind`` is that to the row with the highest
    mean. ``holm`` says which differences stay when all rows of this kind are judged together.
    """
    by_name = {row.name: row for row in rows}
    reference = _by_seed(found.get(REFERENCE, {}).get("runs", []))
    base = found.get(BASE, {}).get("runs", [])
    summary = {}
    for name, own in found.items():
        runs = own["runs"]
        entry = {"grid": own["grid"], "rate": own["rate"], "dev": own.get("dev"), "failed": own.get("failed", [])}
        if row := by_name.get(name):
            entry |= {"objective": row.block, "why": row.why, "share": row.share}
        if runs:
            entry |= _means(runs)
            pairs = [(run, reference[run[0]["seed"]]) for run in runs if run[0]["seed"] in reference]
            entry["difference"] = None if name in (BASE, REFERENCE) else _compared(pairs)
            entry["gain"] = None if name == BASE else _compared([(run, base[0]) for run in runs if base])
            entry["cost"] = _cost(runs, found.get(REFERENCE, {}).get("runs", []))
        summary[name] = entry
    best = leading(summary)
    for name, entry in summary.items():
        if best not in (None, BASE, name) and name != BASE and "average" in entry:
            top = _by_seed(found[best]["runs"])
            entry["behind"] = _compared([(run, top[run[0]["seed"]]) for run in found[name]["runs"]])
    for key in COMPARED:
        holm([entry[key] for entry in summary.values() if entry.get(key)])
    return {
        "title": kind.title,
        "what": kind.what,
        "metric": kind.metric,
        "share": kind.share,
        "best": best,
        "rows": summary,
        "missing": [row.name for row in rows if row.name not in found],
        "left_out": dict(left_out),
    }


def _by_seed(runs: Sequence[Run]) -> dict[int, Run]:
    return {run[0]["seed"]: run for run in runs}


def _means(runs: Sequence[Run]) -> dict[str, Any]:
    averages = [result["average"] for result, _ in runs]
    first = runs[0][0]
    return {
        "average": float(np.mean(averages)),
        "sd": float(np.std(averages, ddof=1)) if len(averages) > 1 else None,
        "by_seed": averages,
        "scores": {task: float(np.mean([result["scores"][task] for result, _ in runs])) for task in first["scores"]},
        "geometry": {
            name: float(np.mean([result["geometry"][name] for result, _ in runs])) for name in first["geometry"]
        },
    }


def _compared(pairs: Sequence[tuple[Run, Run]]) -> dict[str, Any] | None:
    """A paired difference with both intervals, and the one interval of both sources together."""
    found = paired(pairs)
    if found is None:
        return None
    changes = [mean_draws(own) - mean_draws(other) for (_, own), (_, other) in pairs]
    return {**found, **welch(found["by_seed"], float(np.std(np.mean(changes, axis=0), ddof=1)))}


def welch(by_seed: Sequence[float], pairs: float) -> dict[str, Any]:
    """``p`` and ``interval`` of a mean difference whose test items and whose seeds are both drawn by chance.

    The variances of the two sources add up: that of the bootstrap over test items with the models fixed, `pairs`
    squared, and that of the seeds divided by their number. The degrees of freedom are Satterthwaite's, the bootstrap's
    taken as infinite. None with a single seed.
    """
    n = len(by_seed)
    if n < 2:
        return {"p": None, "interval": None}
    value, of_seeds = float(np.mean(by_seed)), float(np.var(by_seed, ddof=1)) / n
    total = of_seeds + pairs**2
    if total == 0:
        return {"p": 1.0 if value == 0 else 0.0, "interval": [value, value]}
    freedom = min((n - 1) * (total / of_seeds) ** 2, 1e6) if of_seeds else 1e6
    half = float(student.ppf(1 - LEVEL / 2, freedom)) * total**0.5
    return {"p": float(2 * student.sf(abs(value) / total**0.5, freedom)), "interval": [value - half, value + half]}


def leading(rows: Mapping[str, Any]) -> str | None:
    """The row with the highest mean."""
    return max((name for name in rows if "average" in rows[name]), key=lambda n: rows[n]["average"], default=None)


def holm(differences: Sequence[dict[str, Any]]) -> None:
    """Mark what stays at `LEVEL` when all are judged together (Holm 1979): ``holm`` is True or False in each."""
    known = sorted((one for one in differences if one["p"] is not None), key=lambda one: one["p"])
    still = True
    for place, one in enumerate(known):
        still = still and one["p"] <= LEVEL / (len(known) - place)
        one["holm"] = still
    for one in differences:
        one.setdefault("holm", False)  # a single seed has no p


def _cost(runs: Sequence[Run], reference: Sequence[Run]) -> dict[str, Any] | None:
    """Milliseconds of the processor per update, peak MB of an update, and both in the reference's."""
    found: dict[str, Any] = {}
    for name, unit in (("seconds", 1e3), ("peak", 1e-6)):
        own, other = (_typical(side, name) for side in (runs, reference))
        if own is not None:
            found[name] = own * unit
            found[f"{name}_ratio"] = own / other if other else None
    return found or None


def _typical(runs: Sequence[Run], name: str) -> float | None:
    values = [np.ravel(result["facts"][name]) for result, _ in runs if result["facts"].get(name) not in (None, [])]
    return float(np.median(np.concatenate(values))) if values else None
