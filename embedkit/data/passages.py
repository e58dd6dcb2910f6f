"""A folder of documents, or a file of them, as passages that an embedding model can read whole."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedkit.errors import DataError
from embedkit.inputs.lines import TextFile
from embedkit.inputs.texts import fault

SUFFIXES = (".txt", ".md", ".rst")
"""Files of a folder that are read as text; others are counted and left out."""
_HEADING = re.compile(r"#{1,6}\s+\S")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True)
class Text:
    """A document as it came.

    Attributes:
        name: the file's place below the folder, or the row's id.
        title: its first heading, or the title of its row; empty where there is none.
        body: all of its text.
    """

    name: str
    title: str
    body: str


def texts_of(folder: Path, left: Counter[str]) -> Iterator[Text]:
    """The text files below a folder, by name.

    Args:
        folder: searched with all its folders; hidden ones are left out.
        left: gets the count of what was left out, by reason.

    Raises:
        DataError: a file cannot be read, or is no text in UTF-8.
    """
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        inside = path.relative_to(folder)
        if any(part.startswith(".") for part in inside.parts):
            continue
        if path.suffix.lower() not in SUFFIXES:
            left[f"files that end with {path.suffix or 'no suffix'}"] += 1
            continue
        body = "".join(line or "" for line in TextFile(path).lines())
        wrong = fault(body)
        if wrong == "empty text":
            left["files without text"] += 1
        elif wrong:
            raise DataError(wrong, str(path), "save it as UTF-8, or take it out of the folder")
        else:
            yield Text(inside.as_posix(), _first_heading(body), body)


def passages(body: str, words: int) -> list[str]:
    """Parts of at most `words` words, in order, with nothing left out but white space.

    A heading begins a part; paragraphs stay together as far as they fit; a longer paragraph is cut between sentences,
    and a longer sentence between words.
    """
    parts: list[list[str]] = []
    room = 0
    for piece in _pieces(body, words):
        size = len(piece.split())
        if not parts or size > room or _HEADING.match(piece):
            parts.append([])
            room = words
        parts[-1].append(piece)
        room -= size
    return ["\n\n".join(part) for part in parts]


def _pieces(body: str, words: int) -> Iterator[str]:
    """Paragraphs, a heading before each its own; what is longer than `words` words in pieces."""
    for paragraph in re.split(r"\n\s*\n", body.replace("\r\n", "\n")):
        paragraph = paragraph.strip()
        if not paragraph:
            continue
        if len(paragraph.split()) <= words:
            yield paragraph
            continue
        yield from _grouped(_SENTENCE_END.split(paragraph), words)


def _grouped(sentences: Sequence[str], words: int) -> Iterator[str]:
    group: list[str] = []
    for sentence in sentences:
        own = sentence.split()
        if len(group) + len(own) > words and group:
            yield " ".join(group)
            group = []
        for start in range(0, max(len(own) - words, 0), words):
            yield " ".join(own[start : start + words])
        group += own if len(own) <= words else own[(len(own) - 1) // words * words :]
    if group:
        yield " ".join(group)


def _first_heading(body: str) -> str:
    for line in body.splitlines():
        if line.strip():
            return line.lstrip("#").strip() if _HEADING.match(line) else ""
    return ""
