"""Mined negatives as a Parquet file: a row for each query and positive, and in its metadata how they were found."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from embedkit.disk import files
from embedkit.errors import DataError
from embedkit.inputs.parquet import FORMATS, MINED, about_of
from embedkit.mining.assembly import GRADE, WEIGHT
from embedkit.mining.problem import Problem
from embedkit.mining.table import MinedTable

SCHEMA = pa.schema(
    [
        ("query_id", pa.string()),
        ("query", pa.string()),
        ("positive_id", pa.string()),
        ("positive", pa.string()),
        ("negative_id", pa.list_(pa.string())),
        ("negative", pa.list_(pa.string())),
        ("positive_score", pa.float32()),
        ("negative_score", pa.list_(pa.float32())),
        ("negative_rank", pa.list_(pa.int32())),
    ]
)
MARKS = (WEIGHT, GRADE)
"""Further columns of numbers of the pair, where the data have them."""
TEXTS = 16_384
"""Texts of a group of rows: what is held in memory while the file is written."""


def schema_of(problem: Problem) -> pa.Schema:
    """The columns of a problem's file."""
    return pa.schema([*SCHEMA, *((mark, pa.float64()) for mark in MARKS if mark in problem.marks)])


def blocks(problem: Problem, table: MinedTable, positive_scores: np.ndarray) -> Iterator[pa.RecordBatch]:
    """The rows, in groups.

    A query with several positives has several rows with the same negatives; one without has a row whose positive is
    null.

    Args:
        problem: queries and documents.
        table: their negatives.
        positive_scores: [pairs] as `Miner.positive_scores` gives them.
    """
    size = max(1, TEXTS // (2 + table.rows.shape[1]))
    schema, rows = schema_of(problem), list[dict[str, Any]]()
    pair = 0
    for query, answers in enumerate(problem.positives):
        there = table.rows[query] >= 0
        found = table.rows[query][there].tolist()
        shared = {
            "query_id": problem.query_ids[query],
            "query": problem.queries[query],
            "negative_id": [problem.document_ids[row] for row in found],
            "negative": [problem.documents[row] for row in found],
            "negative_score": table.scores[query][there].tolist(),
            "negative_rank": table.rank[query][there].tolist(),
        }
        for place, row in enumerate(answers or (None,)):
            own: dict[str, Any] = {"positive_id": None, "positive": None, "positive_score": None}
            if row is not None:
                score = float(positive_scores[pair])
                own = {"positive_id": problem.document_ids[row], "positive": problem.documents[row]}
                own |= {"positive_score": score, **{mark: of[query][place] for mark, of in problem.marks.items()}}
                pair += 1
            rows.append(shared | own)
            if len(rows) == size:
                yield pa.RecordBatch.from_pylist(rows, schema=schema)
                rows = []
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schema=schema)


def write(path: Path, rows: Iterator[pa.RecordBatch], about: Mapping[str, Any], schema: pa.Schema = SCHEMA) -> int:
    """Write the file whole or not at all, a group of rows at a time.

    Args:
        path: the file.
        rows: of `blocks`.
        about: plain data, to be found again with `read_about`.
        schema: their columns, see `schema_of`.

    Returns:
        How many rows it has.

    Raises:
        WriteError: it cannot be written.
    """
    described = json.dumps({"format": FORMATS[MINED], **about}, ensure_ascii=False)
    count = 0
    with (
        files.new_file(path) as file,
        parquet.ParquetWriter(file, schema.with_metadata({MINED: described}), compression="zstd") as writer,
    ):
        for block in rows:
            writer.write_batch(block)
            count += len(block)
    return count


def read_about(path: Path) -> dict[str, Any]:
    """How the negatives of a file were found: model, settings, what each filter removed, index.

    Raises:
        DataError: it is no such file, or one of another version of embedkit.
    """
    found = about_of(path)
    if found is None:
        raise DataError("has no mined negatives", str(path), "give a file of `embedkit mine`")
    return found
