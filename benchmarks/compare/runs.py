"""One run: train, whiten or take the base as it is; measure; write the result."""

from __future__ import annotations

import gc
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.compare import study as studies
from benchmarks.compare.study import Study
from benchmarks.compare.table import Method, overrides
from embedkit.data.sources import load_source
from embedkit.evaluation import stats
from embedkit.evaluation.suite import evaluate_suite, plain
from embedkit.model.changing.whitening import whiten
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.load import load_recipe
from embedkit.recipe.schema import Model, Recipe, Source
from embedkit.run.environment import versions
from embedkit.types import Scores

RESAMPLES, BOOTSTRAP_SEED = 1000, 0
FITTED = 8192
"""Texts whose embeddings are held at once while a whitening is fitted."""


def done(study: Study, method: Method, seed: int) -> dict[str, Any] | None:
    """The result of a run that finished earlier with the same settings."""
    return studies.finished(study.folder(method, seed), settings(study, method, seed))


def settings(study: Study, method: Method, seed: int) -> dict[str, Any]:
    """What decides the result of a run."""
    if method.kind == "train":
        places = study.places(seed, method.needs)
        return study.settings(recipe(study, method, seed).model_dump(mode="json"), places)
    fitted = {"texts": study.seen, "kind": "pca"} if method.kind == "whitening" else {}
    return study.settings({"kind": method.kind, "pooling": method.pooling, **fitted}, {})


def recipe(study: Study, method: Method, seed: int, sentences: int | None = None) -> Recipe:
    """The recipe of a method with all overrides.

    Args:
        study, method, seed: which run.
        sentences: how many it may see; None: those of the comparison.
    """
    common = {**study.common, "train.seed": seed}
    if method.text:
        common |= {"data.sources.0.path": "{text}", "data.sources.0.limit": sentences or study.seen}
    return load_recipe(method.recipe, overrides(method, common, study.places(seed, method.needs)))


def run(study: Study, method: Method, seed: int, keep_model: bool) -> dict[str, Any]:
    """Do a run and write its result.

    Args:
        study: the comparison.
        method: the method.
        seed: of everything random in the training.
        keep_model: leave the trained model, because another method needs it.

    Returns:
        What ``result.json`` holds.
    """
    folder, start = study.folder(method, seed), time.perf_counter()
    wanted = settings(study, method, seed)
    if method.kind == "train":
        encoder, facts = _train(study, method, seed, folder)
    else:
        encoder = Encoder.load(Model.model_validate({"base": study.base, "pooling": method.pooling}))
        facts = _whiten(encoder, study) if method.kind == "whitening" else {}
    scores = evaluate_suite(
        encoder,
        study.tasks,
        resamples=0,
        data=study.pairs,
        model_name=method.name,
        geometry=True,
        progress=sys.stdout.isatty(),
    )
    draws = {task.task: stats.draws(task, RESAMPLES, BOOTSTRAP_SEED)[task.main] for task in scores.tasks}
    result = {
        "method": method.name,
        "seed": seed if method.seeded else None,
        "average": scores.average,
        "scores": {task.task: task.metrics[task.main] for task in scores.tasks},
        "geometry": {task.task: task.details["geometry"] for task in scores.tasks},
        "seconds": round(time.perf_counter() - start, 1),
        "facts": facts,
        "versions": versions(),
        "settings": wanted,
        "evaluation": _short(scores),
    }
    studies.write(folder, result, draws)
    if method.kind == "train" and not (keep_model or study.keep_models):
        shutil.rmtree(folder / "model", ignore_errors=True)
    del encoder
    gc.collect()
    return result


def _train(study: Study, method: Method, seed: int, folder: Path) -> tuple[Encoder, dict[str, Any]]:
    from embedkit.run import train

    made = recipe(study, method, seed)
    run_folder = folder / "run"
    record = train(made, run_folder, resume=run_folder.is_dir(), say=_silent)
    shutil.rmtree(folder / "model", ignore_errors=True)
    (run_folder / "model").replace(folder / "model")
    shutil.rmtree(run_folder)
    losses = [entry["loss"] for entry in record.curve]
    tail = losses[-max(1, len(losses) // 10) :]
    facts = {
        "training_seconds": record.timings["training"],
        "final_loss": float(np.mean(tail)) if tail else None,
        "warnings": record.warnings,
        "learning_rate": made.train.learning_rate,
    }
    trained = Model(
        base=str(folder / "model"),
    )
    return Encoder.load(trained, device=made.train.device), facts


def _whiten(encoder: Encoder, study: Study) -> dict[str, Any]:
    """Fit on the first sentences of the text, as many as a training of this comparison sees."""
    source = load_source(Source(path=str(study.text), limit=study.seen))
    texts = [example.query for example in source.get(range(source.rows or 0))]
    blocks = (texts[i : i + FITTED] for i in range(0, len(texts), FITTED))
    found = whiten(encoder, blocks)
    return {"texts": found.count, "dim": found.dim, "condition": found.condition}


def _short(scores: Scores) -> dict[str, Any]:
    """The evaluation without what the result holds already."""
    found = plain(scores)
    tasks = {t["task"]: {"metrics": t["metrics"], "pairs": t["details"]["pairs"]} for t in found["tasks"]}
    return {"fingerprint": scores.fingerprint, "seconds": scores.seconds, "tasks": tasks}


def _silent(line: Any) -> None:
    """The plan and the tables of each run are not shown."""
