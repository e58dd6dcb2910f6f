"""The result as a page of Markdown and a picture, for people who were not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.compare.table import REFERENCE, Method

GEOMETRY_ON = "STS-B"
PROTOCOL = """\
Every method starts from the same encoder and sees the same sentences for the same number of updates; its other
settings are those of its recipe and of the table below. The comparison chooses nothing on evaluation data: there is no
evaluation during training, and the last weights are measured. What a person chose stands under Notes. STS: 100 x
Spearman's correlation of the cosine, all pairs of a year in one correlation (`all`), test splits of STS-B and SICK-R;
the average is the plain mean of the tasks."""
READING = """\
± in the table of scores is the standard deviation over seeds. *To the start*: to the untrained base with the pooling of
the method. *To SimCSE*: to plain SimCSE with the same seed. Both are paired by test pair and have two 95 % intervals.
*pairs*: percentile bootstrap over the test pairs, the trained models fixed. *seeds*: Student's interval of the per-seed
differences, the test pairs fixed; with few seeds it is wide, and rightly so. A method counts as better or worse only if
both intervals lie on one side of zero (what has no seeds: the one)."""
GEOMETRY = """\
Measured on {task}, unit embeddings. Alignment: mean squared distance of pairs with gold score of at least 4 of 5,
small is good. Uniformity: log mean exp(-2 d^2) over all distinct sentences, small is good. Effective rank: exp of the
entropy of the spectrum, of the covariance (centred) and without centring (raw). Time: median seconds of an update
divided by those of plain SimCSE, both timed in turn in one process."""


def page(facts: dict[str, Any], methods: Sequence[Method], found: dict[str, Any], notes: str, plot: str) -> str:
    """The whole page.

    Args:
        facts: what the comparison was made with (`benchmarks.compare.__main__.facts`).
        methods: in the order of the rows.
        found: from `benchmarks.compare.summary.summarise`.
        notes: written by hand, put under the tables.
        plot: file name of the picture; "" for none.
    """
    shown = [method for method in methods if method.name in found]
    task = geometry_task(found)
    base = facts["base"]
    parts = [
        f"# Unsupervised methods on {base['name']}",
        f"{base['parameters'] / 1e6:.1f} M parameters, {base['dim']} dimensions, fingerprint `{base['fingerprint']}`. "
        f"{facts['steps']:,} updates of {facts['batch']} sentences from {facts['text']['name']} "
        f"({facts['text']['lines']:,} lines, sha256 `{facts['text']['sha256']}`), seeds "
        f"{', '.join(map(str, facts['seeds']))}.",
        PROTOCOL,
        "## Scores",
        scores(shown, found),
        "## Differences",
        differences(shown, found),
        READING,
        *([f"![Alignment and uniformity]({plot})"] if plot else []),
        "## Geometry and cost",
        geometry(shown, found, task),
        GEOMETRY.format(task=task),
        "## Notes",
        *verdicts(shown, found),
        *remarks(shown, found, facts),
        *([notes.strip()] if notes.strip() else []),
        "## Settings",
        settings(shown, found, facts),
        "## Made with",
        f"```\n{facts['command']}\n```",
        ", ".join(f"{name} {value}" for name, value in facts["versions"].items()) + f". Date {facts['date']}.",
    ]
    return "\n\n".join(parts) + "\n"


def geometry_task(found: dict[str, Any]) -> str:
    """STS-B where it was measured, else the first task."""
    tasks = list(next(iter(found.values()))["geometry"])
    return GEOMETRY_ON if GEOMETRY_ON in tasks else tasks[0]


def rows(head: Sequence[str], body: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; columns after the first `left` are aligned to the right."""
    marks = ["---"] * left + ["---:"] * (len(head) - left)
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, marks, *body])


def scores(methods: Sequence[Method], found: dict[str, Any]) -> str:
    tasks = list(next(iter(found.values()))["scores"])
    body = []
    for method in methods:
        own = found[method.name]
        values = [f"{own['scores'][task]:.2f}" for task in tasks]
        body.append([method.title, *values, mean(own, "**")])
    return rows(["method", *tasks, "average"], body)


def mean(own: Mapping[str, Any], mark: str = "") -> str:
    """Average, between two marks, and its spread over seeds."""
    return f"{mark}{own['average']:.2f}{mark}" + (f" ± {own['sd']:.2f}" if own["sd"] is not None else "")


def differences(methods: Sequence[Method], found: dict[str, Any]) -> str:
    body = []
    for method in methods:
        own = found[method.name]
        cells = [*_difference(own["gain"]), *_difference(own["difference"])]
        if any(cells):
            body.append([method.title, *cells])
    return rows(["method", "to the start", "pairs", "seeds", "to SimCSE", "pairs", "seeds"], body)


def _difference(found: dict[str, Any] | None) -> list[str]:
    if found is None:
        return ["", "", ""]
    return [f"{found['value']:+.2f}", *(interval(found[name]) for name in ("pairs", "seeds"))]


def interval(found: Sequence[float] | None) -> str:
    """Both ends with their sign; "" for none."""
    return "" if found is None else f"{found[0]:+.2f} .. {found[1]:+.2f}"


def geometry(methods: Sequence[Method], found: dict[str, Any], task: str) -> str:
    body = []
    for method in methods:
        own, time = found[method.name]["geometry"][task], found[method.name]["time"]
        body.append(
            [
                method.title,
                f"{own['alignment']:.3f}" if "alignment" in own else "-",
                f"{own['uniformity']:.3f}",
                f"{own['mean_cosine']:.3f}",
                f"{own['effective_rank']:.1f}",
                f"{own['effective_rank_raw']:.1f}",
                cost(method, time),
            ]
        )
    head = ["method", "alignment", "uniformity", "mean cosine", "eff. rank", "raw", "time"]
    return rows(head, body)


def cost(method: Method, found: dict[str, Any] | None) -> str:
    """Milliseconds for the reference; for the others the ratio alone, because only that was measured side by side."""
    if found is None:
        return ""
    return f"{1000 * found['method']:.0f} ms" if method.name == REFERENCE else f"x {found['ratio']:.2f}"


def verdicts(methods: Sequence[Method], found: dict[str, Any]) -> list[str]:
    """Who is better, worse or neither, in one sentence each; losses are named like gains."""
    lines = []
    for key, other in (("gain", "the untrained base"), ("difference", "plain SimCSE")):
        said: dict[str, list[str]] = {"better": [], "worse": [], "unclear": []}
        for method in methods:
            own = found[method.name][key]
            if method.kind != "base" and own is not None:
                said[own["verdict"]].append(f"{method.title} ({own['value']:+.2f})")
        words = {"better": f"Better than {other}", "worse": f"Worse than {other}", "unclear": f"Not told from {other}"}
        lines += [f"- {words[verdict]}: {', '.join(names) or 'none'}." for verdict, names in said.items()]
    return ["\n".join(lines)]


def remarks(methods: Sequence[Method], found: dict[str, Any], facts: dict[str, Any]) -> list[str]:
    lines = [
        "- Learning rates and the like are the papers' for BERT-base, where a paper gives them, and not tuned for this "
        "base or this number of updates; a method may do better with its own.",
        "- Published figures choose the best of many checkpoints on labelled STS-B dev; these do not.",
        f"- At evaluation {facts['length']} tokens of a text are kept.",
    ]
    if facts.get("generator"):
        named = facts["generator"]
        lines.append(f"- The masked language model of methods that need one: {named['name']} `{named['fingerprint']}`.")
    if any(method.kind == "whitening" for method in methods):
        lines.append("- Whitening is fitted on training sentences; the paper fits it on the test sentences themselves.")
    for method in methods:
        warnings = {w for own in found[method.name]["facts"] for w in own.get("warnings", ()) if "collapse" in w}
        if warnings:
            lines.append(f"- {method.title}: {'; '.join(sorted(warnings))}.")
    for name, why in facts["failed"].items():
        lines.append(f"- {name} did not run: {why}")
    return ["\n".join(lines)]


def settings(methods: Sequence[Method], found: dict[str, Any], facts: dict[str, Any]) -> str:
    """Where each method comes from, what is set for it here, and the settings that matter most as they really were."""
    body = []
    for method in methods:
        made = found[method.name]["recipe"]
        own = ", ".join(f"{key} {value}" for key, value in method.settings.items())
        what = f"`{method.recipe}`" if method.recipe else method.kind
        trained = method.kind == "train"
        rate = f"{made['train']['learning_rate']:g}, {made['train']['schedule']}" if trained else ""
        rate += f", warm-up {made['train']['warmup']:g}" if trained and made["train"]["warmup"] else ""
        pooled = (made["model"]["pooling"] if trained else made["pooling"]) or "the model's"
        body.append([method.title, what, method.paper, rate, pooled, f"`{own}`" if own else "", method.why])
    extra = "".join(f" `{key}={value}`" for key, value in facts["extra"].items())
    return (
        rows(["method", "recipe", "paper", "learning rate", "pooling", "set here", "why"], body, left=7)
        + f"\n\nFor all trained methods: at most {facts['train_length']} tokens, batch {facts['batch']}, "
        f"{facts['steps']} updates, no evaluation in training, last weights.{extra}"
    )


def draw(path: Path, methods: Sequence[Method], found: dict[str, Any]) -> None:
    """Alignment against uniformity, the colour the average score: SimCSE's figure 3 for these methods."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    task = geometry_task(found)
    shown = [m for m in methods if m.name in found and "alignment" in found[m.name]["geometry"][task]]
    own = [found[m.name]["geometry"][task] for m in shown]
    x, y = [g["uniformity"] for g in own], [g["alignment"] for g in own]
    figure, axes = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    dots = axes.scatter(x, y, c=[found[m.name]["average"] for m in shown], cmap="viridis", s=36)
    for number, place in enumerate(zip(x, y, strict=True), 1):
        beside = (4, 3 if number % 2 else -9)
        axes.annotate(str(number), place, xytext=beside, textcoords="offset points", fontsize=7)
    names = "\n".join(f"{number:2d}  {method.title}" for number, method in enumerate(shown, 1))
    axes.text(1.02, 1.0, names, transform=axes.transAxes, fontsize=8, va="top", family="monospace")
    axes.set(xlabel=f"uniformity on {task} (small is good)", ylabel="alignment (small is good)")
    figure.colorbar(dots, label="average STS", location="left")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
