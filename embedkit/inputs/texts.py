"""What makes a text unfit to be encoded."""

from __future__ import annotations

import math
import unicodedata
from typing import Any

_EMPTY_CATEGORIES = frozenset({"Cc", "Cf", "Zl", "Zp", "Zs"})
_INVISIBLE = frozenset({0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x180B, 0x180C, 0x180D, 0x180F, 0x2800, 0x3164, 0xFFA0})
"""Marks, fillers and blanks that show nothing though their category says letter, mark or symbol."""


def is_broken(text: str) -> bool:
    """Whether `text` holds half of a surrogate pair, which no encoder can take; undecodable bytes are read as such."""
    if text.isascii():
        return False
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return True
    return False


def is_empty(text: str) -> bool:
    """Whether nothing of `text` can be seen: no characters, or white space, control, zero-width and filler
    characters alone."""
    return all(_is_invisible(character) for character in text)


def _is_invisible(character: str) -> bool:
    if character.isalnum() and character.isascii():
        return False
    code = ord(character)
    return (
        unicodedata.category(character) in _EMPTY_CATEGORIES
        or code in _INVISIBLE
        or 0xFE00 <= code <= 0xFE0F  # variation selectors
        or 0xE0000 <= code <= 0xE0FFF  # tags and more variation selectors
    )


def fault(text: str) -> str:
    """Why a text cannot be encoded; empty for a sound one."""
    if is_empty(text):
        return "empty text" if not text or text.isspace() else "text without a visible character"
    if "\0" in text:
        return "a NUL character"
    return "half of a surrogate pair" if is_broken(text) else ""


def is_absent(value: Any) -> bool:
    """Whether a field holds no text at all: null, NaN (as pandas has it), or a text in which nothing can be seen."""
    if isinstance(value, str):
        return is_empty(value)
    return value is None or (isinstance(value, float) and math.isnan(value))


def fault_of_id(value: Any, column: str) -> str:
    """Why the value of a column is no id, which is a text or a whole number; empty for one."""
    if is_absent(value):
        return f"no {column}"
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return f"{column}: a text or a whole number is expected"
    return fault(value) if isinstance(value, str) else ""


def as_number(value: Any) -> float | None:
    """The finite number that a value is, or that a text writes, white space around it aside; None for anything else.
    Python's own ways of writing one (``1_000``, digits of other scripts) are none."""
    if isinstance(value, str):
        plain = value.strip()
        value = plain if plain.isascii() and "_" not in plain else None
    if value is None or isinstance(value, bool):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None
