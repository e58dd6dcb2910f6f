"""A run record as a real run writes it, with made-up numbers."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.evaluation import stats
from embedkit.evaluation.compare import AVERAGE, Comparison
from embedkit.evaluation.suite import write_scores
from embedkit.types import Interval, RunRecord, Scores, TaskScore

UPDATES = 300
PLAN = ["data         pydocs: 19,214 rows; roles positive, query; infonce", "updates      300"]
TASKS = {"pydocs-test": (46.93, 52.88, 1.2), "pydocs-dev": (51.40, 51.52, 1.9), "STS-B": (82.03, 80.71, 0.5)}
"""Task -> main metric before, after, half-width of the interval of the difference."""


def record(**changes: Any) -> RunRecord:
    """A finished run of `UPDATES` updates with three tasks: one better, one unclear, one worse."""
    fields: dict[str, Any] = {
        "recipe_hash": "8c1f0a3b5d77e2c4",
        "recipe": {
            "model": {"base": "sentence-transformers/all-MiniLM-L6-v2"},
            "objective": {"name": "infonce", "temperature": 0.05},
            "train": {"batch_size": 64, "accumulation": 1, "learning_rate": 5e-5},
            "eval": {"select": "average", "resamples": 1000, "every": 50},
        },
        "versions": {
            "python": "3.11.7",
            "embedkit": "0.1.0",
            "torch": "2.13.0",
            "machine": "Linux x86_64, CPU, 2 threads",
        },
        "data": [
            {"name": "pydocs", "rows": 19_214, "digest": "1f9d" * 8, "skipped": {}, "roles": ["positive", "query"]},
            {"name": "faq.tsv", "rows": None, "digest": "77aa" * 8, "skipped": {"empty query": 3}, "roles": ["query"]},
        ],
        "plan": {"updates": UPDATES, "lines": PLAN},
        "seed": 42,
        "started": "2030-05-01T09:00:00+00:00",
        "finished": "2030-05-01T09:09:41+00:00",
        "timings": {
            "data": 21.4,
            "model": 1.9,
            "evaluation before": 48.2,
            "training": 401.5,
            "saving": 0.6,
            "evaluation after": 47.7,
        },
        "curve": [_logged(step) for step in range(1, UPDATES + 1, 3)],
        "evaluations": [
            {"step": s, "epoch": s / UPDATES, "eval_average": 60.1 + 4 * math.sin(s / 160), "eval_STS-B/spearman": 81.0}
            for s in range(50, UPDATES + 1, 50)
        ],
        "scores_before": _scores(0),
        "scores_after": _scores(1),
        "comparison": [_compared(task, *numbers) for task, numbers in [*TASKS.items(), (AVERAGE, _average())]],
        "best_step": 250,
        "warnings": ["faq.tsv: 3 rows skipped: empty query"],
    }
    return RunRecord(**(fields | changes))


def write(folder: Path, made: RunRecord, recipe: str = "objective:\n  name: infonce\n") -> Path:
    """A run folder with `made` as its record, and a recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").write_text(json.dumps(asdict(made)), encoding="utf-8")
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    return folder


def kept(folder: Path, made: RunRecord, seed: int = 0) -> Path:
    """A run folder as `write` makes it, with values per query behind the scores after training: made up, and on the
    same data for the same names of tasks."""
    write(folder, made)
    if made.scores_after is None:
        return folder
    rng = np.random.default_rng(seed)
    tasks = [
        TaskScore(
            own["task"],
            "retrieval",
            own["main"],
            own["metrics"],
            Interval(**own["interval"]),
            {own["main"]: rng.uniform(size=50)},
            {"digest": own["task"]},
        )
        for own in made.scores_after["tasks"]
    ]
    found = {
        key: made.scores_after[key] for key in ("model", "fingerprint", "suite", "selection", "average", "seconds")
    }
    write_scores(Scores(**found, tasks=tuple(tasks)), folder / "eval" / "after")
    return folder


def _logged(step: int) -> dict[str, float]:
    wave = math.sin(step * 1.7) * 0.06
    learned = 1 - math.exp(-step / 90)
    return {
        "step": step,
        "epoch": step / UPDATES,
        "loss": 1.35 - 0.7 * learned + wave,
        "grad_norm": 2.0 + wave,
        "learning_rate": 5e-5 * min(step / 30, (UPDATES - step) / (UPDATES - 30)),
        "positive_similarity": 0.52 + 0.2 * learned + wave / 6,
        "hardest_negative": 0.44 - 0.09 * learned + wave / 6,
        "accuracy": 0.7 + 0.2 * learned - wave,
        "negatives": 63.0,
        "masked": 0.2 + abs(wave),
        "tokens": 8100.0 + 900 * wave,
        "padding": 0.03 + abs(wave) / 20,
    }


def _scores(when: int) -> dict[str, Any]:
    tasks = [
        {
            "task": task,
            "type": "sts" if task == "STS-B" else "retrieval",
            "main": "spearman" if task == "STS-B" else "ndcg@10",
            "metrics": {
                "spearman" if task == "STS-B" else "ndcg@10": numbers[when],
                "pearson" if task == "STS-B" else "recall@100": 88.0 + when,
            },
            "interval": _interval(numbers[when], 2.1),
            "details": {},
        }
        for task, numbers in TASKS.items()
    ]
    average = _average()[when]
    return {
        "model": "all-MiniLM-L6-v2",
        "fingerprint": f"{when}e5b" * 4,
        "suite": "quickstart",
        "tasks": tasks,
        "selection": "average",
        "average": average,
        "seconds": 48.0,
        "versions": {},
        "interval": _interval(average, 1.3),
    }


def _average() -> tuple[float, float, float]:
    before, after, widths = zip(*TASKS.values(), strict=True)
    return sum(before) / 3, sum(after) / 3, math.hypot(*widths) / 3


def _compared(task: str, before: float, after: float, width: float) -> dict[str, Any]:
    difference = Interval(**_interval(after - before, width))
    verdict = stats.verdict(difference)
    return asdict(Comparison(task, "main", before, after, difference, p=0.05, verdict=verdict, resamples=1000))


def _interval(value: float, width: float) -> dict[str, float]:
    return {"value": value, "low": value - width, "high": value + width, "level": 0.95}
