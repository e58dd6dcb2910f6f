"""What a plan is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from embedkit.errors import EmbedkitError
from embedkit.recipe.planning.estimate import Memory
from embedkit.recipe.planning.evaluations import Evaluations
from embedkit.recipe.reading.problems import Problem


@dataclass(frozen=True)
class SourcePlan:
    """One source's part in the plan.

    Attributes:
        name: of the source.
        roles: roles it gives; None where unknown.
        declared: roles that the recipe names.
        rows: None where unknown.
        batches: full batches in one pass; None where unknown.
        objective: name, wrappers as ``matryoshka(infonce)``.
        scope: ``row`` or ``batch``, of each leaf.
        positives, negatives: P and M per example.
        rows_per_step: texts encoded per batch over all processes.
        seen: per softmax: anchor, own, others, others_explicit, noise, less.
        paired: whether a row is a text read with its query; queries then have none of their own.
        sees: what an example is set against, of objectives that count no negatives.
        made: how its rows are made before training, in words; empty for rows as they are read.
        maker: the block of the recipe that `made` is about.
    """

    name: str
    roles: tuple[str, ...] | None
    declared: tuple[str, ...]
    rows: int | None
    batches: int | None
    objective: str
    scope: tuple[str, ...]
    positives: int
    negatives: int
    rows_per_step: int
    seen: tuple[dict[str, Any], ...]
    made: tuple[str, ...] = ()
    sees: tuple[str, ...] = ()
    maker: str = ""
    paired: bool = False


@dataclass(frozen=True)
class Planned:
    """What a run will do.

    Attributes:
        model: base model.
        processes: number of processes.
        batch_size, accumulation: of the recipe; a query's pool is one batch.
        encode_once: whether a text of several examples has one row.
        pool: examples whose embeddings meet in one loss.
        updates: optimiser steps, None where the number of rows is unknown.
        sources: one entry per source.
        memory: the estimate per process.
        views: what happens to each view of an unlabelled text.
        strength: how strong they are beside generated rows, in words; None where that is not asked for.
        pairing: pairs of different texts for each text that is paired with itself; None where none are.
        auxiliary: each auxiliary loss, and what it costs, in words.
        evaluation: when, and how often.
        refusals: why the recipe cannot run.
        warnings: what is probably not meant.
        unreadable: why files of the data cannot be read.
    """

    model: str
    processes: int
    batch_size: int
    accumulation: int
    encode_once: bool
    pool: int
    updates: int | None
    sources: tuple[SourcePlan, ...]
    memory: Memory
    views: tuple[str, ...]
    strength: str | None
    pairing: int | None
    auxiliary: tuple[str, ...]
    evaluation: Evaluations
    refusals: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    unreadable: tuple[EmbedkitError, ...] = ()
