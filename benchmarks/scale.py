"""Constants of the cost model in docs/scale.md: bytes and CPU seconds of vectors, indexes, searches and the merge.

Vectors are synthetic (seeded clusters), so that only sizes and speeds are meant, and recall is that of such clusters.
Seconds are of CPUs, not of the clock, so that a busy machine tells the same; one thread. With `--encode` the rate of
all-MiniLM-L6-v2 on lines of a file is measured instead.

    python benchmarks/scale.py [--rows 1000000] [--queries 1000] [--work DIR]
    python benchmarks/scale.py --encode FILE [--texts 2048]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

DIM, DEPTH, BLOCK = 384, 100, 65_536
T = TypeVar("T")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--work", type=Path, help="vectors are written here; default: a temporary folder")
    parser.add_argument("--encode", type=Path, help="texts, one a line")
    parser.add_argument("--texts", type=int, default=2048)
    args = parser.parse_args()
    if args.encode:
        encode(args.encode, args.texts)
        return
    with tempfile.TemporaryDirectory() as folder:
        measure(args, args.work or Path(folder))


def timed(function: Callable[[], T]) -> tuple[T, float]:
    start = time.process_time()
    return function(), time.process_time() - start


def told(what: str, seconds: float, count: float, unit: str) -> None:
    print(f"{what:44s} {seconds:8.2f} s of CPU, {count / max(seconds, 1e-9):14,.0f} {unit} a second")


def vectors(folder: Path, rows: int) -> Path:
    """Unit vectors around the square root of n centres, written block by block."""
    from embedkit.vectors.shards import write_header

    draw = np.random.default_rng(0)
    centres = draw.normal(size=(max(1, int(rows**0.5)), DIM)).astype(np.float32)
    path = folder / f"v-{rows}.npy"
    with path.open("wb") as file:
        write_header(file, np.dtype(np.float32), (rows, DIM))
        for start in range(0, rows, BLOCK):
            size = min(BLOCK, rows - start)
            block = centres[draw.integers(0, len(centres), size)] + draw.standard_normal((size, DIM), np.float32)
            file.write((block / np.linalg.norm(block, axis=1, keepdims=True)).astype(np.float32).tobytes())
    return path


def measure(args: argparse.Namespace, folder: Path) -> None:
    import faiss
    import torch

    from embedkit.vectors.given import given_vectors
    from embedkit.vectors.index.build import IndexKind, build

    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    path = vectors(folder, args.rows)
    rows = given_vectors(path)
    draw = np.random.default_rng(1)
    near = rows.take(np.sort(draw.choice(args.rows, args.queries, replace=False)))
    queries = (near + 0.03 * draw.standard_normal(near.shape, np.float32)).astype(np.float32)
    print(f"{args.rows:,} vectors of {DIM} dimensions, {args.queries:,} queries, depth {DEPTH}, one thread")
    print(f"f32 on disk: {path.stat().st_size / args.rows:.1f} bytes a vector")
    products = args.rows * args.queries * DIM
    kinds: list[IndexKind] = ["exact", "ivf", "ivf-pq"]
    for kind in kinds:
        options: dict[str, Any] = {"kind": kind, "searches": args.queries, "ram_gb": 16.0, "method": "faiss"}
        index, seconds = timed(lambda options=options: build(rows, queries, **options))  # type: ignore[misc]
        if kind != "exact":
            report = index.report
            told(f"{kind}: build and measure (recall {report.recall:.3f})", seconds, args.rows, "vectors")
            print(
                f"{kind}: {report.bytes / args.rows:.0f} bytes a vector, {report.effort}, {index.searcher.lists} lists"
            )
        _, seconds = timed(lambda index=index: index.search(queries, DEPTH))  # type: ignore[misc]
        told(
            f"{kind}: search",
            seconds,
            products if kind == "exact" else args.queries,
            "products" if kind == "exact" else "queries",
        )
    merge(args)
    keys(args.rows)


def merge(args: argparse.Namespace) -> None:
    from embedkit.mining.shares import merged
    from embedkit.vectors.index.found import Found

    draw = np.random.default_rng(2)
    parts = [
        Found.of(
            draw.integers(0, 10**9, (args.queries, DEPTH)), draw.standard_normal((args.queries, DEPTH), np.float32)
        )
        for _ in range(16)
    ]
    _, seconds = timed(lambda: merged(parts, DEPTH))
    told("merge of 16 shards", seconds, 16 * args.queries * DEPTH, "candidates")


def keys(rows: int) -> None:
    from embedkit.vectors.keys import KeyIndex, keys_of

    index = KeyIndex()
    _, seconds = timed(
        lambda: [
            index.add(
                keys_of([f"text {i}" for i in range(start, min(rows, start + BLOCK))]),
                np.arange(min(BLOCK, rows - start)),
            )
            for start in range(0, rows, BLOCK)
        ]
    )
    held = sum(run.head.nbytes + run.tail.nbytes + run.place.nbytes for run in index._runs)
    told(f"keys of texts, {held / rows:.0f} bytes each", seconds, rows, "texts")


def encode(file: Path, texts: int) -> None:
    import torch

    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.schema import DEFAULT_MODEL, Model

    torch.set_num_threads(1)
    with file.open(encoding="utf-8") as lines:
        some = [line.strip() for line in islice(lines, texts)]
    encoder = Encoder.load(Model(base=DEFAULT_MODEL), device="cpu")
    encoder.encode(some[:64], role="document", max_length=None, batch_tokens=8192)
    some.sort(key=len, reverse=True)
    _, seconds = timed(lambda: encoder.encode(some, role="document", max_length=None, batch_tokens=8192))
    tokens = sum(map(len, encoder.st.tokenizer(some, truncation=True, max_length=256)["input_ids"]))
    told(f"encode, {tokens / len(some):.1f} tokens a text, batches of 8,192", seconds, len(some), "texts")


if __name__ == "__main__":
    main()
