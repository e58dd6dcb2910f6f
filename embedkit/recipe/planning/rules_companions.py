"""Rules about what lives between steps: queues, tables, a copy of the encoder."""

from __future__ import annotations

from collections.abc import Iterator

from embedkit.recipe.objectives.base import ObjectiveConfig, leaves
from embedkit.recipe.objectives.keep_start import copies
from embedkit.recipe.objectives.long_tail import SBCL
from embedkit.recipe.objectives.replay import ReplaySupCon
from embedkit.recipe.objectives.self_distillation import BECLR
from embedkit.recipe.objectives.wrappers import Nothing, Sum
from embedkit.recipe.planning.context import Context, objective_path, problem
from embedkit.recipe.reading.problems import Problem


def companions_stand_alone_or_in_a_sum(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        for wrapper, leaf in _wrapped(source.objective):
            what = f"{leaf.name} remembers one embedding of each text, and {wrapper.name} shows it several"
            yield problem(objective_path(source), what, f"take {leaf.name} out of {wrapper.name}; `sum` may hold it")


def companions_see_all_processes(c: Context) -> Iterator[Problem]:
    if c.processes < 2 or c.recipe.negatives.across_processes:
        return
    names = sorted({leaf.name for s in c.sources for leaf in leaves(s.objective) if leaf.remembers})
    if names:
        what = f"{', '.join(names)} remembers the same on every process, and each would see a batch of its own"
        yield problem(("negatives", "across_processes"), what, "set across_processes: true")


def one_copy_of_the_encoder(c: Context) -> Iterator[Problem]:
    asked = copies((s.objective for s in c.sources), c.recipe.train)
    if len(asked) > 1:
        what = f"objectives ask copies of the encoder with momentum {' and '.join(f'{m:g}' for m in asked)}"
        yield problem(("objective",), what, "give them one momentum, or null: a run has one copy")
    if asked and c.recipe.heads:
        what = "the encoder's copy gives embeddings without batch heads, and queries would have them"
        yield problem(("heads",), what, "remove the heads, or set momentum: null in the objective")


def prograd_has_two_gradients(c: Context) -> Iterator[Problem]:
    if c.recipe.train.prograd is None:
        return
    if c.recipe.model.kind == "reranker":
        what = "a reranker has no similarities between all texts of a batch, which prograd holds on to"
        yield problem(("train", "prograd"), what, "leave it out, or set train.anchor")
    for source in c.sources:
        if all(isinstance(leaf, Nothing) for leaf in leaves(source.objective)):
            what = "prograd keeps an objective's gradient from going against the start, and this source has none"
            yield problem(objective_path(source), what, "leave train.prograd out, or set train.anchor")


def replay_has_a_previous_model(c: Context) -> Iterator[Problem]:
    asked = any(isinstance(leaf, ReplaySupCon) for s in c.sources for leaf in leaves(s.objective))
    if asked and c.recipe.model.from_scratch:
        what = "replay_supcon takes positives from the model that training starts from, and these are new weights"
        cure = "name the model of the task before in model.base, or leave the term out of a first task"
        yield problem(("model", "from_scratch"), what, cure)


def _wrapped(config: ObjectiveConfig) -> Iterator[tuple[ObjectiveConfig, ObjectiveConfig]]:
    """Every wrapper but a sum, with what remembers inside it."""
    for inner in config.inner():
        if not isinstance(config, Sum):
            yield from ((config, leaf) for leaf in leaves(inner) if leaf.remembers)
        else:
            yield from _wrapped(inner)


REFUSALS = [
    companions_stand_alone_or_in_a_sum,
    companions_see_all_processes,
    one_copy_of_the_encoder,
    prograd_has_two_gradients,
    replay_has_a_previous_model,
]


def examples_come_again(c: Context) -> Iterator[Problem]:
    """A state per example says nothing before its second time."""
    for source in c.sources:
        for leaf in leaves(source.objective):
            steps, rows = c.updates, source.rows
            if (
                not (leaf.remembers and leaf.state_of == "per text")
                or steps is None
                or rows is None
                or len(c.sources) > 1
            ):
                continue
            if steps * c.recipe.train.batch_size * c.recipe.train.accumulation < 2 * rows:
                what = f"{leaf.name} remembers a state per example, and the run sees each less than twice"
                yield problem(objective_path(source), what, "train two epochs or more, or take infonce")


def clusters_are_made(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        for leaf in leaves(source.objective):
            if isinstance(leaf, SBCL) and c.updates is not None and leaf.every >= c.updates:
                what = f"sbcl makes subclasses after every {leaf.every} updates, and the run has {c.updates}"
                yield problem(
                    (*objective_path(source), "every"), what, f"use {max(1, c.updates // 10)}, or take supcon"
                )


def neighbours_come(c: Context) -> Iterator[Problem]:
    """A memory that is filled late, or one cluster, which is none."""
    for source in c.sources:
        for leaf in leaves(source.objective):
            if not isinstance(leaf, BECLR) or not leaf.memory:
                continue
            path = objective_path(source)
            if leaf.clusters == 1:
                yield problem((*path, "clusters"), "one cluster is plain nearest neighbours", "use 2 or more")
            batches = -(-leaf.memory // c.recipe.train.batch_size)
            first = max(leaf.start, -(-batches // c.recipe.train.accumulation))
            if c.updates is not None and first >= c.updates:
                what = f"beclr has neighbours after {first} updates, and the run has {c.updates}"
                yield problem((*path, "memory"), what, "lower memory and start, train longer, or set memory: 0")


WARNINGS = [examples_come_again, clusters_are_made, neighbours_come]
