"""How long an evaluation will take, from a rate that is measured on a few batches of its own texts.

The texts are ordered by length and drawn evenly from that order, so that short and long ones count in the share they
have. Samples grow until one takes a second, so that a slow model answers after a few texts and the cost of starting is
not taken for a rate; further while that is little beside the whole, since batches of few texts are slower per text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from embedkit.evaluation import lexical, robustness
from embedkit.evaluation.kept import Keeps
from embedkit.evaluation.loading import StsData
from embedkit.evaluation.mteb.running import MtebData
from embedkit.evaluation.stats import sts_draws
from embedkit.evaluation.tasks import TaskData, inputs
from embedkit.evaluation.two_stage import TwoStage
from embedkit.recipe.suite import Suite
from embedkit.terminal.times import about
from embedkit.types import Encodes

FIRST, GROWTH = 8, 4
ENOUGH = 1.0
"""Seconds of encoding that give a rate."""
LITTLE, WAIT = 0.02, 60.0
"""A larger sample may take this share of the whole evaluation, and this many seconds."""
ENOUGH_UNSEEN = 64
"""Texts that stand for those of a data set that is still on the Hub."""
SHORT = 10.0
"""What takes less needs no forecast."""
CHARACTERS = 6
"""Characters of a token at most, about: what a truncated text has beyond them costs nothing."""
RESAMPLES = 4


@dataclass(frozen=True)
class Forecast:
    """What an evaluation will take.

    Attributes:
        encoding: seconds.
        statistics: seconds of one bootstrap of all tasks.
        texts: distinct texts to encode.
        measured: of them encoded to know it.
    """

    encoding: float
    statistics: float
    texts: int
    measured: int

    @property
    def seconds(self) -> float:
        return self.encoding + self.statistics

    @property
    def words(self) -> str:
        """``about 4 min for 10,437 texts (43 a second, measured on 168 of them)``."""
        rate = self.texts / max(self.encoding, 1e-9)
        each = f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"
        return (
            f"{about(self.seconds)} for {self.texts:,} texts ({each} a second, measured on {self.measured:,} of them)"
        )


@dataclass(frozen=True)
class Text:
    """A text with how it is encoded."""

    text: str
    role: str
    max_length: int | None

    @property
    def weight(self) -> int:
        """Characters that cost something; one more for the special tokens."""
        return 1 + min(len(self.text), CHARACTERS * (self.max_length or 512))


def forecast(
    encoder: Encodes | TwoStage,
    suite: Suite,
    data: Sequence[TaskData],
    *,
    batch_tokens: int = 8192,
    resamples: int = 0,
    kept: Keeps | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Forecast:
    """Measure the rate and tell the time.

    Args:
        encoder: the model.
        suite: from `load_suite`.
        data: from `load_data`.
        batch_tokens: padded tokens per batch, as in the evaluation.
        resamples: of the bootstrap.
        kept: where vectors of this model are: those need no time.
        clock: gives seconds.
    """
    if isinstance(encoder, TwoStage):
        return _of_pairs(encoder, suite, data, batch_tokens, resamples, clock)
    texts = _distinct(suite, data, kept)
    whole, count = sum(t.weight for t in texts), len(texts)
    for task, own in zip(suite.tasks, data, strict=True):
        unseen = _unseen(own, task.max_length)
        if unseen is not None:
            number, like = unseen
            whole, count = whole + number * like.weight, count + number
            texts += [like] * min(number, ENOUGH_UNSEEN)
    seconds, measured = encoding_time(texts, whole, lambda sample: _encode(encoder, sample, batch_tokens), clock)
    return Forecast(seconds, _statistics(data, resamples, clock), count, measured)


def _of_pairs(
    two: TwoStage,
    suite: Suite,
    data: Sequence[TaskData],
    batch_tokens: int,
    resamples: int,
    clock: Callable[[], float],
) -> Forecast:
    """As `forecast`, by the pairs that are scored. The first stage searches now, and what it finds is kept."""
    pairs = [pair for task, own in zip(suite.tasks, data, strict=True) for pair in two.pairs(task, own, batch_tokens)]
    texts = [Text(f"{query} {text}", "document", None) for query, text in pairs]
    of = {id(text): pair for text, pair in zip(texts, pairs, strict=True)}

    def score(sample: Sequence[Text]) -> None:
        two.reranker.score([of[id(text)] for text in sample], batch_tokens=batch_tokens)

    seconds, measured = encoding_time(texts, sum(t.weight for t in texts), score, clock)
    return Forecast(seconds, _statistics(data, resamples, clock), len(texts), measured)


def encoding_time(
    texts: Sequence[Text],
    whole: int,
    encode: Callable[[Sequence[Text]], None],
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, int]:
    """Seconds that encoding will take.

    Args:
        texts: all of them, or a fair sample.
        whole: the sum of the weights of all.
        encode: encodes some.
        clock: gives seconds.

    Returns:
        The seconds, and how many texts were encoded to know.
    """
    if not texts:
        return 0.0, 0
    texts = sorted(texts, key=lambda t: t.weight)
    count, measured = min(FIRST, len(texts)), 0
    encode([*texts[:1], *texts[-1:]])  # what happens once is no part of the rate
    while True:
        sample = [texts[(2 * i + 1) * len(texts) // (2 * count)] for i in range(count)]
        start = clock()
        encode(sample)
        took, measured = clock() - start, measured + len(sample)
        seconds = took * whole / sum(t.weight for t in sample)
        larger = took * GROWTH
        if seconds < SHORT / 4 or count == len(texts) or (took >= ENOUGH and larger > min(LITTLE * seconds, WAIT)):
            return seconds, measured
        count = min(len(texts), count * GROWTH)


def _distinct(suite: Suite, data: Sequence[TaskData], kept: Keeps | None) -> list[Text]:
    """Every text once per task and role, as an evaluation encodes it."""
    return [
        Text(text, role, task.max_length)
        for task, own in zip(suite.tasks, data, strict=True)
        for texts, role in [*inputs(own), *robustness.texts(task, own)]
        for text in (dict.fromkeys(texts) if kept is None else kept.missing(texts, role, task.max_length))
    ]


def _unseen(data: TaskData, max_length: int | None) -> tuple[int, Text] | None:
    """How many texts are not here yet, and a made-up one as long as they are on average."""
    if not isinstance(data, MtebData) or not data.unseen[0]:
        return None
    number, length = data.unseen
    words = "the model reads some words of a language that it knows and gives them a place among others "
    return number, Text((words * (1 + length // len(words)))[:length], "query", max_length)


def _encode(encoder: Encodes, sample: Sequence[Text], batch_tokens: int) -> None:
    groups: dict[tuple[str, int | None], list[str]] = {}
    for t in sample:
        groups.setdefault((t.role, t.max_length), []).append(t.text)
    for (role, max_length), texts in groups.items():
        lexical.encoding(encoder)(texts, role=role, max_length=max_length, batch_tokens=batch_tokens)


def _statistics(data: Sequence[TaskData], resamples: int, clock: Callable[[], float]) -> float:
    """Seconds of the bootstrap of all STS tasks; that of means over queries is nothing beside it."""
    total = 0.0
    for own in data:
        if isinstance(own, StsData) and resamples:
            few = min(RESAMPLES, resamples)
            start = clock()
            sts_draws(own.gold, own.gold, own.subset, few, np.random.default_rng(0))
            total += (clock() - start) * resamples / few
    return total
