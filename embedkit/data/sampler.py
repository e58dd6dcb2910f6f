"""Which examples make which batch: a pure function of (seed, step), so that resuming needs no replay.

The whole run is laid out before it starts. Every source gets an exact number of batches; batch ``j`` of a source
reads rows ``[j * B, (j + 1) * B)`` of its endless sequence of epochs, where each epoch is a fresh permutation and
the rows that do not fill a last batch are left out of that epoch. Where rows have clusters, an epoch is laid out by
them (`embedkit.data.clusters`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedkit.data.clusters import ClusterOrder
from embedkit.errors import DataError, RecipeError
from embedkit.recipe.pool import largest_remainder

_ORDER, _SCHEDULE = 1, 2  # what a generator is for; keeps the random streams apart


@dataclass(frozen=True)
class Batch:
    """One global batch: the source it comes from, the positions of its examples there, in order, and the number of the
    pass over the source, 0 for a stream."""

    source: int
    positions: list[int]
    epoch: int = 0


class StepSampler:
    """Lays out all batches of a run.

    An update is `accumulation` batches; batch ``k`` of update ``step`` has the global number
    ``step * accumulation + k``. All examples of a batch come from one source, the same on all processes.

    How many batches a source gives: its share is proportional to its weight, or, where no source has a weight, to
    its number of full batches, so that an epoch is exactly one pass over every source. Shares are rounded by
    largest remainder: the counts are exact, not expectations.

    In which order: the run is cut into as many equal slots as the source gives batches, and each slot gets one of
    them at a seeded random moment (stratified). After b batches, a source with share w among S sources has given
    ``b w`` batches up to an error below ``1 + S w``.

    Args:
        rows: rows per source; None for a stream, which gives positions 0, 1, 2, ... in its own order.
        weights: relative share of batches per source, all given or all None.
        batch_size: examples per batch over all processes.
        accumulation: batches per update.
        epochs: passes over the data when `steps` is None: ``floor(epochs * full batches of all sources)``
            batches, and as many updates as these fill. Weights change who gives the batches, not how many.
        steps: number of updates; overrides epochs.
        seed: seed of order and schedule.
        names: names of the sources, for error messages.
        repeats: how often each source comes for one pass over the others, where no source has a weight; nothing for 1.
        orders: how the epochs of each source are laid out, by its clusters; None, or nothing, for permutations.

    Attributes:
        steps: updates in all.
        shares: of the batches, those of each source, relative to the others.
        counts: batches per source in the whole run.
        passes: how often each source is read; None for a stream.

    Raises:
        DataError: a source has fewer rows than one batch, or the data do not fill one update.
        RecipeError: a stream without `steps`, or weights given for some sources only.
    """

    def __init__(
        self,
        rows: Sequence[int | None],
        weights: Sequence[float | None],
        batch_size: int,
        accumulation: int,
        epochs: float,
        steps: int | None,
        seed: int,
        names: Sequence[str] = (),
        orders: Sequence[ClusterOrder | None] = (),
        repeats: Sequence[int] = (),
    ) -> None:
        self.batch_size, self.accumulation, self.seed = batch_size, accumulation, seed
        self._names = list(names) or [f"source {i}" for i in range(len(rows))]
        self._rows, self._orders = list(rows), list(orders) or [None] * len(rows)
        self._full = [self._full_batches(i) for i in range(len(rows))]
        times = list(repeats) or [1] * len(rows)
        self._pass = [None if full is None else full * k for full, k in zip(self._full, times, strict=True)]
        self.shares = self._shares(list(weights))
        self.steps = self._updates(epochs) if steps is None else steps
        self.counts = largest_remainder(self.shares, self.steps * accumulation)
        self.passes = [
            None if full is None else count / full for count, full in zip(self.counts, self._full, strict=True)
        ]
        self._source, self._turn = _stratified(self.counts, seed)
        self._epoch_order: dict[int, tuple[int, np.ndarray]] = {}

    @property
    def batches_per_epoch(self) -> int:
        """Batches in one pass over all sources, a whole number of updates; the whole run where a stream has no end."""
        known = [full for full in self._pass if full is not None]
        whole = len(known) == len(self._pass)
        batches = sum(known) // self.accumulation * self.accumulation if whole else 0
        return batches or self.steps * self.accumulation

    def batch(self, step: int, k: int = 0) -> Batch:
        """Batch `k` of update `step`: the global positions, not yet divided among processes.

        Raises:
            IndexError: outside the run.
        """
        if not (0 <= step < self.steps and 0 <= k < self.accumulation):
            raise IndexError(f"batch {k} of step {step}: the run has {self.steps} steps of {self.accumulation} batches")
        number = step * self.accumulation + k
        source, turn = int(self._source[number]), int(self._turn[number])
        full, size = self._full[source], self.batch_size
        if full is None:
            return Batch(source, list(range(turn * size, (turn + 1) * size)))
        epoch, place = divmod(turn, full)
        return Batch(source, self._order(source, epoch)[place * size : (place + 1) * size].tolist(), epoch)

    def own(self, batch: Batch, rank: int, world: int) -> list[int]:
        """The positions that process `rank` of `world` reads: contiguous, equal shares in rank order.

        Raises:
            RecipeError: the batch does not divide by `world`.
        """
        share, rest = divmod(len(batch.positions), world)
        if rest:
            raise RecipeError(
                f"batch_size {len(batch.positions)} is over all processes and does not divide by {world}",
                "train.batch_size",
                f"use a multiple of {world}, e.g. {(share + 1) * world}",
            )
        return batch.positions[rank * share : (rank + 1) * share]

    def _order(self, source: int, epoch: int) -> np.ndarray:
        """The permutation of one epoch; only the latest of each source is kept."""
        if self._epoch_order.get(source, (-1,))[0] != epoch:
            generator = np.random.default_rng([_ORDER, self.seed, source, epoch])
            order = self._orders[source]
            rows = self._rows[source] or 0
            found = generator.permutation(rows) if order is None else order.epoch(self.batch_size, generator)
            self._epoch_order[source] = epoch, found
        return self._epoch_order[source][1]

    def _full_batches(self, source: int) -> int | None:
        rows = self._rows[source]
        if rows is None:
            return None
        if rows < self.batch_size:
            raise DataError(
                f"{rows} rows do not fill one batch of {self.batch_size}",
                self._names[source],
                f"set train.batch_size to {rows} or less, or give more data" if rows else "give data",
            )
        order = self._orders[source]
        if order is None:
            return rows // self.batch_size
        full = order.full(self.batch_size)
        if not full:
            found = np.unique(order.clusters, return_counts=True)[1]
            what = f"{len(found)} clusters cannot fill one batch of {self.batch_size} without two rows of one"
            if order.batches == "together":
                what = f"no cluster fills one batch of {self.batch_size}: the largest has {int(found.max())} rows"
            most = len(found) if order.batches == "apart" else int(found.max())
            raise DataError(
                what, self._names[source], f"set train.batch_size to {most} or less, or change the clusters"
            )
        return full

    def _shares(self, weights: list[float | None]) -> list[float]:
        given = [w for w in weights if w is not None]
        if len(given) == len(weights):
            return given
        if given:
            bare = self._names[weights.index(None)]
            raise RecipeError(
                "some sources have a weight and some have none", bare, "give every source a weight, or none"
            )
        if len(weights) > 1 and None in self._full:
            raise RecipeError(
                "a stream has no known number of rows, so its share cannot be worked out",
                self._names[self._full.index(None)],
                "give every source a weight",
            )
        return [1.0 if full is None else float(full) for full in self._pass]

    def _updates(self, epochs: float) -> int:
        known = [full for full in self._pass if full is not None]
        if len(known) < len(self._pass):
            raise RecipeError(
                "a stream has no end, so epochs do not say how long to train",
                self._names[self._full.index(None)],
                "set train.steps",
            )
        batches = math.floor(epochs * sum(known) + 1e-9)
        if batches < self.accumulation:
            raise DataError(
                f"{epochs:g} epochs give {batches} batches of {self.batch_size}, "
                f"less than one update of {self.accumulation}",
                ", ".join(self._names),
                "lower train.batch_size or train.accumulation, raise train.epochs, or set train.steps",
            )
        return batches // self.accumulation


def _stratified(counts: Sequence[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The source of every batch of the run, and which of that source's batches it is."""
    generator = np.random.default_rng([_SCHEDULE, seed])
    moments = [(np.arange(count) + generator.random(count)) / count for count in counts if count]
    source = np.concatenate([np.full(count, i, dtype=np.int32) for i, count in enumerate(counts)])
    turn = np.concatenate([np.arange(count, dtype=np.int64) for count in counts])
    order = np.argsort(np.concatenate(moments), kind="stable")
    return source[order], turn[order]
