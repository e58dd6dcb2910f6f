"""How templates are read: escaped, strict, and with the filters that pages share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from embedkit.publish import palette


def environment(*, autoescape: bool = True, finalize: Callable[[Any], Any] | None = None) -> Any:
    """A Jinja environment of this package's templates, for HTML unless it is told otherwise."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("embedkit.publish"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=autoescape,  # noqa: S701  (Markdown has its own escape)
        finalize=finalize,
    )
    made.filters |= {"number": "{:,}".format, "follow_page": palette.follow_page}
    return made
