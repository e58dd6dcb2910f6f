"""Small damages of bytes and of values, the same for the same seed."""

from __future__ import annotations

import copy
import random
from typing import Any

ODD = (
    b"\0",
    b'"',
    b"'",
    b"\n",
    b"\r",
    b"\t",
    b"\xff",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"-",
    b"\xef\xbb\xbf",
)
"""Bytes that mean something somewhere."""
WRONG: tuple[Any, ...] = (
    *(None, True, [], {}, "", -1, 0, 1.5, 1e308, float("nan"), float("-inf"), 2**63, -(2**70)),
    *("\0", "\x1b[2J", "x" * 2000, "../../etc", "1e5", "nan", [None], [[[]]], {"name": None}, {"a": {"b": [1]}}),
)
"""Values that hardly any key takes."""


def bytewise(content: bytes, seed: int) -> bytes:
    """One to three places deleted, repeated, replaced, or with an odd byte more; or the end cut off."""
    draw = random.Random(seed)
    for _ in range(draw.randint(1, 3)):
        at, length = draw.randrange(len(content)), draw.choice((1, 1, 1, 2, 7))
        kind = draw.choice(("delete", "insert", "insert", "replace", "repeat", "cut"))
        if kind == "delete":
            content = content[:at] + content[at + length :]
        elif kind == "insert":
            content = content[:at] + draw.choice(ODD) + content[at:]
        elif kind == "replace":
            content = content[:at] + draw.choice(ODD) + content[at + 1 :]
        elif kind == "repeat":
            content = content[: at + length] + content[at:]
        else:
            content = content[: max(1, at)]
    return content


def valued(tree: Any, seed: int) -> tuple[Any, tuple[str | int, ...]]:
    """A copy with a wrong value at one place; returns it and the place."""
    draw = random.Random(seed)
    changed = copy.deepcopy(tree)
    place = draw.choice(list(_places(changed, ())))
    inside = changed
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = draw.choice([value for value in WRONG if repr(value) != repr(inside[place[-1]])])
    return changed, place


def _places(tree: Any, above: tuple[str | int, ...]) -> Any:
    pairs: Any = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        yield (*above, key)
        yield from _places(value, (*above, key))
