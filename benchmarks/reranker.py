"""Training step of a reranker: embedkit against sentence-transformers' CrossEncoderTrainer, side by side.

all-MiniLM-L6-v2 with a new head, or what `--model` names, 32 pairs of query and document an update, at most 256 tokens,
binary cross-entropy, on the CPU unless `--device` says otherwise. Every query stands once with its document and once
with another one. Both sides run their whole trainer (data, forward, backward, clipping, optimiser) in turn; a step is
the time between two updates. Dropout is on as in real training; with dropout off, loss and gradient of both sides are
compared first.

    python benchmarks/reranker.py [--file pairs.jsonl] [--rounds 3] [--steps 4] [--model folder]
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import tempfile
from pathlib import Path
from typing import Any

from common import alternate, arguments, console, gemm_peak, matmul_flop, placed, ratio, setup

Pair = tuple[str, str, float]
"""Query, document, and 1 where they belong together, else 0."""


def pairs(file: str | None, count: int) -> list[Pair]:
    """`count` pairs, half of them of another query's document: of a JSONL file of query and positive, or of pydocs."""
    from embedkit.data.sources import load_source
    from embedkit.recipe.schema import Source

    where = {"path": str(Path(file).absolute())} if file else {"pydocs": {}}
    source, needed = load_source(Source.model_validate(where)), -(-count // 2) + 1
    rows = source.rows or 0
    if rows < needed:
        raise SystemExit(f"{rows} queries found, {needed} needed: give --file, or fewer --steps")
    chosen = source.get([i * (rows // needed) for i in range(needed)])  # spread over the whole
    found: list[Pair] = []
    for one, other in itertools.pairwise(chosen):
        found += [(one.query, one.positives[0], 1.0), (one.query, other.positives[0], 0.0)]
    return found[:count]


def recipe(found: list[Pair], args: argparse.Namespace, **train: Any) -> Any:
    """embedkit's recipe of it: every pair judged on its own."""
    import sides

    rows = [{"query": query, "positive": document, "score": label} for query, document, label in found]
    blocks = {"data": {"sources": [{"name": "pairs", "rows": rows}]}, "objective": {"name": "bce", "reduction": "mean"}}
    attention = {} if args.attention is None else {"attention": args.attention}
    return sides.recipe(
        [],
        batch=args.batch,
        steps=args.steps + 1,
        max_length=args.max_length,
        base=args.model,
        model={"kind": "reranker", **attention},
        blocks=blocks,
        device=args.device,
        **train,
    )


def rival(made: Any, found: list[Pair], out: Path) -> list[float]:
    """Run sentence-transformers' trainer on the same pairs; seconds per update."""
    import sides
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments, losses

    from embedkit.model.reading.resolve import resolve

    options: dict[str, Any] = {"dtype": torch.float32}
    if made.model.attention is not None:
        options["attn_implementation"] = made.model.attention
    target = resolve(made.model.base).target
    model = CrossEncoder(target, num_labels=1, device=made.train.device, model_kwargs=options)
    model.max_seq_length = made.model.max_length
    query, document, label = (list(values) for values in zip(*found, strict=True))
    columns = {"query": query, "document": document, "label": label}
    loss = losses.BinaryCrossEntropyLoss(model)
    return sides.timed(CrossEncoderTrainer, CrossEncoderTrainingArguments, made, out, model, loss, columns)


def binary(found: list[Pair]) -> Any:
    """``(model, batch) -> loss`` by sentence-transformers, for `sides.apart`."""
    import torch
    from sentence_transformers.cross_encoder import losses

    by_words = {f"{query} | {document}": (query, document, label) for query, document, label in found}

    def loss(model: Any, batch: Any) -> torch.Tensor:
        query, document, label = (list(values) for values in zip(*map(by_words.get, batch.texts), strict=True))
        return losses.BinaryCrossEntropyLoss(model.st)([query, document], torch.tensor(label, device=model.device))

    return loss


def measure(args: argparse.Namespace) -> None:
    """Compare the two sides, say what was found, and print the ratio."""
    import sides

    from embedkit.model.running.reranker import Reranker

    found = pairs(args.file, args.batch * (args.steps + 1))
    made = recipe(found, args, precision=args.precision)
    model = Reranker.load(made.model, device=args.device)
    ids = model.st.tokenizer([list(pair[:2]) for pair in found], truncation=True, max_length=args.max_length)
    lengths = [len(row) for row in ids["input_ids"]]
    console.print(f"{len(found)} pairs, {statistics.mean(lengths):.1f} tokens on average, {max(lengths)} at most")
    with tempfile.TemporaryDirectory() as tmp:
        out = Path(tmp)
        sides.check_equal(sides.apart(recipe(found, args), out, binary(found)))
        seconds = alternate(
            {
                "sentence-transformers": lambda: rival(made, found, out),
                "embedkit": lambda: sides.ours(made, out),
            },
            args.rounds,
        )
    slow, fast = (statistics.median(seconds[name]) for name in ("sentence-transformers", "embedkit"))
    peak = gemm_peak(device=args.device, precision=args.precision)
    real = int(args.batch * statistics.mean(lengths))
    limit = matmul_flop(model.st, real) / peak / 1e9
    console.print(
        f"sentence-transformers {slow * 1e3:.0f} ms, embedkit {fast * 1e3:.0f} ms per step, "
        f"medians of {len(seconds['embedkit'])}"
    )
    console.print(
        f"limit: matrix products of the {real} real tokens at this machine's {peak:.0f} GFLOP/s take "
        f"{limit * 1e3:.0f} ms; embedkit's step is {fast / limit:.2f} times that"
    )
    ratio(slow, fast)


def main() -> None:
    parser = placed(arguments(__doc__, batch=32, steps=4, rounds=3))
    parser.set_defaults(max_length=256)
    args = parser.parse_args()
    setup(args.threads, args.device)
    measure(args)


if __name__ == "__main__":
    main()
