"""Training step of unsupervised SimCSE: embedkit against sentence-transformers' trainer, side by side.

all-MiniLM-L6-v2, or what `--model` names, batch 64, at most 64 tokens, sentences of natural length, on the CPU unless
`--device` says otherwise. Both sides run their whole trainer (data, forward, backward, clipping, optimiser) in turn; a
step is the time between two updates. Dropout is on as in real training; with dropout off, loss and gradient of both
sides are compared first.

With `--pooling cls`, SimCSE's own, embedkit leaves the last layer's other tokens out; without, the model's pooling
stays.

    python benchmarks/train_step.py [--file sentences.txt] [--rounds 3] [--steps 8] [--model folder] [--pooling cls]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from common import alternate, arguments, console, gemm_peak, lengths_of, matmul_flop, placed, ratio, sentences, setup


def main() -> None:
    parser = placed(arguments(__doc__, batch=64, steps=8, rounds=3))
    parser.add_argument("--pooling", choices=("mean", "cls"), help="of both sides; default: the model's own")
    args = parser.parse_args()
    setup(args.threads, args.device)
    measure(args)


def measure(args: argparse.Namespace) -> None:
    """Compare the two sides, say what was found, and print the ratio."""
    import sides

    from embedkit.model.running.encoder import Encoder

    texts = sentences(args.file, args.batch * (args.steps + 1))
    sizes = {"batch": args.batch, "steps": args.steps + 1, "max_length": args.max_length, "device": args.device}
    pooling = {} if args.pooling is None else {"pooling": args.pooling}
    plain = sides.recipe(texts, **sizes, base=args.model, model=pooling)
    model = pooling if args.attention is None else {**pooling, "attention": args.attention}
    made = sides.recipe(texts, **sizes, base=args.model, model=model, precision=args.precision)
    encoder = Encoder.load(made.model, device=args.device)
    lengths = lengths_of(encoder.st, texts)
    console.print(f"{len(texts)} sentences, {statistics.mean(lengths):.1f} tokens on average, {max(lengths)} at most")

    with tempfile.TemporaryDirectory() as tmp:
        out = Path(tmp)
        sides.check_equal(sides.gradients(plain, out))
        seconds = alternate(
            {"sentence-transformers": lambda: sides.rival(made, out), "embedkit": lambda: sides.ours(made, out)},
            args.rounds,
        )
    slow, fast = (statistics.median(seconds[name]) for name in ("sentence-transformers", "embedkit"))
    peak = gemm_peak(device=args.device, precision=args.precision)
    real = 2 * args.batch * statistics.mean(lengths)
    limit = matmul_flop(encoder.st, int(real)) / peak / 1e9
    console.print(
        f"sentence-transformers {slow * 1e3:.0f} ms, embedkit {fast * 1e3:.0f} ms per step, "
        f"medians of {len(seconds['embedkit'])}"
    )
    console.print(
        f"limit: matrix products of the {real:.0f} real tokens in all layers at this machine's {peak:.0f} GFLOP/s take "
        f"{limit * 1e3:.0f} ms; embedkit's step is {fast / limit:.2f} times that"
    )
    ratio(slow, fast)


if __name__ == "__main__":
    main()
