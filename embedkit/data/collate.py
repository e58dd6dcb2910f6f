"""From rows to a tokenised batch, cut into micro-batches with little padding."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from embedkit.data.augment import Change
from embedkit.data.views import Expanded
from embedkit.types import Row, RowBatch

Tokenize = Callable[[list[Row]], tuple[list[list[int]], dict[str, list[Any]]]]

LAUNCH_SHARE = 1 / 32
"""Fixed cost of a micro-batch, as a share of the token budget, when padding is weighed against their number."""


def micro_batches(
    lengths: Sequence[int] | np.ndarray, budget: int, multiple: int = 1, *, padded: bool = True
) -> list[np.ndarray]:
    """Cut rows into micro-batches of similar length: the cheapest cut, not the fullest.

    Where rows are not padded, the fewest cuts are the cheapest, of about the same number of tokens. Otherwise rows
    are sorted by length, longest first (stable), and cut into runs. Among all cuts in which every run keeps
    ``rows x longest <= budget``, the one with the least ``padded tokens + LAUNCH_SHARE * budget * runs`` is found
    by dynamic programming. The second term keeps runs from becoming so small that matrix products are slow.
    The longest run comes first, so a batch that does not fit in memory fails at once.

    Args:
        lengths: [R] tokens per row.
        budget: padded tokens per micro-batch; a row longer than that is a micro-batch of its own.
        multiple: padded lengths are rounded up to a multiple of this.
        padded: whether the rows of a micro-batch are padded to the longest.

    Returns:
        Row indices (int64) per micro-batch; together they hold each of 0..R-1 once.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    order = np.argsort(-lengths, kind="stable")
    if not padded:
        return _even(order, lengths[order], budget)
    width = -(-np.maximum(lengths[order], 1) // multiple) * multiple
    count, launch = len(order), LAUNCH_SHARE * budget
    best = np.full(count + 1, np.inf)  # best[i]: cheapest cut of the i longest rows
    best[0] = 0.0
    start = np.zeros(count + 1, dtype=np.int64)  # where the last run of that cut starts
    for j in range(count):
        size = min(max(1, budget // int(width[j])), count - j)
        cost = best[j] + launch + width[j] * np.arange(1, size + 1)
        ends = slice(j + 1, j + 1 + size)
        better = cost < best[ends]
        best[ends][better] = cost[better]
        start[ends][better] = j
    runs: list[np.ndarray] = []
    end = count
    while end:
        runs.append(order[start[end] : end])
        end = int(start[end])
    return runs[::-1]


def _even(order: np.ndarray, lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """`order` cut into as few runs as `budget` allows, none much smaller than the others."""
    total = int(lengths.sum())
    fewest = -(-total // budget)
    limit = min(budget, total // fewest + int(lengths[0]))
    runs: list[list[int]] = []
    tokens = limit + 1
    for row, length in zip(order.tolist(), lengths.tolist(), strict=True):
        tokens += length
        if tokens > limit:
            runs.append([])
            tokens = length
        runs[-1].append(row)
    return [np.array(run, dtype=np.int64) for run in runs]


def collate(
    expanded: Expanded,
    tokenize: Tokenize,
    tokens_per_micro_batch: int,
    *,
    source: int,
    step: int,
    width: int = 0,
    padded: bool = True,
    once: bool = False,
) -> RowBatch:
    """Tokenise the rows of this process and cut them into micro-batches, all roles and views together.

    Rows of different variants (dropout rate, tower) are cut apart: a micro-batch runs in one.

    Args:
        expanded: the rows and ids of n examples.
        tokenize: gives token ids per row, unpadded, and other per-row values (`Encoder.tokenize`).
        tokens_per_micro_batch: padded tokens per micro-batch.
        source, step: written into the batch.
        width: columns of the embedding layer's output, for views that zero some of them.
        padded: whether the encoder will pad the rows of a micro-batch.
        once: a text of several examples is one row, of which all have the embedding; see `_owners`.

    Returns:
        `position` [R] places row r at ``example * S + slot`` of the [n * S, d] block; a missing negative leaves
        its place empty.
    """
    input_ids, features = tokenize(expanded.rows)
    slots = 1 + expanded.positives + expanded.negatives
    lengths = np.array([len(ids) for ids in input_ids], dtype=np.int64)
    variant = np.array([expanded.view(row.slot).variant for row in expanded.rows], dtype=np.int64)
    changes = [
        expanded.view(row.slot).change(len(ids), width, expanded.key(row))
        for row, ids in zip(expanded.rows, input_ids, strict=True)
    ]
    rows, shared = expanded.rows, None
    position = np.array([row.example * slots + row.slot for row in rows], dtype=np.int64)
    if once:
        owner = _owners(rows, input_ids, features, variant, changes)
        places = np.arange(len(expanded.query_id) * slots)
        places[position] = position[owner]
        shared, kept = torch.from_numpy(places), np.unique(owner).tolist()
        rows, input_ids = [rows[i] for i in kept], [input_ids[i] for i in kept]
        changes = [changes[i] for i in kept]
        features = {name: [values[i] for i in kept] for name, values in features.items()}
        lengths, variant, position = lengths[kept], variant[kept], position[kept]
    return RowBatch(
        input_ids=input_ids,
        features=features,
        position=position,
        micro_batches=_by_variant(lengths, variant, tokens_per_micro_batch, padded),
        n=len(expanded.query_id),
        positives=expanded.positives,
        negatives=expanded.negatives,
        query_id=torch.from_numpy(expanded.query_id),
        positive_id=torch.from_numpy(expanded.positive_id),
        negative_id=torch.from_numpy(expanded.negative_id),
        known_id=torch.from_numpy(expanded.known_id),
        score=None if expanded.score is None else torch.from_numpy(expanded.score),
        label=None if expanded.label is None else torch.from_numpy(expanded.label),
        weight=None if expanded.weight is None else torch.from_numpy(expanded.weight),
        variant=variant if variant.any() else None,
        cut=_if_any([change.cut for change in changes]),
        order=_if_any([change.order for change in changes]),
        offset=expanded.draw[2],
        source=source,
        step=step,
        origins=expanded.origins,
        texts=[row.words for row in rows],
        originals=[row.text if row.original is None else row.original for row in rows],
        paired=expanded.paired,
        memory=None if expanded.memory is None else torch.from_numpy(expanded.memory),
        shared=shared,
    )


def _owners(
    rows: Sequence[Row],
    input_ids: Sequence[list[int]],
    features: dict[str, list[Any]],
    variant: np.ndarray,
    changes: Sequence[Change],
) -> np.ndarray:
    """[R] the first row that the encoder would see as it sees this one.

    Inside one example a text that stands in two places has two rows, as the views of a text must. Rows that a view
    changes at random are like no other.
    """
    first: dict[Any, int] = {}
    times: Counter[Any] = Counter()
    owner = []
    for i, (row, ids, change) in enumerate(zip(rows, input_ids, changes, strict=True)):
        beside = [repr(values[i]) for values in features.values()]
        alone = i if change.cut is not None or change.order is not None else None
        key = (int(variant[i]), row.words, tuple(ids), *beside, alone)
        owner.append(first.setdefault((key, times[row.example, key]), i))
        times[row.example, key] += 1
    return np.array(owner, dtype=np.int64)


def _by_variant(lengths: np.ndarray, variant: np.ndarray, budget: int, padded: bool) -> list[np.ndarray]:
    """`micro_batches` of each variant's rows, the longest first."""
    cuts: list[np.ndarray] = []
    for kind in np.unique(variant):
        rows = np.flatnonzero(variant == kind)
        cuts += [rows[cut] for cut in micro_batches(lengths[rows], budget, padded=padded)]
    return sorted(cuts, key=lambda cut: -int(lengths[cut[0]]))


def _if_any(arrays: list[np.ndarray | None]) -> list[np.ndarray | None] | None:
    return None if all(array is None for array in arrays) else arrays
