"""What a reader of a run wants to know, worked out of its record; no layout, no plots."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedkit.evaluation import stats
from embedkit.evaluation.compare import AVERAGE
from embedkit.terminal.times import about, duration
from embedkit.types import Interval, RunRecord

VERDICTS = {"win": "▲ better", "loss": "▼ worse", "tie": "● unclear", "": "—"}
"""How `stats.verdict` is shown: a sign and words, never a colour alone."""

WORD = 13
"""Columns of the word in front of a line of the plan (`embedkit.recipe.planning.words`)."""
WHOLE = 0.98
"""Share of a training from which on its energy is that of all of it."""


@dataclass(frozen=True)
class TaskLine:
    """One task before and after training, its main metric on the scale 0..100.

    Attributes:
        task: name of the task; `AVERAGE` for the mean over tasks.
        metric: its main metric; empty for the average.
        before, after: scores with their intervals; None when not measured.
        difference: after - before with its paired interval.
    """

    task: str
    metric: str
    before: Interval | None = None
    after: Interval | None = None
    difference: Interval | None = None

    @property
    def verdict(self) -> str:
        """``win``, ``loss`` or ``tie`` as `stats.verdict` gives it; empty without a difference."""
        return stats.verdict(self.difference) if self.difference is not None else ""

    @property
    def verdict_text(self) -> str:
        return VERDICTS[self.verdict]


def task_lines(record: RunRecord) -> list[TaskLine]:
    """One line per task of the evaluation, and a line ``average`` when there are several."""
    before, after = _by_task(record.scores_before), _by_task(record.scores_after)
    differences = {c["task"]: c for c in record.comparison}
    lines = []
    for name in after or before:
        score = after.get(name) or before[name]
        lines.append(
            TaskLine(
                name,
                score.get("main", ""),
                _main(before.get(name)),
                _main(after.get(name)),
                interval(differences.get(name, {}).get("difference")),
            )
        )
    if len(lines) > 1:
        lines.append(
            TaskLine(
                AVERAGE,
                "",
                _average(record.scores_before),
                _average(record.scores_after),
                interval(differences.get(AVERAGE, {}).get("difference")),
            )
        )
    return lines


def all_metrics(record: RunRecord) -> list[tuple[str, str, float | None, float | None]]:
    """(task, metric, before, after) of every metric measured."""
    before, after = _by_task(record.scores_before), _by_task(record.scores_after)
    rows = []
    for task in after or before:
        old = before.get(task, {}).get("metrics", {})
        new = after.get(task, {}).get("metrics", {})
        rows += [(task, metric, old.get(metric), new.get(metric)) for metric in dict.fromkeys([*new, *old])]
    return rows


def headline(record: RunRecord) -> str:
    """Did it help: one sentence with the gain, its interval, and whether that excludes zero."""
    lines = task_lines(record)
    if not lines and record.failed:
        return "Not measured: the run failed."
    if not lines:
        return "Not measured: the recipe names no evaluation suite."
    line = lines[-1]
    name = f"the average of {len(lines) - 1} tasks" if len(lines) > 1 else f"{line.task} ({line.metric})"
    if line.before is None or line.after is None:
        measured = line.after or line.before
        when = "after" if line.after else "before"
        return f"Measured only {when} training: {name} is {measured.value:.2f}." if measured else "Not measured."
    sentence = f"{name} went from {line.before.value:.2f} to {line.after.value:.2f}"
    if line.difference is None:
        change = line.after.value - line.before.value
        return f"Unknown: {sentence} ({change:+.2f}), but the difference has no interval."
    d = line.difference
    excludes = "includes zero" if line.verdict == "tie" else "excludes zero"
    answer = {"win": "Yes", "loss": "No, it got worse", "tie": "Not clearly"}[line.verdict]
    sentence = f"{answer}: {sentence}, {d.value:+.2f} with a {d.level:.0%} interval of {d.low:+.2f} to {d.high:+.2f},"
    sentence += f" which {excludes}."
    if len(lines) > 1:
        verdicts = [t.verdict for t in lines[:-1]]
        counts = ", ".join(f"{verdicts.count(k)} {VERDICTS[k][2:]}" for k in ("win", "tie", "loss"))
        sentence += f" By task: {counts}."
    return sentence


def verdict_line(record: RunRecord) -> str:
    """The verdict in a few words and numbers; empty where there is none."""
    lines = task_lines(record)
    line = lines[-1] if lines else None
    if line is None or line.difference is None:
        return ""
    of = line.metric or f"on average of {len(lines) - 1} tasks"
    d = line.difference
    sign, words = line.verdict_text.split(maxsplit=1)
    return f"{sign} {words.capitalize()}: {d.value:+.2f} {of} ({d.low:+.2f} to {d.high:+.2f})"


def overall_verdict(record: RunRecord) -> str:
    lines = task_lines(record)
    return lines[-1].verdict if lines else ""


def what(record: RunRecord) -> str:
    """The model, the objective and the optimisation in one sentence."""
    recipe = record.recipe
    model, train = recipe.get("model", {}), recipe.get("train", {})
    parts = [f"{model.get('base', 'a model')} with {describe_objective(recipe.get('objective', {}))}"]
    if names := [w.get("name", "?") for w in recipe.get("weighting") or ()]:
        parts[0] += f" and {' + '.join(names)} weighting"
    if "batch_size" in train:
        text = f"batch {train['batch_size']}"
        parts.append(f"{text} x {train['accumulation']}" if train.get("accumulation", 1) > 1 else text)
    if updates := updates_done(record):
        parts.append(f"{updates:,} updates")
    if "learning_rate" in train:
        parts.append(f"learning rate {train['learning_rate']:g}")
    return ", ".join([*parts, f"seed {record.seed}"])


def describe_objective(config: Mapping[str, Any]) -> str:
    """``infonce (temperature 0.05)``, ``matryoshka of infonce``: the name and the number people ask for first."""
    name = str(config.get("name", "an objective"))
    if "terms" in config:
        return f"{name} of {' + '.join(describe_objective(term['objective']) for term in config['terms'])}"
    if "objective" in config:
        return f"{name} of {describe_objective(config['objective'])}"
    return f"{name} (temperature {config['temperature']:g})" if "temperature" in config else name


def on_what(record: RunRecord) -> str:
    """The data sources with their sizes."""
    if not record.data:
        return "not recorded"
    parts = []
    for source in record.data:
        rows = source.get("rows")
        size = f"{rows:,} examples" if isinstance(rows, int) else "a stream"
        skipped = sum((source.get("skipped") or {}).values())
        parts.append(f"{source.get('name', '?')}: {size}" + (f" ({skipped:,} rows skipped)" if skipped else ""))
    return "; ".join(parts)


def how_long(record: RunRecord) -> str:
    """Total and training time, throughput, and the machine."""
    if not record.timings:
        return "not recorded"
    text = f"{duration(sum(record.timings.values()))} in all"
    if "training" in record.timings:
        text += f", {duration(record.timings['training'])} of it training"
        if seconds := seconds_of_updates(record):
            text += f" ({tokens_read(record) / seconds:,.0f} tokens/s)"
    if "actual" in record.forecast:
        text += f"; foreseen before training: {about(record.forecast['seconds'])}, it took "
        text += duration(record.forecast["actual"])
    if used := energy(record.energy, record.timings.get("training")):
        text += f"; energy of the training: {used}"
    machine = record.versions.get("machine")
    return f"{text}; {machine}" if machine else text


def energy(found: Mapping[str, float], training: float | None) -> str:
    """What the processor and the GPUs took, and in how much of the training where not in all; empty where the machine
    does not count it.

    Args:
        found: `RunRecord.energy`.
        training: its seconds.
    """
    names = {"processor": "processor", "gpus": "GPUs"}
    used = ", ".join(f"{name} {watt_hours(found[key])}" for key, name in names.items() if key in found)
    partly = used and training and found.get("seconds", 0.0) < WHOLE * training
    return f"{used}, counted in {duration(found.get('seconds', 0.0))} of it" if partly else used


def watt_hours(joules: float) -> str:
    """``0.031 Wh``, ``12.3 Wh``, ``1.23 kWh``."""
    hours = joules / 3600
    return f"{hours / 1000:.3g} kWh" if hours >= 999.5 else f"{hours:.3g} Wh"


def seconds_of_updates(record: RunRecord) -> float:
    """What the updates took that the logged lines are about; evaluations are not in it, nor what an interruption lost.

    Of a record without it, all of the time between the first and the last update.
    """
    found = max((float(line["elapsed"]) for line in record.curve if "elapsed" in line), default=0.0)
    return found or record.timings.get("training", 0.0)


def tokens_read(record: RunRecord) -> float:
    """Real tokens of the updates that were logged, padding not counted."""
    return float(sum(line.get("tokens", 0.0) for line in record.curve))


def plan_facts(record: RunRecord) -> list[tuple[str, list[str]]]:
    """The plan's lines, each word with the facts under it; a line without its word goes on with the one before."""
    found: list[tuple[str, list[str]]] = []
    for line in "\n".join(record.plan.get("lines", ())).splitlines():
        word, fact = line[:WORD].strip(), line[WORD:].strip()
        if found and not word:
            found[-1][1].append(fact)
        elif " " in word or not fact:  # of a form that the plan's words do not have
            found.append(("", [line.strip()]))
        else:
            found.append((word, [fact]))
    return found


def updates_done(record: RunRecord) -> int | None:
    """The updates that were done; of a record that does not say, the last one that was logged."""
    if record.updates is not None:
        return record.updates
    return max((int(line["step"]) for line in [*record.curve, *record.evaluations] if "step" in line), default=None)


def selected_metric(record: RunRecord) -> str:
    """Name of the metric that chose the checkpoint, as it stands in `RunRecord.evaluations`."""
    return f"eval_{record.recipe.get('eval', {}).get('select', 'average')}"


def selected_before(record: RunRecord) -> float | None:
    """The untrained model's value of `selected_metric`, where the suite before training is the one during it."""
    if record.scores_before is None or record.recipe.get("eval", {}).get("during") is not None:
        return None
    name = selected_metric(record).removeprefix("eval_")
    if name == AVERAGE:
        return float(record.scores_before["average"])
    task, _, metric = name.rpartition("/")
    value = _by_task(record.scores_before).get(task, {}).get("metrics", {}).get(metric)
    return None if value is None else float(value)


def interval(value: Any) -> Interval | None:
    """An `Interval` out of plain data."""
    return Interval(**value) if isinstance(value, Mapping) else None


def _by_task(scores: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
    return {t["task"]: t for t in scores.get("tasks", ())} if scores else {}


def _main(task: Mapping[str, Any] | None) -> Interval | None:
    """The main metric with its interval; a point when the record has none."""
    if task is None:
        return None
    value = task["metrics"].get(task["main"])
    return interval(task.get("interval")) or (None if value is None else Interval(value, value, value))


def _average(scores: Mapping[str, Any] | None) -> Interval | None:
    if scores is None:
        return None
    value = scores["average"]
    return interval(scores.get("interval")) or Interval(value, value, value)
