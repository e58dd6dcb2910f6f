"""Batch 1024 without memory for it: embedkit's re-forward against CachedMultipleNegativesRankingLoss.

all-MiniLM-L6-v2, or what `--model` names, at most 64 tokens, on the CPU. The rival's mini-batch is the fastest of those
given, by one update each. Then both sides take turns, each in a process of its own, so that its peak memory is its
own. Loss and gradient are compared first, dropout off.

    python benchmarks/large_batch.py [--file sentences.txt] [--mini-batches 32 64 128]
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from common import arguments, console, gemm_peak, matmul_flop, ratio, sentences, setup

BUDGET = 1024
"""Our tokens per micro-batch: half the default, for less memory than the rival's best mini-batch needs."""


def side(name: str, args: argparse.Namespace, mini_batch: int, steps: int) -> dict:
    """Run one side in a new process; seconds of `steps` updates behind a first one, peak resident memory in MiB."""
    command = [sys.executable, __file__, "--side", name, "--mini-batch", str(mini_batch), "--batch", str(args.batch)]
    command += ["--steps", str(steps), "--max-length", str(args.max_length)]
    for option in ("model", "file", "threads"):
        value = getattr(args, option)
        command += [f"--{option}", str(value)] if value else []
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def worker(args: argparse.Namespace) -> None:
    setup(args.threads)
    import sides

    texts = sentences(args.file, args.batch * (args.steps + 1))
    options = {"graph": "reforward", "tokens_per_micro_batch": BUDGET}
    made = sides.recipe(
        texts, batch=args.batch, steps=args.steps + 1, max_length=args.max_length, base=args.model, **options
    )
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as tmp:
        if args.side == "check":
            print(json.dumps(sides.gradients(made, Path(tmp), mini_batch=args.mini_batch)))
            return
        run = sides.ours if args.side == "embedkit" else sides.rival
        extra = {} if args.side == "embedkit" else {"mini_batch": args.mini_batch}
        seconds = run(made, Path(tmp), **extra)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"seconds": seconds, "peak": peak / 1024, "start": start / 1024}))


def main() -> None:
    parser = arguments(__doc__, batch=1024, steps=2, rounds=2)
    parser.add_argument(
        "--mini-batches", type=int, nargs="+", default=[32, 64, 128], help="tried for the rival, one update each"
    )
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--mini-batch", type=int, default=32, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        worker(args)
        return
    setup(args.threads)
    mine, theirs, distance, cosine = side("check", args, args.mini_batches[0], 1)
    console.print(
        f"dropout off: loss {mine:.7f} against {theirs:.7f}; gradient: relative distance {distance:.1e}, "
        f"cosine {cosine:.9f}"
    )
    assert distance < 1e-3, "the two sides differ"
    mini, best = fastest(args)
    runs: dict[str, list[dict]] = {"embedkit": [], best: []}
    for round_ in range(args.rounds):
        for name, found in runs.items():
            found.append(side("embedkit" if name == "embedkit" else "rival", args, mini, args.steps))
            console.print(
                f"  round {round_ + 1}/{args.rounds}  {name:28s} {statistics.median(found[-1]['seconds']):7.2f} s per "
                f"step, peak {found[-1]['peak']:,.0f} MiB"
            )
    seconds = {name: statistics.median([s for r in found for s in r["seconds"]]) for name, found in runs.items()}
    peaks = {name: max(r["peak"] for r in found) for name, found in runs.items()}
    report_limit(args, seconds["embedkit"])
    console.print(
        f"embedkit {seconds['embedkit']:.2f} s, {peaks['embedkit']:,.0f} MiB; best rival ({best}) "
        f"{seconds[best]:.2f} s, {peaks[best]:,.0f} MiB"
    )
    console.print(f"memory ratio {peaks[best] / peaks['embedkit']:.2f} (rival / ours)")
    ratio(seconds[best], seconds["embedkit"])


def fastest(args: argparse.Namespace) -> tuple[int, str]:
    """The rival's fastest mini-batch, and a name for the rival with it."""
    tried: dict[int, float] = {}
    for mini in args.mini_batches:
        tried[mini] = side("rival", args, mini, 1)["seconds"][0]
        console.print(f"  cached MNRL, mini-batch {mini:4d}: {tried[mini]:.2f} s")
    mini = min(tried, key=tried.__getitem__)
    return mini, f"cached MNRL, mini-batch {mini}"


def report_limit(args: argparse.Namespace, ours: float) -> None:
    import sides

    from embedkit.model.running.encoder import Encoder

    texts = sentences(args.file, args.batch)
    made = sides.recipe(texts, batch=args.batch, steps=1, max_length=args.max_length, base=args.model)
    encoder = Encoder.load(made.model, device="cpu")
    tokens = 2 * sum(min(args.max_length, len(ids)) for ids in encoder.st.tokenizer(texts)["input_ids"])
    peak = gemm_peak()
    limit = matmul_flop(encoder.st, tokens, passes=4) / peak / 1e9
    console.print(
        f"limit: matrix products of {tokens} tokens, encoded twice, at {peak:.0f} GFLOP/s take {limit:.2f} s; "
        f"embedkit's step is {ours / limit:.2f} times that"
    )


if __name__ == "__main__":
    main()
