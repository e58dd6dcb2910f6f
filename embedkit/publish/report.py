"""The report of a run: one page that a person can read, print and pass on, made from what the run kept."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from embedkit.disk import files
from embedkit.disk.folders import RunFolder
from embedkit.disk.locks import hold_folder
from embedkit.disk.model_files import reader
from embedkit.foreign.redacting import redact
from embedkit.foreign.showing import as_json, shown, shown_deep
from embedkit.publish import details, figures, mined, palette, plots, shapes, stages, view, words
from embedkit.publish.compared import read_record
from embedkit.publish.insight import Insight, insight_of, read_insight
from embedkit.publish.markdown import score, span, templates
from embedkit.publish.places import near, without_places
from embedkit.terminal.tables import Column, Grid, name_column
from embedkit.types import RunRecord

FOLDER = "report"


def write_report(run_dir: Path) -> Path:
    """Write ``report/index.html``, ``report/report.md`` and the plots of a run.

    Missing parts of the record are left out. Every text is escaped. A report is passed on: what looks like a credential
    or an absolute path is replaced.

    Args:
        run_dir: folder of a run; its ``run.json`` is read, and ``insight.json`` where there is one.

    Returns:
        The page.

    Raises:
        RecordError: there is no ``run.json``, or it or ``insight.json`` cannot be read.
        BusyError: another process trains there.
        WriteError: the report cannot be written.
    """
    folder = RunFolder(Path(run_dir))
    record = read_record(folder.root)
    with hold_folder(folder.root, "writing the report"):
        return render_report(folder, record)


def render_report(folder: RunFolder, record: RunRecord) -> Path:
    """`write_report` of a record at hand, for the process that holds the folder."""
    recipe = folder.recipe_text
    found = read_insight(folder.root)
    parts = {"record": vars(record), "recipe": recipe, "insight": asdict(found)}
    cleaned = without_places(redact(parts), folder.root)
    record, recipe = replace(record, **shown_deep(cleaned["record"])), shown(cleaned["recipe"], lines=True)
    found = insight_of(shown_deep(cleaned["insight"]))
    drawn = [*plots.draw(record), *shapes.draw(found, record)]
    target = folder.root / FOLDER
    for plot in drawn:
        files.write_text(target / f"{plot.name}.svg", plot.svg)
    context = _context(record, recipe, folder, drawn) | _insight(found)
    page = target / "index.html"
    files.write_text(target / "report.md", templates(markdown=True).get_template("report.md.j2").render(context))
    files.write_text(page, templates(markdown=False).get_template("report.html.j2").render(context))
    return page


def summary_table(record: RunRecord) -> Grid:
    """The table at the end of a run: task, before, after, paired difference with its interval, verdict."""
    from rich.text import Text

    lines = view.task_lines(record)
    level = next((line.difference.level for line in lines if line.difference), 0.95)
    grid = Grid(
        [
            name_column("task"),
            Column("metric", 2, right=False, style="dim"),
            Column("before", 3),
            Column("after"),
            Column("difference"),
            Column(f"{level:.0%} interval", 1),
            Column("verdict", right=False),
        ],
        note="Scores from 0 to 100; the interval is that of the paired difference. Unclear: it includes zero.",
        hint="the report has them",
    )
    colours = {"win": "green", "loss": "red", "tie": "yellow", "": "dim"}
    for position, line in enumerate(lines, 1):
        grid.add(
            line.task,
            line.metric,
            score(line.before),
            score(line.after),
            "—" if line.difference is None else f"{line.difference.value:+.2f}",
            span(line.difference),
            Text(line.verdict_text, style=colours[line.verdict]),
            line_under=position == len(lines) - 1,
        )
    return grid


def _insight(found: Insight) -> dict[str, Any]:
    """What changed, geometry and lengths, for both templates."""
    return {
        "changes": [
            {
                "task": task.task,
                "counts": words.counted(task),
                "better": [words.moved(change) for change in task.better],
                "worse": [words.moved(change) for change in task.worse],
            }
            for task in found.tasks
            if task.better or task.worse
        ],
        "geometry": [
            {"task": task.task, "rows": words.geometry_rows(task), "over": words.taken_over(task)}
            for task in found.tasks
        ],
        "lengths": words.length_rows(found),
        "length_heads": words.LENGTH_HEADS,
    }


def _context(record: RunRecord, recipe: str, folder: RunFolder, drawn: list[figures.Plot]) -> dict[str, Any]:
    """What the two templates share."""
    facts = [
        ("Did it help?", view.headline(record)),
        ("What was trained?", view.what(record)),
        ("On what?", view.on_what(record)),
        ("How long did it take?", view.how_long(record)),
    ]
    if record.best_step is not None:
        chosen = f"update {record.best_step}, the best {view.selected_metric(record)[5:]} during training"
        facts.append(("Which checkpoint is it?", chosen))
    if record.failed:
        facts.insert(0, ("What went wrong?", record.failed))
    plan = "\n".join(record.plan.get("lines", ()))
    return {
        "title": shown(folder.root.resolve().name),
        "verdict": view.overall_verdict(record),
        "verdict_line": view.verdict_line(record),
        "facts": facts,
        "load": _load(folder, record),
        "lines": view.task_lines(record),
        "metrics": view.all_metrics(record),
        "details": details.sections(record),
        "stages": stages.rows(record),
        "stages_heads": stages.HEADS,
        "mined": mined.rows(record),
        "mined_heads": mined.HEADS,
        "mined_note": mined.note(record),
        "plots": drawn,
        "plan": view.plan_facts(record),
        "plan_text": plan,
        "data": record.data,
        "versions": list(record.versions.items()),
        "suite": (record.scores_after or record.scores_before or {}).get("suite", ""),
        "resamples": record.recipe.get("eval", {}).get("resamples"),
        "recipe": recipe,
        "fence": "`" * (1 + max([2, *map(len, re.findall("`+", recipe + plan))])),
        "record": record,
        "light": palette.LIGHT,
        "dark": palette.DARK,
    }


def _load(folder: RunFolder, record: RunRecord) -> str:
    """Python that loads the model with plain sentence-transformers, in the working folder or the one above the run."""
    if record.model.get("kind") == "reranker":
        name = as_json(near(folder.model), indent=None)
        return "\n".join(
            [
                "from sentence_transformers import CrossEncoder",
                f"model = CrossEncoder({name})",
                'print(model.rank("a question", ["a text", "another text"]))',
            ]
        )
    kind = reader(str(record.model.get("kind", "encoder")))
    lines = [
        f"from sentence_transformers import {kind}",
        f"model = {kind}({as_json(near(folder.model), indent=None)})",
    ]
    if any(task.get("type") == "retrieval" for task in (record.scores_after or {}).get("tasks", ())):
        lines.append('documents = model.encode_document(["a text", "another text"])')
        lines.append('print(model.similarity(model.encode_query("a question"), documents))')
    else:
        lines.append('print(model.similarity(model.encode("a sentence"), model.encode("another sentence")))')
    return "\n".join(lines)
