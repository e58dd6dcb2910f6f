"""What is mined: queries with what answers them, and the documents that are searched."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.data.text import text_id
from embedkit.disk import files
from embedkit.errors import DataError
from embedkit.inputs.parquet import rows

QUERIES, DOCUMENTS = "queries.parquet", "documents.parquet"


@dataclass(frozen=True)
class Problem:
    """Queries, documents, and which document answers which query.

    Attributes:
        queries: [q] texts, no two with one text id.
        query_ids: [q] as the data call them.
        documents: [n] texts.
        document_ids: [n] as the data call them.
        positives: per query the rows of the documents that answer it, in the order of the data; none where that is
            not known.
    """

    queries: Sequence[str]
    query_ids: Sequence[str]
    documents: Sequence[str]
    document_ids: Sequence[str]
    positives: Sequence[tuple[int, ...]]

    @cached_property
    def query_text_ids(self) -> np.ndarray:
        """[q] int64."""
        return np.array([text_id(text) for text in self.queries], np.int64)

    @cached_property
    def text_ids(self) -> np.ndarray:
        """[n] int64 of the documents; equal for equal texts."""
        return np.array([text_id(text) for text in self.documents], np.int64)

    @cached_property
    def known(self) -> list[np.ndarray]:
        """Per query the text ids of itself and of all its positives: never its negatives."""
        own = zip(self.query_text_ids.tolist(), self.positives, strict=True)
        return [
            np.unique(np.array([query, *self.text_ids[list(answers)].tolist()], np.int64)) for query, answers in own
        ]

    @cached_property
    def digest(self) -> str:
        """Content hash: texts, ids, and what answers what."""
        sha = hashlib.sha256()
        for part in (self.queries, self.query_ids, self.documents, self.document_ids, map(repr, self.positives)):
            for text in part:
                content = text.encode("utf-8", "surrogatepass")
                sha.update(len(content).to_bytes(8, "little") + content)
            sha.update(b"\xff" * 8)
        return sha.hexdigest()

    def write(self, folder: Path) -> None:
        """Write it as two Parquet files below `folder`, for another process.

        Raises:
            WriteError: they cannot be written.
        """
        import pyarrow as pa
        from pyarrow import parquet

        files.make_folder(folder)
        queries = {
            "id": self.query_ids,
            "text": self.queries,
            "positives": [list(answers) for answers in self.positives],
        }
        for name, columns in ((QUERIES, queries), (DOCUMENTS, {"id": self.document_ids, "text": self.documents})):
            with files.new_file(folder / name) as file:
                parquet.write_table(pa.table({key: list(column) for key, column in columns.items()}), file)

    @classmethod
    def read(cls, folder: Path) -> Problem:
        """Read what `write` wrote.

        Raises:
            DataError: a file is missing or damaged.
        """
        queries, documents = (list(rows(folder / name, [])) for name in (QUERIES, DOCUMENTS))
        ask, doc = ([row.values or {} for row in found] for found in (queries, documents))
        return cls(
            [row["text"] for row in ask],
            [row["id"] for row in ask],
            [row["text"] for row in doc],
            [row["id"] for row in doc],
            [tuple(row["positives"]) for row in ask],
        )

    def check(self) -> None:
        """Refuse what cannot be mined.

        Raises:
            DataError: no query or no document.
        """
        if not self.queries:
            raise DataError("there is no query", "mining", "give queries with their positives")
        if not self.documents:
            raise DataError("the corpus is empty", "mining", "give it at least one document")


class Gatherer:
    """Makes a problem of queries, positives and documents that come one by one, each text once."""

    def __init__(self) -> None:
        self._queries: dict[int, int] = {}
        self._documents: dict[int, int] = {}
        self._query_texts: list[str] = []
        self._query_ids: list[str] = []
        self._texts: list[str] = []
        self._ids: list[str] = []
        self._positives: list[dict[int, None]] = []

    def document(self, text: str, name: str | None = None) -> int:
        """The row of a document; the first that brings a text gives it its id."""
        key = text_id(text)
        row = self._documents.setdefault(key, len(self._texts))
        if row == len(self._texts):
            self._texts.append(text)
            self._ids.append(f"d{row}" if name is None else name)
        return row

    def query(self, text: str, positives: Iterable[str] = (), name: str | None = None) -> None:
        """A query, or more positives of one that is there."""
        key = text_id(text)
        number = self._queries.setdefault(key, len(self._query_texts))
        if number == len(self._query_texts):
            self._query_texts.append(text)
            self._query_ids.append(f"q{number}" if name is None else name)
            self._positives.append({})
        self._positives[number].update(dict.fromkeys(self.document(p) for p in positives))

    def finish(self) -> Problem:
        """The problem.

        Raises:
            DataError: no query or no document.
        """
        answers = [tuple(found) for found in self._positives]
        problem = Problem(self._query_texts, self._query_ids, self._texts, self._ids, answers)
        problem.check()
        return problem


def of_examples(examples: Iterable[Any], documents: Iterable[str] = ()) -> Problem:
    """The problem of a source: its queries against its positives and negatives, and further documents.

    Args:
        examples: `embedkit.types.Example`s.
        documents: further texts.
    """
    gathered = Gatherer()
    for example in examples:
        gathered.query(example.query, example.positives)
        for negative in example.negatives:
            gathered.document(negative)
    for text in documents:
        gathered.document(text)
    return gathered.finish()
