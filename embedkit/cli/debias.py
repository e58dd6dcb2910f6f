"""``embedkit debias``: triplets sampled from unlabelled sentences, written to a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from embedkit.cli.console import go_offline, say
from embedkit.cli.options import Offline
from embedkit.errors import EmbedkitError, RecipeError

if TYPE_CHECKING:
    from pydantic import BaseModel

    from embedkit.data.sources import LoadedSource
    from embedkit.recipe.debias import Debias
    from embedkit.recipe.schema import Model, Source

T = TypeVar("T", bound="BaseModel")
Text = Annotated[Path, typer.Option("--text", metavar="FILE", help="Sentences: txt, jsonl, csv, tsv, parquet.")]
Out = Annotated[Path, typer.Option("--out", metavar="FILE.jsonl", help="The triplets; .gz packs them.")]


def debias(
    options: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VAL", help="Options, as in a recipe's debias block.")
    ] = None,
    text: Text = ...,  # type: ignore[assignment]
    out: Out = ...,  # type: ignore[assignment]
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="MODEL", help="Judges meaning: a folder or Hub id. Default: all-MiniLM-L6-v2."),
    ] = None,
    column: Annotated[
        str, typer.Option("--column", metavar="NAME", help="Of the sentences; a txt file has none.")
    ] = "text",
    pooling: Annotated[
        str | None, typer.Option("--pooling", metavar="NAME", help="Of a plain encoder: cls, mean, ...")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option("--max-length", metavar="N", min=3, help="Tokens per sentence.")
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=2, help="Use the first N sentences.")] = None,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.jsonl.")] = False,
    offline: Offline = False,
) -> None:
    """Sample (query, positive, negative) so that shared words and length do not tell positives from negatives.

    Beside the triplets stand OUT.json, what was measured before and after, and OUT.svg, the same as a picture.

    The options are those of `embedkit recipes keys data.sources.debias`. A recipe samples by itself when its source
    has a `debias` block; what this command made for the same model and text is then read from the cache.

    \b
      embedkit debias --text sentences.txt --out triplets.jsonl
      embedkit debias --model path/to/model --text sentences.txt --out triplets.jsonl surface=edit negatives=4
    """
    go_offline(offline)
    from embedkit.disk import locks
    from embedkit.recipe.debias import Debias
    from embedkit.recipe.load import made
    from embedkit.recipe.schema import Model, Source

    wanted = _block(Debias, {}, options or [])
    given = {"base": model, "pooling": pooling, "max_length": max_length}
    block = _block(Model, {key: value for key, value in given.items() if value is not None})
    source = made(Source, path=str(text.resolve()), roles={"text": column}, limit=limit)
    beside = _beside(out, overwrite)
    with locks.hold_file(out, "sampling triplets"):
        _sample(source, wanted, block, device, out, beside)


def _beside(out: Path, overwrite: bool) -> Path:
    """The common name of what is written beside the triplets, without its ending; refuses what would be lost."""
    from embedkit.disk.files import writing

    whole = out.with_suffix("") if out.suffix == ".gz" else out
    if whole.suffix != ".jsonl":
        raise RecipeError("the triplets' file must end with .jsonl or .jsonl.gz", "--out", "e.g. --out triplets.jsonl")
    beside = whole.with_suffix("")
    with writing(out):
        there = [p for p in (out, *(_ending(beside, e) for e in (".json", ".svg"))) if p.exists()]
    if there and not overwrite:
        raise EmbedkitError("exists already", str(there[0]), "name another file, or add --overwrite")
    return beside


def _ending(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _sample(source: Source, wanted: Debias, block: Model, device: str, out: Path, beside: Path) -> None:
    from embedkit.data.sources import load_source
    from embedkit.disk import files
    from embedkit.inputs.cures import PLAIN
    from embedkit.mining.debias import summary, triplet_source
    from embedkit.mining.guide import load_guide
    from embedkit.publish.plots import draw_triplets

    texts = load_source(source, progress=True, cures=PLAIN)
    for line in texts.remarks:
        say(f"{texts.name}: {line}")
    made = triplet_source(
        texts,
        wanted,
        lambda: load_guide(wanted.guide, block, device),
        name=wanted.guide or block.base,
        progress=True,
    )
    _write(made, out)
    report = made.made["debias"]
    files.write_json(_ending(beside, ".json"), report)
    files.write_text(_ending(beside, ".svg"), draw_triplets(report).svg)
    for line in summary(report):
        say(line)
    say(f"{made.rows:,} triplets -> {out}")


def _block(kind: type[T], given: dict[str, Any], overrides: Sequence[str] = ()) -> T:
    """A block of a recipe out of options of the command line, with a recipe's errors."""
    from pydantic import ValidationError

    from embedkit.recipe.reading.merge import apply_overrides
    from embedkit.recipe.reading.problems import raise_problems
    from embedkit.recipe.reading.translate import problems
    from embedkit.recipe.reading.tree import Node

    options = {key: Node(value, f"--{key.replace('_', '-')}") for key, value in given.items()}
    tree = apply_overrides(Node(options, "options"), overrides, kind)
    try:
        return kind.model_validate(tree.plain())
    except ValidationError as error:
        raise_problems(problems(error, kind, tree))
        raise


def _write(made: LoadedSource, out: Path) -> None:
    import gzip
    from contextlib import ExitStack

    from embedkit.disk import files

    assert made.rows is not None
    with ExitStack() as opened:
        file: Any = opened.enter_context(files.new_file(out))
        if out.suffix == ".gz":
            file = opened.enter_context(gzip.GzipFile("", "wb", fileobj=file, mtime=0))
        for start in range(0, made.rows, 4096):
            for e in made.get(range(start, min(made.rows, start + 4096))):
                row = {"query": e.query, "positive": e.positives[0], "negative": list(e.negatives)}
                file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
