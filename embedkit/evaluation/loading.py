"""Evaluation data in memory: graded pairs, and queries with a corpus and judgements. No torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.errors import DataError
from embedkit.evaluation.files import Row, column, read_rows, text_column
from embedkit.foreign.quoting import listed, quoted
from embedkit.inputs.texts import as_number, is_broken
from embedkit.recipe.pydocs import PydocsSource
from embedkit.recipe.suite import RetrievalTask, StsTask
from embedkit.types import Groups, RetrievalData

CORPUS, QUERIES = ("corpus.jsonl", "corpus.jsonl.gz"), ("queries.jsonl", "queries.jsonl.gz")
QRELS = ("query-id", "corpus-id", "score")
MOST_GAIN = 1_000_000
"""Largest relevance of a judgement; what is written beyond it is no grade."""


@dataclass(frozen=True)
class StsData:
    """Graded pairs.

    Attributes:
        first, second: [n] sentences.
        gold: [n] float64 scores, larger = more similar.
        subset: [n] int, index into `subsets`.
        subsets: names; one empty name when the task names no subset column.
        digest: content hash.
        groups: of the pairs, where the task asks for some.
    """

    first: list[str]
    second: list[str]
    gold: np.ndarray
    subset: np.ndarray
    subsets: tuple[str, ...]
    digest: str
    groups: Groups | None = None


def load_sts(task: StsTask) -> StsData:
    """Read all files of a task as one set.

    Raises:
        DataError: a missing column, an empty sentence, a score that is no finite number, fewer than two pairs or
            equal scores throughout (no correlation exists), each with ``file:line``.
    """
    rows = [row for file in task.files for row in read_rows(Path(file), columns_of(task))]
    if not rows:
        raise DataError("no pairs", ", ".join(task.files), "the files hold no more than a header")
    names = ["" if task.subset is None else str(column(row, task.subset)) for row in rows]
    subsets = tuple(dict.fromkeys(names))
    gold = np.array([_score(row, task.score) for row in rows])
    first, second = ([text_column(row, name) for row in rows] for name in (task.sentence1, task.sentence2))
    for name in subsets:
        own = gold[np.array([n == name for n in names])]
        if len(set(own.tolist())) < 2:
            where = ", ".join(task.files) + (f", subset {quoted(name)}" if name else "")
            raise DataError(f"{len(own)} pairs with one score: no correlation exists", where, "check the score column")
    columns = zip(first, second, map(repr, gold.tolist()), names, strict=True)
    digest = _digest("\t".join(pair) for pair in columns)
    place = {name: i for i, name in enumerate(subsets)}
    return StsData(first, second, gold, np.array([place[n] for n in names]), subsets, digest)


def columns_of(task: StsTask) -> list[str]:
    """The columns that a task reads."""
    return [task.score, task.sentence1, task.sentence2, *([task.subset] if task.subset is not None else [])]


def _score(row: Row, name: str) -> float:
    value = column(row, name)
    found = as_number(value)
    if found is None:
        raise DataError(f"{name}: expected a number, got {quoted(value)}", row[0], "correct the row or remove it")
    return found


def load_retrieval(task: RetrievalTask) -> RetrievalData:
    """Queries, corpus and judgements of a BEIR folder or of the pydocs corpus, `limit_queries` applied.

    Raises:
        DataError: see `load_beir`; also a judgement that `ignore_identical_ids` would hide, or a query for which
            every document is relevant (nothing can be ranked).
    """
    data = _pydocs(task, task.pydocs) if task.pydocs is not None else load_beir(Path(task.folder or ""), task.split)
    if task.limit_queries is not None and task.limit_queries < len(data.queries):
        kept = dict(list(data.queries.items())[: task.limit_queries])
        data = replace(data, queries=kept, qrels={query: data.qrels[query] for query in kept})
    for query, judged in data.qrels.items():
        relevant = [document for document, gain in judged.items() if gain > 0]
        if task.ignore_identical_ids and query in relevant:
            raise DataError(
                f"query {quoted(query)}: the document with its own id is judged relevant",
                f"task {task.name}",
                "ids only look alike here: remove ignore_identical_ids",
            )
        if len(relevant) + (task.ignore_identical_ids and query in data.corpus) >= len(data.corpus):
            what = f"query {quoted(query)}: every document is relevant, nothing can be ranked"
            raise DataError(what, f"task {task.name}", "add other documents to the corpus")
    return data


def _pydocs(task: RetrievalTask, block: PydocsSource) -> RetrievalData:
    from embedkit.data.pydocs import load_pydocs

    pydocs = load_pydocs(block)
    data = pydocs.test if task.pydocs_split == "test" else pydocs.dev
    if not data.queries:
        names = block.holdout if task.pydocs_split == "test" else block.dev
        raise DataError(
            f"pydocs has no queries for {task.pydocs_split!r}: none of {', '.join(names)} is installed with docstrings",
            f"task {task.name}",
            "pip install 'embedkit-train[pydocs]', or hold out other packages",
        )
    return data


def load_beir(folder: Path, split: str) -> RetrievalData:
    """Read ``corpus.jsonl`` (_id, text, title), ``queries.jsonl`` (_id, text), ``qrels/SPLIT.tsv``
    (query-id, corpus-id, score), each gzipped or not.

    A document's text is ``title + " " + text`` where there is a title, stripped, as BEIR and MTEB do. Queries
    come in the order of their file; those without a judgement above 0 are left out.

    Raises:
        DataError: a missing file, a bad row, an id given twice, or a judgement about an unknown id.
    """
    corpus_file, query_file, qrels_file = beir_files(folder, split)
    corpus, texts = texts_by_id(corpus_file, documents=True), texts_by_id(query_file, documents=False)
    qrels: dict[str, dict[str, int]] = {}
    for query, document, gain, where in judgements(qrels_file):
        for key, known, file in ((query, texts, query_file), (document, corpus, corpus_file)):
            if key not in known:
                raise DataError(
                    f"judgement about {quoted(key)}, an id that {file.name} lacks", where, "use matching files"
                )
        judged = qrels.setdefault(query, {})
        if document in judged:
            raise DataError(
                f"query {quoted(query)} and document {quoted(document)} are judged twice", where, "keep one line"
            )
        judged[document] = gain
    queries = {q: text for q, text in texts.items() if any(gain > 0 for gain in qrels.get(q, {}).values())}
    if not queries:
        raise DataError("no query has a judgement above 0", str(qrels_file), "check the score column")
    kept = {query: qrels[query] for query in queries}
    return RetrievalData(queries, corpus, kept, retrieval_digest(queries, corpus, kept))


def beir_files(folder: Path, split: str) -> list[Path]:
    """The three files of a BEIR folder.

    Raises:
        DataError: one of them is missing.
    """
    names = (CORPUS, QUERIES, (f"qrels/{split}.tsv", f"qrels/{split}.tsv.gz"))
    return [_one_of(folder, options) for options in names]


def judgements(file: Path) -> Iterator[tuple[str, str, int, str]]:
    """(query id, document id, gain, ``file:line``) of a qrels file.

    Raises:
        DataError: a missing column, or a gain that is no whole number.
    """
    for row in read_rows(file, QRELS):
        yield text_column(row, QRELS[0]), text_column(row, QRELS[1]), _gain(row), row[0]


def retrieval_digest(queries: dict[str, str], corpus: dict[str, str], qrels: dict[str, dict[str, int]]) -> str:
    """Content hash of a retrieval set."""
    tables: tuple[dict[str, Any], ...] = (queries, corpus, qrels)
    return _digest(f"{i}\t{key}\t{value}" for i, table in enumerate(tables) for key, value in table.items())


def _one_of(folder: Path, names: Sequence[str]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    split = names[0].startswith("qrels/")
    found = sorted(p.name for p in (folder / "qrels").glob("*.tsv*")) if split else []
    cure = f"qrels/ holds {listed(found)}: set `split`" if found else "a BEIR folder is needed"
    raise DataError(f"no {names[0]} (nor .gz)", str(folder), cure)


def texts_by_id(file: Path, *, documents: bool) -> dict[str, str]:
    """``_id`` -> text of a file of documents or queries.

    Raises:
        DataError: a bad row, or an id given twice.
    """
    found: dict[str, str] = {}
    for row in read_rows(file, ("_id", "text")):
        key = column(row, "_id")
        if not isinstance(key, str) or not key:
            raise DataError(f"_id: expected text, got {quoted(key)}", row[0], "write the id as a JSON string")
        if is_broken(key):
            raise DataError("_id has half of a surrogate pair", row[0], "correct the id")
        if key in found:
            raise DataError(f"_id {quoted(key)} is given twice", row[0], "give every row its own id")
        found[key] = document_text(row) if documents else text_column(row, "text").strip()
    return found


def document_text(row: Row) -> str:
    """Title and text of a document joined by a space; an empty document is allowed, as in BEIR."""
    text = text_column(row, "text", empty=True)
    title = text_column(row, "title", empty=True) if row[1].get("title") is not None else ""
    return f"{title} {text}".strip()


def _gain(row: Row) -> int:
    """A whole number; ``1.0``, as pandas writes it for a column with a gap, is 1."""
    value = column(row, QRELS[2])
    found = as_number(value)
    if found is None or not found.is_integer() or abs(found) > MOST_GAIN:
        what = f"score: expected a whole number, got {quoted(value)}"
        raise DataError(what, row[0], "correct the row")
    return int(found)


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()
