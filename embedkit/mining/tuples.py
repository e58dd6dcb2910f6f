"""Mined negatives as tuples of one width, in columns that sentence-transformers trains on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from embedkit.disk import files
from embedkit.errors import DataError, RecipeError
from embedkit.mining.mined_file import TEXTS
from embedkit.mining.problem import Problem
from embedkit.mining.table import MinedTable

ENDINGS = (".parquet", ".jsonl")


def check_name(path: Path) -> None:
    """Refuse what is no name for a file of tuples.

    Raises:
        RecipeError: another ending.
    """
    if path.suffix not in ENDINGS:
        what = f"the file of tuples must end with {' or '.join(ENDINGS)}"
        raise RecipeError(what, "--export", "e.g. --export tuples.parquet")


def columns(negatives: int) -> list[str]:
    """``anchor, positive, negative_1, ..., negative_n``."""
    return ["anchor", "positive", *(f"negative_{i}" for i in range(1, negatives + 1))]


def tuples(problem: Problem, table: MinedTable, negatives: int) -> Iterator[tuple[str, ...]]:
    """Every query and positive with the best `negatives` of the query; those that have fewer are left out."""
    for query, answers in enumerate(problem.positives):
        found = [problem.documents[row] for row in table.negatives(query)[:negatives]]
        if len(found) == negatives:
            for row in answers:
                yield problem.queries[query], problem.documents[row], *found


def write(path: Path, problem: Problem, table: MinedTable, negatives: int) -> tuple[int, int]:
    """Write the tuples whole or not at all.

    Args:
        path: a Parquet or JSONL file.
        problem: queries and documents.
        table: their negatives.
        negatives: n of every tuple.

    Returns:
        How many tuples were written, and how many pairs left out because their query has fewer negatives.

    Raises:
        DataError: no tuple is left; nothing is written.
        WriteError: it cannot be written.
    """
    names, count = columns(negatives), 0
    with ExitStack() as opened:
        file: Any = opened.enter_context(files.new_file(path))
        if path.suffix == ".parquet":
            import pyarrow as pa
            from pyarrow import parquet

            schema = pa.schema([(name, pa.string()) for name in names])
            writer = opened.enter_context(parquet.ParquetWriter(file, schema, compression="zstd"))
            for block in _blocks(problem, table, negatives):
                writer.write_batch(pa.RecordBatch.from_arrays([pa.array(c) for c in zip(*block, strict=True)], names))
                count += len(block)
        else:
            for block in _blocks(problem, table, negatives):
                for row in block:
                    line = json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False)
                    file.write(line.encode("utf-8") + b"\n")
                count += len(block)
        if not count:
            what = f"no query with a positive has {negatives} negatives"
            raise DataError(what, str(path), "give a smaller --export-negatives, or filter less")
    return count, sum(map(len, problem.positives)) - count


def _blocks(problem: Problem, table: MinedTable, negatives: int) -> Iterator[list[tuple[str, ...]]]:
    size = max(1, TEXTS // (2 + negatives))
    block: list[tuple[str, ...]] = []
    for row in tuples(problem, table, negatives):
        block.append(row)
        if len(block) == size:
            yield block
            block = []
    if block:
        yield block
