"""From examples to rows: which texts the encoder will see for every example of a batch, and in which slot.

Slots of an example: 0 is the query, 1..P the positives, P+1..P+M the explicit negatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embedkit.data.augment import View
from embedkit.data.text import text_id
from embedkit.errors import DataError
from embedkit.types import PAD_ID, Example, Row

_DRAW = 3  # keeps these random streams apart from the sampler's


class _Stream:
    """The random numbers of an example; begun where the first is drawn, because that is dear."""

    def __init__(self, *key: int) -> None:
        self._key = key
        self._begun: np.random.Generator | None = None

    def __call__(self) -> np.random.Generator:
        if self._begun is None:
            self._begun = np.random.default_rng(self._key)
        return self._begun


@dataclass(frozen=True)
class Expanded:
    """The rows of n examples with P positive and M negative slots each, and what is known about them.

    A missing negative has no row and `PAD_ID` in `negative_id`.

    Attributes:
        rows: texts with example and slot, example by example.
        positives, negatives: P and M.
        query_id [n], positive_id [n, P], negative_id [n, M]: int64 text ids.
        known_id: [n, K] ids of every text known to match the query, its own id and its positives included,
            filled up with `PAD_ID`. K is the most any of these examples has, so it differs between processes.
        score: [n, C] float32 or None; C = 1 for graded pairs, C = 1 + M for a teacher's scores of the positive
            and of the drawn negatives (0 where a negative is missing).
        label: [n] int64 or None.
        weight: [n] float32, of the row or of the positive that was drawn, or None.
        memory: [n] bool or None, which examples are replayed.
        origins: [n] where each example came from.
        views: what happens to the rows of each slot, the last one also to further slots; () for nothing.
        draw: (seed, step, place of the first example in the global batch), for what the views draw per row.
        paired: whether the rows are positives and negatives, each with its query, and queries have no row of their own.
    """

    rows: list[Row]
    positives: int
    negatives: int
    query_id: np.ndarray
    positive_id: np.ndarray
    negative_id: np.ndarray
    known_id: np.ndarray
    score: np.ndarray | None
    label: np.ndarray | None
    origins: list[str]
    views: tuple[View, ...] = ()
    draw: tuple[int, int, int] = (0, 0, 0)
    weight: np.ndarray | None = None
    paired: bool = False
    memory: np.ndarray | None = None

    def view(self, slot: int) -> View:
        """The view of a slot."""
        return self.views[min(slot, len(self.views) - 1)] if self.views else View()

    def key(self, row: Row) -> tuple[int, int, int, int]:
        """(seed, step, place in the global batch, slot): what the draws for a row depend on."""
        seed, step, offset = self.draw
        return seed, step, offset + row.example, row.slot


def expand(
    examples: Sequence[Example],
    *,
    unlabelled: bool,
    views: int,
    per_query: int,
    one_positive: str,
    hardest_of: int | None = None,
    seed: int,
    step: int,
    offset: int,
    transforms: Sequence[View] = (),
    pool: Sequence[str] = (),
    paired: bool = False,
    turn: int = 0,
) -> Expanded:
    """Choose positives and negatives and lay the rows out.

    Unlabelled text gives `views` rows of the same text: the first is the query, the others its positives, which
    differ through dropout and their views' transforms. They are separate rows and no cache may merge them. All carry
    the role "query", because the views are symmetric; a document prompt would make them differ in more than that.
    All keep the id of the text itself, whatever a transform makes of its words. Texts that were paired before
    (`embedkit.data.tension`) bring their own positive.

    Labelled examples give the query, one positive or all of them (role "document"; none at all where the source has no
    positives) and `per_query` negatives drawn without replacement, all of them if there are no more.

    Args:
        unlabelled: whether the examples are bare texts (role ``text``).
        views: rows per unlabelled text.
        per_query: M for labelled examples; unlabelled text has no negatives.
        one_positive: ``"sample"`` draws one of the positives, ``"first"`` takes the first, ``"all"`` all of them,
            ``"rotate"`` the next one in every `turn`, and the next negatives, as LLM-R does (arXiv 2307.07164).
        hardest_of: draw this many negatives and use the `per_query` of them that the teacher scores highest, in that
            order; None: use what is drawn.
        seed, step, offset: the draws of example i depend on (seed, step, offset + i) alone. `offset` is the place
            of the first example in the global batch, so draws do not depend on the number of processes. `step`
            must differ between the batches of one accumulated update.
        transforms: what happens to the rows of each slot, the last one also to further slots.
        pool: words of the whole global batch, for transforms that need them.
        turn: seed plus number of the pass over the data.
        paired: whether positives and negatives are read together with their query (a reranker), which then has no row.

    Raises:
        DataError: scores that fit neither the pair nor the negatives, a label, score, weight or positive that some
            examples of the batch have and others lack, or another number of positives where all are taken.
    """
    p = views - 1 if unlabelled else _slots(examples, one_positive)
    m = 0 if unlabelled else per_query
    teacher = _score_kind(examples)
    weighted = _common("a weight", [bool(e.weights) for e in examples], examples)
    rows: list[Row] = []
    n, rotate = len(examples), one_positive == "rotate"
    positive_id, negative_id = (np.full((n, width), PAD_ID, dtype=np.int64) for width in (p, m))
    score = None if teacher is None else np.zeros((n, 1 + m if teacher else 1), dtype=np.float32)
    weight = np.ones(n, dtype=np.float32) if weighted else None
    query_id = np.array([text_id(e.query) for e in examples], dtype=np.int64)
    for i, example in enumerate(examples):
        rng = _Stream(_DRAW, seed, step, offset + i)
        if unlabelled:
            positives, role, chosen = list(example.positives) or [example.query] * p, "query", slice(0, 1)
        else:
            chosen = _chosen(len(example.positives), one_positive, rng, turn)
            positives, role = list(example.positives[chosen]), "document"
        drawn = rotated(len(example.negatives), m, turn) if rotate else _drawn(example, m, hardest_of, rng)
        negatives = [example.negatives[k] for k in drawn]
        rows += _rows_of(example.query, i, positives, role, negatives, p, paired)
        positive_id[i, : len(positives)] = [text_id(text) for text in positives]
        negative_id[i, : len(negatives)] = [text_id(text) for text in negatives]
        if weight is not None:
            weight[i] = example.weights[chosen.start if len(example.weights) > 1 else 0]
        if score is not None:
            values = [example.scores[0], *(example.scores[1 + j] for j in drawn if teacher)]
            score[i, : len(values)] = values
    return _transformed(
        pool,
        rows=rows,
        positives=p,
        negatives=m,
        query_id=query_id,
        positive_id=positive_id,
        negative_id=negative_id,
        known_id=_known(examples, query_id, unlabelled),
        score=score,
        **_marked(examples),
        origins=[e.origin for e in examples],
        views=tuple(transforms),
        draw=(seed, step, offset),
        weight=weight,
        paired=paired,
    )


def _rows_of(
    query: str, example: int, positives: Sequence[str], role: str, negatives: Sequence[str], p: int, paired: bool
) -> list[Row]:
    """The rows of one example; its query alone has one where it is not read with every other text."""
    beside = query if paired else None
    found = [] if paired else [Row(query, example, 0, "query")]
    found += [Row(text, example, 1 + j, role, query=beside) for j, text in enumerate(positives)]
    return found + [Row(text, example, 1 + p + j, "document", query=beside) for j, text in enumerate(negatives)]


def _transformed(pool: Sequence[str], **laid_out: Any) -> Expanded:
    """The rows that were laid out, as their views make them."""
    expanded = Expanded(**laid_out)
    if not any(view.texts for view in expanded.views):
        return expanded

    def text(row: Row) -> str:
        return expanded.view(row.slot).text(row.text, expanded.key(row), pool)

    return replace(expanded, rows=[replace(row, text=text(row), original=row.text) for row in expanded.rows])


def _slots(examples: Sequence[Example], one_positive: str) -> int:
    """How many positives each example gives."""
    some = _common("positives", [bool(e.positives) for e in examples], examples)
    if one_positive != "all":
        return some
    counts = [len(e.positives) for e in examples]
    for count, example in zip(counts, examples, strict=True):
        if count != counts[0]:
            what = f"{count} positives, and {counts[0]} in other examples of the batch; one_positive: all takes each"
            raise DataError(what, example.origin, "give all rows as many, or set data.one_positive: sample")
        if len(example.weights) > 1:
            what = "a weight per positive, and one_positive: all gives the row one loss"
            raise DataError(what, example.origin, "give one weight per row")
    return max(counts, default=0)


def rotated(have: int, want: int, turn: int) -> list[int]:
    """Indices of `want` out of `have` texts: the next ones in every turn, round the list; all where no more."""
    return [(turn * want + k) % have for k in range(want)] if have > want else list(range(have))


def _chosen(count: int, one_positive: str, rng: _Stream, turn: int) -> slice:
    """Which of `count` positives are used; draws only where there is a choice."""
    if one_positive == "all":
        return slice(0, count)
    if one_positive == "rotate" and count:
        (first,) = rotated(count, 1, turn)
        return slice(first, first + 1)
    first = 0 if count < 2 or one_positive == "first" else int(rng().integers(count))
    return slice(first, first + 1)


def _draw(have: int, want: int, rng: _Stream) -> list[int]:
    """Indices of `want` out of `have` negatives, without replacement; all of them, in order, where no more."""
    if have <= want:
        return list(range(have))
    return [int(j) for j in rng().choice(have, size=want, replace=False)]


def hardest(scores: Sequence[float], k: int) -> list[int]:
    """Indices of the `k` highest scores, the highest first; of equal ones the earlier."""
    return sorted(range(len(scores)), key=lambda j: -scores[j])[:k]


def _drawn(example: Example, m: int, hardest_of: int | None, rng: _Stream) -> list[int]:
    """Places of the `m` negatives that are used: of as many that are drawn, or of `hardest_of` by the teacher's scores.

    Raises:
        DataError: the hardest are asked for, and the example has no score for each of its negatives.
    """
    drawn = _draw(len(example.negatives), max(m, hardest_of or 0), rng)
    if hardest_of is None or not drawn:
        return drawn
    if len(example.scores) != 1 + len(example.negatives):
        what = "negatives.hardest_of takes the negatives that a teacher scores highest, and the row has no such scores"
        cure = "give the positive's score and one per negative (embedkit mine --teacher), or leave hardest_of out"
        raise DataError(what, example.origin, cure)
    return [drawn[j] for j in hardest([example.scores[1 + j] for j in drawn], m)]


def _known(examples: Sequence[Example], query_id: np.ndarray, unlabelled: bool) -> np.ndarray:
    """Ids that match each query; a text that was paired with another one of the batch does not match it."""
    sets = [
        dict.fromkeys((int(q), *(text_id(t) for t in e.positives if not unlabelled), *e.known))
        for e, q in zip(examples, query_id, strict=True)
    ]
    known = np.full((len(sets), max(map(len, sets), default=1)), PAD_ID, dtype=np.int64)
    for i, ids in enumerate(sets):
        known[i, : len(ids)] = list(ids)
    return known


def _marked(examples: Sequence[Example]) -> dict[str, np.ndarray | None]:
    """`label` and `memory` of the examples."""
    labelled = _common("a label", [e.label is not None for e in examples], examples)
    marked = _common("a mark of memory", [e.memory is not None for e in examples], examples)
    return {
        "label": np.array([e.label for e in examples], dtype=np.int64) if labelled else None,
        "memory": np.array([e.memory for e in examples], dtype=bool) if marked else None,
    }


def _score_kind(examples: Sequence[Example]) -> bool | None:
    """None: no scores; False: one per pair; True: a teacher's, one per positive and negative."""
    if not _common("a score", [bool(e.scores) for e in examples], examples):
        return None
    for e in examples:
        if len(e.scores) not in (1, 1 + len(e.negatives)):
            raise DataError(
                f"{len(e.scores)} scores for one positive and {len(e.negatives)} negatives",
                e.origin,
                "give one score for the pair, or one for the positive followed by one per negative",
            )
        if len(e.positives) > 1:
            raise DataError(
                f"scores with {len(e.positives)} positives: it is not clear whose they are",
                e.origin,
                "give one row per positive",
            )
    return bool(_common("a score per negative", [len(e.scores) > 1 for e in examples], examples))


def _common(what: str, has: list[bool], examples: Sequence[Example]) -> int:
    """1 if all examples have it, 0 if none has; a batch cannot mix the two."""
    if any(has) and not all(has):
        lacking = examples[has.index(False)].origin
        raise DataError(
            f"this example lacks {what}, others of the same source do not",
            lacking,
            f"give all rows {what}, or split the source in two",
        )
    return int(any(has))
