"""``embedkit publish``: a model to the Hub, or what would go there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embedkit.cli.console import say
from embedkit.cli.options import AsJson


def publish(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or of any model.")],
    to: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Where on the Hub.")],
    push: Annotated[
        bool, typer.Option("--push", help="Push. Without it nothing leaves this machine but the card.")
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="For all to see; private otherwise.")] = False,
    revision: Annotated[
        str | None, typer.Option("--revision", metavar="BRANCH", help="A branch, made where there is none.")
    ] = None,
    pr: Annotated[bool, typer.Option("--pr", help="Open a pull request.")] = False,
    message: Annotated[str | None, typer.Option("--message", metavar="TEXT", help="First line of the commit.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace another model that is there.")] = False,
    json: AsJson = False,
) -> None:
    """Show what would go to the Hub: files, sizes, card; with --push send it, get it back and compare.

    Only the model's own files go, its card, and a run's recipe and record without secrets and paths. Refused where the
    files do not give the embeddings that the model had when it was saved.

    The token is that of `hf auth login` or HF_TOKEN. A push that broke off is run again; what has arrived is not sent
    again.

    \b
      embedkit publish runs/a me/my-model
      embedkit publish runs/a me/my-model --push
      embedkit publish runs/a me/my-model --push --public --revision v2
    """
    from embedkit import run as run_
    from embedkit.foreign.showing import as_json

    found = run_.publish(
        run,
        to,
        push=push,
        private=not public,
        revision=revision,
        pr=pr,
        message=message,
        overwrite=overwrite,
        say=(lambda line: None) if json else say,
    )
    if json:
        typer.echo(as_json(found.plain()))
    elif not push:
        say("nothing was pushed; add --push")
