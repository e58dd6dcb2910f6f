"""From the results of all runs to one set of numbers: means, spread over seeds, paired intervals."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from benchmarks.compare.study import Study, without_folders
from benchmarks.compare.table import REFERENCE, Method

LEVEL = 0.95
Key = tuple[str, int]
"""Method and seed of a run."""
Run = tuple[dict[str, Any], dict[str, np.ndarray]]
"""What ``result.json`` holds, and the resamples of every task."""


def summarise(study: Study, methods: Sequence[Method], finished: Collection[Key]) -> dict[str, Any]:
    """One entry per method that has results in `finished`: scores, their spread, the difference, geometry, time.

    ``difference`` is that to the reference over the same seeds, ``gain`` that to the untrained base with the method's
    pooling. The interval ``pairs`` of either is a paired percentile bootstrap over the test pairs, the trained models
    fixed and averaged over seeds; ``seeds`` is Student's interval of the per-seed differences, the test pairs fixed.
    None where there is nothing to compare or a single seed.
    """
    by_name = {method.name: method for method in methods}
    runs = {method.name: _runs(study, method, finished) for method in methods}
    reference = runs.get(REFERENCE, {})
    starts = {_pooling(own): own for name, own in runs.items() if own and by_name[name].kind == "base"}
    found = {}
    for method in methods:
        own = runs[method.name]
        if own:
            found[method.name] = {
                **_means(list(own.values())),
                "seeds": [seed for seed in own if seed is not None],
                "difference": None if method.name == REFERENCE else _difference(own, reference),
                "gain": None if method.kind == "base" else _gain(own, starts.get(_pooling(own), {})),
                "time": _time(study, method),
                "recipe": next(iter(own.values()))[0]["settings"]["recipe"],
                "facts": [_public(result["facts"]) for result, _ in own.values()],
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


def _public(facts: dict[str, Any]) -> dict[str, Any]:
    return facts | {"warnings": [without_folders(text) for text in facts.get("warnings", ())]}


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
    """To the reference: seed by seed, or a method without seeds to every seed of it."""
    fixed = None in own
    return paired([(own[None if fixed else seed], reference[seed]) for seed in reference if fixed or seed in own])


def _gain(own: dict[int | None, Run], start: dict[int | None, Run]) -> dict[str, Any] | None:
    """To where a method started: every seed to the one untrained base."""
    found = paired([(run, start[None]) for run in own.values() if start])
    if found is not None and None in own:  # neither side has seeds: the test pairs alone decide
        found["verdict"] = verdict({**found, "seeds": found["pairs"]})
    return found


def _pooling(own: dict[int | None, Run]) -> str | None:
    recipe = next(iter(own.values()))[0]["settings"]["recipe"]
    found: str | None = recipe.get("model", recipe).get("pooling")
    return found


def paired(pairs: Sequence[tuple[Run, Run]]) -> dict[str, Any] | None:
    """Average of the first of each pair minus average of the second, with both intervals; None without pairs."""
    if not pairs:
        return None
    by_seed = [a["average"] - b["average"] for (a, _), (b, _) in pairs]
    draws = np.mean([mean_draws(a) - mean_draws(b) for (_, a), (_, b) in pairs], axis=0)
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


def mean_draws(draws: dict[str, np.ndarray]) -> np.ndarray:
    """Mean over the tasks in every resample; tasks are drawn independently."""
    return np.mean(list(draws.values()), axis=0)


def _time(study: Study, method: Method) -> dict[str, Any] | None:
    path = Path(study.work / method.name / "timing.json")
    if not path.is_file():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
