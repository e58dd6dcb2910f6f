"""A problem put together from queries and documents that have ids and come from anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from embedkit.data.text import text_id
from embedkit.errors import DataError
from embedkit.foreign.quoting import quoted
from embedkit.mining.problem import Problem

ADDED = "texts that the corpus lacks, added to it"
WEIGHT, GRADE = "weight", "grade"
"""Marks of a pair: the factor of its loss, and how good the positive is, which is no factor yet."""
MERGED = "queries whose text an earlier one has: their positives count for that one"
Id = str | int
Marks = Mapping[str, Sequence[float]]
"""Numbers of positives by name, e.g. ``weight``: one for each, or one for all."""


class Assembly:
    """Takes queries, then documents, one by one.

    Ids are texts, and a number is the same id as its digits. A text that answers a query stands for the document of
    that text, and for those whose text it is when their titles are left out; where there is none, it becomes one. Of
    documents with one text the first stands for all.

    Attributes:
        notes: what was done to the data, by kind.
    """

    def __init__(self) -> None:
        self.notes: Counter[str] = Counter()
        self._queries: dict[int, int] = {}
        self._query_texts: list[str] = []
        self._query_ids: list[str] = []
        self._answers: list[dict[int, None]] = []
        self._own: list[dict[int, None]] = []
        self._wanted: dict[int, str] = {}
        self._rows: dict[int, dict[int, int]] = {}
        self._texts: list[str] = []
        self._ids: list[str] = []
        self._query_names, self._names = _Names("query"), _Names("document")
        self._marks: dict[str, _Numbers] = {}

    def query(
        self,
        text: str,
        positives: Iterable[str] = (),
        name: Id | None = None,
        where: str = "",
        marks: Marks | None = None,
    ) -> None:
        """A query, or more positives of one that is there.

        Args:
            text: the query.
            positives: texts that answer it.
            name: its id; it may come again with the same text.
            where: its place, for messages.
            marks: of the positives; a pair that comes again has the same.

        Raises:
            DataError: the id is that of another query, or a pair has two numbers of one name.
        """
        key = text_id(text)
        number = self._queries.setdefault(key, len(self._query_texts))
        known = self._query_names.row(name, where)
        if known is not None and known != number:
            self._query_names.refuse(name, where)
        if number == len(self._query_texts):
            self._query_texts.append(text)
            self._query_ids.append(self._query_names.made("q", number) if name is None else str(name))
            self._answers.append({})
            self._own.append({})
        elif name is not None and known is None:
            self.notes[MERGED] += 1
        if name is not None:
            self._query_names.enter(name, number)
        keys = [self._want(positive) for positive in positives]
        self._answers[number].update(dict.fromkeys(keys))
        for mark, values in (marks or {}).items():
            numbers = self._marks.setdefault(mark, _Numbers(mark))
            for key, value in zip(keys, values if len(values) > 1 else [*values] * len(keys), strict=True):
                numbers.enter(number, key, value, where)

    def want(self, texts: Iterable[str]) -> None:
        """Texts that must be among the documents, whether they answer something or not."""
        for text in texts:
            self._want(text)

    def document(
        self,
        text: str,
        name: Id | None = None,
        where: str = "",
        alone: str | None = None,
        answers: Iterable[str] = (),
        grades: Sequence[float] | None = None,
    ) -> None:
        """A document.

        Args:
            text: what is encoded.
            name: its id, which no other has.
            where: its place, for messages.
            alone: its text without the title; None: it has no title.
            answers: queries that it answers.
            grades: how well, one for each.

        Raises:
            DataError: the id was given before, or a pair has two grades.
        """
        row = len(self._texts)
        if self._names.row(name, where) is not None:
            self._names.refuse(name, where)
        self._ids.append(self._names.made("d", row) if name is None else self._names.enter(name, row))
        self._texts.append(text)
        whole = text_id(text)
        for key in (whole,) if alone is None else (whole, text_id(alone)):
            if key in self._wanted:
                self._rows.setdefault(key, {}).setdefault(whole, row)
        numbers = []
        for query in answers:
            self.query(query)
            numbers.append(self._queries[text_id(query)])
            self._own[numbers[-1]][row] = None
        for number, grade in zip(numbers, grades, strict=True) if grades is not None else ():
            self._marks.setdefault(GRADE, _Numbers(GRADE)).enter(number, (row,), grade, where)

    def finish(self) -> Problem:
        """The problem.

        Raises:
            DataError: no query or no document.
        """
        for key, text in self._wanted.items():
            if key not in self._rows:
                self._rows[key] = {key: len(self._texts)}
                self._ids.append(self._names.made("d", len(self._texts)))
                self._texts.append(text)
                self.notes[ADDED] += 1
        answers = [
            tuple({**own, **dict.fromkeys(row for key in keys for row in self._rows[key].values())})
            for own, keys in zip(self._own, self._answers, strict=True)
        ]
        marks = {mark: self._marked(numbers, answers) for mark, numbers in self._marks.items()}
        problem = Problem(self._query_texts, self._query_ids, self._texts, self._ids, answers, marks)
        problem.check()
        return problem

    def _marked(self, numbers: _Numbers, answers: Sequence[tuple[int, ...]]) -> list[tuple[float, ...]]:
        """Per query one number for every positive, in their order."""
        found: list[tuple[float, ...]] = []
        for query, rows in enumerate(answers):
            by_row: dict[int, set[float]] = {row: numbers.of(query, (row,)) for row in rows}
            for key in self._answers[query]:
                for row in self._rows[key].values():
                    by_row[row] |= numbers.of(query, key)
            for row, values in by_row.items():
                if len(values) != 1:
                    many = (
                        f"{numbers.name}s {' and '.join(f'{value:g}' for value in sorted(values))}"
                        if values
                        else f"no {numbers.name}, and others do"
                    )
                    what = f"query {quoted(self._query_texts[query])}: positive {quoted(self._texts[row])} has {many}"
                    raise DataError(what, "mining", f"give every positive of a query one {numbers.name}, or none any")
            found.append(tuple(next(iter(by_row[row])) for row in rows))
        return found

    @property
    def has_answers(self) -> bool:
        """Whether some query has a positive so far."""
        return any(self._answers) or any(self._own)

    def _want(self, text: str) -> int:
        key = text_id(text)
        self._wanted.setdefault(key, text)
        return key


class _Numbers:
    """Numbers of one name by query and positive: the key of its text, or its row in a tuple."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._values: dict[tuple[int, int | tuple[int]], float] = {}

    def enter(self, query: int, positive: int | tuple[int], value: float, where: str) -> None:
        known = self._values.setdefault((query, positive), value)
        if known != value:
            what = f"a pair of query and positive has {self.name} {value:g}, and had {known:g} before"
            raise DataError(what, where, f"give every pair one {self.name}, or leave the column out")

    def of(self, query: int, positive: int | tuple[int]) -> set[float]:
        return {self._values[query, positive]} if (query, positive) in self._values else set()


class _Names:
    """Which ids are taken, each with its row and whether it was written as a number."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._rows: dict[str, tuple[int, bool]] = {}

    def row(self, name: Id | None, where: str) -> int | None:
        """The row that has the id; refuses 7 where "7" is taken."""
        found = None if name is None else self._rows.get(str(name))
        if found is None:
            return None
        if found[1] != isinstance(name, int):
            what = f'ids {name} and "{name}", a number and a text, are one id'
            raise DataError(what, where, f"write all ids in one way, and give every {self._what} its own")
        return found[0]

    def enter(self, name: Id, row: int) -> str:
        self._rows[str(name)] = (row, isinstance(name, int))
        return str(name)

    def made(self, letter: str, row: int) -> str:
        """An id that nobody has, for what has none."""
        name = f"{letter}{row}"
        while name in self._rows:
            name = f"_{name}"
        return self.enter(name, row)

    def refuse(self, name: Id | None, where: str) -> None:
        what = f"the id {quoted(name)} is that of an earlier {self._what}"
        raise DataError(what, where, f"give every {self._what} an id of its own")
