"""Compare objectives on one base: same data, updates, batch and seeds; the learning rate chosen from one grid for all.

    python -m benchmarks.objectives --base ENCODER --data DIR [--kinds graded,banking77] [--objectives cosent,angle]
    make compare-objectives BASE=ENCODER DATA=DIR

For every kind of data and every objective: each rate of the grid is trained with the first seed and scored on dev; the
best is trained with all seeds and tested. Every cell is a file below --work: stop it at any time, start it again, and
it goes on. The page, its numbers (.json) and a picture are written to --out, kind by kind: what another command
measured of other kinds stays there. With --objectives the rows join a table that is there, if it was made with the
same settings and its reference has the same scores again. --page writes them from the cells that are there.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.compare.__main__ import absolute, last_part, page_name, portable, quiet
from benchmarks.objectives import table
from benchmarks.objectives.data import Sizes
from benchmarks.objectives.table import Part
from embedkit.errors import EmbedkitError, RecipeError
from embedkit.recipe.schema import DEFAULT_MODEL

console = Console(highlight=False, soft_wrap=True)
ROOT = Path(__file__).resolve().parents[2]
SIZES = Sizes()


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.objectives",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--base", default=DEFAULT_MODEL, help="encoder folder or Hub id (default: %(default)s)")
    made.add_argument("--data", type=Path, help="folder of the sets")
    made.add_argument("--kinds", default="", help="kinds of data, with commas, in this order; default: all")
    made.add_argument("--objectives", default="", help="rows of the table, with commas; default: all")
    made.add_argument("--seeds", type=int, default=3, help="how many; 1, 2, ... (default: %(default)s)")
    made.add_argument("--rates", default="5e-5,2e-4,8e-4", help="grid of learning rates (default: %(default)s)")
    made.add_argument("--steps", type=int, default=60, help="updates of every training (default: %(default)s)")
    made.add_argument("--batch", type=int, default=32, help="rows per update (default: %(default)s)")
    made.add_argument("--max-length", type=int, default=48, help="tokens of a text (default: %(default)s)")
    for name, what in (
        ("train", "rows of a training file"),
        ("dev", "pairs or queries that a rate is chosen by"),
        ("test", "pairs or queries of a test"),
        ("documents", "texts in which is searched"),
        ("classes", "classes of a labelled set"),
    ):
        made.add_argument(f"--{name}", type=int, default=getattr(SIZES, name), help=f"{what}, at most (%(default)s)")
    made.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    made.add_argument("--table", type=Path, default=table.DEFAULT, help="table of objectives")
    made.add_argument("--work", type=Path, default=Path("runs") / "objectives", help="results (default: %(default)s)")
    made.add_argument("--out", type=Path, default=ROOT / "docs" / "objectives", help="page, numbers and picture")
    made.add_argument("--name", help="of the page; default: the base's")
    made.add_argument("--threads", type=int, help="torch threads")
    made.add_argument("--page", action="store_true", help="train nothing: write the page of what is there")
    made.add_argument("--list", action="store_true", help="print the table, and why the others are left out, and stop")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; 0 if every row of it was tested, else 1, or the exit code of a wrong recipe or wrong data."""
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


def compare(args: argparse.Namespace, known: dict[str, Part]) -> int:
    """Measure what is not there, and write the page after every kind of data."""
    from benchmarks.objectives import summary
    from benchmarks.objectives.cells import Bench, Cells, Place
    from benchmarks.objectives.join import joined, partners, refuse_other_settings
    from benchmarks.objectives.kinds import KINDS

    if args.data is None:
        raise RecipeError(
            "the comparison needs its data named", "--data DIR", "make compare-objectives BASE=... DATA=..."
        )
    if args.seeds < 1 or args.steps < 1 or args.batch < 4:
        raise RecipeError("--seeds and --steps start at 1, --batch at 4", "arguments")
    rates = _rates(args.rates)
    kinds = _named(args.kinds) or list(KINDS)
    if unknown := [name for name in kinds if name not in KINDS]:
        raise RecipeError(f"no kind of data called {', '.join(unknown)}", "--kinds", f"known: {', '.join(KINDS)}")
    quiet(args.threads)
    sizes = Sizes(**{name: getattr(args, name) for name in Sizes.__dataclass_fields__})
    bench = Bench(
        absolute(args.base), args.data.resolve(), args.work.resolve(), args.steps, args.batch, args.max_length,
        sizes=sizes, device=args.device,
    )  # fmt: skip
    seeds, whole, made = list(range(1, args.seeds + 1)), True, facts(args, bench, rates)
    numbers, asked = args.out / f"{page_name(args)}.json", _named(args.objectives)
    for name in kinds:
        kind, part, where = KINDS[name], known[KINDS[name].shape], f"{numbers}, {name}"
        stored = _tables(numbers).get(name) if asked else None
        if stored:
            refuse_other_settings(stored, made, where)
        place = Place(bench, kind)
        cells = Cells(place, seeds[-1], say=lambda line: console.print(line, markup=False))
        rows = table.choose(part, partners(stored, asked))
        chosen = summary.measured(cells, rows, rates, seeds, train=not args.page)
        found = {**summary.summarise(kind, rows, chosen, table.reasons(part, kind.has)), "made": made}
        whole = whole and not found["missing"]
        if stored and set(stored["rows"]) - set(found["rows"]):
            found = joined(stored, found, [row.name for row in part.rows], where)
        if chosen:
            write(numbers, name, found)
    return 0 if whole else 1


def facts(args: argparse.Namespace, bench: Any, rates: Sequence[float]) -> dict[str, Any]:
    """What a kind of data was compared with."""
    from embedkit.run.environment import versions

    return {
        "base": bench.origin,
        "steps": args.steps,
        "batch": args.batch,
        "length": args.max_length,
        "rates": list(rates),
        "seeds": list(range(1, args.seeds + 1)),
        "sizes": dataclasses.asdict(bench.sizes),
        "versions": versions(),
        "command": command(args),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
    }


def write(numbers: Path, name: str, found: dict[str, Any]) -> None:
    """Put one kind of data into the numbers, whose other kinds stay, and write page and picture anew."""
    from benchmarks.objectives import page
    from benchmarks.objectives.kinds import KINDS

    numbers.parent.mkdir(parents=True, exist_ok=True)
    tables = {**_tables(numbers), name: found}
    kinds = {kind: tables[kind] for kind in KINDS if kind in tables}
    numbers.write_text(json.dumps({"kinds": kinds}, indent=1) + "\n", encoding="utf-8")
    page.render(numbers)


def _tables(numbers: Path) -> dict[str, Any]:
    """What is written already, by kind of data."""
    found = json.loads(numbers.read_text(encoding="utf-8"))["kinds"] if numbers.is_file() else {}
    return dict(found)


def command(args: argparse.Namespace) -> str:
    """The command that makes the page again, without this machine's folders."""
    words = [
        "python",
        "-m",
        "benchmarks.objectives",
        "--base",
        portable(args.base),
        "--data",
        last_part(str(args.data)),
    ]
    for name in ("kinds", "objectives"):
        words += [f"--{name}", getattr(args, name)] if getattr(args, name) else []
    for name in ("seeds", "rates", "steps", "batch", "max_length", *Sizes.__dataclass_fields__):
        words += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    words += ["--threads", str(args.threads)] if args.threads else []
    return shlex.join(words)


def _rates(text: str) -> list[float]:
    try:
        found = sorted({float(rate) for rate in text.split(",")})
    except ValueError as error:
        raise RecipeError(f"{text!r} is no list of learning rates", "--rates", "e.g. --rates 5e-5,2e-4") from error
    if found[0] <= 0:
        raise RecipeError(f"a learning rate of {found[0]:g}", "--rates", "give numbers above 0")
    return found


def _named(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _list(known: dict[str, Part]) -> None:
    from benchmarks.objectives.kinds import KINDS

    shapes = {kind.shape: kind.has for kind in KINDS.values()}
    for shape, part in known.items():
        console.print(f"{shape}: {', '.join(row.name for row in part.rows)}", markup=False)
        for name, reason in table.reasons(part, shapes[shape]).items():
            console.print(f"  without {name}: {reason}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
