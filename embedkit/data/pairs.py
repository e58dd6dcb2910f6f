"""Scored pairs of labelled texts: few texts make many pairs (SetFit, arXiv 2209.11055)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from embedkit.data.roles import classes_in
from embedkit.data.sources import LoadedSource
from embedkit.data.text import text_id
from embedkit.errors import DataError
from embedkit.foreign.quoting import listed
from embedkit.recipe.few_shots import Pairs
from embedkit.types import Example

MOST = 2**26
"""Candidate pairs that are laid out at most: those of 11,585 texts."""


@dataclass(frozen=True)
class Pairing:
    """Pairs of n texts.

    Attributes:
        pair: [P, 2] int64 places of the texts, the first never behind the second.
        score: [P] 1 where they share a class, else 0.
    """

    pair: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.pair)

    @property
    def of_itself(self) -> int:
        """How many pair a text with itself."""
        return int((self.pair[:, 0] == self.pair[:, 1]).sum())


def setfit_pairs(
    labels: np.ndarray,
    *,
    sampling: Literal["oversampling", "undersampling", "unique"] = "oversampling",
    iterations: int | None = None,
    max_pairs: int | None = None,
    self_pairs: bool = True,
    seed: int = 42,
) -> Pairing:
    """All pairs i <= j in random order, drawn evenly from those that share a class and those that do not.

    The order is a permutation by ``numpy.random.RandomState(seed)`` of the upper triangle, row by row, with its
    diagonal: the one of huggingface/setfit (sampler.py), as is what follows. Both lists are cut to ``max_pairs // 2``,
    then repeated or cut to one length (`sampling`), or to `iterations` times the number of texts; the result takes one
    of each in turn, and the rest of the longer.

    Args:
        labels: [n] classes, or [n, C] 0 or 1 per class.
        sampling, iterations, max_pairs, seed: see `embedkit.recipe.few_shots.Pairs`.
        self_pairs: whether a text is paired with itself.

    Raises:
        DataError: a list that is to be repeated is empty.
    """
    first, second = np.triu_indices(len(labels), 0 if self_pairs else 1)
    order = np.random.RandomState(seed).permutation(len(first))
    pairs = np.stack([first[order], second[order]], axis=1)
    if labels.ndim == 1:
        same = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    else:
        shared = labels.astype(np.int64) @ labels.astype(np.int64).T > 0
        same = shared[pairs[:, 0], pairs[:, 1]]
    most = None if max_pairs is None else max_pairs // 2
    lists = pairs[same][:most], pairs[~same][:most]
    sizes = [len(found) for found in lists]
    if iterations is not None:
        sizes = [iterations * len(labels)] * 2
    elif sampling != "unique":
        sizes = [max(sizes) if sampling == "oversampling" else min(sizes)] * 2
    return _alternating([_repeated(found, size, kind) for found, size, kind in zip(lists, sizes, _KINDS, strict=True)])


_KINDS = ("of one class", "of different classes")


def _repeated(pairs: np.ndarray, size: int, kind: str) -> np.ndarray:
    if size and not len(pairs):
        raise DataError(
            f"there are no two texts {kind} to make pairs of",
            "pairs",
            "give two classes with two texts each or more, or set pairs.sampling: unique",
        )
    return pairs[np.arange(size) % max(1, len(pairs))]


def _alternating(lists: Sequence[np.ndarray]) -> Pairing:
    """One of each list in turn, the first list's first; then the rest of the longer."""
    turn = np.concatenate([2 * np.arange(len(found)) + place for place, found in enumerate(lists)])
    order = np.argsort(turn, kind="stable")
    score = np.concatenate([np.full(len(found), 1.0 - place) for place, found in enumerate(lists)])
    return Pairing(np.concatenate(lists)[order], score[order])


@dataclass(frozen=True)
class PairRows:
    """Examples (query, positive, score) of a source of labelled texts, which stay where they are."""

    texts: LoadedSource
    pairing: Pairing

    def get(self, positions: Sequence[int]) -> list[Example]:
        """The pairs at `positions`."""
        pairs = self.pairing.pair[np.asarray(positions, dtype=np.int64)]
        needed = np.unique(pairs).tolist()
        found = dict(zip(needed, self.texts.get(needed), strict=True))
        return [
            replace(
                found[i],
                positives=(found[j].query,),
                scores=(float(self.pairing.score[position]),),
                label=None,
                known=(),
                origin=f"{found[i].origin} with {found[j].origin}",
            )
            for position, (i, j) in zip(positions, pairs.tolist(), strict=True)
        ]


def paired_source(texts: LoadedSource, options: Pairs) -> LoadedSource:
    """A source of labelled texts as a source of scored pairs.

    Raises:
        DataError: it is a stream, has no labels, too many texts, one text with two labels, or no pairs to draw from.
    """
    labels, names = labels_of(texts, "pairs")
    _refuse_contradictions(texts, labels)
    n = len(labels)
    if n * (n + 1) // 2 > MOST:
        what = f"{n:,} texts make {n * (n + 1) // 2:,} pairs, more than {MOST:,}"
        raise DataError(what, texts.name, "set `limit` of the source to 10000, or use supcon, which needs no pairs")
    given = _memberships(labels, names) if options.multilabel else labels
    pairing = setfit_pairs(
        given,
        sampling=options.sampling,
        iterations=options.iterations,
        max_pairs=options.max_pairs,
        self_pairs=options.self_pairs != "none",
        seed=options.seed,
    )
    positive = int(pairing.score.sum())
    if options.self_pairs == "beside" and positive and pairing.of_itself == positive:
        raise DataError(
            "no two texts share a class: all pairs of score 1 would be of a text with itself",
            texts.name,
            "give two texts per class or more, or set pairs.self_pairs: only",
        )
    report = {"texts": n, "positive": positive, "negative": len(pairing) - positive, "of_itself": pairing.of_itself}
    return replace(
        texts,
        roles=frozenset({"query", "positive", "score"}),
        rows=len(pairing),
        store=PairRows(texts, pairing),
        max_negatives=0,
        clusters=None,
        made={**texts.made, "pairs": report},
    )


def labels_of(texts: LoadedSource, key: str) -> tuple[np.ndarray, dict[int, str]]:
    """[n] classes of the rows, and what the classes are called.

    Raises:
        DataError: a stream, or rows without labels; `key` is what asks for them.
    """
    if texts.rows is None or "label" not in texts.roles or not {"text", "query"} & texts.roles:
        what = "a stream" if texts.rows is None else f"roles {', '.join(sorted(texts.roles))}"
        raise DataError(
            f"{key} makes rows of labelled texts that are all there; this is {what}",
            texts.name,
            "name the columns, `roles: {text: COLUMN, label: COLUMN}`, without streaming",
        )
    examples = (
        e for start in range(0, texts.rows, 4096) for e in texts.get(range(start, min(start + 4096, texts.rows)))
    )
    labels = np.array([e.label for e in examples], dtype=np.int64)
    return labels, texts.classes


def _memberships(labels: np.ndarray, names: dict[int, str]) -> np.ndarray:
    """[n, C] which classes each text has: the name of a label lists them (`embedkit.data.roles.classes_in`)."""
    each = {code: classes_in(name) for code, name in names.items()}
    place = {name: i for i, name in enumerate(sorted({name for found in each.values() for name in found}))}
    member = np.zeros((len(labels), len(place)), dtype=np.int64)
    for row, code in enumerate(labels.tolist()):
        member[row, [place[name] for name in each[code]]] = 1
    return member


def _refuse_contradictions(texts: LoadedSource, labels: np.ndarray) -> None:
    """One text with two labels would be a pair of score 0 with itself."""
    seen: dict[int, tuple[int, Any]] = {}
    found: list[str] = []
    rows = texts.rows or 0
    for start in range(0, rows, 4096):
        for place, example in enumerate(texts.get(range(start, min(start + 4096, rows))), start):
            label, origin = seen.setdefault(text_id(example.query), (int(labels[place]), example.origin))
            if label != int(labels[place]):
                found.append(f"{origin} and {example.origin}")
    if found:
        what = f"{len(found)} times one text has two labels: {listed(found[:5])}"
        raise DataError(what, texts.name, "correct the labels, or keep one row of each text")
