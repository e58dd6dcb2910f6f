"""Compare training methods on one base: train each with several seeds, measure, write a page with intervals.

    python -m benchmarks.compare --base ENCODER --text sentences.txt --data DIR [--methods simcse,diffcse] [--seeds 3]
    make compare BASE=ENCODER TEXT=sentences.txt DATA=DIR

Finished runs are kept below --work and skipped: an interrupted comparison goes on where it stopped, and a method can
be added later. The page, its numbers (.json) and a picture are written to --out.
"""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.compare import table
from benchmarks.compare.study import OtherSettings, Study, without_folders
from benchmarks.compare.summary import Key
from benchmarks.compare.table import REFERENCE, Method
from embedkit.errors import EmbedkitError, RecipeError
from embedkit.recipe.schema import DEFAULT_MODEL

console = Console(highlight=False, soft_wrap=True)
ROOT = Path(__file__).resolve().parents[2]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.compare", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--base", default=DEFAULT_MODEL, help="encoder folder or Hub id (default: %(default)s)")
    made.add_argument("--generator", help="masked language model for methods that need one (default: the base)")
    made.add_argument("--text", type=Path, help="training sentences in random order, one per line; the first are used")
    made.add_argument("--data", type=Path, help="folder of the suite's files")
    made.add_argument("--methods", default="", help="names from the table, with commas; default: all")
    made.add_argument("--seeds", type=int, default=3, help="how many; 1, 2, ... (default: %(default)s)")
    made.add_argument("--steps", type=int, default=1000, help="updates of every training (default: %(default)s)")
    made.add_argument("--batch", type=int, default=64, help="sentences per update (default: %(default)s)")
    made.add_argument("--suite", default="sts", help="STS suite (default: %(default)s)")
    made.add_argument("--max-length", type=int, default=32, help="tokens kept in training (default: %(default)s)")
    made.add_argument("--eval-length", type=int, default=96, help="tokens kept at evaluation (default: %(default)s)")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VAL", help="override for every recipe")
    made.add_argument("--table", type=Path, default=table.DEFAULT, help="table of methods")
    made.add_argument("--out", type=Path, default=ROOT / "docs" / "results", help="page, numbers and picture")
    made.add_argument("--name", help="of the page; default: the base's")
    made.add_argument("--work", type=Path, help="folder of the runs; default: runs/compare/NAME")
    made.add_argument("--notes", type=Path, help="Markdown put under the tables")
    made.add_argument("--threads", type=int, help="torch threads")
    made.add_argument("--timed-steps", type=int, default=10, help="timed updates per round; 0: no timing")
    made.add_argument("--rounds", type=int, default=4, help="rounds of timing (default: %(default)s)")
    made.add_argument("--keep-models", action="store_true", help="leave all trained models below --work")
    made.add_argument("--list", action="store_true", help="print the table of methods and stop")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; 0 if every method ran, else 1, or the exit code of a wrong recipe (2) or wrong data (3)."""
    args = parser().parse_args(arguments)
    try:
        known = table.read(args.table)
        if args.list:
            _list(known)
            return 0
        return compare(args, known)
    except EmbedkitError as error:
        console.print(str(error), style="red", markup=False)
        return error.exit_code


def compare(args: argparse.Namespace, known: dict[str, Method]) -> int:
    methods = table.choose(known, [name.strip() for name in args.methods.split(",") if name.strip()])
    for given, option in ((args.text, "--text FILE"), (args.data, "--data DIR")):
        if given is None:
            raise RecipeError("the comparison needs its data named", option, "make compare BASE=... TEXT=... DATA=...")
    if args.seeds < 1 or args.steps < 1 or args.batch < 2:
        raise RecipeError("--seeds and --steps start at 1, --batch at 2", "arguments")
    quiet(args.threads)
    study = _study(args)
    seeds = list(range(1, args.seeds + 1))
    done, failed = train_all(study, methods, seeds)
    shown = [method for method in known.values() if method in methods]
    written = write(args, study, shown, done, failed)
    if args.timed_steps and done:
        timed = [method for method in methods if (method.name, seeds[0]) in done]
        time_all(study, timed, seeds[0], args.timed_steps, args.rounds)
        write(args, study, shown, done, failed)
    for name, why in failed.items():
        console.print(f"{name} did not run: {why}", style="red", markup=False)
    console.print(f"written: {', '.join(map(str, written))}" if written else "no result", markup=False)
    return 1 if failed or not written else 0


def train_all(study: Study, methods: Sequence[Method], seeds: Sequence[int]) -> tuple[set[Key], dict[str, str]]:
    """Every run that is not finished, seed by seed, so that a whole table exists early.

    Returns:
        The finished runs, and the methods that failed, with the reason; the others went on.

    Raises:
        OtherSettings: a folder holds a result that does not belong to this comparison.
    """
    from benchmarks.compare import runs

    wanted = [(method, seed) for seed in seeds for method in methods if method.seeded or seed == seeds[0]]
    needed = {name for method in methods for name in method.needs}
    done: set[Key] = set()
    failed: dict[str, str] = {}
    for place, (method, seed) in enumerate(wanted, 1):
        label = f"[{place}/{len(wanted)}] {method.name}" + (f" seed {seed}" if method.seeded else "")
        missing = [need for need in method.needs if need in failed]
        if method.name in failed or missing:
            console.print(f"{label}: left out, {', '.join(missing) or 'it'} failed", markup=False)
            failed.setdefault(method.name, f"it needs {', '.join(missing)}")
            continue
        start = time.perf_counter()
        try:
            found = runs.done(study, method, seed)
            state = "finished earlier"
            if found is None:
                console.print(f"{label} ...", markup=False)
                found = runs.run(study, method, seed, keep_model=method.name in needed)
                state = f"{time.perf_counter() - start:.0f} s"
            console.print(f"{label}: {found['average']:.2f}  ({state})", markup=False)
            done.add((method.name, seed))
        except OtherSettings:
            raise
        except Exception as error:  # hours of other runs go on; the traceback is shown, the exit code is 1
            if not isinstance(error, EmbedkitError):
                traceback.print_exc()
            failed[method.name] = _reason(error)
            console.print(f"{label}: {error}", style="red", markup=False)
    return done, failed


def _reason(error: Exception) -> str:
    """Why a method did not run, for the page."""
    return without_folders(error.what if isinstance(error, EmbedkitError) else f"{type(error).__name__}: {error}")


def time_all(study: Study, methods: Sequence[Method], seed: int, steps: int, rounds: int) -> None:
    """Seconds per update of every trained method beside those of the reference."""
    from benchmarks.compare import timing

    reference = next((method for method in methods if method.name == REFERENCE), None)
    for method in methods:
        if reference is not None and method.kind == "train":
            found = timing.measure(study, method, reference, seed, steps, rounds)
            console.print(
                f"{method.name}: {1000 * found['method']:.0f} ms per update, {REFERENCE} beside it "
                f"{1000 * found['reference']:.0f} ms, ratio {found['ratio']:.2f}",
                markup=False,
            )


def write(
    args: argparse.Namespace, study: Study, methods: Sequence[Method], done: set[Key], failed: dict[str, str]
) -> list[Path]:
    """Page, numbers and picture of what has results."""
    from benchmarks.compare import page, summary

    found = summary.summarise(study, methods, done)
    if not found:
        return []
    known = facts(args, study, failed)
    args.out.mkdir(parents=True, exist_ok=True)
    name = page_name(args)
    picture = args.out / f"{name}.png"
    page.draw(picture, methods, found)
    notes = args.notes.read_text(encoding="utf-8") if args.notes else ""
    text = args.out / f"{name}.md"
    text.write_text(page.page(known, methods, found, notes, picture.name), encoding="utf-8")
    numbers = args.out / f"{name}.json"
    numbers.write_text(json.dumps({"comparison": known, "methods": found}, indent=1) + "\n", encoding="utf-8")
    return [text, numbers, picture]


def facts(args: argparse.Namespace, study: Study, failed: dict[str, str]) -> dict[str, Any]:
    """What the comparison was made with. Paths are told by their last part: another machine has others."""
    from embedkit.run.environment import versions

    return {
        "base": study.origin,
        "text": study.sentences,
        "suite": study.tasks.name,
        "tasks": {task.name: [Path(file).name for file in getattr(task, "files", ())] for task in study.tasks.tasks},
        "steps": study.steps,
        "batch": study.batch,
        "seeds": list(range(1, args.seeds + 1)),
        "train_length": study.train_length,
        "length": study.length,
        "extra": study.extra,
        "generator": {"name": last_part(args.generator), "fingerprint": study.generator} if args.generator else None,
        "failed": failed,
        "versions": versions(),
        "command": command(args),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def command(args: argparse.Namespace) -> str:
    """The command that makes the page again, without this machine's folders."""
    words = ["python", "-m", "benchmarks.compare", "--base", portable(args.base), "--text", args.text.name]
    words += ["--generator", portable(args.generator)] if args.generator else []
    words += ["--data", args.data.name, "--steps", str(args.steps), "--batch", str(args.batch)]
    words += ["--seeds", str(args.seeds), "--suite", last_part(args.suite), "--eval-length", str(args.eval_length)]
    words += ["--max-length", str(args.max_length)]
    words += ["--methods", args.methods] if args.methods else []
    words += ["--table", args.table.name] if args.table != table.DEFAULT else []
    words += [word for pair in args.set for word in ("--set", pair)]
    words += ["--threads", str(args.threads)] if args.threads else []
    words += ["--timed-steps", str(args.timed_steps), "--rounds", str(args.rounds)]
    return shlex.join(words)


def _study(args: argparse.Namespace) -> Study:
    extra = {}
    for pair in args.set:
        key, equals, value = pair.partition("=")
        if not equals:
            raise RecipeError(f"{pair!r} is not KEY=VAL", "--set", "e.g. --set model.max_length=32")
        extra[key] = value
    work = args.work or Path("runs") / "compare" / page_name(args)
    study = Study(
        base=absolute(args.base),
        text=args.text.resolve(),
        data=args.data,
        work=work.resolve(),
        steps=args.steps,
        batch=args.batch,
        suite=args.suite,
        train_length=args.max_length,
        length=args.eval_length,
        extra=extra,
        keep_models=args.keep_models,
        masked_lm=absolute(args.generator) if args.generator else None,
    )
    lines, pairs = study.sentences["lines"], sum(len(data.gold) for data in study.pairs)
    origin = study.origin
    console.print(
        f"{origin['name']}: {origin['parameters'] / 1e6:.1f} M parameters; {lines:,} lines; "
        f"{args.steps:,} updates of {args.batch}; {pairs:,} test pairs; runs in {study.work}",
        markup=False,
    )
    return study


def page_name(args: argparse.Namespace) -> str:
    return str(args.name or last_part(args.base))


def absolute(name: str) -> str:
    """A Hub id as it is, of a folder the whole path."""
    return str(Path(name).resolve()) if Path(name).exists() else name


def portable(name: str) -> str:
    """A Hub id as it is, of a folder the last part."""
    return last_part(name) if Path(name).exists() else name


def last_part(name: str) -> str:
    """The last part of a path or of a Hub id."""
    return Path(name).resolve().name if Path(name).exists() else name.rpartition("/")[2]


def _list(known: dict[str, Method]) -> None:
    for method in known.values():
        own = ", ".join(f"{key}={value}" for key, value in method.settings.items())
        console.print(f"{method.name:22s} {method.recipe or method.kind:28s} {own}", markup=False)


def quiet(threads: int | None) -> None:
    import logging
    import os

    import torch
    import transformers

    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    if threads:
        torch.set_num_threads(threads)


if __name__ == "__main__":
    sys.exit(main())
