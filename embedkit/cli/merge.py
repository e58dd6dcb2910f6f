"""``embedkit merge``: one model out of several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embedkit.cli.console import go_offline, say
from embedkit.cli.options import Offline
from embedkit.errors import RecipeError


def merge(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Folders or Hub ids, trained from one base.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The merged model.")],
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="W,W", help="Shares, one per model; default: equal ones.")
    ] = None,
    method: Annotated[
        str, typer.Option("--method", metavar="NAME", help="linear, slerp (two models) or greedy (--suite chooses).")
    ] = "linear",
    suite: Annotated[
        str | None, typer.Option("--suite", metavar="SUITE", help="Measure every model and the result.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Where the suite's files are.")] = None,
    batch_tokens: Annotated[
        int, typer.Option("--batch-tokens", metavar="N", min=16, help="Padded tokens per batch.")
    ] = 8192,
    offline: Offline = False,
) -> None:
    """Average the weights of models that were trained from one base: a soup, or a model with its base.

    Models of another kind (modules, pooling, prompts, tokenizer, length) are refused. The result is a plain
    sentence-transformers model.

    \b
      embedkit merge runs/a/model runs/b/model --out soup
      embedkit merge runs/a/model BASE --weights 0.7,0.3 --out kept --suite sts --data path/to/data
      embedkit merge runs/s/seed-*/model --method greedy --suite dev.yaml --out soup
    """
    go_offline(offline)
    from typing import get_args

    from embedkit.model.changing.merging import Method
    from embedkit.run import merging

    if method not in (*get_args(Method), "greedy"):
        raise RecipeError(f"no such method: {method}", "--method", "linear, slerp or greedy")
    greedy = method == "greedy"
    merging.merge(
        models,
        out,
        weights=None if weights is None else _shares(weights),
        method="slerp" if method == "slerp" else "linear",
        greedy=greedy,
        suite=suite,
        data=data,
        batch_tokens=batch_tokens,
        say=say,
    )


def _shares(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise RecipeError(f"not numbers: {text}", "--weights", "e.g. 0.7,0.3") from error
