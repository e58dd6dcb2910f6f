"""Which encoding a text file is read with: the declared one, held against the file's first bytes."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from embedkit.errors import DataError, RecipeError
from embedkit.foreign.quoting import quoted
from embedkit.inputs.cures import Cures

_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le", "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "utf-16"),
    (codecs.BOM_UTF8, "utf-8", "utf-8"),
)
"""Byte order marks; UTF-32's little-endian one starts with UTF-16's."""


def codec_of(encoding: str) -> str:
    """Python's name of an encoding, whatever its spelling; ``utf-8-sig`` is ``utf-8``, a mark is always removed.

    Raises:
        RecipeError: there is no such encoding of text.
    """
    if re.sub(r"[^a-z0-9]", "", encoding.lower()) in ("utf8sig", "utf8bom"):
        return "utf-8"
    try:
        "a".encode(encoding)
        name = codecs.lookup(encoding).name
    except (LookupError, ValueError) as error:
        what = f"unknown encoding {quoted(encoding)}"
        raise RecipeError(what, "data.sources.encoding", "e.g. utf-8, latin-1, cp1252, utf-16") from error
    return "utf-8" if name == "utf-8-sig" else name


def decoding(head: bytes, encoding: str, path: Path, cures: Cures) -> str:
    """The codec for a file that starts with `head`.

    Raises:
        DataError: its byte order mark or its NUL bytes say that it has another encoding.
        RecipeError: unknown encoding.
    """
    codec = codec_of(encoding)
    for mark, exact, general in _MARKS:
        if head.startswith(mark):
            if codec not in (exact, general):
                raise DataError(f"starts with the byte order mark of {general}", str(path), cures.encoding(general))
            return exact
    wide = codec.startswith(("utf-16", "utf-32"))
    if wide and len(head) > 3 and b"\0" not in head and _is_utf8(head):
        raise DataError(f"not {codec}: its bytes are UTF-8", str(path), cures.encoding("utf-8"))
    found = None if wide or b"\0" not in head else _without_mark(head)
    if found is not None:
        raise DataError(f"looks like {found} without a byte order mark", str(path), cures.encoding(found))
    return codec


def _without_mark(head: bytes) -> str | None:
    """UTF-16 or UTF-32 by where the NUL bytes stand; None where they are strays."""
    quarters = [head[place::4].count(0) / max(1, len(head[place::4])) for place in range(4)]
    if len(head) >= 8 and quarters[3] == 1 and quarters[2] > 0.9:
        return "utf-32-le"
    if len(head) >= 8 and quarters[0] == 1 and quarters[1] > 0.9:
        return "utf-32-be"
    even, odd = (head[place::2].count(0) / max(1, len(head[place::2])) for place in range(2))
    high, low, name = (odd, even, "utf-16-le") if odd > even else (even, odd, "utf-16-be")
    if high > 0.3 and low < 0.05:
        return name
    # Of a text in another script few bytes are NUL, most of them in line ends; the others are no UTF-8.
    return name if not _is_utf8(head) and _decodes(head, name) else None


def _is_utf8(head: bytes) -> bool:
    return _decodes(head, "utf-8")


def _decodes(head: bytes, codec: str) -> bool:
    """Whether `head` decodes, a character cut at its end aside."""
    try:
        codecs.getincrementaldecoder(codec)("strict").decode(head, final=False)
    except UnicodeError:
        return False
    return True
