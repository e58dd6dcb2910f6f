"""Mining hard negatives: embedkit's `Miner` against sentence-transformers' `mine_hard_negatives`, in both its modes.

Every side has the same texts and the same stored vectors, and runs in a process of its own, whose peak of resident
memory is measured. What is timed is what follows the vectors: from texts and vectors to each query's negatives;
packages are imported before. The rule is the same on both sides: of the `--depth` nearest passages those below 95 % of
the positive's similarity, the `--keep` best. sentence-transformers gets a model that hands out the stored vectors and
compares them by the inner product, which saves it the normalisation of every block.

With `--text` passages are lines of a file, a query is the first half of a passage's words and that passage its
positive, all embedded by all-MiniLM-L6-v2 and kept through `embedkit.vectors` under `--work`. Without it vectors are
synthetic: seeded clusters, queries near their positives.

    python benchmarks/mine.py [--text FILE] [--queries 20000] [--passages 200000] [--ram 1] [--work DIR]
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

DIM, MARGIN, RECALL_AT, RECALL = 384, 0.05, 50, 0.95
TEXTS, PASSAGES, QUERIES = "texts.json", "passages.npy", "queries.npy"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", help="texts, one a line; default: synthetic vectors")
    parser.add_argument("--queries", type=int, default=20_000)
    parser.add_argument("--passages", type=int, default=200_000)
    parser.add_argument("--depth", type=int, default=101, help="passages retrieved per query")
    parser.add_argument("--keep", type=int, default=8)
    parser.add_argument("--ram", type=float, default=1.0, help="GiB for embedkit's vectors and index")
    parser.add_argument("--index", choices=("ivf", "ivf-pq", "hnsw"), default="ivf", help="the approximate one")
    parser.add_argument(
        "--recall", type=float, default=0.96, help="asked of its probe, so that 0.95 holds for all queries"
    )
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=1, help="runs of each side; the fastest counts")
    parser.add_argument("--work", type=Path, help="texts and vectors are kept here; default: a temporary folder")
    parser.add_argument("--side", choices=tuple(SIDES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(SIDES[args.side](args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        args.work = args.work or Path(folder)
        args.work.mkdir(parents=True, exist_ok=True)
        compare(args)


# The comparison -----------------------------------------------------------------------------------------------


def compare(args: argparse.Namespace) -> None:
    """Run every side, show that the exact ones agree, and print the two last lines."""
    print(run(args, "prepare")["words"])
    found = {}
    for side in ("torch", "faiss", "exact", "approximate"):
        rounds = [run(args, side) for _ in range(args.rounds)]
        found[side] = min(rounds, key=lambda one: one["seconds"])
        print(line(side, found[side]))
    rivals = {side: found[side] for side in ("torch", "faiss")}
    best = min(rivals, key=lambda side: rivals[side]["seconds"])
    negatives = {side: np.load(args.work / f"{side}.npy") for side in found}
    for side in rivals:
        print(agreement(args.work, negatives["exact"], negatives[side], side))
    exact, approximate = found["exact"], found["approximate"]
    recall = share_found(np.load(args.work / "approximate-list.npy"), np.load(args.work / "exact-list.npy"))
    kept = share_found(negatives["approximate"], negatives["exact"])
    print(f"approximate: recall@{RECALL_AT} {recall:.3f} over all queries, {kept:.1%} of the exact negatives")
    if recall < RECALL:
        print(f"a recall of {RECALL} does not hold over all queries: raise --recall")
    print(f"the products of all queries with all passages alone: {run(args, 'products')['seconds']:.1f} s")
    memory = exact["peak"] / rivals[best]["peak"]
    print(f"exact ratio {rivals[best]['seconds'] / exact['seconds']:.2f} memory {memory:.2f}")
    print(f"ratio {rivals[best]['seconds'] / approximate['seconds']:.2f}")


def line(side: str, found: dict[str, Any]) -> str:
    words = {"torch": "sentence-transformers", "faiss": "sentence-transformers, use_faiss"}
    name = words.get(side, f"embedkit, {side}")
    memory = f"peak {found['peak']:6.2f} GiB, {found['before']:.2f} before it began"
    how = f"   {found['index']}" if "index" in found else ""
    return f"{name:32s} {found['seconds']:7.1f} s, {found['cpu']:7.1f} s of CPUs   {memory}{how}"


def agreement(work: Path, ours: np.ndarray, theirs: np.ndarray, side: str) -> str:
    """Whether the negatives are the same; where they are not, how far their similarities to the query differ."""
    same = (ours == theirs).all(axis=1)
    text = f"identical negatives, exact and {side}: {int(same.sum()):,} of {len(same):,} queries"
    if same.all():
        return text
    queries, passages = (np.load(work / name, mmap_mode="r") for name in (QUERIES, PASSAGES))
    furthest, longer = 0.0, 0
    for i in np.flatnonzero(~same):
        one, two = (np.sort(passages[rows[i][rows[i] >= 0]] @ queries[i]) for rows in (ours, theirs))
        if len(one) == len(two):
            furthest = max(furthest, float(np.abs(one - two).max(initial=0)))
        else:
            longer += 1
    return f"{text}; the others differ by rounding: similarities by at most {furthest:.1e}, {longer} in their number"


def share_found(found: np.ndarray, truth: np.ndarray) -> float:
    shares = [np.isin(t[t >= 0], f).mean() for f, t in zip(found, truth, strict=True) if (t >= 0).any()]
    return float(np.mean(shares))


def run(args: argparse.Namespace, side: str) -> dict[str, Any]:
    """A side in a process of its own. This one stays small: a child's peak begins with its parent's on some systems."""
    given = {k: v for k, v in vars(args).items() if k not in ("side", "rounds") and v is not None}
    options = [part for key, value in given.items() for part in (f"--{key}", str(value))]
    command = [sys.executable, __file__, "--side", side, *options]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TQDM_DISABLE": "1"})
    if done.returncode:
        raise SystemExit(f"{side}: {done.stderr[-4000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def peak() -> float:
    """The most memory that was resident in this process, mapped files included, in GiB."""
    status = Path("/proc/self/status")
    if status.exists():  # begins anew with the program, unlike ru_maxrss
        return next(int(row.split()[1]) for row in status.read_text().splitlines() if row.startswith("VmHWM")) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def told(before: float, start: float, worked: float) -> dict[str, Any]:
    seconds, cpu = time.perf_counter() - start, time.process_time() - worked
    return {"seconds": seconds, "cpu": cpu, "peak": peak(), "before": before}


# Texts and vectors --------------------------------------------------------------------------------------------


def prepare(args: argparse.Namespace) -> dict[str, Any]:
    """Write texts and unit vectors, unless they are there."""
    about = {"text": args.text, "queries": args.queries, "passages": args.passages, "dim": DIM}
    if (args.work / TEXTS).exists():
        there = json.loads((args.work / TEXTS).read_text())
        if there["about"] == about:
            return {"words": there["words"]}
    start = time.perf_counter()
    if args.text:
        passages, queries, positives = texts_of(args)
        embed(args, passages, queries)
        what = f"lines of {Path(args.text).name}, embedded by all-MiniLM-L6-v2"
    else:
        passages = [f"passage {i}" for i in range(args.passages)]
        queries = [f"query {i}" for i in range(args.queries)]
        positives = synthetic(args)
        what = "synthetic vectors in clusters"
    took = time.perf_counter() - start
    words = f"{args.queries:,} queries, {args.passages:,} passages, {DIM} dimensions: {what} ({took:.0f} s)"
    held = {"about": about, "words": words, "passages": passages, "queries": queries, "positives": positives}
    (args.work / TEXTS).write_text(json.dumps(held))
    return {"words": words}


def texts_of(args: argparse.Namespace) -> tuple[list[str], list[str], list[int]]:
    """Passages that differ, and queries: first halves of some, spread over all."""
    with Path(args.text).open(encoding="utf-8") as lines:
        found = dict.fromkeys(" ".join(line.split()) for line in lines)
    passages = [text for text in found if len(text.split()) >= 6][: args.passages]
    queries: dict[str, int] = {}
    for row, text in enumerate(passages):
        words = text.split()
        half = " ".join(words[: len(words) // 2])
        if half not in found:
            queries.setdefault(half, row)
    if len(passages) < args.passages or len(queries) < args.queries:
        raise SystemExit(
            f"{len(passages):,} passages and {len(queries):,} queries found: give more text, or ask for fewer"
        )
    step = len(queries) // args.queries
    chosen = list(queries.items())[::step][: args.queries]
    return passages, [text for text, _ in chosen], [row for _, row in chosen]


def embed(args: argparse.Namespace, passages: list[str], queries: list[str]) -> None:
    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.schema import DEFAULT_MODEL, Model
    from embedkit.vectors.encoding import vectors_of
    from embedkit.vectors.folder import write_vectors
    from embedkit.vectors.space import Embedder
    from embedkit.vectors.store import VectorStore

    threads(args)
    encoder = Encoder.load(Model(base=DEFAULT_MODEL))
    store = VectorStore(args.work / "store", ram_gb=args.ram)
    for texts, role, name in ((passages, "document", PASSAGES), (queries, "query", QUERIES)):
        view = vectors_of(texts, Embedder.of(encoder, role=role, normalize=True), store, progress=True)
        write_vectors(args.work / name, view, "float32")


def synthetic(args: argparse.Namespace) -> list[int]:
    """Unit vectors around the square root of n centres; a query lies near its positive."""
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(max(1, int(args.passages**0.5)), DIM)).astype(np.float32)
    place = draw.integers(0, len(centres), args.passages)
    passages = centres[place] + draw.normal(size=(args.passages, DIM)).astype(np.float32)
    passages /= np.linalg.norm(passages, axis=1, keepdims=True)
    positives = draw.choice(args.passages, args.queries, replace=False)
    queries = passages[positives] + 0.03 * draw.normal(size=(args.queries, DIM)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    np.save(args.work / PASSAGES, passages)
    np.save(args.work / QUERIES, queries)
    return [int(row) for row in positives]


def threads(args: argparse.Namespace) -> None:
    if args.threads:
        import faiss
        import torch

        torch.set_num_threads(args.threads)
        faiss.omp_set_num_threads(args.threads)


# sentence-transformers ----------------------------------------------------------------------------------------


def theirs(args: argparse.Namespace, *, use_faiss: bool) -> dict[str, Any]:
    import torch
    from datasets import Dataset, disable_progress_bars
    from sentence_transformers.util import dot_score, mine_hard_negatives, pairwise_dot_score

    disable_progress_bars()
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    threads(args)
    held = json.loads((args.work / TEXTS).read_text())
    vectors = {name: np.load(args.work / name) for name in (PASSAGES, QUERIES)}

    class Stored:
        """A model whose vectors are there."""

        device = torch.device("cpu")
        similarity = staticmethod(dot_score)
        similarity_pairwise = staticmethod(pairwise_dot_score)

        def encode_document(self, texts: list[str], **_: Any) -> np.ndarray:
            assert texts == held["passages"]
            return vectors[PASSAGES]

        def encode_query(self, texts: list[str], **_: Any) -> np.ndarray:
            assert texts == held["queries"]
            return vectors[QUERIES]

        def get_embedding_dimension(self) -> int:
            return DIM

    answers = [held["passages"][row] for row in held["positives"]]
    data = Dataset.from_dict({"query": held["queries"], "positive": answers})
    before, start, worked = peak(), time.perf_counter(), time.process_time()
    found = mine_hard_negatives(
        data,
        Stored(),  # type: ignore[arg-type]
        corpus=held["passages"],
        range_max=args.depth - 1,  # it retrieves as many more as a query has positives
        relative_margin=MARGIN,
        num_negatives=args.keep,
        use_faiss=use_faiss,
        verbose=False,
    )
    measured = told(before, start, worked)
    rows = {text: row for row, text in enumerate(held["passages"])}
    numbers = {text: i for i, text in enumerate(held["queries"])}
    out, width = np.full((args.queries, args.keep), -1), np.zeros(args.queries, int)
    for query, negative in zip(found["query"], found["negative"], strict=True):
        i = numbers[query]
        out[i, width[i]] = rows[negative]
        width[i] += 1
    np.save(args.work / f"{'faiss' if use_faiss else 'torch'}.npy", out)
    return measured


# embedkit -----------------------------------------------------------------------------------------------------


def ours(args: argparse.Namespace, side: str) -> dict[str, Any]:
    from embedkit.mining.filters.scores import MarginToPositive
    from embedkit.mining.miner import By, Miner
    from embedkit.mining.problem import Problem
    from embedkit.recipe.mining import Search
    from embedkit.vectors.given import given_vectors
    from embedkit.vectors.index.pool import faiss_after_torch
    from embedkit.vectors.store import VectorStore

    faiss_after_torch()
    import faiss.contrib.exhaustive_search  # noqa: F401

    threads(args)
    held = json.loads((args.work / TEXTS).read_text())
    ids = [[str(i) for i in range(len(held[name]))] for name in ("queries", "passages")]
    positives = [(row,) for row in held["positives"]]
    lists: list[np.ndarray] = []
    exact = side == "exact"
    before, start, worked = peak(), time.perf_counter(), time.process_time()
    problem = Problem(held["queries"], ids[0], held["passages"], ids[1], positives)
    options: dict[str, Any] = {"index": "exact"} if exact else {"index": args.index, "recall": args.recall}
    search = Search(depth=args.depth, keep=args.keep, ram_gb=args.ram, **options)
    miner = Miner(problem, search, VectorStore(args.work / "none"), filters=[MarginToPositive(MARGIN)])
    by = By(given_vectors(args.work / QUERIES), given_vectors(args.work / PASSAGES))
    table = miner.mine(by, seen=lambda block, _: lists.append(block.rows[:, :RECALL_AT].copy()))
    measured = told(before, start, worked)
    np.save(args.work / f"{side}.npy", table.rows)
    np.save(args.work / f"{side}-list.npy", np.concatenate(lists))
    report = table.report["index"]
    effort = ", ".join(f"{name} {value}" for name, value in report["effort"].items())
    words = f"{report['kind']} {effort}, built and measured in {report['seconds']:.1f} s"
    return {**measured, "index": words}


def products(args: argparse.Namespace) -> dict[str, Any]:
    """What no exact search can do without, in tiles of the size that was the fastest of those tried."""
    import torch

    threads(args)
    queries, passages = (torch.from_numpy(np.load(args.work / name)) for name in (QUERIES, PASSAGES))
    before, start, worked = peak(), time.perf_counter(), time.process_time()
    with torch.inference_mode():
        for some in queries.split(4096):
            for rows in passages.split(1024):
                torch.mm(some, rows.T)
    return told(before, start, worked)


SIDES = {
    "prepare": prepare,
    "products": products,
    "torch": lambda args: theirs(args, use_faiss=False),
    "faiss": lambda args: theirs(args, use_faiss=True),
    "exact": lambda args: ours(args, "exact"),
    "approximate": lambda args: ours(args, "approximate"),
}

if __name__ == "__main__":
    main()
