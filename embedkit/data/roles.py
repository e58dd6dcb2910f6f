"""From the columns of a source to the roles of an example, by name and never by order."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from embedkit.errors import DataError, RecipeError
from embedkit.foreign.quoting import did_you_mean, listed, named, quoted
from embedkit.inputs.texts import as_number, fault, is_absent
from embedkit.recipe.grades import Grades
from embedkit.recipe.schema import Role
from embedkit.types import Example

OWN_NAMES: dict[Role, tuple[str, ...]] = {
    "query": ("query",),
    "positive": ("positive", "positives"),
    "negative": ("negative", "negatives"),
    "score": ("score", "scores"),
    "label": ("label",),
    "text": ("text",),
    "weight": (),
    "grade": (),
    "cluster": (),
    "memory": (),
}
"""Column names that need no entry under `roles:`."""

_LOOKS_LIKE: dict[Role, tuple[str, ...]] = {
    "query": ("anchor", "question", "sentence1", "sentence_1", "premise", "title", "sent0", "text1", "sentence"),
    "positive": (
        *("entailment", "answer", "document", "passage", "sentence2", "sentence_2"),
        *("sent1", "text2", "lead", "paraphrase"),
    ),
    "negative": ("contradiction", "hard_neg", "sent2"),
    "score": ("similarity", "similarity_score", "scores"),
    "label": ("class", "category", "target"),
    "text": ("sentence", "content", "body"),
    "weight": (),
    "grade": (),
    "cluster": (),
    "memory": (),
}
_MANY = ("positive", "negative", "score")
_MARKS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
AROUND_QUERY: frozenset[Role] = frozenset({"query", "positive", "negative", "score", "grade"})
"""Roles that a source of bare text does not have."""


@dataclass(frozen=True)
class Roles:
    """Which columns stand for which role: ``columns["negative"] == ("neg_1", "neg_2")``."""

    columns: dict[Role, tuple[str, ...]]

    @property
    def present(self) -> frozenset[str]:
        """The roles that have columns."""
        return frozenset(self.columns)

    @property
    def used(self) -> list[str]:
        """The columns that have roles, each once."""
        return list(dict.fromkeys(c for names in self.columns.values() for c in names))


def resolve_roles(columns: Sequence[str], explicit: Mapping[Role, str | tuple[str, ...]], where: str) -> Roles:
    """Give every role its columns: those named in `explicit`, else those that bear the role's own name.

    A source is either bare text (role ``text``) or built around ``query``. An explicit role of one kind leaves
    columns of the other kind that only bear a role's name unused.

    Args:
        columns: what the source has.
        explicit: the recipe's ``roles:``.
        where: the source, for messages.

    Raises:
        DataError: a named column is not there (with the nearest one), or no column is a query or a text (with the
            line to write).
        RecipeError: ``roles:`` contradicts itself.
    """
    if "text" in explicit and AROUND_QUERY & set(explicit):
        raise RecipeError("role `text` stands alone; it excludes query, positive, negative, score and grade", where)
    found: dict[Role, tuple[str, ...]] = {}
    for role, given in explicit.items():
        names = (given,) if isinstance(given, str) else tuple(given)
        if len(names) > 1 and role not in _MANY:
            raise RecipeError(f"role `{role}` takes one column, not {len(names)}", where)
        for name in names:
            if name not in columns:
                raise _missing(name, columns, where)
        found[role] = names
    taken = {name for names in found.values() for name in names}
    for role, own in OWN_NAMES.items():
        here = [name for name in own if name in columns and name not in taken]
        if role in found or not here:
            continue
        if len(here) > 1:
            raise DataError(
                f"columns {here[0]!r} and {here[1]!r} both bear the name of a role",
                where,
                f"say which one is meant: `roles: {{{role}: {here[0]}}}`",
            )
        found[role] = (here[0],)
    return Roles(_one_kind(found, columns, explicit, where))


def _one_kind(
    found: dict[Role, tuple[str, ...]], columns: Sequence[str], explicit: Mapping[Role, Any], where: str
) -> dict[Role, tuple[str, ...]]:
    around_query = AROUND_QUERY & set(explicit)
    if {"text", "query"} <= set(found) and "text" not in explicit and not around_query:
        raise DataError(
            "there is both a column `query` and a column `text`",
            where,
            "name the one to use: `roles: {query: query}` or `roles: {text: text}`",
        )
    bare = "text" in found and not around_query
    if not bare and "query" not in found:
        raise DataError(
            f"no column is named query or text; columns: {listed(columns)}",
            where,
            f"say what they are, e.g. `roles: {{{_suggestion(columns)}}}`{_odd_header(columns)}",
        )
    keep = [role for role in OWN_NAMES if role not in (AROUND_QUERY if bare else {"text"})]
    return {role: found[role] for role in keep if role in found}


def _suggestion(columns: Sequence[str]) -> str:
    """What `roles:` could say for these columns; only shown, never taken."""
    lower = {c.lower(): c for c in columns}
    names = {role: (*OWN_NAMES[role], *likely) for role, likely in _LOOKS_LIKE.items()}
    guess = {role: next((lower[n] for n in options if n in lower), None) for role, options in names.items()}
    if guess["query"] and guess["positive"]:
        guess["text"] = None
        return ", ".join(f"{role}: {named(column)}" for role, column in guess.items() if column)
    if guess["text"] or len(columns) == 1:
        return f"text: {named(guess['text'] or columns[0])}"
    return "query: COLUMN, positive: COLUMN"


def _odd_header(columns: Sequence[str]) -> str:
    """A word about a first line that is probably no list of names between the separators of the format."""
    for sign, name in ((";", "semicolons"), ("\t", "tabs"), (",", "commas"), ("|", "bars")):
        if len(columns) == 1 and sign in columns[0]:
            return f"; the first line is separated by {name}: CSV has commas, TSV tabs"
    return ""


def _missing(name: str, columns: Sequence[str], where: str) -> DataError:
    return DataError(f"no column {quoted(name)}", where, f"{did_you_mean(name, columns)}columns: {listed(columns)}")


class BadRow(Exception):
    """A row that makes no example; the message is the reason."""


class RowParser:
    """Makes examples of rows and refuses what is not what its role needs.

    Texts must be strings with something to see. A negative that is null, missing, NaN or empty is none, also in a list;
    a score in its place is left out with it. Scores are finite numbers: one for the pair, or the positive's followed
    by one per negative; all rows of a source do the same.

    Labels, and clusters, are classes as written: a text is its own class, but for white space around it (``7``, ``007``
    and ``1.0`` of a CSV are three). A whole number of JSON or Parquet is the class of its digits, 1.0 as well as 1.

    A mark of memory is true or false, or 1 or 0.

    A weight is a finite number from 0, for the row or one per positive; a grade becomes one. Both multiply.

    Args:
        roles: columns by role.
        label_code: gives the number of a class.
        textual: numbers are written as text (CSV, TSV).
        grades: from grades to weights.
        label_sets: a label is a list of classes, and its name is what `classes_in` reads.
    """

    def __init__(
        self,
        roles: Roles,
        label_code: Callable[[str], int],
        *,
        textual: bool,
        grades: Grades | None = None,
        label_sets: bool = False,
    ) -> None:
        self.roles, self.textual, self._label_code, self._label_sets = roles, textual, label_code, label_sets
        self._grades = grades or Grades()
        self._clusters: dict[str, int] = {}
        self._one_score: bool | None = None

    def __call__(self, values: Mapping[str, Any], origin: str) -> Example:
        """The example of one row.

        Raises:
            BadRow: with the reason.
        """
        columns = self.roles.columns
        label = self._label(values) if "label" in columns else None
        cluster = self._class(values, "cluster", self._cluster_code) if "cluster" in columns else None
        memory = self._memory(values) if "memory" in columns else None
        if "text" in columns:
            return Example(
                _text(values, columns["text"][0]),
                label=label,
                origin=origin,
                weights=self._weights(values, 0),
                cluster=cluster,
                memory=memory,
            )
        positives = self._positives(values)
        negatives = self._negatives(values)
        given = tuple(text for text in negatives if text is not None)
        return Example(
            _text(values, columns["query"][0]),
            positives,
            given,
            self._scores(values, len(positives), negatives) if "score" in columns else (),
            label,
            origin=origin,
            weights=self._weights(values, len(positives)),
            cluster=cluster,
            memory=memory,
        )

    def _memory(self, values: Mapping[str, Any]) -> bool:
        column = self.roles.columns["memory"][0]
        value = _field(values, column)
        written = str(value).strip().lower() if isinstance(value, (bool, int, float, str)) else ""
        if written not in _MARKS:
            raise BadRow(f"neither true nor false in {quoted(column)}")
        return _MARKS[written]

    def _label(self, values: Mapping[str, Any]) -> int:
        if not self._label_sets:
            return self._class(values, "label", self._label_code)
        column, found = self.roles.columns["label"][0], set[str]()

        def code(name: str) -> int:
            found.add(name)
            return 0

        for item in _items(_field(values, column)):
            self._class({column: item}, "label", code)
        if not found:
            raise BadRow(f"empty list in {quoted(column)}")
        return self._label_code(json.dumps(sorted(found), ensure_ascii=False))

    def _cluster_code(self, name: str) -> int:
        return self._clusters.setdefault(name, len(self._clusters))

    def _positives(self, values: Mapping[str, Any]) -> tuple[str, ...]:
        columns = self.roles.columns.get("positive", ())
        texts = [_checked(item, c) for c in columns for item in _items(_field(values, c))]
        if columns and not texts:
            raise BadRow(f"empty list in {quoted(columns[0])}")
        return tuple(texts)

    def _negatives(self, values: Mapping[str, Any]) -> list[str | None]:
        """A text for every place of a negative, None where there is none."""
        columns = self.roles.columns.get("negative", ())
        return [None if is_absent(x) else _checked(x, c) for c in columns for x in _items(values.get(c))]

    def _scores(self, values: Mapping[str, Any], positives: int, negatives: Sequence[str | None]) -> tuple[float, ...]:
        columns = self.roles.columns["score"]
        given = [_field(values, column) for column in columns]
        several = len(columns) > 1 or isinstance(given[0], (list, tuple))
        flat = [item for value in given for item in _items(value)]
        count = sum(text is not None for text in negatives)
        if several and len(flat) == 1 + len(negatives):
            flat = [flat[0], *(item for item, text in zip(flat[1:], negatives, strict=True) if text is not None)]
        scores = tuple(self._number(item, columns[0]) for item in flat)
        if several and (len(scores) != 1 + count or not count):
            raise BadRow(f"{len(scores)} scores for one positive and {count} negatives")
        if positives > 1:
            raise BadRow(f"a score and {positives} positives: it is not clear whose it is")
        if self._one_score is None:
            self._one_score = not several
        if self._one_score is several:
            raise BadRow(
                "a list of scores where other rows have one" if several else "one score where others have a list"
            )
        return scores

    def _weights(self, values: Mapping[str, Any], positives: int) -> tuple[float, ...]:
        """The row's weight, or one per positive; empty without such a column."""
        weights = self._per_positive(values, "weight", positives)
        grades = self._per_positive(values, "grade", positives)
        for weight in weights:
            if weight < 0:
                raise BadRow(f"negative weight {weight:g} in {quoted(self.roles.columns['weight'][0])}")
        if not grades:
            return weights
        if len(grades) != max(1, positives):
            raise BadRow(f"one grade for {positives} positives in {quoted(self.roles.columns['grade'][0])}")
        try:
            made = [self._grades.weight(grade) for grade in grades]
        except ValueError as error:
            raise BadRow(f"{error} in {quoted(self.roles.columns['grade'][0])}") from None
        factors = weights * len(made) if len(weights) == 1 else weights or (1.0,) * len(made)
        return tuple(weight * factor for weight, factor in zip(made, factors, strict=True))

    def _per_positive(
        self, values: Mapping[str, Any], role: Literal["weight", "grade"], count: int
    ) -> tuple[float, ...]:
        if role not in self.roles.columns:
            return ()
        column = self.roles.columns[role][0]
        given = _items(_field(values, column))
        numbers = tuple(self._number(item, column, role) for item in given)
        if len(numbers) not in (1, max(1, count)):
            raise BadRow(f"{len(numbers)} {role}s for {count} positives in {quoted(column)}")
        return numbers

    def _number(self, value: Any, column: str, what: str = "score") -> float:
        known = (int, float, str) if self.textual else (int, float)
        if isinstance(value, bool) or not isinstance(value, known):
            raise BadRow(f"{_kind(value)} where a number belongs in {quoted(column)}")
        found = as_number(value)
        if found is None:
            finite = isinstance(value, str) and value.strip().lower().lstrip("+-") not in ("nan", "inf", "infinity")
            raise BadRow(f"{'not a number' if finite else f'non-finite {what}'} in {quoted(column)}")
        return found

    def _class(self, values: Mapping[str, Any], role: Literal["label", "cluster"], code: Callable[[str], int]) -> int:
        column = self.roles.columns[role][0]
        value = _field(values, column)
        if isinstance(value, str):
            return code(_checked(value, column).strip())
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int):
            fraction = isinstance(value, float) and math.isfinite(value)
            raise BadRow(f"{'a fraction' if fraction else _kind(value)} where a {role} belongs in {quoted(column)}")
        if abs(value) >= 2**63:
            raise BadRow(f"{role} out of range in {quoted(column)}")
        return code(str(int(value)))


def classes_in(label: str) -> list[str]:
    """The classes that the name of a label stands for, where a label is a list of them."""
    found: list[str] = json.loads(label)
    return found


def _field(values: Mapping[str, Any], column: str) -> Any:
    try:
        return values[column]
    except KeyError:
        raise BadRow(f"missing field {quoted(column)}") from None


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, (list, tuple)) else (value,)


def _text(values: Mapping[str, Any], column: str) -> str:
    return _checked(_field(values, column), column)


def _checked(value: Any, column: str) -> str:
    if not isinstance(value, str):
        raise BadRow(f"{_kind(value)} where text belongs in {quoted(column)}")
    wrong = fault(value)
    if wrong:
        raise BadRow(f"{wrong} in {quoted(column)}")
    return value


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, float) and math.isnan(value):
        return "NaN"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, (list, tuple)) else "an object" if isinstance(value, dict) else "another type"
