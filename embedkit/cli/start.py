"""``embedkit start``: from documents to a tuned, measured model."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from embedkit.cli.console import INTERRUPTED, STOPPED, go_offline, say
from embedkit.cli.options import Offline
from embedkit.foreign.limits import SEED

Documents = Annotated[
    Path, typer.Argument(metavar="DOCS", help="A folder of .txt, .md and .rst files, or a file with a column `text`.")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VAL", help="Overrides of the recipe, e.g. train.epochs=3.")
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder for all stages.")]
Model = Annotated[
    str, typer.Option("--model", metavar="MODEL", help="What is tuned, and mines before: a folder, or a Hub id.")
]
Questions = Annotated[
    str,
    typer.Option(
        "--questions",
        metavar="title|synth:MODEL",
        help="Titles ask for their documents, or a language model writes questions, as for `embedkit mine`.",
    ),
]
Judge = Annotated[bool, typer.Option("--judge/--no-judge", help="The language model judges its questions, too.")]
Words = Annotated[int, typer.Option("--words", metavar="N", min=10, max=5000, help="Of a passage, at most.")]
HeldOut = Annotated[
    float, typer.Option("--held-out", metavar="X", min=0.01, max=0.9, help="Share of documents only tested on.")
]
Limit = Annotated[int | None, typer.Option("--limit", metavar="N", min=2, help="Questions, at most.")]
Test = Annotated[
    Path | None, typer.Option("--test", metavar="DIR", help="Real questions, a BEIR folder: measured beside the made.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, max=SEED, help="Of everything drawn.")]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu, cuda or mps.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count passages and calls; ask and write nothing.")]


def start(
    documents: Documents,
    overrides: Overrides = None,
    out: Out = ...,  # type: ignore[assignment]
    model: Model = "sentence-transformers/all-MiniLM-L6-v2",
    questions: Questions = "title",
    judge: Judge = True,
    words: Words = 150,
    held_out: HeldOut = 0.1,
    limit: Limit = None,
    test: Test = None,
    seed: Seed = 42,
    device: Device = "auto",
    dry_run: DryRun = False,
    offline: Offline = False,
) -> None:
    """Go from documents to a tuned, measured model: passages, questions, hard negatives, training, report.

    Documents are held out whole, and only the test asks about them. Each stage leaves a file in DIR (corpus.jsonl,
    questions.jsonl, train/, test/, mined.parquet, recipe.yaml, run/): look at it, change it, remove it to have it made
    again. The same command goes on after the last one that is there.

    \b
      embedkit start manuals/ --out tuned --dry-run
      embedkit start manuals/ --out tuned
      embedkit start corpus.jsonl --questions synth:gpt-x,endpoint=http://localhost:8000/v1 --limit 2000 --out tuned
      embedkit start manuals/ --out tuned --test real-questions/ train.epochs=3
    """
    go_offline(offline)
    from embedkit.run.documents.starting import Start
    from embedkit.run.documents.starting import start as begin

    settings = Start(
        documents,
        out,
        model,
        questions,
        judged=judge,
        words=words,
        held_out=held_out,
        limit=limit,
        test=test,
        seed=seed,
        device=device,
        overrides=tuple(overrides or ()),
    )
    try:
        begin(settings, dry=dry_run, say=say)
    except KeyboardInterrupt as error:
        name = getattr(error, "signal", None)
        say("", stderr=True)
        say(f"interrupted; to go on: {shlex.join(['embedkit', *sys.argv[1:]])}", stderr=True)
        raise typer.Exit(INTERRUPTED if name is None else STOPPED) from error
