"""Where work is done, by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from embedkit.errors import RecipeError
from embedkit.foreign.quoting import quoted
from embedkit.spread.pool import Pool

Engine = Literal["local", "ray"]
"""``local``: in this process. ``ray``: on a Ray cluster, by Ray Data."""


@contextmanager
def pool_of(engine: str) -> Iterator[Pool | None]:
    """The pool of an engine, for a ``with`` block; None for ``local``: this process does the work.

    Raises:
        RecipeError: there is no such engine.
        EmbedkitError: Ray is not installed, or no cluster can be reached.
    """
    if engine not in get_args(Engine):
        raise RecipeError(f"there is no {quoted(engine)}", "--engine", f"one of {', '.join(get_args(Engine))}")
    if engine == "local":
        yield None
        return
    from embedkit.spread.by_ray import RayPool

    pool = RayPool()
    try:
        yield pool
    finally:
        pool.close()
