"""Local files of every kind of task, in memory, whoever measures it. Neither mteb nor torch here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedkit.errors import DataError
from embedkit.evaluation.files import Row, column, read_rows, text_column
from embedkit.evaluation.loading import load_beir, load_sts
from embedkit.foreign.quoting import listed, quoted
from embedkit.inputs.texts import as_number
from embedkit.recipe.columns import (
    LabelColumns,
    LabelsColumns,
    MatchColumns,
    PairColumns,
    RerankColumns,
)
from embedkit.recipe.mteb import Data, RetrievalFolder, StsFiles
from embedkit.recipe.suite import StsTask
from embedkit.types import Groups, RetrievalData

Columns = dict[str, list[Any]]
"""``first``, ``second``, ``text``, ``label`` and ``score``, as far as a kind has them."""
Texts = list[tuple[list[str], str]]
"""Groups of texts, each with its role."""


@dataclass(frozen=True)
class Content:
    """What the files of a task hold.

    Attributes:
        test, train: columns; empty where the kind has none.
        retrieval: queries, documents and judgements, of retrieval and reranking.
        candidates: query id -> ids of the documents that are put in order; None: all of the corpus.
        names: of the labels, which `test` and `train` have as numbers; empty where they have none.
        digest: content hash.
        groups: of the items of `test`, or of the queries, where the task asks for some.
    """

    digest: str
    test: Columns = field(default_factory=dict)
    train: Columns = field(default_factory=dict)
    retrieval: RetrievalData | None = None
    candidates: dict[str, list[str]] | None = None
    names: tuple[str, ...] = ()
    groups: Groups | None = None

    @property
    def texts(self) -> Texts:
        """All texts, each group with its role."""
        if self.retrieval is not None:
            found = self.retrieval
            return [(list(found.corpus.values()), "document"), (list(found.queries.values()), "query")]
        columns = [part.get(name, []) for part in (self.train, self.test) for name in ("text", "first", "second")]
        return [([text for column in columns for text in column], "query")]


def read(data: Data, name: str) -> Content:
    """Read the files of a task of mteb, whose paths are absolute.

    Raises:
        DataError: a missing column, an empty text, a label or score of the wrong kind, with ``file:line``.
    """
    if isinstance(data, RetrievalFolder):
        found = load_beir(Path(data.folder), data.split)
        return Content(found.digest, retrieval=found)
    if isinstance(data, StsFiles):
        columns = data.model_dump(exclude={"kind"})
        pairs = load_sts(StsTask(name=name, **{**columns, "files": data.files}))
        test: Columns = {"first": pairs.first, "second": pairs.second, "score": pairs.gold.tolist()}
        return Content(digest_of(test), test)
    return read_columns(data)


def read_columns(data: RerankColumns | PairColumns | LabelColumns | LabelsColumns) -> Content:
    """Read the files of a task of any other kind.

    Raises:
        DataError: see `read`.
    """
    if isinstance(data, RerankColumns):
        return _reranking(data)
    if isinstance(data, PairColumns):
        test = _pairs(data)
        return Content(digest_of(test), test)
    test = _labelled(data, data.files)
    learnt: tuple[str, ...] = getattr(data, "train", ())
    train = _labelled(data, learnt) if learnt else {}
    _check_labels(data, train, test)
    if isinstance(data, LabelsColumns):
        return Content(digest_of(train, test), test, train)
    test, train, names = _numbered(test, train)
    return Content(digest_of(train, test), test, train, names=names)


def rows(files: Sequence[str], wanted: Sequence[str]) -> Iterator[Row]:
    """The rows of several files, one after the other.

    Raises:
        DataError: see `read_rows`; or there is none.
    """
    any_row = False
    for file in files:
        for row in read_rows(Path(file), wanted):
            any_row = True
            yield row
    if not any_row:
        raise DataError("no rows", ", ".join(files), "the files hold no more than a header")


def _pairs(data: PairColumns) -> Columns:
    wanted = [data.sentence1, data.sentence2, *([data.label] if isinstance(data, MatchColumns) else [])]
    found: Columns = {name: [] for name in ("first", "second", "label")[: len(wanted)]}
    for row in rows(data.files, wanted):
        found["first"].append(text_column(row, data.sentence1))
        found["second"].append(text_column(row, data.sentence2))
        if isinstance(data, MatchColumns):
            value = column(row, data.label)
            number = as_number(value)
            if number not in (0, 1):
                raise DataError(f"{data.label}: expected 0 or 1, got {quoted(value)}", row[0], "correct the row")
            found["label"].append(int(number))
    if isinstance(data, MatchColumns) and len(set(found["label"])) < 2:
        what = f"all {len(found['label'])} pairs have one label"
        raise DataError(what, ", ".join(data.files), "average precision needs pairs that match and pairs that do not")
    return found


def _labelled(data: LabelColumns | LabelsColumns, files: Sequence[str]) -> Columns:
    name = data.labels if isinstance(data, LabelsColumns) else data.label
    found: Columns = {"text": [], "label": []}
    for row in rows(files, (data.text, name)):
        found["text"].append(text_column(row, data.text))
        value = column(row, name)
        found["label"].append(
            _labels(value, data, row) if isinstance(data, LabelsColumns) else label_of(value, name, row)
        )
    return found


def label_of(value: Any, name: str, row: Row) -> str:
    """A label as text; ``1.0``, as pandas writes it for a column with a gap, is 1."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or not str(value).strip():
        raise DataError(f"{name}: expected a label, got {quoted(value)}", row[0], "correct the row or remove it")
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def _labels(value: Any, data: LabelsColumns, row: Row) -> list[str]:
    if isinstance(value, str):
        return [part.strip() for part in value.split(data.separator) if part.strip()]
    if not isinstance(value, (list, tuple)):
        what = f"{data.labels}: expected a list or a text, got {quoted(value)}"
        raise DataError(what, row[0], "correct the row or remove it")
    return [label_of(part, data.labels, row) for part in value]


def _check_labels(data: LabelColumns | LabelsColumns, train: Columns, test: Columns) -> None:
    """Refuse labels that nothing can be learnt about."""

    def flat(columns: Columns) -> list[str]:
        return [one for label in columns.get("label", []) for one in (label if isinstance(label, list) else [label])]

    if not train:
        if len(set(flat(test))) < 2:
            raise DataError("all texts have one label", ", ".join(data.files), "give texts of several clusters")
        return
    known, files = set(flat(train)), ", ".join(getattr(data, "train", ()))
    if len(known) < 2:
        raise DataError("all texts have one label", files, "give texts of several classes")
    if unknown := sorted(set(flat(test)) - known):
        what = f"the test files have labels that the training files lack: {listed(unknown)}"
        raise DataError(what, files, "add texts of these classes, or correct the labels")


def _numbered(test: Columns, train: Columns) -> tuple[Columns, Columns, tuple[str, ...]]:
    """Labels as numbers, in the order of their names, or of the numbers that they are; and the names."""
    names = sorted(
        {*test["label"], *train.get("label", [])},
        key=lambda name: (as_number(name) is None, as_number(name) or 0, name),
    )
    place = {name: i for i, name in enumerate(names)}
    done = [{**part, "label": [place[name] for name in part["label"]]} if part else part for part in (test, train)]
    return done[0], done[1], tuple(names)


def _reranking(data: RerankColumns) -> Content:
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    candidates: dict[str, list[str]] = {}
    ids: dict[str, str] = {}
    for count, row in enumerate(rows(data.files, (data.query, data.positive, data.negative))):
        query = f"q{count}"
        queries[query] = text_column(row, data.query)
        sides = [texts_of(row, name) for name in (data.positive, data.negative)]
        if both := set(sides[0]) & set(sides[1]):
            raise DataError(f"{quoted(min(both))} is both positive and negative", row[0], "remove it from one of them")
        judged: dict[str, int] = {}
        for gain, texts in zip((1, 0), sides, strict=True):
            for text in dict.fromkeys(texts):
                document = ids.setdefault(text, f"d{len(ids)}")
                corpus[document], judged[document] = text, gain
        qrels[query], candidates[query] = judged, list(judged)
    digest = digest_of(
        {"query": list(queries.values()), "judged": list(map(repr, qrels.values())), "text": list(corpus.values())}
    )
    found = RetrievalData(queries, corpus, qrels, digest)
    return Content(digest, retrieval=found, candidates=candidates)


def texts_of(row: Row, name: str) -> list[str]:
    """The texts of a column that holds one, or a list of some.

    Raises:
        DataError: it holds neither, or one of them is no text.
    """
    value = column(row, name)
    if isinstance(value, str):
        return [text_column(row, name)]
    if not isinstance(value, (list, tuple)) or not value:
        raise DataError(f"{name}: expected a text or a list of texts, got {quoted(value)}", row[0], "correct the row")
    return [text_column((row[0], {name: part}), name) for part in value]


def digest_of(*parts: Columns) -> str:
    """Content hash of columns."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        for name, values in sorted(part.items()):
            digest.update(f"{name} {len(values)}\n".encode())
            for value in values:
                digest.update(repr(value).encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()
