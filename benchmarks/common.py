"""What the benchmarks share: text of natural length, alternating runs, the machine's GEMM peak, the last line."""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import os
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def setup(threads: int | None, device: str = "cpu") -> None:
    """Offline, quiet, and a fixed number of threads for both sides; beside a GPU, tokenizers use all of the CPU."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false" if device == "cpu" else "true")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.getLogger("embedkit").setLevel(logging.ERROR)
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    if threads:
        torch.set_num_threads(threads)


def arguments(doc: str | None, *, batch: int, steps: int, rounds: int) -> argparse.ArgumentParser:
    """The options that the training benchmarks share, with a benchmark's own defaults."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder or Hub id of another model; default: all-MiniLM-L6-v2")
    parser.add_argument("--file", help="sentences, one per line; default: sentences of installed packages' docstrings")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--max-length", type=int, default=64)
    parser.add_argument("--steps", type=int, default=steps, help="timed updates per round and side")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--threads", type=int, default=None)
    return parser


def placed(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The options of a benchmark that also runs on other devices than the CPU."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps, for both sides")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of both sides' steps")
    parser.add_argument("--attention", help="of transformers, for both sides' steps, e.g. flash_attention_2")
    return parser


def sentences(file: str | None, count: int) -> list[str]:
    """`count` different sentences: lines of `file`, or sentences of the docstrings of installed packages."""
    if file:
        opener = gzip.open if file.endswith(".gz") else open
        with opener(file, "rt", encoding="utf-8") as lines:
            found = [line.strip() for line in lines if line.strip()]
    else:
        from embedkit.data.pydocs import load_pydocs
        from embedkit.recipe.pydocs import PydocsSource

        examples = load_pydocs(PydocsSource()).train
        texts = [text for e in examples for text in (e.query, *e.positives)]
        found = [s for text in texts for s in re.split(r"(?<=[.!?])\s+", text) if 4 <= len(s.split()) <= 60]
    found = list(dict.fromkeys(found))
    step = max(1, len(found) // count)  # spread over the whole file
    chosen = found[::step][:count]
    if len(chosen) < count:
        raise SystemExit(f"{len(chosen)} different sentences found, {count} needed: give --file")
    return chosen


def alternate(sides: dict[str, Callable[[], Sequence[float]]], rounds: int) -> dict[str, list[float]]:
    """Run A B A B ...; each side returns the seconds of its steps, all of which are kept."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(rounds):
        for name, side in sides.items():
            times = list(side())
            seconds[name] += times
            console.print(f"  round {round_ + 1}/{rounds}  {name:24s} median {statistics.median(times) * 1e3:9.1f} ms")
    return seconds


class Numbers:
    """What runs measured, by setting and seed or draw, in a file that only runs of one study share.

    Args:
        file: JSON; None keeps nothing.
        study: what all runs have in common.
    """

    def __init__(self, file: Path | None, study: dict[str, Any]) -> None:
        self._file, self._study = file, study
        self.runs: dict[str, dict[str, Any]] = {}
        if file is not None and file.is_file():
            held = json.loads(file.read_text(encoding="utf-8"))
            if held["study"] != study:
                raise SystemExit(f"{file} holds another study: {held['study']}, not {study}")
            self.runs = held["runs"]

    def has(self, name: str, seed: int) -> bool:
        return str(seed) in self.runs.get(name, {})

    def take(self, name: str, seed: int, run: dict[str, Any]) -> None:
        self.runs.setdefault(name, {})[str(seed)] = run
        if self._file is not None:
            from embedkit.disk.files import write_text

            write_text(self._file, json.dumps({"study": self._study, "runs": self.runs}) + "\n")


def ratio(rival: float, ours: float) -> None:
    """The last line of every benchmark: rival time / our time."""
    print(f"ratio {rival / ours:.2f}")


def gemm_peak(size: int = 2048, repeats: int = 5, *, device: str = "cpu", precision: str = "fp32") -> float:
    """Best matrix product of this device, in GFLOP/s: what no encoder on it can exceed."""
    from embedkit.model.reading.devices import wait

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    place = torch.device(device)
    a, b = (torch.randn(size, size, device=place, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(repeats + 1):
        start = time.perf_counter()
        a @ b
        wait(place)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def matmul_flop(model: torch.nn.Module, tokens: int, *, passes: int = 3) -> float:
    """Floating-point operations of the linear layers for `tokens` tokens: 2 per weight and pass.

    Args:
        model: its `nn.Linear` weights are counted, poolers that are not used excepted.
        tokens: tokens encoded.
        passes: 1 forward, 3 forward and backward, 4 with one more forward.
    """
    weights = sum(
        m.weight.numel() for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "pooler" not in n
    )
    return 2.0 * passes * weights * tokens


def lengths_of(model: Any, texts: list[str]) -> list[int]:
    """Tokens of each text as the sentence-transformers model reads it, template included."""
    from embedkit.model.reading.tokens import tokenize

    return [len(ids) for ids in tokenize(model, texts, "")[0]]


def folder(path: str | Path) -> Path:
    result = Path(path)
    result.mkdir(parents=True, exist_ok=True)
    return result
