"""What several runs have in common and where they differ, worked out of what they kept; no layout, no plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from embedkit.disk.folders import RunFolder
from embedkit.errors import RecipeError, RecordError
from embedkit.evaluation import suite as suites
from embedkit.evaluation import verdict as verdicts
from embedkit.evaluation.compare import Comparison, apart
from embedkit.publish import view
from embedkit.publish.records import passed_on
from embedkit.recipe.reading.leaves import leaves
from embedkit.types import Interval, RunRecord, Scores

MOST = 12
"""Runs that a page holds: so many lines are told apart in a plot."""
RESAMPLES = 1000
"""As many as `embedkit eval --compare` draws, from the same seed: the same two models get the same interval here."""
DIGITS = 12
"""Of a content hash that is shown."""


@dataclass(frozen=True)
class Entrant:
    """One of the runs.

    Attributes:
        letter: A, B, ... in the order they were given.
        name: of its folder, with as many folders above it as tell it from the others.
        root: its folder.
        record: without secrets and places.
        scores: after training with values per query or pair; None where there are none to compare by.
        lacks: why there are none; empty where there are.
    """

    letter: str
    name: str
    root: Path
    record: RunRecord
    scores: Scores | None
    lacks: str


@dataclass(frozen=True)
class Against:
    """A run against the first.

    Attributes:
        letter: of the run.
        comparison: as `embedkit.evaluation.compare.compare` gives it, of the tasks that can be compared; the average is
            there only where those are all.
        apart: the other tasks, and why; of a run without scores the one key is empty.
        sentence: the answer in words.
    """

    letter: str
    comparison: tuple[Comparison, ...]
    apart: Mapping[str, str]
    sentence: str

    @property
    def verdict(self) -> str:
        """``BETTER``, ``WORSE`` or ``UNCLEAR``; empty where the two are not comparable as a whole."""
        return "" if self.apart else verdicts.verdict(verdicts.headline(self.comparison))


def read(runs: Sequence[Path]) -> list[Entrant]:
    """The runs with what they kept.

    Raises:
        RecipeError: fewer than two runs, one of them twice, or more than `MOST`.
        RecordError: one has no record, or none that can be read.
        DataError: its scores are damaged.
    """
    roots = [path.resolve() for path in runs]
    if len(roots) < 2:
        raise RecipeError(
            "a comparison needs two runs or more", "RUN", "give their folders, the one to compare with first"
        )
    if len(roots) > MOST:
        raise RecipeError(f"{len(roots)} runs do not fit on a page", "RUN", f"give {MOST} at most")
    twice = [str(path) for path, root in zip(runs, roots, strict=True) if roots.count(root) > 1]
    if twice:
        raise RecipeError(f"the same run is given twice, as {' and '.join(twice)}", "RUN", "give each run once")
    return [entrant(*own) for own in zip(ascii_uppercase, roots, _names(roots), strict=False)]


def entrant(letter: str, root: Path, name: str = "") -> Entrant:
    """A run with what it kept.

    Raises:
        RecordError: it has no record, or none that can be read.
        DataError: its scores are damaged.
    """
    record = read_record(root)
    scores, lacks = _scores(root, record)
    cleaned, _ = passed_on(record, "", root)
    return Entrant(letter, name or root.name, root, cleaned, scores, lacks)


def read_record(root: Path) -> RunRecord:
    """The record of a run.

    Raises:
        RecordError: there is none, or none that can be read.
    """
    record = RunFolder(root).read_record()
    if record is not None:
        return record
    cure = "give the folder that `embedkit train --out` wrote"
    inside = sorted(path.parent for path in root.glob("seed-*/run.json"))
    if inside:
        cure = f"it holds a run for each seed: give them, {' '.join(map(str, inside[:3]))}"
    raise RecordError("no run record here", str(RunFolder(root).record), cure)


def against_first(entrants: Sequence[Entrant], resamples: int = RESAMPLES) -> list[Against]:
    """Every run but the first, compared with it."""
    first, *others = entrants
    return [_against(first, other, resamples) for other in others]


def differences(entrants: Sequence[Entrant]) -> dict[str, dict[str, Any]]:
    """Keys of the recipes whose values are not the same in all: key path -> letter -> value, where the key is there."""
    return _unequal({own.letter: leaves(own.record.recipe) for own in entrants})


def contents(entrants: Sequence[Entrant]) -> dict[str, dict[str, Any]]:
    """What the runs were made from and differs in content: key of the recipe -> letter -> {file: content hash}, of the
    files that not all have. Names and places of files are no difference."""
    found: dict[str, dict[str, Any]] = {}
    for key in dict.fromkeys(key for own in entrants for key in own.record.inputs):
        has = {own.letter: own.record.inputs.get(key, {}) for own in entrants}
        shared = set.intersection(*(set(files.values()) for files in has.values()))
        if any(set(files.values()) != shared for files in has.values()):
            found[key] = {
                letter: {name: digest for name, digest in files.items() if digest not in shared}
                for letter, files in has.items()
            }
    return found


def same_data(entrants: Sequence[Entrant]) -> bool:
    """Whether all were trained on data of the same content."""
    sources = [sorted(str(source.get("digest") or source) for source in own.record.data) for own in entrants]
    return all(found == sources[0] for found in sources)


def cost(record: RunRecord) -> dict[str, Any]:
    """What a run took: ``updates``, seconds of ``training``, of ``evaluation`` before and after it and in ``all``, real
    ``tokens``, ``tokens_per_second`` of the updates, mean share of ``padding``, joules of ``energy`` by what took them;
    None where it was not recorded."""
    tokens, seconds = view.tokens_read(record), view.seconds_of_updates(record)
    padding = [line["padding"] for line in record.curve if "padding" in line]
    evaluation = [value for stage, value in record.timings.items() if stage.startswith("evaluation")]
    return {
        "updates": view.updates_done(record),
        "training": record.timings.get("training"),
        "evaluation": sum(evaluation) if evaluation else None,
        "all": sum(record.timings.values()) if record.timings else None,
        "tokens": int(tokens) if tokens else None,
        "tokens_per_second": tokens / seconds if tokens and seconds else None,
        "padding": sum(padding) / len(padding) if padding else None,
        "energy": record.energy or None,
    }


def model(record: RunRecord) -> dict[str, Any]:
    """What the saved model is: property -> value, of those that are known."""
    facts = {key: record.model.get(key) for key in ("dim", "max_length", "similarity", "prompts")}
    found: dict[str, Any] = {"base": record.recipe.get("model", {}).get("base")}
    found |= {"dimensions": facts["dim"], "tokens kept": facts["max_length"], "similarity": facts["similarity"]}
    found |= {f"prompt of a {role}": text for role, text in (facts["prompts"] or {}).items()}
    for when, scores in (("before", record.scores_before), ("after", record.scores_after)):
        found[f"content {when} training"] = (
            scores["fingerprint"][:DIGITS] if scores and "fingerprint" in scores else None
        )
    return {key: value for key, value in found.items() if value is not None}


def by_value(values: Mapping[str, Any]) -> list[tuple[list[str], Any]]:
    """Letters that share a value, with it, in the order of the first of them."""
    found: list[tuple[list[str], Any]] = []
    for letter, value in values.items():
        letters = next((letters for letters, other in found if _same(other, value)), None)
        if letters is None:
            found.append(([letter], value))
        else:
            letters.append(letter)
    return found


def score_of(record: RunRecord) -> dict[str, tuple[str, Interval]]:
    """Task -> its main metric and score; the average last where there are several tasks."""
    lines = view.task_lines(record)
    return {line.task: (line.metric, line.after) for line in lines if line.after is not None}


def plain(entrants: Sequence[Entrant], compared: Sequence[Against]) -> dict[str, Any]:
    """JSON-ready data of all of it."""
    return {
        "runs": [
            {
                "run": own.letter,
                "name": own.name,
                "recipe_hash": own.record.recipe_hash,
                "seed": own.record.seed,
                "started": own.record.started,
                "finished": own.record.finished,
                "failed": own.record.failed,
                "what": view.what(own.record),
                "suite": (own.record.scores_after or {}).get("suite"),
                "scores": {task: {"metric": m, **asdict(s)} for task, (m, s) in score_of(own.record).items()},
                "cost": cost(own.record),
                "data": [{k: s.get(k) for k in ("name", "rows", "skipped", "digest")} for s in own.record.data],
                "model": model(own.record),
                "versions": own.record.versions,
            }
            for own in entrants
        ],
        "comparisons": [
            {
                "run": found.letter,
                "base": entrants[0].letter,
                "comparable": not found.apart,
                "apart": dict(found.apart),
                "verdict": found.verdict or None,
                "sentence": found.sentence,
                "tasks": [{**asdict(c), "verdict": verdicts.verdict(c)} for c in found.comparison],
            }
            for found in compared
        ],
        "recipes": differences(entrants),
        "contents": contents(entrants),
        "same_data": same_data(entrants),
    }


def _scores(root: Path, record: RunRecord) -> tuple[Scores | None, str]:
    """What `embedkit.run.measure` kept of the evaluation that the record tells of."""
    if record.scores_after is None:
        return None, "was not measured after training"
    folder = RunFolder(root).scores("after")
    if not (folder / suites.SCORES).is_file():
        return None, "has kept no values per query or pair"
    found = suites.load_scores(folder)
    if found.fingerprint != record.scores_after.get("fingerprint"):
        return None, "keeps the scores of another model than its record tells of"
    return found, ""


def _against(first: Entrant, other: Entrant, resamples: int) -> Against:
    lacking = [f"{own.name} {own.lacks}" for own in (first, other) if own.scores is None]
    if first.scores is None or other.scores is None:
        why = "; ".join(lacking)
        return Against(other.letter, (), {"": why}, f"{other.name} and {first.name} are not comparable: {why}.")
    why_not = apart(first.scores, other.scores)
    there = [task.task for task in other.scores.tasks if task.task not in why_not]
    options: dict[str, Any] = {"resamples": resamples, "permutations": resamples, "without": tuple(why_not)}
    found = suites.compare(first.scores, other.scores, **options) if there else []
    if not why_not:
        return Against(other.letter, tuple(found), {}, verdicts.sentence(found, first.name, other.name))
    reasons = "; ".join(f"{task}: {why}" for task, why in why_not.items())
    how = "are not comparable as a whole" if there else "are not comparable"
    rest = f" {_counted(len(there), 'task')} can be compared, the average cannot." if there else ""
    return Against(
        other.letter, tuple(found[: len(there)]), why_not, f"{other.name} and {first.name} {how}. {reasons}.{rest}"
    )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _unequal(values: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    found = {}
    for key in dict.fromkeys(key for own in values.values() for key in own):
        has = {letter: own[key] for letter, own in values.items() if key in own}
        if len(has) < len(values) or len(by_value(has)) > 1:
            found[key] = has
    return found


def _same(a: Any, b: Any) -> bool:
    """Equal and of one kind: 1 is not true."""
    return type(a) is type(b) and bool(a == b)


def _names(roots: Sequence[Path]) -> list[str]:
    """The last parts of each path, as few as tell them apart."""
    found = []
    for root in roots:
        parts = root.parts[1:] or root.parts
        for count in range(1, len(parts) + 1):
            name = "/".join(parts[-count:])
            others = ["/".join(other.parts[-count:]) for other in roots if other != root]
            if name not in others:
                break
        found.append(name)
    return found
