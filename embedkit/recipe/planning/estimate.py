"""The memory of a step, and whether the encoder's graph fits: the numbers behind the plan."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from embedkit.recipe.memory import (
    ADAM_BYTES,
    KEEP_SHARE,
    LION_BYTES,
    LOGIT_COPIES,
    EncoderSize,
    activation_bytes,
    amount,
    rows_per_block,
)
from embedkit.recipe.objectives.base import leaves
from embedkit.recipe.objectives.keep_start import copies
from embedkit.recipe.planning.context import Context
from embedkit.recipe.training import micro_batch_tokens


@dataclass(frozen=True)
class Memory:
    """Bytes per process; None where the model's sizes are unknown.

    Attributes:
        rows: texts this process encodes per batch, of the largest source.
        length: tokens per row that were assumed.
        measured: whether the length is a measured mean rather than the maximum.
        columns: logits a row has at most.
        rows_per_block: rows of logits held at once.
        block: one block of logits with its companions.
        leaves: embeddings of the pool with their gradient.
        parameters: of the encoder, both towers where there are two.
        trained: of its soft prompts and head, where those are all that trains; None elsewhere.
        optimizer: weights, gradients and the optimiser's moments.
        keep: activations when the graph is kept.
        reforward: activations of one micro-batch, when rows are encoded twice.
        free: memory that is free now, of this machine; None when a GPU will decide.
        graph: what will happen: ``keep``, ``reforward``, or ``auto`` when that cannot be known here.
        keep_up_to: mean tokens per text up to which ``auto`` keeps the graph; None where that cannot be known.
        companions: what lives between steps, in words: (objective or ``copy of the encoder``, amount).
        whole_batch: the objective is evaluated over the whole batch, not in row blocks.
    """

    rows: int
    length: float | None
    measured: bool
    columns: int
    rows_per_block: int
    block: int
    leaves: int | None
    parameters: int | None
    trained: int | None
    optimizer: int | None
    keep: int | None
    reforward: int | None
    free: int | None
    graph: str
    keep_up_to: int | None
    whole_batch: bool
    companions: tuple[tuple[str, str], ...] = ()


def estimate(c: Context, tokens_per_row: float | None = None) -> Memory:
    """Estimate the memory of one process.

    Args:
        c: the recipe with what is known around it.
        tokens_per_row: measured mean length; None assumes the longest.
    """
    train, model = c.recipe.train, c.model
    slots = [c.slots(source) for source in c.sources]
    asked = 0 if c.recipe.model.kind == "reranker" else 1  # a reranker's rows are pairs
    most, own = max(asked + p + m for p, m in slots), max(1, train.batch_size // c.processes)
    columns = max(1, *(s.objective.columns(c.pool, p, m) for s, (p, m) in zip(c.sources, slots, strict=True)))
    block = min(own, train.rows_per_block or rows_per_block(columns))
    longest = c.recipe.model.max_length or (model.max_length if model else None)
    length = tokens_per_row or longest
    keep = None if length is None else _activations(c, own * most, length)
    cut = None if length is None else min(own * most, max(1, micro_batch(c) / length))
    free = None if uses_gpu(train.device) else _free_memory()
    budget = None if free is None else KEEP_SHARE * free / c.processes
    return Memory(
        rows=own * most,
        length=length,
        measured=tokens_per_row is not None,
        columns=columns,
        rows_per_block=block,
        block=block * columns * 4 * LOGIT_COPIES,
        leaves=None if model is None else 2 * 4 * c.pool * most * _width(c, model),
        parameters=None if model is None else model.parameters * c.recipe.model.towers,
        trained=None if model is None else _trained(c, model),
        optimizer=None if model is None else _optimizer(c, model),
        keep=keep,
        reforward=None if cut is None or length is None else _activations(c, cut, length),
        free=free,
        graph=_graph(c, tokens_per_row, keep, budget),
        keep_up_to=_keep_up_to(c, own * most, longest, budget),
        whole_batch=any(leaf.scope == "batch" for s in c.sources for leaf in leaves(s.objective)),
        companions=() if model is None else tuple(_companions(c, model)),
    )


def micro_batch(c: Context) -> int:
    """Tokens of a micro-batch on the device that the recipe will probably get."""
    train = c.recipe.train
    return micro_batch_tokens(train, gpu=uses_gpu(train.device), fits=lambda tokens: train.device != "mps")


def _companions(c: Context, model: EncoderSize) -> Iterator[tuple[str, str]]:
    found = {}
    for source in c.sources:
        for leaf in leaves(source.objective):
            if leaf.remembers and (size := leaf.state_bytes(_width(c, model))):
                found[source.name, leaf.name] = f"{amount(size)} {leaf.state_of or 'at most'}"
    yield from ((name, text) for (_, name), text in found.items())
    small = c.recipe.model.lora is not None or "all" in c.recipe.model.freeze or _trained(c, model) is not None
    whole = "of what trains" if small else amount(4 * model.parameters * c.recipe.model.towers)
    if copies((s.objective for s in c.sources), c.recipe.train):
        yield "copy of the encoder", whole
    if c.recipe.train.prograd is not None:
        yield "second gradient (prograd)", whole
    if c.recipe.train.anchor is not None:
        yield "weights at the start (anchor)", whole


def _activations(c: Context, rows: float, length: float) -> int | None:
    if c.model is None:
        return None
    m = c.model
    tokens, precision = round(rows * length), c.recipe.train.precision
    words = m.vocabulary if c.recipe.model.kind == "sparse" else 0
    gpu = uses_gpu(c.recipe.train.device) and c.recipe.train.device != "mps"
    return activation_bytes(tokens, m.layers, m.hidden, m.heads, round(length), precision, words, gpu=gpu)


def _graph(c: Context, measured: float | None, keep: int | None, budget: float | None) -> str:
    """What ``auto`` will do; unsure while only the longest length is known and would not fit."""
    choice = c.recipe.train.graph
    if choice != "auto" or keep is None or budget is None:
        return choice
    if keep <= budget:
        return "keep"
    return "reforward" if measured is not None else "auto"


def _keep_up_to(c: Context, rows: int, longest: int | None, budget: float | None) -> int | None:
    if longest is None or budget is None or c.model is None:
        return None
    low, high = 0, longest
    while low < high:
        middle = (low + high + 1) // 2
        fits = (_activations(c, rows, middle) or 0) <= budget
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def _width(c: Context, model: EncoderSize) -> int:
    if c.recipe.model.kind == "reranker":
        return 1
    head = c.recipe.model.head
    return head.dim if head is not None and head.dim is not None else c.dim(model)


def _optimizer(c: Context, model: EncoderSize) -> int:
    """Adam or Lion on all weights; frozen ones and those under LoRA keep their value only (adapters are small)."""
    trained = _trained(c, model)
    frozen = c.recipe.model.lora is not None or "all" in c.recipe.model.freeze or trained is not None
    each = LION_BYTES if c.recipe.train.optimizer == "lion" else ADAM_BYTES
    tower = model.parameters * (4 if frozen else each) + (trained or 0) * each
    if c.recipe.model.frozen_tower is not None:
        return tower + model.parameters * 4
    return c.recipe.model.towers * tower


def _trained(c: Context, model: EncoderSize) -> int | None:
    """Soft prompts (a key and a value per position and layer) and the head behind them."""
    prompts, head = c.recipe.model.soft_prompts, c.recipe.model.head
    if prompts is None:
        return None
    beside = 0 if head is None else (model.hidden + 1) * (head.dim or model.hidden)
    return prompts.length * model.layers * 2 * model.key_value + beside


def uses_gpu(device: str) -> bool:
    """Whether a GPU will be used; asked without torch."""
    return device in ("cuda", "mps") or (device == "auto" and shutil.which("nvidia-smi") is not None)


def _free_memory() -> int:
    return int(psutil.virtual_memory().available)
