"""``embedkit edit``: hard negatives by rule, without a language model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embedkit.cli.console import say
from embedkit.errors import EmbedkitError, RecipeError
from embedkit.foreign.limits import SEED

Text = Annotated[Path, typer.Option("--text", metavar="FILE", help="Texts or pairs: txt, jsonl, csv, tsv, parquet.")]
Out = Annotated[Path, typer.Option("--out", metavar="FILE.jsonl", help="query, positive, negative, rule.")]


def edit(
    text: Text = ...,  # type: ignore[assignment]
    out: Out = ...,  # type: ignore[assignment]
    rules: Annotated[
        str, typer.Option("--rules", metavar="NAMES", help="With commas between; see above.")
    ] = "trigrams,exchange,number,negation",
    query: Annotated[
        str | None, typer.Option("--query", metavar="COLUMN", help="Of pairs: the query; the positive is edited.")
    ] = None,
    column: Annotated[
        str, typer.Option("--column", metavar="COLUMN", help="The text that is edited; a txt file has none.")
    ] = "text",
    limit: Annotated[int | None, typer.Option("--limit", metavar="N", min=1, help="Use the first N rows.")] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, max=SEED, help="Of the draws.")] = 0,
    skip_bad_rows: Annotated[bool, typer.Option("--skip-bad-rows", help="Leave bad rows out and count them.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.jsonl.")] = False,
) -> None:
    """Make hard negatives by small edits: the same words in another order, or one word that changes the meaning.

    \b
      words      all words in another order (ARO)
      within     the words of each three among themselves (ARO)
      trigrams   groups of three words in another order (ARO)
      bigrams    groups of two in another order, marks kept with their words (FSC-CLIP)
      exchange   a colour, size, material, count, state, direction, ... for another; English
      number     another whole number
      negation   `not` put in or taken out; English

    What is drawn depends on the text, the rule and the seed alone. An edit may keep the meaning: a guide in the loss or
    `embedkit mine --filter` finds those.

    \b
      embedkit edit --text sentences.txt --out triplets.jsonl
      embedkit edit --text pairs.tsv --query title --column body --rules number,negation --out triplets.jsonl
      embedkit train retrieval/infonce data.sources.0.path=triplets.jsonl --out runs/edited
    """
    from embedkit.data.sources import load_source
    from embedkit.disk.locks import hold_file
    from embedkit.inputs.cures import PLAIN
    from embedkit.recipe.load import made
    from embedkit.recipe.schema import Source
    from embedkit.synthesis.editing import edit_file
    from embedkit.synthesis.edits import rules_called

    wanted = list(rules_called(name.strip() for name in rules.split(",") if name.strip()))
    if out.suffix != ".jsonl":
        raise RecipeError("the file must end with .jsonl", "--out", "e.g. --out triplets.jsonl")
    roles = {"text": column} if query is None else {"query": query, "positive": column}
    bad = "skip" if skip_bad_rows else "error"
    source = made(Source, path=str(text.resolve()), roles=roles, limit=limit, on_bad_row=bad)
    with hold_file(out, "making negatives"):
        if out.exists() and not overwrite:
            raise EmbedkitError("exists already", str(out), "name another file, or add --overwrite")
        loaded = load_source(source, progress=True, cures=PLAIN)
        for line in loaded.remarks:
            say(f"{loaded.name}: {line}")
        done = edit_file(loaded, wanted, out, seed=seed, progress=True)
    for line in done.lines():
        say(line)
    say(f"{done.rows:,} rows -> {out}")
