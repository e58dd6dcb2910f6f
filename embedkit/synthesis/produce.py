"""From a task, texts and a model to a data file and its record."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from embedkit import __version__
from embedkit.data.sources import load_source
from embedkit.disk import files
from embedkit.disk.locks import hold_file
from embedkit.errors import DataError, EmbedkitError, RecipeError, WriteError
from embedkit.foreign import showing
from embedkit.foreign.quoting import quoted
from embedkit.inputs.cures import PLAIN
from embedkit.recipe.load import made
from embedkit.recipe.schema import Role, Source
from embedkit.synthesis.asker import Asker, Usage
from embedkit.synthesis.cache import Cache
from embedkit.synthesis.calls import Backend
from embedkit.synthesis.claif import Claif, Clhaif
from embedkit.synthesis.paraphrases import Paraphrases
from embedkit.synthesis.prompts import Prompter, load_prompts
from embedkit.synthesis.queries import Queries
from embedkit.synthesis.syncse import Partial, Scratch
from embedkit.synthesis.tasks import Planned, Task
from embedkit.types import Example

logger = showing.logger(__name__)

TASKS: dict[str, type[Task]] = {task.name: task for task in (Claif, Clhaif, Partial, Scratch, Queries, Paraphrases)}
SHOWN_SCORES = 11
"""Different scores that the summary counts; the record has all."""
CHARACTERS_PER_TOKEN = 4
"""A rule of thumb for English, used by the dry run only."""


@dataclass(frozen=True)
class Settings:
    """What is to be made.

    Attributes:
        task: claif, clhaif, syncse-partial, syncse-scratch, queries or paraphrases.
        out: the data file; ``.meta.json`` and, unless `cache` says otherwise, ``.cache`` stand beside it.
        text: the texts to start from; None for syncse-scratch.
        roles: role: column of `text`.
        on_bad_row: as in a recipe's source.
        count: sentences to write; syncse-scratch only.
        limit: use the first texts only.
        prompts: a file of prompts laid over embedkit's.
        seed: of everything drawn.
        cache: the file of answers.
        price_in, price_out: per million tokens of prompts and answers, in whatever currency; None: not told.
    """

    task: str
    out: Path
    text: Path | None = None
    roles: dict[Role, str | tuple[str, ...]] = field(default_factory=dict)
    on_bad_row: Literal["error", "skip"] = "error"
    count: int | None = None
    limit: int | None = None
    prompts: Path | None = None
    seed: int = 0
    cache: Path | None = None
    price_in: float | None = None
    price_out: float | None = None

    @property
    def meta(self) -> Path:
        return self.out.with_suffix(".meta.json")

    @property
    def answers(self) -> Path:
        return self.cache or self.out.with_suffix(".cache")


@dataclass
class Job:
    """A task with its texts, ready to be planned or run.

    Attributes:
        task: makes calls and rows.
        texts: what it starts from, each once.
        source: what the record says about the texts.
    """

    settings: Settings
    task: Task
    texts: list[Example]
    source: dict[str, Any]

    def plan(self) -> list[Planned]:
        """The calls; see `Task.plan`."""
        return self.task.plan(self.texts)


def check(settings: Settings) -> None:
    """Refuse what no run could use, before anything is read.

    Raises:
        RecipeError: an unknown task, another file than JSONL, options that do not go with the task, wrong prompts.
    """
    if settings.task not in TASKS:
        raise RecipeError(f"there is no task {settings.task!r}", "synth", f"known: {', '.join(TASKS)}")
    if settings.out.suffix != ".jsonl":
        raise RecipeError("the data file must end with .jsonl", "--out", "e.g. --out pairs.jsonl")
    if not TASKS[settings.task].needs:
        if settings.text is not None or settings.roles or settings.limit is not None:
            raise RecipeError("starts from nothing", settings.task, "leave --text out; --count says how many sentences")
        if settings.count is None:
            raise RecipeError("needs a number of sentences", settings.task, "give --count N")
    elif settings.text is None or settings.count is not None:
        missing = settings.text is None
        what = "needs texts to start from" if missing else "--count is for syncse-scratch"
        raise RecipeError(what, settings.task, "give --text FILE" if missing else "use --limit N")
    load_prompts(settings.prompts)


def prepare(settings: Settings) -> Job:
    """Read prompts and texts.

    Raises:
        RecipeError: as `check`; a wrong file of prompts.
        DataError: the texts cannot be read, lack a column or have bad rows.
    """
    check(settings)
    kind = TASKS[settings.task]
    prompter = Prompter(load_prompts(settings.prompts), settings.seed)
    if settings.count is not None:
        return Job(settings, Scratch(prompter, settings.count), [], {"asked for": settings.count})
    task = kind(prompter)
    texts, source = _texts(settings, task)
    return Job(settings, task, texts, source)


def _texts(settings: Settings, task: Task) -> tuple[list[Example], dict[str, Any]]:
    described = made(
        Source, path=str(settings.text), roles=settings.roles, limit=settings.limit, on_bad_row=settings.on_bad_row
    )
    skip = "" if settings.on_bad_row == "skip" else "add --skip-bad-rows"
    loaded = load_source(described, progress=True, cures=replace(PLAIN, skip=skip))
    for line in loaded.remarks:
        logger.warning("%s: %s", loaded.name, line)
    missing = [role for role in task.needs if role not in loaded.roles]
    if missing or ("text" in task.needs) != ("text" in loaded.roles):
        wanted = ", ".join(f"{role}: COLUMN" for role in task.needs)
        raise DataError(
            f"{task.name} needs {' and '.join(task.needs)}; found: {', '.join(sorted(loaded.roles))}",
            loaded.name,
            f"name the columns: --roles '{{{wanted}}}'",
        )
    assert loaded.rows is not None
    task.classes = loaded.classes
    texts = task.once(loaded.get(range(loaded.rows)))
    return texts, {"file": loaded.name, "sha256": loaded.digest, "texts": len(texts), "skipped": loaded.skipped}


def synthesize(
    settings: Settings, backend: Callable[[], Backend], *, overwrite: bool = False, progress: bool = False
) -> dict[str, Any]:
    """Make the data file; return its record, which is also written beside it.

    Answers go to the cache one by one, so a run that was cut off goes on where it was when it is started again, and a
    run with another `limit` asks only what is new. The data file appears whole or not at all. Places that cannot be
    written, and a cache that is none, are refused before a text is read or a model loaded.

    Args:
        settings: what is to be made.
        backend: loads the model, when all else is ready.
        overwrite: replace a data file that is there.
        progress: show a bar.

    Raises:
        RecipeError, DataError: as `prepare`.
        DataError: no row came out of it; the cache is none.
        BusyError, WriteError: another process makes the same file or writes to the same cache; they cannot be written.
        EmbedkitError: the data file is there already; the backend gave up.
    """
    with _places(settings, overwrite) as cache:
        job, started = prepare(settings), _now()
        asked = backend()
        total = sum(planned.count for planned in job.plan())
        asker = Asker(asked, cache, total=total, progress=progress)
        try:
            rows, sha = _write(job, job.task.rows(job.texts, asker))
        finally:
            asker.close()
        record = _record(job, rows, sha, asked, asker.usage, started)
        files.write_json(settings.meta, record)
    return record


@contextmanager
def _places(settings: Settings, overwrite: bool) -> Iterator[Cache]:
    """Test and hold what will be written; gives the cache, read."""
    check(settings)
    written = {"the data file": settings.out, "its record": settings.meta, "the cache": settings.answers}
    read = {"--text": settings.text, "--prompts": settings.prompts}
    names = {os.path.realpath(path): name for name, path in read.items() if path is not None}
    for name, path in written.items():
        taken = names.setdefault(os.path.realpath(path), name)
        if taken != name:
            raise RecipeError(f"{name} and {taken} are one file: {path}", "synth", "name different files")
    for path in (settings.out, settings.meta):
        with files.writing(path):
            if path.exists() and not path.is_file():
                raise WriteError("is no file", str(path), "choose another --out")
    if settings.out.exists() and not overwrite:
        raise EmbedkitError("exists already", str(settings.out), "choose another --out, or add --overwrite")
    with hold_file(settings.out, "making data"), hold_file(settings.answers, "adding answers"):
        yield Cache(settings.answers)


def _record(job: Job, rows: int, sha: str, backend: Backend, usage: Usage, started: str) -> dict[str, Any]:
    settings = job.settings
    return {
        "task": settings.task,
        "rows": rows,
        "sha256": sha,
        "dropped": dict(job.task.dropped.most_common()),
        "dropped, for example": {reason: quoted(text) for reason, text in job.task.examples.items()},
        **({"scores": {f"{score:g}": n for score, n in sorted(job.task.scores.items())}} if job.task.scores else {}),
        "model": backend.identity,
        "source": job.source,
        "seed": settings.seed,
        "prompts": job.task.prompter.parameters(job.task.kinds),
        **_usage(usage, settings),
        "retries": backend.retries,
        "embedkit": __version__,
        "started": started,
        "finished": _now(),
    }


def _write(job: Job, rows: Iterable[dict[str, Any]]) -> tuple[int, str]:
    """Write the data file whole, or not at all where there is no row; number of rows and hash."""
    settings, sha, count = job.settings, hashlib.sha256(), 0
    with files.new_file(settings.out) as file:
        for row in rows:
            line = json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
            file.write(line)
            sha.update(line)
            count += 1
        if not count:
            reasons = ", ".join(f"{count} {reason}" for reason, count in job.task.dropped.most_common())
            raise DataError(
                f"no usable row; dropped: {reasons or 'nothing'}",
                str(settings.out),
                f"look at the answers in {settings.answers}; try another model, or prompts of your own (--prompts)",
            )
    return count, sha.hexdigest()


def _usage(usage: Usage, settings: Settings) -> dict[str, Any]:
    found: dict[str, Any] = {
        "calls": {"new": dict(usage.new), "cached": dict(usage.cached)},
        "tokens": {
            when: {side: usage.tokens[when, side] for side in ("prompt", "completion")} for when in ("new", "cached")
        },
        "calls without a token count": usage.uncounted,
    }
    if settings.price_in is not None or settings.price_out is not None:
        prices = settings.price_in or 0.0, settings.price_out or 0.0
        found["cost"] = {
            "per million prompt tokens": prices[0],
            "per million completion tokens": prices[1],
            "new": round(usage.cost(*prices, cached=False), 6),
            "with cached": round(usage.cost(*prices, cached=True), 6),
        }
    return found


def dry_run(job: Job, say: Callable[[str], None]) -> None:
    """Say what would be asked: the number of calls, a rough number of tokens, and the first prompt of each kind."""
    plan = job.plan()
    settings = job.settings
    calls = [f"{'up to ' if p.at_most else ''}{p.count:,} {p.kind}" for p in plan]
    at_most = "up to " if any(p.at_most for p in plan) else ""
    texts = f"{len(job.texts):,} texts of {job.source['file']}" if job.texts else f"{settings.count:,} sentences"
    asked = sum(p.count * sum(len(content) for _, content in p.first.messages) for p in plan) // CHARACTERS_PER_TOKEN
    answered = sum(p.count * p.first.max_tokens for p in plan)
    say(f"task         {settings.task}: {texts}")
    say(f"calls        {' + '.join(calls)} = {at_most}{sum(p.count for p in plan):,}; none is made now")
    say(f"tokens       roughly {asked:,} of prompts (4 characters each), at most {answered:,} of answers")
    if settings.price_in is not None or settings.price_out is not None:
        cost = (asked * (settings.price_in or 0.0) + answered * (settings.price_out or 0.0)) / 1e6
        say(f"cost         roughly {cost:,.2f} at most")
    for planned in plan:
        first = planned.first
        say("")
        say(f"--- {planned.kind}: temperature {first.temperature}, top_p {first.top_p}, max_tokens {first.max_tokens}")
        for role, content in first.messages:
            say(f"[{role}]")
            for line in content.splitlines():
                say(line)


def summary(record: dict[str, Any], out: Path) -> list[str]:
    """A record in a few lines."""
    new, cached = (sum(record["calls"][when].values()) for when in ("new", "cached"))
    examples = {reason: f" ({text})" for reason, text in record["dropped, for example"].items()}
    dropped = "; ".join(f"{count:,} {reason}{examples.get(reason, '')}" for reason, count in record["dropped"].items())
    tokens = record["tokens"]
    lines = [
        f"wrote        {record['rows']:,} rows to {out}",
        f"dropped      {dropped or 'nothing'}",
        f"calls        {new:,} new, {cached:,} from the cache, {record['retries']:,} retries",
        f"tokens       new: {tokens['new']['prompt']:,} in, {tokens['new']['completion']:,} out; "
        f"from the cache: {tokens['cached']['prompt']:,} in, {tokens['cached']['completion']:,} out",
    ]
    if "scores" in record:
        most = sorted(record["scores"].items(), key=lambda one: -one[1])[:SHOWN_SCORES]
        shown = ", ".join(f"{score} {count:,} times" for score, count in sorted(most, key=lambda one: float(one[0])))
        others = len(record["scores"]) - len(most)
        lines.insert(1, f"scores       {shown}{f', and {others} others' if others else ''}")
    if record["calls without a token count"]:
        lines.append(f"             {record['calls without a token count']:,} calls came without a token count")
    if "cost" in record:
        cost = record["cost"]
        lines.append(
            f"cost         {cost['new']:,.4f} for new calls, {cost['with cached']:,.4f} with those in the cache"
        )
    return lines


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
