"""How long an update takes, measured on real batches before training; the run that follows is bit by bit the same."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from embedkit.model.reading.devices import wait
from embedkit.model.reading.seeding import RandomState
from embedkit.train.guide import Guide

if TYPE_CHECKING:
    from embedkit.train.trainer import Trainer
    from embedkit.types import RowBatch

BATCHES = 3
ENOUGH = 3.0
"""Seconds after which no further batch is timed."""
LONG = 8.0
"""A batch that would take longer is timed by some of its micro-batches."""
QUICK = 3.0
"""Seconds of training for which no rate is worth the time."""
PROBE = 2**22
"""Weights on which the optimiser is timed; more of them leave every cache."""


@dataclass(frozen=True)
class Rate:
    """What an update takes.

    Attributes:
        seconds: per update: data, forward, backward, optimiser.
        batches: real batches that were timed.
    """

    seconds: float
    batches: int


def measure(trainer: Trainer, updates: int) -> Rate | None:
    """Time forward and backward of some batches spread over the run, and the optimiser on weights of its own.

    Weights, gradients, buffers, random states, modes and caches are as before afterwards. All processes must call it.

    Args:
        trainer: built, not yet training.
        updates: that are to come.

    Returns:
        None where all of them take no more than seconds.
    """
    sampler = trainer.pipeline.sampler
    streamed = any(source.rows is None for source in trainer.pipeline.sources)  # read forward only: its beginning
    places = [0] if streamed else sorted({(2 * i + 1) * sampler.steps // (2 * BATCHES) for i in range(BATCHES)})
    times: list[float] = []
    stand_ins = contextlib.nullcontext() if trainer.negatives is None else trainer.negatives.stand_ins()
    with unchanged(trainer), stand_ins:
        trainer.trainee.train()
        first = _warm_up(trainer, trainer.pipeline.batch(places[0], 0))
        if _agreed(trainer, first) * sampler.accumulation * updates < QUICK:
            return None
        for step in places:
            start = time.perf_counter()
            batch = trainer.pipeline.batch(step, 0)
            read = time.perf_counter() - start
            times.append(read + _batch_seconds(trainer, batch, first > LONG))
            if _agreed(trainer, sum(times)) >= ENOUGH:
                break
    seconds = sampler.accumulation * sum(times) / len(times) + _optimiser_seconds(trainer)
    return Rate(_agreed(trainer, seconds), len(times))


def _warm_up(trainer: Trainer, batch: RowBatch) -> float:
    """Seconds of the whole batch, judged by one micro-batch; what happens once has happened then."""
    rows = batch.micro_batches[len(batch.micro_batches) // 2]
    _pass(trainer, batch, rows)
    return _pass(trainer, batch, rows) * batch.tokens / max(1, _tokens(batch, rows))


def _batch_seconds(trainer: Trainer, batch: RowBatch, long: bool) -> float:
    engine = trainer.engine
    alone = trainer.comm.world == 1 and not engine.auxiliaries and engine.guide is None
    cut = alone and not engine.objectives[batch.source].empty  # else more than the encoder's passes counts
    if cut and long:
        return _by_parts(trainer, batch)
    start = time.perf_counter()
    engine(batch)
    engine.finish([p for p in trainer.trainee.parameters() if p.requires_grad])
    wait(trainer.args.device)
    return time.perf_counter() - start


def _by_parts(trainer: Trainer, batch: RowBatch) -> float:
    """A batch by its micro-batches, from all over it, until there were enough seconds; the objective is left out."""
    seconds = tokens = 0.0
    for i in np.random.default_rng(0).permutation(len(batch.micro_batches)):
        rows = batch.micro_batches[i]
        seconds += _pass(trainer, batch, rows)
        tokens += _tokens(batch, rows)
        if seconds >= ENOUGH:
            break
    return seconds * batch.tokens / tokens


def _pass(trainer: Trainer, batch: RowBatch, rows: np.ndarray) -> float:
    """Seconds of one micro-batch, forward and backward, as the step does it."""
    engine, start = trainer.engine, time.perf_counter()
    features = engine.encoder.features(batch, rows)
    with engine.autocast():
        if not engine.keep_graph(batch):
            with torch.no_grad():
                engine.encoder.embed(features)
        out = engine.encoder.embed(features)
    if out.requires_grad:
        out.backward(torch.zeros_like(out))
    wait(trainer.args.device)
    return time.perf_counter() - start


def _tokens(batch: RowBatch, rows: np.ndarray) -> int:
    return sum(len(batch.input_ids[i]) for i in rows)


def _optimiser_seconds(trainer: Trainer) -> float:
    """Seconds of the optimiser over all trained weights, timed on as many others."""
    count = sum(p.numel() for p in trainer.trainee.parameters() if p.requires_grad)
    weights = nn.Parameter(torch.zeros(max(1, min(count, PROBE)), device=trainer.args.device))
    weights.grad = torch.zeros_like(weights)
    cls, options = trainer.optimization.kind(trainer.args, trainer.model)
    optimiser = cls([weights], **options)
    optimiser.step()  # makes its state
    wait(trainer.args.device)
    start = time.perf_counter()
    optimiser.step()
    wait(trainer.args.device)
    return (time.perf_counter() - start) * count / weights.numel()


def _agreed(trainer: Trainer, seconds: float) -> float:
    """The slowest process's: the others wait for it, and all of them must decide alike."""
    if trainer.comm.world == 1:
        return seconds
    box: list[Any] = [None] * trainer.comm.world
    torch.distributed.all_gather_object(box, seconds)
    return max(box)


@contextlib.contextmanager
def unchanged(trainer: Trainer) -> Iterator[None]:
    """Whatever the block does with a trainer's step, the run goes on as if it had not."""
    device = trainer.args.device
    modules = [*trainer.trainee.modules(), *trainer.encoder.module.modules()]
    modes = {id(m): (m, m.training) for m in modules}
    buffers = [(b, b.detach().clone()) for b in trainer.trainee.buffers()]
    skipped = [(source.skipped, dict(source.skipped)) for source in trainer.pipeline.sources]
    states, drawn = (random.getstate(), np.random.get_state()), RandomState(device)
    try:
        yield
    finally:
        drawn.restore()
        random.setstate(states[0])
        np.random.set_state(states[1])
        for parameter in trainer.trainee.parameters():
            parameter.grad = None
        for buffer, before in buffers:
            buffer.copy_(before)
        for module, mode in modes.values():
            module.training = mode
        for counts, before_counts in skipped:
            counts.clear()
            counts.update(before_counts)
        if isinstance(trainer.engine.guide, Guide):
            trainer.engine.guide.forget()
