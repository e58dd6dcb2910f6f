"""From the results of all runs to one set of numbers: means, spread over seeds, paired intervals."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from benchmarks.compare.study import Study
from benchmarks.compare.table import REFERENCE, Method

LEVEL = 0.95
Key = tuple[str, int]
"""Method and seed of a run."""
Run = tuple[dict[str, Any], dict[str, np.ndarray]]
"""What ``result.json`` holds, and the resamples of every task."""


def summarise(study: Study, methods: Sequence[Method], finished: Collection[Key]) -> dict[str, Any]:
    """One entry per method that has results in `finished`: scores, their spread, the difference, geometry, time.

    The difference is taken to the reference over the same seeds. Its interval ``pairs`` is a paired percentile
    bootstrap over the test pairs, the trained models fixed and averaged over seeds; ``seeds`` is Student's interval
    of the per-seed differences, the test pairs fixed. None where there is nothing to compare or a single seed.
    """
    runs = {method.name: _runs(study, method, finished) for method in methods}
    reference = runs.get(REFERENCE, {})
    found = {}
    for method in methods:
        own = runs[method.name]
        if own:
            found[method.name] = {
                **_means(list(own.values())),
                "seeds": [seed for seed in own if seed is not None],
                "difference": None if method.name == REFERENCE else _difference(own, reference),
                "time": _time(study, method),
                "recipe": next(iter(own.values()))[0]["settings"]["recipe"],
                "facts": [result["facts"] for result, _ in own.values()],
            }
    return found


def _runs(study: Study, method: Method, finished: Collection[Key]) -> dict[int | None, Run]:
    found: dict[int | None, Run] = {}
    for seed in sorted(seed for name, seed in finished if name == method.name):
        folder = study.folder(method, seed)
        with np.load(folder / "draws.npz", allow_pickle=False) as stored:
            draws = {name: stored[name] for name in stored.files}
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        found[seed if method.seeded else None] = result, draws
    return found


def _means(runs: Sequence[Run]) -> dict[str, Any]:
    results = [result for result, _ in runs]
    averages = [result["average"] for result in results]
    tasks = list(results[0]["scores"])
    geometry = {
        task: {
            name: float(np.mean([result["geometry"][task][name] for result in results]))
            for name, value in results[0]["geometry"][task].items()
            if value is not None
        }
        for task in tasks
    }
    return {
        "average": float(np.mean(averages)),
        "sd": float(np.std(averages, ddof=1)) if len(averages) > 1 else None,
        "by_seed": averages,
        "scores": {task: float(np.mean([result["scores"][task] for result in results])) for task in tasks},
        "scores_sd": {
            task: float(np.std([result["scores"][task] for result in results], ddof=1)) if len(results) > 1 else None
            for task in tasks
        },
        "geometry": geometry,
    }


def _difference(own: dict[int | None, Run], reference: dict[int | None, Run]) -> dict[str, Any] | None:
    """Average of `own` minus average of `reference`, with both intervals."""
    fixed = None in own
    pairs = [(own[None if fixed else seed], reference[seed]) for seed in reference if fixed or seed in own]
    if not pairs:
        return None
    by_seed = [a["average"] - b["average"] for (a, _), (b, _) in pairs]
    draws = np.mean([_average(a) - _average(b) for (_, a), (_, b) in pairs], axis=0)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    found: dict[str, Any] = {"value": float(np.mean(by_seed)), "by_seed": by_seed, "pairs": [float(low), float(high)]}
    n = len(by_seed)
    half = student.ppf((1 + LEVEL) / 2, n - 1) * np.std(by_seed, ddof=1) / np.sqrt(n) if n > 1 else None
    found["seeds"] = None if half is None else [found["value"] - float(half), found["value"] + float(half)]
    found["verdict"] = verdict(found)
    return found


def verdict(difference: dict[str, Any]) -> str:
    """``better`` or ``worse`` if both intervals lie on one side of zero, else ``unclear``."""
    intervals = [difference["pairs"], difference["seeds"]]
    if None not in intervals:
        if all(low > 0 for low, _ in intervals):
            return "better"
        if all(high < 0 for _, high in intervals):
            return "worse"
    return "unclear"


def _average(draws: dict[str, np.ndarray]) -> np.ndarray:
    """Mean over the tasks in every resample; tasks are drawn independently."""
    return np.mean(list(draws.values()), axis=0)


def _time(study: Study, method: Method) -> dict[str, Any] | None:
    path = Path(study.work / method.name / "timing.json")
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
