"""What it costs to mine negatives while training: searched once, again and again, and in the background.

The same run three times, each in a process of its own: negatives mined once before the first update, mined again every
`--every` updates while training waits, and in another process beside it. All three train on as many negatives, so that
the difference in wall time of the training is the cost of the refreshes. all-MiniLM-L6-v2 on pairs of the pydocs
corpus, or on a file of pairs.

    python benchmarks/refresh.py [--file pairs.jsonl] [--corpus corpus.jsonl] [--steps 60] [--every 20] [--rounds 1]

The last two lines are the costs: sync and background, in percent of the training with one search.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from common import console

MODES = {
    "once": ["mining.strategy=static"],
    "sync": ["mining.refresh.every={every}"],
    "background": ["mining.refresh.every={every}", "mining.mode=background"],
}


def overrides(args: argparse.Namespace, mode: str) -> list[str]:
    """The recipe `retrieval/ance`, made comparable."""
    source = f"data.sources=[{{path: {args.file}}}]" if args.file else "data.sources=[{pydocs: {}, limit: LIMIT}]"
    shared = [
        source.replace("LIMIT", str(args.limit)),
        f"model.max_length={args.max_length}",
        f"train.batch_size={args.batch}",
        f"train.steps={args.steps}",
        "train.device=" + args.device,
        "eval.suite=null",
        *([f"mining.corpus={args.corpus}"] if args.corpus else []),
        *([f"model.base={args.model}"] if args.model else []),
    ]
    return [*shared, *(text.format(every=args.every) for text in MODES[mode])]


def run(args: argparse.Namespace, mode: str, folder: Path) -> dict[str, float]:
    """Seconds of training, and of it those in which it waited for negatives."""
    command = [sys.executable, "-m", "embedkit", "train", "retrieval/ance", *overrides(args, mode)]
    done = subprocess.run([*command, "--out", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-2000:])
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    first, *later = record["mining"]
    return {
        "training": record["timings"]["training"] - first["waited"],  # the first search is the same for all
        "searches": len(later),
        "waited": sum(entry["waited"] for entry in later),
        "search": sum(sum(entry["seconds"].values()) for entry in later) / max(1, len(later)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", help="pairs; default: those of the pydocs corpus")
    parser.add_argument("--corpus", help="further documents")
    parser.add_argument("--limit", type=int, default=2000, help="pairs of the pydocs corpus")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--every", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--model")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    found: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(args.rounds):
            for mode in MODES:  # they take turns
                found[mode].append(run(args, mode, Path(scratch) / f"{mode}-{number}"))
    least = {mode: min(rounds, key=lambda r: r["training"]) for mode, rounds in found.items()}
    for mode, best in least.items():
        console.print(
            f"{mode:12s} training {best['training']:7.1f} s, {best['searches']:.0f} refreshes of "
            f"{best['search']:.1f} s each, waited for {best['waited']:.1f} s"
        )
    base = least["once"]["training"]
    for mode in ("sync", "background"):
        console.print(f"{mode} overhead {100 * (least[mode]['training'] / base - 1):.0f} %")


if __name__ == "__main__":
    main()
