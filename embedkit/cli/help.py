"""How help looks: typer's plain layout with colour.

typer's boxes need rich's Markdown, tracebacks and syntax highlighting, whose import takes longer than all else that
``--help`` does; the plain layout also leaves the example commands in one line, to be copied.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from embedkit.foreign.showing import LONGEST, shown

WIDTH = 100
"""Columns that help may take of a wider terminal."""


class App(typer.Typer):
    """A group of verbs whose help, and whose verbs' help, looks like this."""

    def __init__(self, **options: Any) -> None:
        settings = {"help_option_names": ["-h", "--help"], "max_content_width": WIDTH}
        super().__init__(
            cls=_Group,
            rich_markup_mode=None,
            add_completion=False,
            pretty_exceptions_enable=False,
            context_settings=settings,
            **options,
        )

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:
        return super().command(name, cls=_Command, **options)


def _said(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call; what a usage error says is fit to be shown."""
    try:
        return call(*args, **kwargs)
    except Exception as error:
        if hasattr(error, "format_message") and type(error).__name__ != "NoArgsIsHelpError":  # that one is our help
            text = shown(error.format_message(), lines=True, most=LONGEST)
            error.format_message = lambda: text
        raise


def _sections(command: Any, context: Any, formatter: Any) -> None:
    """Arguments and options, each a list of names and what they mean."""
    found = [(p, p.get_help_record(context)) for p in command.get_params(context)]
    arguments = [(p.metavar, r[1]) for p, r in found if r is not None and p.param_type_name == "argument"]
    _section(formatter, "Arguments", arguments)
    _section(formatter, "Options", [r for p, r in found if r is not None and p.param_type_name == "option"])


def _section(formatter: Any, heading: str, rows: list[tuple[str, str]]) -> None:
    if rows:
        with formatter.section(_styled(heading, bold=True)):
            formatter.write_dl([(_styled(name, fg="cyan"), meaning) for name, meaning in rows])


def _styled(text: str, **style: Any) -> str:
    """Coloured; typer drops the colours where the output is no terminal, but does not know NO_COLOR."""
    return text if os.environ.get("NO_COLOR") else typer.style(text, **style)


class _Command(TyperCommand):
    def format_options(self, ctx: Any, formatter: Any) -> None:
        _sections(self, ctx, formatter)


class _Group(TyperGroup):
    """Also says what is wrong with a command line, whose words may be anybody's: files that a pattern found."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        return _said(super().make_context, *args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        return _said(super().invoke, ctx)

    def get_help_option(self, ctx: Any) -> Any:
        """With a value of its own: to coerce None, typer imports pydantic, on the way to every verb's help."""
        option = super().get_help_option(ctx)
        if option is not None and option.default is None:
            option.default = False
        return option

    def format_options(self, ctx: Any, formatter: Any) -> None:
        _sections(self, ctx, formatter)
        verbs = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        first = [(name, (verb.help or "").split("\n\n")[0]) for name, verb in verbs if verb and not verb.hidden]
        _section(formatter, "Commands", [(name, " ".join(text.split())) for name, text in first])
