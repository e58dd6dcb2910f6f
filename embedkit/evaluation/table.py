"""Scores as tables for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from embedkit.evaluation import details_table, kinds_table
from embedkit.evaluation.compare import AVERAGE, Comparison
from embedkit.evaluation.grids import HINT, Cell, grid, span
from embedkit.foreign.quoting import quoted
from embedkit.foreign.showing import shown
from embedkit.terminal.tables import Column, Grid, name_column
from embedkit.types import Scores, TaskScore

_STYLES = {"win": "green", "loss": "red", "tie": "dim"}
_VERDICTS = {"win": "better", "loss": "worse", "tie": "unclear"}
_KEPT = "kept: measured before, with the same weights, prompts, length and data."


def table(scores: Scores, before: Scores | None = None, comparison: Sequence[Comparison] | None = None) -> Group:
    """Tables of one model, and its comparison with another one; each fits the terminal.

    Args:
        scores: the model.
        before: the other model; only its name is used.
        comparison: from `embedkit.evaluation.compare.compare`.
    """
    name = (shown(scores.model or "model"), "bold")
    parts: list[RenderableType] = [Text.assemble(name, f"  {scores.fingerprint[:12]}  suite {shown(scores.suite)}")]
    by_type: dict[str, list[TaskScore]] = {"sts": [], "retrieval": [], "mteb": []}
    for task in scores.tasks:
        by_type.setdefault(task.type, []).append(task)
    if by_type["sts"]:
        parts.append(_sts(by_type["sts"]))
        parts += _geometry(by_type["sts"])
    if by_type["retrieval"]:
        parts.append(_retrieval(by_type["retrieval"]))
    parts += kinds_table.grids(by_type)
    if by_type["mteb"]:
        parts.append(_mteb(by_type["mteb"]))
        parts += [Text(f"{task.task}: {_sent(task)}", style="dim") for task in by_type["mteb"]]
    parts += details_table.grids(scores.tasks)
    parts += [Text(f"{name}: not measured, {why}", style="red") for name, why in scores.failed.items()]
    if len(scores.tasks) > 1:
        average = (f"{scores.average:.2f}", "bold")
        parts.append(Text.assemble("average of the main metrics: ", average, f" {span(scores.interval)}"))
    noted = [f"{task.task}: {task.details['note']}" for task in scores.tasks if "note" in task.details]
    parts += [Text(line, style="yellow") for line in noted]
    parts.append(Text(_footnote(scores), style="dim"))
    if comparison:
        parts.append(_compared(comparison, before.model if before else "before", scores.model or "after"))
    return Group(*parts)


def _several(task: TaskScore) -> bool:
    return len(task.details["subsets"]) > 1


def _sts(tasks: Sequence[TaskScore]) -> Grid:
    alike = len({_sts_main(task) for task in tasks}) == 1
    title = f"STS: 100 x {_sts_main(tasks[0]) if alike else 'correlation'} of the cosine with the gold score"

    def aggregate(name: str) -> Cell:
        return lambda task: f"{task.metrics[f'spearman_{name}']:.2f}" if _several(task) else ""

    return grid(
        title,
        tasks,
        [
            (name_column("task"), lambda task: task.task),
            (Column("pairs", 4), lambda task: f"{task.details['pairs']:,}"),
            (Column("metric", 3, right=False), lambda task: "" if alike else _sts_main(task)),
            (Column("main", style="bold"), lambda task: f"{task.metrics[task.main]:.2f}"),
            (Column("95 % interval", 1), lambda task: span(task.interval)),
            (Column("all", 5), aggregate("all")),
            (Column("mean", 7), aggregate("mean")),
            (Column("wmean", 8), aggregate("wmean")),
            (Column("Pearson", 6), lambda task: f"{task.metrics['pearson']:.2f}"),
        ],
    )


def _sts_main(task: TaskScore) -> str:
    """``spearman``; with several subsets also the way over them: ``spearman all``."""
    return f"{task.main} {task.details['aggregate']}" if _several(task) else task.main


def _geometry(tasks: Sequence[TaskScore]) -> list[Grid]:
    measured = [task for task in tasks if "geometry" in task.details]
    if not measured:
        return []

    def value(name: str, form: str) -> Cell:
        return lambda task: "-" if (v := task.details["geometry"][name]) is None else format(v, form)

    made = grid(
        "Geometry of the STS sentences, unit embeddings",
        measured,
        [
            (name_column("task"), lambda task: task.task),
            (Column("texts", 5), value("texts", ",")),
            (Column("positives", 6), value("positives", ",")),
            (Column("alignment"), value("alignment", ".3f")),
            (Column("uniformity"), value("uniformity", ".3f")),
            (Column("mean cosine", 2), value("mean_cosine", ".3f")),
            (Column("eff. rank", 1), value("effective_rank", ".1f")),
            (Column("raw rank", 8), value("effective_rank_raw", ".1f")),
            (Column("90 % rank", 7), value("energy_rank", "d")),
            (Column("dim", 4), value("dim", "d")),
        ],
        "alignment: mean squared distance of pairs with gold >= 4 of 5; uniformity: log mean exp(-2 d^2); "
        "eff. rank: exp of the entropy of the spectrum, centred; raw rank: not centred; 90 % rank: dimensions that "
        "hold 90 % of the variance.",
    )
    return [made]


def _retrieval(tasks: Sequence[TaskScore]) -> Grid:
    alike = len({task.main for task in tasks}) == 1

    def at(metric: str, choose: Callable[[list[int]], int]) -> tuple[str, Cell]:
        """Heading and cells; the cutoff stands in the heading where all tasks share it."""
        chosen = {task.task: choose(_cutoffs(task)) for task in tasks}
        shared = len(set(chosen.values())) == 1

        def cell(task: TaskScore) -> str:
            k = chosen[task.task]
            return f"{task.metrics[f'{metric}@{k}']:.2f}" + ("" if shared else f" @{k}")

        label = metric if metric == "recall" else metric.upper()
        return (f"{label}@{next(iter(chosen.values()))}" if shared else label), cell

    recall, mrr = at("recall", max), at("mrr", lambda ks: 10 if 10 in ks else max(ks))
    return grid(
        f"Retrieval: 100 x {tasks[0].main if alike else 'metric'}",
        tasks,
        [
            (name_column("task"), lambda task: task.task),
            (Column("queries", 4), lambda task: f"{task.details['queries']:,}"),
            (Column("docs", 5), lambda task: f"{task.details['documents']:,}"),
            (Column("metric", 3, right=False), lambda task: "" if alike else task.main),
            (Column("main", style="bold"), lambda task: f"{task.metrics[task.main]:.2f}"),
            (Column("95 % interval", 1), lambda task: span(task.interval)),
            (Column(recall[0], 6), recall[1]),
            (Column(mrr[0], 7), mrr[1]),
            (Column("MAP", 8), lambda task: f"{task.metrics['map']:.2f}"),
            (Column("AUC", 9), lambda task: f"{task.metrics['auc']:.2f}"),
        ],
    )


def _mteb(tasks: Sequence[TaskScore]) -> Grid:
    return grid(
        f"mteb {tasks[0].details['mteb']}: 100 x the main metric of each task",
        tasks,
        [
            (name_column("task"), lambda task: task.task),
            (Column("kind", 4, right=False), lambda task: task.details["kind"]),
            (Column("metric", 3, right=False), lambda task: task.details["metric"]),
            (Column("main", style="bold"), lambda task: f"{task.metrics[task.main]:.2f}"),
            (Column("texts", 5), lambda task: f"{task.details['texts']:,}" if "texts" in task.details else "kept"),
        ],
        _KEPT if any("kept" in task.details for task in tasks) else "",
    )


def _sent(task: TaskScore) -> str:
    """The prompts that went before the texts of a task."""
    prompts = task.details["prompts"]
    if not any(prompts.values()):
        return "no prompt"
    return ", ".join(
        f"{role} prompt {quoted(prompt)}" if prompt else f"no {role} prompt" for role, prompt in prompts.items()
    )


def _cutoffs(task: TaskScore) -> list[int]:
    return sorted(int(name.partition("@")[2]) for name in task.metrics if name.startswith("recall@"))


def _compared(comparison: Sequence[Comparison], before: str, after: str) -> Grid:
    numbers = [Column("before", 4), Column("after"), Column("change"), Column("95 % interval", 1), Column("p", 3)]
    columns = [name_column("task"), Column("metric", 5, right=False), *numbers, Column("verdict", 2, right=False)]
    grid = Grid(columns, f"{after} against {before}, same resamples", hint=HINT)
    for c in comparison:
        d = c.difference
        judged = (f"{d.low:+.2f} .. {d.high:+.2f}", _p(c)) if d.level < 1 else ("-", "-")
        values = f"{c.before:.2f}", f"{c.after:.2f}", f"{d.value:+.2f}", *judged
        weight = "bold " if c.task == AVERAGE else ""
        grid.add(c.task, c.metric, *values, _VERDICTS[c.verdict], style=weight + _STYLES[c.verdict])
    return grid


def _p(c: Comparison) -> str:
    smallest = 2 / (c.resamples + 1)
    return f"< {smallest:.3f}" if c.p <= smallest else f"{c.p:.3f}"


def _footnote(scores: Scores) -> str:
    several = any(len(t.details.get("subsets", {})) > 1 for t in scores.tasks)
    ways = (
        "all: every pair in one correlation; mean, wmean: over subsets, plain and weighted by pairs. "
        if several
        else ""
    )
    return f"{ways}Chooses checkpoints: {scores.selection}. {_speed(scores)}"


def _speed(scores: Scores) -> str:
    rates = [t.details["texts_per_second"] for t in scores.tasks if "texts_per_second" in t.details]
    return f"{scores.seconds:.0f} s" + (f", {min(rates):.0f} to {max(rates):.0f} texts/s." if rates else ".")
