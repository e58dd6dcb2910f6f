"""A causal language model: training step and encoding, embedkit against sentence-transformers, in one run.

At defaults SmolLM2-135M-Instruct on the CPU, last-token pooling: unsupervised SimCSE, batch 8, at most 64 tokens; then
documents of at most 128 tokens. Each part compares the results of both sides first and ends with its ratio.

    python benchmarks/decoder.py [--model folder] [--file sentences.txt] [--texts 32] [--rounds 2] [--steps 2]
"""

from __future__ import annotations

import argparse

import encode
import train_step
from common import arguments, console, placed, setup

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
ENCODED = 128
"""Tokens kept of a document."""
BATCH_SIZES = (8, 16, 32)


def main() -> None:
    parser = placed(arguments(__doc__, batch=8, steps=2, rounds=2))
    parser.set_defaults(model=MODEL, pooling=None)
    parser.add_argument("--texts", type=int, default=32, help="documents that are encoded")
    args = parser.parse_args()
    setup(args.threads, args.device)
    from embedkit.errors import RecipeError
    from embedkit.model.reading.resolve import resolve

    try:
        console.print(f"model: {resolve(args.model)}")
    except RecipeError as error:
        console.print(f"not measured: {error.what}\n  give the weights of a causal language model: --model FOLDER")
        raise SystemExit(0 if args.model == MODEL else 2) from error
    console.print("training step")
    train_step.measure(args)
    console.print("encoding")
    encode.measure(argparse.Namespace(**{**vars(args), "max_length": ENCODED}), BATCH_SIZES)


if __name__ == "__main__":
    main()
