"""Documents as passages: the first stage of `embedkit start`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from embedkit.data.passages import SUFFIXES, Text, passages, texts_of
from embedkit.data.text import text_id
from embedkit.disk import files
from embedkit.errors import DataError
from embedkit.mining.reading import Rows


@dataclass(frozen=True)
class Passage:
    """A part of a document, short enough for a model.

    Attributes:
        id: the document's name and the number of the part, from 1.
        document: the document's name.
        title: that of the document.
        text: without the title.
    """

    id: str
    document: str
    title: str
    text: str


def passages_of(documents: Path, words: int, left: Counter[str], *, progress: bool) -> list[Passage]:
    """The passages of a folder of text files, or of a file with a column `text` and maybe `title` and `id`.

    A passage that stands there twice is taken once.

    Args:
        documents: the folder or the file.
        words: of a passage, at most.
        left: gets the count of what was left out, by reason.
        progress: show a bar.

    Raises:
        DataError: nothing can be read there.
    """
    found: list[Passage] = []
    seen: set[int] = set()
    for text in _texts(documents, left, progress):
        for number, part in enumerate(passages(text.body, words), 1):
            name = text_id(part)
            if name in seen:
                left["passages that stand there twice"] += 1
                continue
            seen.add(name)
            found.append(Passage(f"{text.name}#{number}", text.name, text.title, part))
    if not found:
        cure = f"give a folder with files that end with {', '.join(SUFFIXES)}, or a file with a column `text`"
        raise DataError("there is no text", str(documents), cure)
    return found


def _texts(documents: Path, left: Counter[str], progress: bool) -> Iterator[Text]:
    if documents.is_dir():
        yield from texts_of(documents, left)
        return
    rows = Rows(skip=True)
    for number, row in enumerate(rows.documents(documents, progress=progress), 1):
        yield Text(str(number if row.name is None else row.name), row.title, row.text or row.title)
    for why, count in rows.bad.by_reason.items():
        left[f"rows with {why}"] += count


def digest(found: list[Passage]) -> str:
    """A hash of all passages with their names."""
    sha = hashlib.sha256()
    for passage in found:
        for part in (passage.id, passage.title, passage.text):
            sha.update(part.encode("utf-8", "surrogatepass") + b"\0")
    return sha.hexdigest()


def write_corpus(path: Path, found: list[Passage], *, titles: bool) -> None:
    """BEIR's ``corpus.jsonl``; without titles where they are the questions, which would hold their own answer."""
    rows = ({"_id": p.id, **({"title": p.title} if titles else {}), "text": p.text} for p in found)
    files.write_lines(path, rows)
