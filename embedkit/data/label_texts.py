"""A text for every class, as the document that the texts of that class match (EFL, arXiv 2104.14690)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embedkit.data.bad_rows import BadRows
from embedkit.data.pairs import labels_of
from embedkit.data.sources import LoadedSource
from embedkit.data.text import text_id
from embedkit.disk import paths
from embedkit.errors import DataError
from embedkit.foreign.quoting import did_you_mean, listed, quoted
from embedkit.inputs import records
from embedkit.inputs.cures import PLAIN
from embedkit.inputs.texts import fault
from embedkit.recipe.few_shots import SLOT, LabelTexts
from embedkit.types import Example


def entailment_rows(label: int, classes: int) -> list[tuple[int, bool]]:
    """(class, whether the text entails its description) for every class: one that does, and all others.

    Args:
        label: class of the text, in 0..classes - 1.
        classes: how many descriptions there are.
    """
    return [(c, c == label) for c in range(classes)]


@dataclass(frozen=True)
class LabelTextRows:
    """Examples with the text of their class as the positive, those of the other classes as negatives.

    Attributes:
        rows: the labelled texts.
        place: [n] which text belongs to the class of each.
        texts: one per class.
    """

    rows: LoadedSource
    place: np.ndarray
    texts: tuple[str, ...]

    def get(self, positions: Sequence[int]) -> list[Example]:
        """The examples at `positions`."""
        return [self._example(e, int(self.place[p])) for p, e in zip(positions, self.rows.get(positions), strict=True)]

    def _example(self, example: Example, own: int) -> Example:
        rows = entailment_rows(own, len(self.texts))
        positives = tuple(self.texts[c] for c, entails in rows if entails)
        return replace(
            example,
            positives=positives,
            negatives=tuple(self.texts[c] for c, entails in rows if not entails),
            known=tuple(map(text_id, positives)),
        )


def label_text_source(source: LoadedSource, options: LabelTexts) -> LoadedSource:
    """Labelled texts as a source of (query, positive, negatives, label).

    All descriptions are there as negatives; `negatives.per_query` draws from them.

    Raises:
        DataError: a stream, no labels, fewer than two classes, a class without a text, an empty text, or one text for
            two classes.
    """
    labels, names = labels_of(source, "label_texts")
    texts, where = _texts(options, sorted(set(names.values())))
    _refuse_unusable(texts, names, where, source.name)
    order = list(texts)
    place = np.array([order.index(names[code]) for code in sorted(names)], dtype=np.int64)
    per_row = place[np.searchsorted(np.array(sorted(names)), labels)]
    unused = [name for name in texts if name not in names.values()]
    remarks = [f"{len(unused)} label texts of classes without a row: {listed(unused)}"] if unused else []
    return replace(
        source,
        roles=(source.roles - {"text"}) | {"query", "positive", "negative"},
        store=LabelTextRows(source, per_row, tuple(texts.values())),
        max_negatives=len(texts) - 1,
        remarks=[*source.remarks, *remarks],
        made={**source.made, "label_texts": dict(texts)},
    )


def _texts(options: LabelTexts, names: Sequence[str]) -> tuple[dict[str, str], str]:
    """Text by class, and where it was given."""
    if options.texts is not None:
        return {name.strip(): text for name, text in options.texts.items()}, "label_texts.texts"
    if options.template is not None:
        return {name: options.template.replace(SLOT, name.replace("_", " ")) for name in names}, "label_texts.template"
    assert options.file is not None
    return _read(options.file), options.file


def _read(given: str) -> dict[str, str]:
    files = paths.locate(given, "file").places
    if not files:
        raise DataError("no such file of label texts", given, "check `label_texts.file`")
    file, found = files[0], dict[str, str]()
    bad = BadRows(PLAIN)
    for row in records.read(file, records.format_of(file), columns=("label", "text")):
        label, text = (None, None) if row.values is None else (row.values.get("label"), row.values.get("text"))
        where = f"{file}:{row.line}"
        if label is None or not isinstance(text, str):
            bad.add(where, row.reason or "no label and text", row.lines)
        elif (name := _name(label)) in found:
            bad.add(where, f"a second text for label {quoted(name)}", row.lines)
        else:
            found[name] = text
    bad.refuse(str(file), good=len(found))
    return found


def _name(label: Any) -> str:
    whole = isinstance(label, float) and label.is_integer()
    return str(int(label) if whole else label).strip()


def _refuse_unusable(texts: Mapping[str, str], names: Mapping[int, str], where: str, source: str) -> None:
    missing = sorted(set(names.values()) - set(texts))
    if missing:
        what = f"{len(missing)} classes of {source} have no label text: {listed(missing)}"
        raise DataError(what, where, f"{did_you_mean(missing[0], list(texts))}give each class one, named as the label")
    if len(texts) < 2:
        raise DataError(f"{len(texts)} class: there is nothing to tell apart", where, "give two classes or more")
    seen: dict[int, str] = {}
    for name, text in texts.items():
        wrong = fault(text)
        if wrong:
            raise DataError(f"{wrong} as the text of label {quoted(name)}", where, "write what the class is about")
        other = seen.setdefault(text_id(text), name)
        if other != name:
            what = f"labels {quoted(other)} and {quoted(name)} have the same text"
            raise DataError(what, where, "tell the classes apart")
