"""Scores as tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group
from rich.markup import escape
from rich.table import Table

from embedkit.evaluation.compare import AVERAGE, Comparison
from embedkit.types import Interval, Scores, TaskScore

_STYLES = {"win": "green", "loss": "red", "tie": "dim"}
_VERDICTS = {"win": "better", "loss": "worse", "tie": "unclear"}


def table(scores: Scores, before: Scores | None = None, comparison: Sequence[Comparison] | None = None) -> Group:
    """Tables of one model, and its comparison with another one.

    Args:
        scores: the model.
        before: the other model; only its name is used.
        comparison: from `embedkit.evaluation.compare.compare`.
    """
    parts: list[Table | str] = [
        f"[bold]{escape(scores.model or 'model')}[/bold]  {scores.fingerprint[:12]}  suite {escape(scores.suite)}"
    ]
    by_type = {kind: [t for t in scores.tasks if t.type == kind] for kind in ("sts", "retrieval")}
    if by_type["sts"]:
        parts.append(_sts(by_type["sts"]))
        parts += _geometry(by_type["sts"])
    if by_type["retrieval"]:
        parts.append(_retrieval(by_type["retrieval"]))
    if len(scores.tasks) > 1:
        parts.append(f"average of the main metrics: [bold]{scores.average:.2f}[/bold] {_range(scores.interval)}")
    parts.append(_footnote(scores))
    if comparison:
        parts.append(_compared(comparison, before.model if before else "before", scores.model or "after"))
    return Group(*parts)


def _sts(tasks: Sequence[TaskScore]) -> Table:
    shown = _table("STS: 100 x correlation of the cosine with the gold score", "task", "pairs")
    for name in ("main", "95 % interval", "all", "mean", "wmean", "Pearson"):
        shown.add_column(name, justify="right")
    for task in tasks:
        m, d = task.metrics, task.details
        several = len(d["subsets"]) > 1
        parts = [f"{m[f'spearman_{a}']:.2f}" if several or a == "all" else "-" for a in ("all", "mean", "wmean")]
        main = f"[bold]{m[task.main]:.2f}[/bold]" + (f"\n{d['aggregate']}" if several else "")
        shown.add_row(escape(task.task), str(d["pairs"]), main, _range(task.interval), *parts, f"{m['pearson']:.2f}")
    return shown


def _geometry(tasks: Sequence[TaskScore]) -> list[Table | str]:
    measured = [(task, task.details["geometry"]) for task in tasks if "geometry" in task.details]
    if not measured:
        return []
    shown = _table("Geometry of the STS sentences, unit embeddings", "task", "texts\n/ positives")
    for name in ("alignment", "uniformity", "mean\ncosine", "eff. rank\ncentred / raw", "90 %\nrank", "dim"):
        shown.add_column(name, justify="right")
    for task, found in measured:
        aligned = "-" if found["alignment"] is None else f"{found['alignment']:.3f}"
        shown.add_row(
            escape(task.task),
            f"{found['texts']}\n/ {found['positives']}",
            aligned,
            f"{found['uniformity']:.3f}",
            f"{found['mean_cosine']:.3f}",
            f"{found['effective_rank']:.1f}\n/ {found['effective_rank_raw']:.1f}",
            str(found["energy_rank"]),
            str(found["dim"]),
        )
    return [
        shown,
        "[dim]alignment: mean squared distance of pairs with gold >= 4 of 5; uniformity: log mean exp(-2 d^2).[/dim]",
    ]


def _retrieval(tasks: Sequence[TaskScore]) -> Table:
    shown = _table("Retrieval: 100 x metric", "task", "queries\n/ docs")
    for name in ("main", "95 % interval", "recall", "MRR", "MAP", "AUC"):
        shown.add_column(name, justify="right")
    for task in tasks:
        m, d = task.metrics, task.details
        cutoffs = sorted(int(name.partition("@")[2]) for name in m if name.startswith("recall@"))
        first = 10 if 10 in cutoffs else cutoffs[-1]
        shown.add_row(
            escape(task.task),
            f"{d['queries']}\n/ {d['documents']}",
            f"[bold]{m[task.main]:.2f}[/bold]\n{task.main}",
            _range(task.interval),
            f"{m[f'recall@{cutoffs[-1]}']:.2f}\n@{cutoffs[-1]}",
            f"{m[f'mrr@{first}']:.2f}\n@{first}",
            f"{m['map']:.2f}",
            f"{m['auc']:.2f}",
        )
    return shown


def _compared(comparison: Sequence[Comparison], before: str, after: str) -> Table:
    shown = _table(escape(f"{after} against {before}, same resamples"), "task", "metric")
    for name in ("before", "after", "change\n95 % interval", "p", ""):
        shown.add_column(name, justify="right")
    for c in comparison:
        style = _STYLES[c.verdict]
        d = c.difference
        change = f"{d.value:+.2f}\n{d.low:+.2f} .. {d.high:+.2f}"
        row = (escape(c.task), c.metric, f"{c.before:.2f}", f"{c.after:.2f}", change, _p(c), _VERDICTS[c.verdict])
        shown.add_row(*row, style=style, end_section=False)
        if c.task == AVERAGE:
            shown.rows[-1].style = f"bold {style}"
    return shown


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
    return f"[dim]{ways}Chooses checkpoints: {scores.selection}. {_speed(scores)}[/dim]"


def _table(title: str, *left: str) -> Table:
    shown = Table(title=title, title_justify="left", header_style="bold")
    for name in left:
        shown.add_column(name)
    return shown


def _range(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.low:.2f} .. {interval.high:.2f}"


def _speed(scores: Scores) -> str:
    rates = [t.details["texts_per_second"] for t in scores.tasks if "texts_per_second" in t.details]
    return f"{scores.seconds:.0f} s" + (f", {min(rates):.0f} to {max(rates):.0f} texts/s." if rates else ".")
