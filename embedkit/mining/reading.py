"""Files of queries and of documents, row by row, with what is wrong counted or refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from embedkit.data.bad_rows import BadRows
from embedkit.data.origins import Origin, open_origin
from embedkit.data.roles import BadRow, Roles, RowParser, resolve_roles
from embedkit.data.sources import refuse_shapeless
from embedkit.disk import paths
from embedkit.errors import DataError
from embedkit.foreign.quoting import did_you_mean, listed
from embedkit.inputs.cures import PLAIN
from embedkit.inputs.texts import as_number, fault, fault_of_id, is_absent
from embedkit.recipe.schema import Source
from embedkit.terminal.progress import watched

SCORES = ("query_id", "document_id", "score")
IDS = ("_id", "id")
"""Columns of ids, the first that is there."""
MARKS: tuple[Literal["weight", "grade"], ...] = ("weight", "grade")
"""Columns of numbers of positives."""
T = TypeVar("T")
Values = dict[str, Any]


class Query(NamedTuple):
    """A row of a file of queries; `marks` are numbers of its positives by name, one for all or one for each."""

    name: str | int | None
    text: str
    positives: tuple[str, ...]
    where: str
    marks: dict[str, tuple[float, ...]]


class Document(NamedTuple):
    """A row of a file of documents; `text` is without the title."""

    name: str | int | None
    text: str
    title: str
    where: str

    @property
    def whole(self) -> str:
        """Title and text joined by a space, as BEIR and MTEB do."""
        return f"{self.title} {self.text}".strip()


class Score(NamedTuple):
    """A row of a file of scores."""

    query: str | int
    document: str | int
    score: float


class Rows:
    """What reading a file found besides its good rows.

    Args:
        skip: leave bad rows out and count them, instead of refusing the file.

    Attributes:
        bad: the rows left out.
        count: good rows.
    """

    def __init__(self, *, skip: bool = False) -> None:
        self.bad, self.count, self._skip = BadRows(replace(PLAIN, skip="add --skip-bad-rows")), 0, skip

    def stands_for(self, texts: Sequence[str]) -> bool:
        """Whether every row of the file is one of the texts, and the other way round."""
        return not self.bad.counts and self.count == len(texts)

    def of(self, origin: Origin, used: list[str], parse: Callable[[Values, str], T], progress: bool) -> Iterator[T]:
        """What `parse` makes of every row.

        Raises:
            DataError: rows are bad, or there are none; when all are read.
        """
        for row in watched(origin.rows(used), f"reading {origin.where}", "rows", show=progress):
            where = str(row.place)
            try:
                if row.values is None:
                    raise BadRow(row.reason)
                found = parse(row.values, where)
            except BadRow as problem:
                self.bad.add(where, str(problem), row.lines)
                continue
            if row.note:
                self.bad.note(where, row.note)
            self.count += 1
            yield found
        if not self._skip:
            self.bad.refuse(origin.where, good=self.count)
        if not self.count:
            left = f"; skipped: {self.bad.by_reason}" if self.bad.counts else ""
            raise DataError(f"there are no usable rows{left}", origin.where, "give data")

    def queries(self, path: str | Path, *, progress: bool = False) -> Iterator[Query]:
        """The queries of a file with columns `query` and, where they are known, `positive` (or a column `text` alone).

        Columns `weight` and `grade` are numbers of the positives.

        Raises:
            DataError: as `of`; no column is a query.
        """
        origin = _opened(path)
        found = resolve_roles(origin.columns, {}, origin.where).columns
        roles = Roles({role: names for role, names in found.items() if role in ("query", "positive", "text")})
        name = next((column for column in ("query_id", *IDS) if column in origin.columns), None)
        parser = RowParser(roles, lambda label: 0, textual=origin.textual)
        marks = [mark for mark in MARKS if mark in origin.columns and "positive" in roles.columns]
        marking = {
            mark: RowParser(Roles({**roles.columns, mark: (mark,)}), lambda label: 0, textual=origin.textual)
            for mark in marks
        }

        def parse(values: Values, where: str) -> Query:
            example = parser(values, where)
            numbers: dict[str, tuple[float, ...]] = {mark: own(values, where).weights for mark, own in marking.items()}
            return Query(_id_of(values, name), example.query, example.positives, where, numbers)

        return self.of(origin, [*roles.used, *marks, *([name] if name else [])], parse, progress)

    def documents(self, path: str | Path, *, titles: bool = False, progress: bool = False) -> Iterator[Document]:
        """The documents of a file with columns `text` and, where there are any, `title`, `_id` or `id`.

        Args:
            path: any format of a source.
            titles: the column of titles must be there.
            progress: show a bar when reading takes long.

        Raises:
            DataError: as `of`; a column is missing.
        """
        origin = _opened(path)
        _need(origin, ("text", "title") if titles else ("text",))
        name = next((column for column in IDS if column in origin.columns), None)
        title = ["title"] if "title" in origin.columns else []

        def parse(values: Values, where: str) -> Document:
            document = Document(_id_of(values, name), _text(values, "text"), _text(values, "title"), where)
            if wrong := fault(document.whole):
                raise BadRow("no text" if wrong == "empty text" else f"{wrong} in its text")
            return document

        return self.of(origin, ["text", *title, *([name] if name else [])], parse, progress)

    def scores(self, path: str | Path, *, progress: bool = False) -> Iterator[Score]:
        """The scores of a file with columns `query_id`, `document_id` and `score`.

        Args:
            path: any format of a source.
            progress: show a bar when reading takes long.

        Raises:
            DataError: as `of`; a column is missing.
        """
        origin = _opened(path)
        _need(origin, SCORES)
        query, document, score = SCORES

        def parse(values: Values, where: str) -> Score:
            found = as_number(values.get(score)) if origin.textual or not isinstance(values.get(score), str) else None
            if found is None:
                raise BadRow(f"{score}: a finite number is expected")
            return Score(_an_id(values, query), _an_id(values, document), found)

        return self.of(origin, list(SCORES), parse, progress)


def _need(origin: Origin, columns: Sequence[str]) -> None:
    for wanted in columns:
        if wanted not in origin.columns:
            hint = did_you_mean(wanted, origin.columns)
            raise DataError(f"no column {wanted!r}", origin.where, f"{hint}columns: {listed(origin.columns)}")


def _opened(path: str | Path) -> Origin:
    settled = paths.locate(path if isinstance(path, str) else str(path), "files")  # a recipe's may be settled already
    origin = open_origin(Source(path=str(path)).model_copy(update={"path": settled}), PLAIN)
    if not origin.columns:
        refuse_shapeless(origin, PLAIN)
    return origin


def _id_of(values: Values, column: str | None) -> str | int | None:
    return None if column is None else _an_id(values, column)


def _an_id(values: Values, column: str) -> str | int:
    if wrong := fault_of_id(values.get(column), column):
        raise BadRow(wrong)
    found: str | int = values[column]
    return found


def _text(values: Values, column: str) -> str:
    value = values.get(column)
    if is_absent(value):
        return ""
    if not isinstance(value, str):
        raise BadRow(f"{column}: a text is expected")
    return value.strip()
