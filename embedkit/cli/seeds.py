"""``embedkit train --seeds N``: the same run with several seeds, and what it says about the result."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from embedkit.cli.console import INTERRUPTED, say
from embedkit.disk import files, locks
from embedkit.disk.folders import RunFolder
from embedkit.errors import EmbedkitError, RecipeError
from embedkit.foreign.limits import SEED
from embedkit.terminal.tables import Column, Grid, name_column
from embedkit.train.stopping import PASSED_ON, PassingOn, Stopped

if TYPE_CHECKING:
    from embedkit.recipe.load import Loaded
    from embedkit.types import RunRecord

SUMMARY = "summary.json"
AVERAGE = ("average", "of the main metrics")


def train_seeds(loaded: Loaded, arguments: Sequence[str], out: Path, count: int, *, resume: bool) -> None:
    """Train with seeds ``train.seed``, + 1, ... into ``out/seed-K``, each in a process of its own; print the spread and
    write it to ``out/summary.json``.

    Args:
        loaded: the recipe.
        arguments: of ``embedkit train``, without ``--out`` and ``--resume``.
        out: folder of the runs.
        count: how many.
        resume: leave finished runs as they are and go on with the others.

    Raises:
        typer.Exit: with the code of a run that failed.
        KeyboardInterrupt: a run was interrupted, or stopped by the system.
    """
    first = loaded.recipe.train.seed
    if first + count - 1 > SEED:
        what = f"train.seed {first} and the {count - 1:,} after it go beyond {SEED}"
        raise RecipeError(what, loaded.where(("train", "seed")), "start lower, or ask for fewer --seeds")
    if count > 1 and loaded.recipe.publish is not None:
        what = f"{count} runs would be pushed to one place"
        cure = "add publish=null, and publish the run that you choose"
        raise RecipeError(what, loaded.where(("publish", "to")), cure)
    if not resume and not files.is_empty(out):
        raise EmbedkitError("is not empty", str(out), "add --resume to go on, or choose another --out")
    with locks.hold_folder(out, "training with several seeds"):
        records = {}
        for seed in range(first, first + count):
            folder = out / f"seed-{seed}"
            if not _finished(folder):
                say(f"seed {seed} -> {folder}")
                _train(arguments, seed, folder, resume=resume and folder.is_dir())
            records[seed] = _read(folder)
        found = summary(records)
        files.write_json(out / SUMMARY, found)
    say(spread(found))
    say(f"all metrics: {out / SUMMARY}")


def summary(records: Mapping[int, RunRecord]) -> dict[str, Any]:
    """Mean and standard deviation over runs of every metric, before, after, and of their difference.

    Args:
        records: by seed.

    Returns:
        ``seeds``, and ``metrics``: per task and metric whether it is the ``main`` one, and for ``before``, ``after``
        and ``change`` the ``values`` in the order of the seeds, their ``mean`` and ``sd`` (of a sample, null for one
        run); null where a run was not measured.
    """
    after = [_metrics(record.scores_after) for record in records.values()]
    before = [_metrics(record.scores_before) for record in records.values()]
    rows = []
    for key in after[0]:
        ends, starts = ([run[key][0] for run in runs if key in run] for runs in (after, before))
        changes = [e - s for e, s in zip(ends, starts, strict=True)] if len(starts) == len(ends) else []
        found = {"before": _spread(starts), "after": _spread(ends), "change": _spread(changes)}
        rows.append({"task": key[0], "metric": key[1], "main": after[0][key][1], **found})
    return {"seeds": list(records), "metrics": rows}


def spread(found: Mapping[str, Any]) -> Grid:
    """The main metrics of a `summary`."""
    numbers = [Column("before", 1), Column("after"), Column("change")]
    columns = [name_column("task"), Column("metric", 2, right=False), *numbers]
    table = Grid(columns, f"{len(found['seeds'])} seeds: mean ± standard deviation")
    for row in found["metrics"]:
        if row["main"]:
            cells = _mean(row["before"]), _mean(row["after"]), _mean(row["change"], sign="+")
            table.add(row["task"], row["metric"], *cells)
    return table


def _metrics(scores: Mapping[str, Any] | None) -> dict[tuple[str, str], tuple[float, bool]]:
    """(task, metric) -> value, and whether it is the task's main one."""
    if scores is None:
        return {}
    found = {
        (task["task"], metric): (value, metric == task["main"])
        for task in scores["tasks"]
        for metric, value in task["metrics"].items()
    }
    return found if len(scores["tasks"]) < 2 else {**found, AVERAGE: (scores["average"], True)}


def _spread(values: Sequence[float]) -> dict[str, Any] | None:
    if not values:
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "sd": sd, "values": list(values)}


def _mean(found: Mapping[str, Any] | None, sign: str = "") -> str:
    if found is None:
        return "-"
    mean = f"{found['mean']:{sign}.2f}"
    return mean if found["sd"] is None else f"{mean} ± {found['sd']:.2f}"


def _finished(folder: Path) -> bool:
    """Whether a run is done with; one whose last evaluation failed goes on."""
    record = RunFolder(folder).read_record()
    return record is not None and bool(record.finished) and not record.failed


def _read(folder: Path) -> RunRecord:
    record = RunFolder(folder).read_record()
    if record is None:
        raise EmbedkitError("the run left no record", str(folder), "train it again with --resume")
    return record


def _train(arguments: Sequence[str], seed: int, folder: Path, *, resume: bool) -> None:
    command = [sys.executable, "-m", "embedkit", "train", *arguments, f"train.seed={seed}", "--out", str(folder)]
    environ = {**os.environ, PASSED_ON: "1"}
    children: list[int] = []
    with PassingOn(lambda: children) as passing_on:
        child = subprocess.Popen([*command, *(["--resume"] if resume else [])], env=environ)  # noqa: S603
        children.append(child.pid)
        try:
            code = child.wait()
        except KeyboardInterrupt:
            child.wait()  # it was interrupted too
            raise
    if code and passing_on.asked is not None:
        raise Stopped(passing_on.asked)
    if code:
        raise KeyboardInterrupt if code == INTERRUPTED else typer.Exit(code)
