"""Foreign texts and values in messages: without secrets, cut to a bound, quoted where they are no plain name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence, Sized
from itertools import islice
from typing import Any

from embedkit.foreign.limits import COMPARED_CHARACTERS, COMPARED_NAMES, SHOWN_CHARACTERS, SHOWN_NAMES
from embedkit.foreign.redacting import redact

_LOOKED_AT = 4000
"""Characters of a text in which secrets are looked for before it is cut."""
_PLAIN = re.compile(r"\w[\w./@-]*", re.ASCII)


def quoted(value: Any) -> str:
    """A value as Python writes it, cut; what cannot be written (a number of thousands of digits) is described."""
    if isinstance(value, str):
        value = redact(value[:_LOOKED_AT])  # before the cut, which would leave half a secret that nothing knows
        return repr(value) if len(value) <= SHOWN_CHARACTERS else f"{value[:SHOWN_CHARACTERS]!r}..."
    if isinstance(value, int) and value.bit_length() > 4 * SHOWN_CHARACTERS:
        return "a whole number of hundreds of digits"
    if isinstance(value, (list, tuple, dict)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."


def cut(text: str, most: int = SHOWN_CHARACTERS) -> str:
    """The beginning of a text."""
    text = redact(text[:_LOOKED_AT])
    return text if len(text) <= most else text[:most] + "..."


def named(name: str) -> str:
    """A name as it is where it is plain and short, else quoted and cut."""
    return name if len(name) <= SHOWN_CHARACTERS and _PLAIN.fullmatch(name) and redact(name) == name else quoted(name)


def listed(names: Iterable[str], most: int = SHOWN_NAMES) -> str:
    """The first names, separated by commas, and how many more there are."""
    names = names if isinstance(names, Sized) else list(names)
    shown = ", ".join(named(name) for name in islice(names, most))
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """``did you mean 'query'? `` for the known name most like `name`, else nothing."""
    near = difflib.get_close_matches(name[:COMPARED_CHARACTERS], known[:COMPARED_NAMES], n=1)
    return f"did you mean {quoted(near[0])}? " if near else ""
