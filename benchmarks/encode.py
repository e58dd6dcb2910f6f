"""Encoding a corpus: embedkit's `Encoder.encode` against `SentenceTransformer.encode` at its best batch size.

all-MiniLM-L6-v2, or what `--model` names, on the CPU unless `--device` says otherwise, texts of natural length. Every
batch size of the rival and embedkit take turns; the embeddings of both are compared first.

    python benchmarks/encode.py [--file texts.txt] [--texts 1000] [--rounds 3] [--model folder]
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import alternate, console, gemm_peak, lengths_of, matmul_flop, ratio, setup

BATCH_SIZES = (16, 32, 64, 128, 256)


def corpus(file: str | None, count: int) -> list[str]:
    """`count` different texts: lines of a file, or documents of the pydocs corpus; spread over the whole."""
    if file:
        opener: Callable[..., Any] = gzip.open if file.endswith(".gz") else open
        with opener(Path(file), "rt", encoding="utf-8") as lines:
            found = [line.strip() for line in lines if line.strip()]
    else:
        from embedkit.data.pydocs import load_pydocs
        from embedkit.recipe.pydocs import PydocsSource

        found = [text for example in load_pydocs(PydocsSource()).train for text in example.positives]
    found = list(dict.fromkeys(found))
    if len(found) < count:
        raise SystemExit(f"{len(found)} different texts found, {count} needed: give --file or a smaller --texts")
    return found[:: len(found) // count][:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", help="texts, one per line; default: documents of the pydocs corpus")
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--model", help="folder or Hub id of another model; default: all-MiniLM-L6-v2")
    parser.add_argument("--max-length", type=int, default=None, help="tokens kept; default: the model's own setting")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps, for both sides")
    args = parser.parse_args()
    setup(args.threads, args.device)
    measure(args)


def measure(args: argparse.Namespace, batch_sizes: Sequence[int] = BATCH_SIZES) -> None:
    """Compare the two sides, say what was found, and print the ratio."""
    from sentence_transformers import SentenceTransformer

    from embedkit.model.reading.resolve import resolve
    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.schema import DEFAULT_MODEL, Model

    texts = corpus(args.file, args.texts)
    base = args.model or DEFAULT_MODEL
    encoder = Encoder.load(Model(base=base, max_length=args.max_length), device=args.device)
    stock = SentenceTransformer(resolve(base).target, device=args.device, model_kwargs={"dtype": torch.float32})
    stock.max_seq_length = args.max_length or stock.max_seq_length
    tokens = sum(lengths_of(encoder.st, texts))
    theirs = stock.encode(texts[:200])
    norm = np.linalg.norm(theirs, axis=1)  # a causal model's embeddings are long
    distance = (np.linalg.norm(encoder.encode(texts[:200]) - theirs, axis=1) / norm).max()
    console.print(
        f"{len(texts)} texts, {tokens / len(texts):.0f} tokens on average; largest relative distance of an embedding "
        f"from that of sentence-transformers: {distance:.1e}"
    )
    assert distance < 1e-5, "the two sides differ"

    def timed(run: Callable[[], Any]) -> Callable[[], list[float]]:
        def side() -> list[float]:
            start = time.perf_counter()
            run()
            return [time.perf_counter() - start]

        return side

    sides = {f"sentence-transformers {b}": timed(lambda b=b: stock.encode(texts, batch_size=b)) for b in batch_sizes}
    seconds = alternate({**sides, "embedkit": timed(lambda: encoder.encode(texts))}, args.rounds)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in median.items():
        console.print(f"{name:28s} {len(texts) / value:8.1f} texts/s")
    limit = matmul_flop(stock, tokens, passes=1) / gemm_peak(device=args.device) / 1e9
    console.print(
        f"limit: the matrix products of {tokens} tokens take {limit:.2f} s at this machine's GEMM peak; "
        f"embedkit needs {median['embedkit'] / limit:.2f} times that"
    )
    ratio(min(value for name, value in median.items() if name != "embedkit"), median["embedkit"])


if __name__ == "__main__":
    main()
