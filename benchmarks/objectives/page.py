"""The numbers of a comparison of objectives as a page of Markdown and a picture.

python -m benchmarks.objectives.page docs/objectives/NAME.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.compare.page import interval, mean, rows
from benchmarks.objectives.table import BASE, REFERENCE

PROTOCOL = """\
Within a kind of data every objective starts from the same encoder and sees the same rows in the same order for
the same number of updates. Its learning rate is the one of the grid that is best on dev with the first seed;
the grid is the same for all. That rate is then trained with every seed and tested once; nothing else is chosen,
and no test score was used for a choice. Options are embedkit's defaults except where the table of settings says
so: what differs between two rows is the loss with its defaults, its temperature too. The untrained base is a
row of its own."""
READING = """\
*±*: standard deviation over seeds. *to InfoNCE*, *to the start* (the untrained base): paired by seed and by
test item. *pairs*: 95 % percentile bootstrap over test items, the trained models fixed. *seeds*: Student's 95 %
interval over seeds, the test items fixed; with three seeds it is wide, and rightly so. *both*: one 95 %
interval with the variances of the two added (Satterthwaite's degrees of freedom). ▲ better, ▼ worse: *pairs*
and *seeds* both lie on that side of zero. **Holm**: the difference also stays when all rows of the table are
judged together (*both*, Holm's procedure at 5 %)."""
SHAPE = """\
Geometry on test texts, means over seeds, unit embeddings: alignment of positive pairs (small is close),
uniformity (small is spread out), RankMe (how many directions are used); to be compared within a table only.
Time: the processor's seconds of an update, median, in those of InfoNCE in the same run. Memory: the most that
the tensors of one update hold at once, likewise."""
SIGNS = {"better": " ▲", "worse": " ▼", "unclear": ""}


def render(numbers: Path) -> None:
    """Write the page and the picture beside the numbers."""
    found = json.loads(numbers.read_text(encoding="utf-8"))
    picture = numbers.with_suffix(".png")
    draw(picture, found["kinds"])
    numbers.with_suffix(".md").write_text(page(found, picture.name), encoding="utf-8")


def page(found: Mapping[str, Any], picture: str) -> str:
    """The whole page.

    Args:
        found: what the file of numbers holds.
        picture: name of its file.
    """
    kinds = found["kinds"].values()
    base = next(iter(kinds))["made"]["base"]
    parts = [
        f"# Objectives on {base['name']}",
        f"{base['parameters'] / 1e6:.1f} M parameters, {base['dim']} dimensions, mean pooling, fingerprint "
        f"`{base['fingerprint']}`.",
        PROTOCOL,
        READING,
        SHAPE,
        f"![Differences to InfoNCE]({picture})",
    ]
    for kind in kinds:
        parts += section(kind)
    made = {one["command"]: one for kind in kinds for one in (kind["made"], *kind["made"].get("joined", []))}
    parts += ["## Made with", "```\n" + "\n".join(made) + "\n```"]
    last = list(made.values())[-1]
    parts += [", ".join(f"{name} {value}" for name, value in last["versions"].items()) + f". Date {last['date']}."]
    return "\n\n".join(parts) + "\n"


def section(kind: Mapping[str, Any]) -> list[str]:
    """What stands on the page about one kind of data."""
    made, title, what = kind["made"], kind["title"], kind["what"]
    rates = ", ".join(f"{rate:g}" for rate in made["rates"])
    return [
        f"## {title}",
        f"{what[0].upper()}{what[1:]}. {made['steps']} updates of {round(made['batch'] * kind['share'])} rows, "
        f"{made['length']} tokens of a text, seeds {', '.join(map(str, made['seeds']))}, rates {rates} with "
        f"warm-up over a tenth and linear decay. Score: {kind['metric']}.",
        scores(kind["rows"]),
        f"{verdicts(kind['rows'])}\n{leader(kind)}",
        f"### Dev scores, geometry, cost: {title}",
        details(kind["rows"], made["rates"]),
        settings(kind),
    ]


def ordered(entries: Mapping[str, Any]) -> list[str]:
    """Tested rows, the best first."""
    return sorted((name for name in entries if "average" in entries[name]), key=lambda name: -entries[name]["average"])


def scores(entries: Mapping[str, Any]) -> str:
    body = []
    for name in ordered(entries):
        own = entries[name]
        body.append([_title(name), mean(own, "**"), *_difference(own["difference"]), *_difference(own["gain"])[:2]])
    head = ["objective", "score", "to InfoNCE", "both", "pairs", "seeds", "to the start", "both"]
    return rows(head, body)


def _title(name: str) -> str:
    return f"*{name}*" if name == BASE else f"`{name}`"


def _difference(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return ["", "", "", ""]
    kept = " **Holm**" if found["holm"] else ""
    value = f"{found['value']:+.2f}{SIGNS[found['verdict']]}{kept}"
    return [value, *(interval(found[name]) for name in ("interval", "pairs", "seeds"))]


def verdicts(entries: Mapping[str, Any]) -> str:
    """Who is better, worse or neither, and how many of so many would seem so by chance."""
    lines = []
    for key, other in (("difference", "InfoNCE"), ("gain", "the untrained base")):
        known = {n: entries[n][key] for n in ordered(entries) if n != BASE and entries[n].get(key)}
        apart = [n for n, one in known.items() if one["verdict"] != "unclear"]
        held = [n for n, one in known.items() if one["holm"]]
        for verdict, word in (("better", "Better than"), ("worse", "Worse than")):
            names = [n for n in apart if known[n]["verdict"] == verdict]
            said = ", ".join(f"`{n}` ({known[n]['value']:+.2f}{', Holm' if n in held else ''})" for n in names)
            lines.append(f"- {word} {other}: {said or 'none'}.")
        unclear = [n for n in known if n not in apart]
        lines.append(f"- Not told from {other}: {', '.join(f'`{n}`' for n in unclear) or 'none'}.")
        lines.append(
            f"- Of {len(known)} rows, {len(apart)} are told from {other} one by one; if none differed, up to "
            f"{0.05 * len(known):.1f} would seem to by chance. Judged together (Holm), {len(held)} are."
        )
    return "\n".join(lines)


def leader(kind: Mapping[str, Any]) -> str:
    """Which rows are behind the one with the highest mean when all are judged together, and which are not."""
    known = {name: own["behind"] for name, own in kind["rows"].items() if own.get("behind")}
    if not known:
        return "- No row has a higher mean than the untrained base."
    behind, near = ([f"`{name}`" for name, one in known.items() if one["holm"] == held] for held in (True, False))
    return (
        f"- Highest mean: `{kind['best']}`, seen on the test itself, which flatters it. Behind it by Holm: "
        f"{', '.join(behind) or 'none'}. Not told from it: {', '.join(near) or 'none'}."
    )


def details(entries: Mapping[str, Any], rates: Sequence[float]) -> str:
    names = [f"{rate:g}" for rate in rates]
    body = []
    for name in [*ordered(entries), *(n for n in entries if "average" not in entries[n])]:
        own = entries[name]
        grid = [_dev(own, rate) for rate in names]
        if name == BASE:
            grid = [f"{own['dev']:.2f}", *[""] * (len(names) - 1)] if own["dev"] is not None else [""] * len(names)
        shape = own.get("geometry", {})
        cells = [f"{shape[key]:.{digits}f}" if shape else "" for key, digits in SHAPES.items()]
        cost = own.get("cost") or {}
        body.append([_title(name), *grid, *cells, _cost(cost, "seconds", "ms"), _cost(cost, "peak", "MB")])
    return rows(["objective", *(f"dev {rate}" for rate in names), *SHAPES, "time", "memory"], body)


SHAPES = {"alignment": 3, "uniformity": 3, "rankme": 1}


def _dev(own: Mapping[str, Any], rate: str) -> str:
    value = own["grid"].get(rate)
    text = "failed" if value is None else f"{value:.2f}"
    return f"**{text}**" if own["rate"] is not None and f"{own['rate']:g}" == rate else text


def _cost(cost: Mapping[str, Any], key: str, unit: str) -> str:
    if key not in cost:
        return ""
    ratio = cost[f"{key}_ratio"]
    return f"{cost[key]:.0f} {unit}" if ratio is None or ratio == 1 else f"x {ratio:.2f}"


def settings(kind: Mapping[str, Any]) -> str:
    """Options that are not the defaults, failures, and what is left out."""
    lines = []
    for name, own in kind["rows"].items():
        if own.get("why"):
            options = ", ".join(f"{key} {value}" for key, value in own["objective"].items() if key != "name")
            lines.append(f"- `{name}`{f' ({options})' if options else ''}: {own['why']}.")
        lines += [f"- `{name}` failed: {why}." for why in own["failed"]]
    if kind["missing"]:
        lines.append(f"- Not measured: {', '.join(f'`{name}`' for name in kind['missing'])}.")
    by_reason: dict[str, list[str]] = {}
    for name, reason in kind["left_out"].items():
        by_reason.setdefault(reason, []).append(name)
    lines += [f"- Left out, {reason}: {', '.join(f'`{n}`' for n in names)}." for reason, names in by_reason.items()]
    return "\n".join(lines)


def draw(path: Path, kinds: Mapping[str, Any]) -> None:
    """The difference of every row to the reference with the interval of both sources, a panel per kind of data."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    shown = [(kind["title"], _points(kind["rows"])) for kind in kinds.values()]
    tall = sum(len(points) + 3 for _, points in shown)
    figure, axes = pyplot.subplots(
        len(shown), 1, figsize=(8, 0.19 * tall + 0.5), layout="constrained", squeeze=False,
        height_ratios=[len(points) + 2 for _, points in shown],
    )  # fmt: skip
    for (title, points), panel in zip(shown, axes[:, 0], strict=True):
        for place, (_, one) in enumerate(points):
            low, high = one["interval"] or one["pairs"]
            colour = {"better": "tab:green", "worse": "tab:red", "unclear": "0.5"}[one["verdict"]]
            panel.plot([low, high], [place, place], color=colour, linewidth=2)
            panel.plot(
                one["value"], place, "o", color=colour, markersize=4, fillstyle="full" if one["holm"] else "none"
            )
        panel.axvline(0, color="0.3", linewidth=0.8)
        panel.set_yticks(range(len(points)), [name for name, _ in points], fontsize=7)
        panel.set_title(title, fontsize=9, loc="left")
    axes[-1, 0].set_xlabel(f"points above {REFERENCE}, with 95 % intervals; filled: by Holm too")
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def _points(entries: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(n, entries[n]["difference"]) for n in reversed(ordered(entries)) if entries[n].get("difference")]


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        render(Path(argument))
