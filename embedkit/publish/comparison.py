"""The page that compares runs: written from what they kept; nothing is trained, loaded or encoded."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from embedkit.disk import files
from embedkit.disk.locks import hold_folder
from embedkit.errors import EmbedkitError
from embedkit.evaluation.compare import AVERAGE
from embedkit.foreign.redacting import redact
from embedkit.foreign.showing import as_json, shown_deep
from embedkit.publish import compared, overlay, palette, view
from embedkit.publish.compared import by_value
from embedkit.publish.figures import Plot
from embedkit.publish.markdown import score, span, templates
from embedkit.publish.places import without_places
from embedkit.terminal.tables import Column, Grid, name_column
from embedkit.terminal.times import duration
from embedkit.types import Interval

FOLDER = "comparison"
DATA = "comparison.json"
KINDS = {"BETTER": "win", "WORSE": "loss", "UNCLEAR": "tie"}
APART = "not comparable"
FEW = 6
"""Keys that the head names."""
COST_HEADS = ("run", "updates", "training", "evaluation", "in all", "tokens", "tokens/s", "padding")


def write_comparison(runs: Sequence[Path], out: Path) -> tuple[Path, dict[str, Any]]:
    """Write ``index.html``, ``report.md``, the plots and ``comparison.json`` below `out`.

    The page needs nothing from outside. Every text is escaped; what looks like a credential or an absolute path is
    replaced. Differences are those of `embedkit.evaluation.compare`: each run against the first.

    Args:
        runs: folders of runs, two or more; the first is the one that the others are compared with.
        out: a folder that is empty, or holds an earlier comparison.

    Returns:
        The page, and what ``comparison.json`` holds.

    Raises:
        RecipeError: fewer than two runs, one of them twice, or too many.
        RecordError: one has no record, or none that can be read.
        DataError: the scores that one has kept are damaged.
        EmbedkitError: `out` holds something else.
        BusyError: another process writes there.
        WriteError: nothing can be written there.
    """
    entrants = compared.read(runs)
    if not files.is_empty(out) and not (out / DATA).is_file():
        raise EmbedkitError("holds something else than a comparison", str(out), "choose another --out")
    with hold_folder(out, "writing the comparison"):
        found = compared.against_first(entrants)
        plain = _cleaned(compared.plain(entrants, found), [own.root for own in entrants])
        return _written(out, plain, overlay.draw(entrants, found)), plain


def _written(out: Path, plain: dict[str, Any], drawn: Sequence[Plot]) -> Path:
    for name in overlay.NAMES - {plot.name for plot in drawn}:  # of an earlier comparison
        (out / f"{name}.svg").unlink(missing_ok=True)
    for plot in drawn:
        files.write_text(out / f"{plot.name}.svg", plot.svg)
    context, page = _context(plain, drawn), out / "index.html"
    files.write_text(out / "report.md", templates(markdown=True).get_template("comparison.md.j2").render(context))
    files.write_text(page, templates(markdown=False).get_template("comparison.html.j2").render(context))
    files.write_text(out / DATA, as_json(plain, allow_nan=False) + "\n")
    return page


def of_one(run: Path) -> dict[str, Any]:
    """What ``comparison.json`` holds, of a single run: its scores, cost, data and model.

    Raises:
        RecordError: there is no record, or none that can be read.
        DataError: the scores that it has kept are damaged.
    """
    own = compared.entrant("A", Path(run).resolve())
    return _cleaned(compared.plain([own], []), [own.root])


def table(plain: Mapping[str, Any]) -> Grid:
    """The results for the terminal."""
    from rich.text import Text

    first = plain["runs"][0]
    grid = Grid(
        [
            name_column("task"),
            Column("run", right=False, folds=True),
            Column("score"),
            Column("difference"),
            Column("95% interval", 1),
            Column("verdict", right=False),
        ],
        note=f"Scores from 0 to 100; differences from {first['run']}, {first['name']}, paired.",
        hint="the page has them",
    )
    colours = {"win": "green", "loss": "red", "tie": "yellow", "": "dim"}
    for task in _tasks(plain):
        for i, row in enumerate(task["rows"]):
            grid.add(
                task["task"] if i == 0 else "",
                f"{row['run']} {row['name']}",
                row["score"],
                row["difference"],
                row["span"],
                Text(row["verdict"], style=colours[row["kind"]]),
                line_under=i == len(task["rows"]) - 1,
            )
    return grid


def _cleaned(plain: dict[str, Any], roots: Sequence[Path]) -> dict[str, Any]:
    """Without secrets, places and numbers that JSON does not have."""
    found = redact(plain)
    for root in roots:
        found = without_places(found, root)
    cleaned: dict[str, Any] = _numbers(shown_deep(found))
    return cleaned


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(inside) for key, inside in value.items()}
    if isinstance(value, list):
        return [_numbers(inside) for inside in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _context(plain: Mapping[str, Any], drawn: Sequence[Plot]) -> dict[str, Any]:
    """What the two templates share."""
    runs, first = plain["runs"], plain["runs"][0]
    names = [run["name"] for run in runs]
    answers = [
        (f"Is {found['run']} better than {first['run']}?", found["sentence"], KINDS.get(found["verdict"], ""))
        for found in plain["comparisons"]
    ]
    energy = any(run["cost"]["energy"] for run in runs)
    machines = by_value({run["run"]: run["versions"].get("machine") for run in runs})
    return {
        "title": f"{names[1]} against {names[0]}" if len(names) == 2 else f"{len(names) - 1} runs against {names[0]}",
        "first": first,
        "runs": runs,
        "answers": answers,
        "facts": _facts(plain),
        "warnings": _warnings(plain),
        "tasks": _tasks(plain),
        "several": len(runs) > 2 or len(_tasks(plain)) > 2,
        "plots": drawn,
        "scales": any(key.partition(".")[0] in ("objective", "weighting") for key in plain["recipes"]),
        "sizes": any(key in ("train.batch_size", "train.accumulation") for key in plain["recipes"]),
        "recipes": _recipes(plain["recipes"], runs),
        "contents": [(key, _grouped(values, runs, _files)) for key, values in plain["contents"].items()],
        "data": _data(runs),
        "models": _properties({run["run"]: run["model"] for run in runs}, runs),
        "cost_heads": (*COST_HEADS, *(("energy",) if energy else ())),
        "cost": [_cost(run, energy) for run in runs],
        "machines": len(machines) > 1,
        "versions": _properties({run["run"]: run["versions"] for run in runs}, runs),
        "light": palette.LIGHT,
        "dark": palette.DARK,
    }


def _facts(plain: Mapping[str, Any]) -> list[tuple[str, str]]:
    keys = [key for key in plain["recipes"] if not any(above in plain["recipes"] for above in _above(key))]
    more = f" and {len(keys) - FEW} more keys" if len(keys) > FEW else ""
    took = [(run["run"], run["cost"]["training"]) for run in plain["runs"]]
    return [
        ("What differs in the recipes?", f"{', '.join(keys[:FEW])}{more}" if keys else "nothing"),
        ("The same training data?", "Yes, by content." if plain["same_data"] else "No."),
        ("How long was the training?", ", ".join(f"{run} {_time(seconds)}" for run, seconds in took)),
    ]


def _warnings(plain: Mapping[str, Any]) -> list[str]:
    found = []
    for run in plain["runs"]:
        if run["failed"]:
            found.append(f"{run['run']}, {run['name']}, failed: {run['failed']}")
        elif not run["finished"]:
            found.append(f"{run['run']}, {run['name']}, is not finished: what stands here may change.")
    return found + [own["sentence"] for own in plain["comparisons"] if not own["comparable"]]


def _tasks(plain: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every task with a row per run; the average last."""
    order = dict.fromkeys(task for run in plain["runs"] for task in run["scores"])
    order = dict.fromkeys([*(task for task in order if task != AVERAGE), *(task for task in order if task == AVERAGE)])
    against = {found["run"]: found for found in plain["comparisons"]}
    return [
        {"task": task, "rows": [_row(run, task, against.get(run["run"])) for run in plain["runs"]]} for task in order
    ]


def _row(run: Mapping[str, Any], task: str, against: Mapping[str, Any] | None) -> dict[str, Any]:
    """A run's line of a task; of the first run, which is compared with nothing, `against` is None."""
    own = run["scores"].get(task)
    change = next((c for c in against["tasks"] if c["task"] == task), None) if against else None
    row = {"run": run["run"], "name": run["name"], "metric": own["metric"] if own else "", "kind": ""}
    row |= {"score": score(own["value"] if own else None), "interval": _between(own)}
    if change is None:
        return row | {"difference": "", "span": "", "p": "", "verdict": APART if against else ""}
    difference = Interval(**change["difference"])
    kind = KINDS[change["verdict"]]
    judged = difference.level < 1
    return row | {
        "difference": f"{difference.value:+.2f}",
        "span": span(difference) if judged else "—",
        "p": "—" if change["permutation"] is None else f"{change['permutation']:.3f}",
        "kind": kind,
        "verdict": view.VERDICTS[kind],
    }


def _between(own: Mapping[str, Any] | None) -> str:
    return "—" if own is None or own["low"] == own["high"] else f"{own['low']:.2f} to {own['high']:.2f}"


Groups = list[tuple[str, str]]
"""Letters of runs, and what they share."""


def _grouped(
    values: Mapping[str, Any],
    runs: Sequence[Mapping[str, Any]],
    told: Callable[[Any], str] | None = None,
    silent: Collection[str] = (),
) -> Groups:
    """Values with the runs that have them; of a run without one a dash, but for those in `silent`."""
    found = [(", ".join(letters), (told or _told)(value)) for letters, value in by_value(values)]
    if len(values) == len(runs) and len(found) == 1:
        return [("all", found[0][1])]
    without = [run["run"] for run in runs if run["run"] not in values and run["run"] not in silent]
    return [*found, (", ".join(without), "—")] if without else found


def _recipes(
    differences: Mapping[str, Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]
) -> list[tuple[str, Groups]]:
    """The differing keys; a run that has a block where another has null is named once, not at every key of it."""
    found = []
    for key, values in differences.items():
        told = {letter for above in _above(key) for letter in differences.get(above, ())}
        told |= {letter for other, own in differences.items() if other.startswith(f"{key}.") for letter in own}
        found.append((key, _grouped(values, runs, silent=told)))
    return found


def _above(key: str) -> list[str]:
    """``a.b.c`` -> ``a``, ``a.b``."""
    parts = key.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def _told(value: Any) -> str:
    return value if isinstance(value, str) and value else as_json(value, indent=None)


def _files(found: Mapping[str, str]) -> str:
    """Files with the beginnings of their hashes."""
    names = [f"{name} {digest[: compared.DIGITS]}" for name, digest in found.items()]
    return "; ".join(names[:3]) + (f"; {len(names) - 3} more" if len(names) > 3 else "") if names else "none of its own"


def _properties(values: Mapping[str, Mapping[str, Any]], runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, Groups]]:
    keys = dict.fromkeys(key for own in values.values() for key in own)
    return [(key, _grouped({run: own[key] for run, own in values.items() if key in own}, runs)) for key in keys]


def _data(runs: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """(source, runs, rows, skipped, content hash) of every different source."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for run in runs:
        for source in run["data"]:
            rows = f"{source['rows']:,}" if isinstance(source["rows"], int) else "stream"
            skipped = "; ".join(f"{why}: {count:,}" for why, count in (source["skipped"] or {}).items()) or "none"
            digest = str(source["digest"] or "—")[: compared.DIGITS]
            found.setdefault((str(source["name"]), rows, skipped, digest), []).append(run["run"])
    return [
        (name, "all" if len(letters) == len(runs) else ", ".join(letters), *rest)
        for (name, *rest), letters in found.items()
    ]


def _cost(run: Mapping[str, Any], energy: bool) -> tuple[str, ...]:
    """The cells of a run, the last one of energy where one of the runs has some."""
    found = run["cost"]

    def number(key: str, form: str) -> str:
        return "—" if found[key] is None else format(found[key], form)

    times = (_time(found[key]) for key in ("training", "evaluation", "all"))
    rest: tuple[str, ...] = number("tokens", ","), number("tokens_per_second", ",.0f"), number("padding", ".1%")
    if energy:
        rest = *rest, view.energy(found["energy"] or {}, found["training"]) or "—"
    return f"{run['run']}  {run['name']}", number("updates", ","), *times, *rest


def _time(seconds: float | None) -> str:
    return "not recorded" if seconds is None else duration(seconds)
