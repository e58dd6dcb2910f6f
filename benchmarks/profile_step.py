"""Where the time of a training step, and of encoding, goes, beside the time of its matrix products alone.

Unsupervised SimCSE on all-MiniLM-L6-v2, or what `--model` names, batch 64, at most 64 tokens, sentences of natural
length, on the CPU: the whole trainer under torch's profiler, after two updates of warm-up. Then `Encoder.encode` of
documents. "alone" is what the linear layers' products of the real tokens would take at this machine's best rate,
measured in the same run.

    python benchmarks/profile_step.py [--file sentences.txt] [--steps 4]
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import wraps
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from common import arguments, console, gemm_peak, lengths_of, matmul_flop, sentences, setup
from encode import corpus
from rich.table import Table
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import TrainerCallback

os.environ.setdefault("KINETO_LOG_LEVEL", "6")
WARM_UP = 2
MASKS, BATCH, OBJECTIVE, CLIP = "part: masks", "part: batch", "part: objective", "part: clip"
GEMM, ATTENTION, RANDOM, OTHER = "linear layers (GEMM)", "attention", "dropout's random numbers", "everything else"

OWN_NAME = {
    GEMM: ("aten::mm", "aten::addmm", "mkldnn::_linear_pointwise", "aten::linear", "aten::mkldnn_linear"),
    "GELU": ("aten::gelu", "aten::gelu_backward"),
    "layer norms": ("aten::native_layer_norm", "aten::native_layer_norm_backward"),
}
"""Kinds of work known by an operation's own name, wherever it is called."""
ABOVE = (
    (RANDOM, (MASKS, "aten::native_dropout")),
    ("rows, tokens (host)", (BATCH,)),
    ("objective", (OBJECTIVE,)),
    ("clipping, optimiser", (CLIP, "Optimizer.step", "Optimizer.zero_grad")),
    (ATTENTION, ("Attention", "scaled_dot_product")),
    ("embeddings", ("aten::embedding", "Embedding")),
    ("dropout's product, residuals", ("DenseAddNorm", "_Dropout")),
)
"""Kinds of work known by what an operation is called from; the first that fits counts."""


def kind_of(names: Iterable[str]) -> str:
    """The kind of work of an operation.

    Args:
        names: its own name, then its caller's, and so on.
    """
    first, *above = names
    for kind, (part, *_) in (("objective", (OBJECTIVE,)), (RANDOM, (MASKS,))):
        if part in above:
            return kind
    for kind, own in OWN_NAME.items():
        if first in own:
            return kind
    return next((kind for kind, marks in ABOVE if any(m in n for n in (first, *above) for m in marks)), OTHER)


def shares(prof: profile, seconds: float) -> dict[str, float]:
    """Seconds per kind of work; what no operation accounts for is Python's, and counts as `OTHER`."""
    found: dict[str, float] = defaultdict(float)
    for event in prof.events() or ():
        names, above = [event.name], event.cpu_parent
        while above is not None:
            names.append(above.name)
            above = above.cpu_parent
        found[kind_of(names)] += event.self_cpu_time_total / 1e6
    found[OTHER] += max(0.0, seconds - sum(found.values()))
    return dict(found)


def marked(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, seen by the profiler under `name`."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        with record_function(name):
            return function(*args, **kwargs)

    return run


class Window(TrainerCallback):
    """Profiles the updates that follow the warm-up."""

    def __init__(self) -> None:
        self.prof = profile(activities=[ProfilerActivity.CPU])
        self.seconds: list[float] = []
        self._start = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        now = time.perf_counter()
        if state.global_step > WARM_UP:
            self.seconds.append(now - self._start)
        if state.global_step == WARM_UP:
            self.prof.__enter__()
        if state.global_step == state.max_steps:
            self.prof.__exit__(None, None, None)
        self._start = time.perf_counter()


def step(args: Any) -> tuple[dict[str, float], float, float]:
    """One update.

    Returns:
        Seconds per kind of work, seconds of an update, and its linear layers' floating-point operations.
    """
    import sides

    from embedkit.data.sources import load_source
    from embedkit.model.changing import dropout
    from embedkit.model.running import attention
    from embedkit.model.running.encoder import Encoder
    from embedkit.model.running.fused import functions
    from embedkit.run.build import build_trainer
    from embedkit.train.distributed import Comm

    updates = args.steps + WARM_UP
    texts = sentences(args.file, args.batch * updates)
    made = sides.recipe(texts, batch=args.batch, steps=updates, max_length=args.max_length, base=args.model)
    encoder, window = Encoder.load(made.model, device="cpu"), Window()
    with tempfile.TemporaryDirectory() as tmp, ExitStack() as patches:
        for module in (dropout, attention, functions):
            patches.enter_context(mock.patch.object(module, "draw_factor", marked(MASKS, dropout.draw_factor)))
        source = load_source(made.data.sources[0])
        trainer: Any = build_trainer(made, [source], encoder, Path(tmp), Comm(), callbacks=[window])
        trainer._save_checkpoint = lambda *args, **kwargs: None
        trainer.pipeline.batch = marked(BATCH, trainer.pipeline.batch)
        trainer.engine._batch_side = marked(OBJECTIVE, trainer.engine._batch_side)
        trainer._clip_grad_norm = marked(CLIP, trainer._clip_grad_norm)
        trainer.train()
    lengths = lengths_of(encoder.st, texts)
    tokens = 2 * args.batch * statistics.mean(lengths)
    whole = shares(window.prof, sum(window.seconds))
    each = {kind: value / args.steps for kind, value in whole.items()}
    return each, sum(window.seconds) / args.steps, matmul_flop(encoder.st, 1) * tokens


def encoding(count: int, base: str | None) -> tuple[dict[str, float], float, float]:
    """Encoding of `count` documents by a model, the default one for None; returns as `step`."""
    from embedkit.model.reading import tokens
    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.schema import DEFAULT_MODEL, Model

    texts = corpus(None, count)
    encoder = Encoder.load(Model(base=base or DEFAULT_MODEL), device="cpu")
    encoder.encode(texts[:64])
    tokenize = mock.patch.object(tokens, "tokenize", marked(BATCH, tokens.tokenize))
    with tokenize, profile(activities=[ProfilerActivity.CPU]) as prof:
        start = time.perf_counter()
        encoder.encode(texts)
        seconds = time.perf_counter() - start
    ids, _ = tokens.tokenize(encoder.st, texts, "")
    flop = matmul_flop(encoder.st, sum(len(row) for row in ids), passes=1)
    return shares(prof, seconds), seconds, flop


def show(title: str, found: dict[str, float], seconds: float, flop: float, peak: float) -> None:
    """A table of the kinds of work, then how far the whole is from its matrix products alone."""
    table = Table("work", "ms", "%", title=title, title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    for kind, value in sorted(found.items(), key=lambda item: -item[1]):
        table.add_row(kind, f"{value * 1e3:.1f}", f"{100 * value / seconds:.1f}")
    table.add_section()
    table.add_row("all", f"{seconds * 1e3:.1f}", "100.0")
    console.print(table)
    alone = flop / peak / 1e9
    console.print(
        f"GEMM alone: {flop / 1e9:.0f} GFLOP at this machine's {peak:.0f} GFLOP/s take {alone * 1e3:.0f} ms "
        f"(in the step they ran at {flop / found.get(GEMM, alone) / 1e9:.0f}); all is {seconds / alone:.2f} times that"
    )


def main() -> None:
    parser = arguments(__doc__, batch=64, steps=4, rounds=1)
    parser.add_argument("--texts", type=int, default=200, help="documents to encode")
    args = parser.parse_args()
    setup(args.threads)
    before = gemm_peak()
    trained, encoded = step(args), encoding(args.texts, args.model)
    peak = max(before, gemm_peak())
    show(f"Training step, batch {args.batch}, {torch.get_num_threads()} threads", *trained, peak)
    show(f"Encoding {args.texts} documents", *encoded, peak)


if __name__ == "__main__":
    main()
