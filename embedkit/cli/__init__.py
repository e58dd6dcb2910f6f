"""The command line. Verbs import what they need when they run, so that ``embedkit --help`` answers at once."""

from __future__ import annotations

import errno
import sys
from traceback import format_exception
from typing import Annotated

import typer

from embedkit import __version__
from embedkit.cli import (
    check,
    debias,
    edit,
    encode,
    env,
    evaluate,
    export,
    merge,
    mine,
    objectives,
    publish,
    raters,
    recipes,
    start,
    synth,
    train,
    whiten,
)
from embedkit.cli import report as reports
from embedkit.cli.console import report
from embedkit.cli.help import App
from embedkit.disk.files import REASONS
from embedkit.errors import EmbedkitError
from embedkit.foreign.quoting import cut
from embedkit.foreign.showing import shown

app = App(
    name="embedkit",
    no_args_is_help=True,
    epilog="Exit codes: 0 good, 1 failed, 2 recipe wrong, 3 data wrong. Where to start: embedkit recipes ls",
)
app.command("check", no_args_is_help=True)(check.check)
app.command("train", no_args_is_help=True)(train.train)
app.command("start", no_args_is_help=True)(start.start)
app.command("eval", no_args_is_help=True)(evaluate.evaluate)
app.command("report", no_args_is_help=True)(reports.report)
app.command("encode", no_args_is_help=True)(encode.encode)
app.command("mine", no_args_is_help=True, epilog=mine.filters_help())(mine.mine)
app.command("merge", no_args_is_help=True)(merge.merge)
app.command("whiten", no_args_is_help=True)(whiten.whiten)
app.command("synth", no_args_is_help=True)(synth.synth)
app.command("edit", no_args_is_help=True)(edit.edit)
app.command("debias", no_args_is_help=True)(debias.debias)
app.command("raters", no_args_is_help=True)(raters.raters)
app.command("export", no_args_is_help=True)(export.export)
app.command("publish", no_args_is_help=True)(publish.publish)
app.add_typer(recipes.app, name="recipes")
app.add_typer(objectives.app, name="objectives")
app.command("env")(env.env)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"embedkit {__version__}")
        raise typer.Exit


@app.callback()
def embedkit(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; works in any place.")] = False,
) -> None:
    """Train, measure and publish text embedding models from recipes.

    \b
      embedkit start DOCS --out tuned               from documents to a tuned, measured model
      embedkit recipes ls                           what ships
      embedkit check unsup/simcse                   what would happen, before anything is downloaded
      embedkit train unsup/simcse --out runs/a      train, measured before and after
      embedkit eval runs/a/model --suite sts        measure any model
      embedkit publish runs/a me/my-model           what would go to the Hub; --push sends it
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code: 0 good, 1 failed, 2 recipe or usage wrong, 3 data wrong.

    With ``--debug``, and where the error is none that a user is known to cause, the traceback is shown: its causes hold
    what files, servers and libraries said, so that it is cleaned as all that is shown.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    try:
        app([a for a in arguments if a != "--debug"])
    except Exception as error:
        known = error if isinstance(error, EmbedkitError) else _too_long(error)
        if known is None or debug:
            typer.echo(shown("".join(format_exception(error)), lines=True), err=True, nl=False)
        else:
            report(known)
        sys.exit(1 if known is None else known.exit_code)


def _too_long(error: Exception) -> EmbedkitError | None:
    """An error about a name that the file system cannot have, wherever it comes from."""
    if not isinstance(error, OSError) or error.errno != errno.ENAMETOOLONG:
        return None
    what, cure = REASONS[errno.ENAMETOOLONG]
    return EmbedkitError(what, cut(str(error.filename)), cure)
