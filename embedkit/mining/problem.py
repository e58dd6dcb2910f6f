"""What is mined: queries with what answers them, and the documents that are searched."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

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
        marks: numbers of the pairs by name (``weight``, ``grade``), each per query one for every positive; searches do
            not read them. None where the data have none.
    """

    queries: Sequence[str]
    query_ids: Sequence[str]
    documents: Sequence[str]
    document_ids: Sequence[str]
    positives: Sequence[tuple[int, ...]]
    marks: Mapping[str, Sequence[tuple[float, ...]]] = field(default_factory=dict)

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
        """Content hash of what is searched: texts, ids, and what answers what."""
        sha = hashlib.sha256()
        for part in (self.queries, self.query_ids, self.documents, self.document_ids, map(repr, self.positives)):
            for text in part:
                content = text.encode("utf-8", "surrogatepass")
                sha.update(len(content).to_bytes(8, "little") + content)
            sha.update(b"\xff" * 8)
        return sha.hexdigest()

    def write(self, folder: Path) -> None:
        """Write what is searched as two Parquet files below `folder`, for another process.

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
