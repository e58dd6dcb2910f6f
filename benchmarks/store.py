"""The vector store under a large corpus: write, look up, read, with the peak of resident memory.

Texts and vectors are synthetic, made as they are asked for, so that what is measured is the store. The steps are those
of a mining run: `encode_into` (hash, look up, write shards), the same once more as after an interruption (everything is
there), the corpus in order, rows at random.

    python benchmarks/store.py [--texts 1000000] [--dim 384] [--dtype float32] [--ram 1.0] [--folder DIR]
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from embedkit.vectors.encoding import encode_into
from embedkit.vectors.space import Space
from embedkit.vectors.store import VectorStore
from embedkit.vectors.view import View

console = Console(highlight=False)
TABLE = 4096
TAKEN, DRAWS = 1000, 50


class Texts(Sequence[str]):
    """`count` different texts of about 500 characters, none of them kept."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, part: Any) -> Any:
        return [f"{i} " + "passage " * (40 + i % 40) for i in range(self._count)[part]]


def synthetic(dim: int) -> tuple[Callable[[Sequence[str]], np.ndarray], Callable[[np.ndarray], np.ndarray]]:
    """An encoder, and what it gives for texts by their number: a row of a table, its first two numbers the text's."""
    table = np.random.default_rng(0).normal(size=(TABLE, dim)).astype(np.float32)

    def of(numbers: np.ndarray) -> np.ndarray:
        rows = table[numbers % TABLE]
        rows[:, 0], rows[:, 1] = numbers // 1024, numbers % 1024  # exact in half precision too
        return rows

    return lambda texts: of(np.array([int(text[: text.index(" ")]) for text in texts])), of


def peak() -> float:
    """The most memory that was resident so far, mapped files included, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def step(what: str, rows: int, run: Callable[[], Any]) -> tuple[Any, float]:
    start = time.perf_counter()
    result = run()
    took = time.perf_counter() - start
    console.print(f"{what:20s} {took:7.1f} s  {rows / took:12,.0f} rows a second   peak {peak():.2f} GiB")
    return result, took


def read(view: View, of: Callable[[np.ndarray], np.ndarray]) -> None:
    start = 0
    for block in view.blocks():
        expected = of(np.arange(start, start + len(block)))
        np.testing.assert_allclose(block, expected, rtol=2.0**-11, atol=2.0**-25)
        start += len(block)


def draw(view: View, of: Callable[[np.ndarray], np.ndarray]) -> None:
    rng = np.random.default_rng(1)
    for _ in range(DRAWS):
        at = rng.integers(0, len(view), TAKEN)
        np.testing.assert_allclose(view.take(at), of(at), rtol=2.0**-11, atol=2.0**-25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--dtype", choices=["float32", "float16"], default="float32")
    parser.add_argument("--ram", type=float, default=1.0, help="GiB, besides the index")
    parser.add_argument("--folder", help="where the store is; default: a temporary folder, removed at the end")
    args = parser.parse_args()
    texts, (encode, of) = Texts(args.texts), synthetic(args.dim)
    space = Space("synthetic", args.dim, dtype=args.dtype)
    console.print(f"{args.texts:,} texts, {args.dim} dimensions, {args.dtype}; at the start {peak():.2f} GiB")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        store = VectorStore(Path(folder), ram_gb=args.ram)
        _, took = step("encode and write", len(texts), lambda: encode_into(store.of(space), texts, encode))
        shelf, _ = step("open", len(texts), lambda: store.of(space))
        view, _ = step("find all again", len(texts), lambda: encode_into(shelf, texts, refuse))
        step("read in order", len(texts), lambda: read(view, of))
        step("read at random", TAKEN * DRAWS, lambda: draw(view, of))
    print(f"rss {peak():.2f} rate {len(texts) / took:.0f}")


def refuse(texts: Sequence[str]) -> np.ndarray:
    raise AssertionError(f"{len(texts)} texts are encoded again")


if __name__ == "__main__":
    main()
