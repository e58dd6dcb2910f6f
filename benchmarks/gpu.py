"""Everything that a GPU has to show, part by part, each with its own time limit; called by ``gpu.sh``, whose ``--help``
says more."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from common import console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "transformers", "sentence-transformers", "peft", "flash-attn", "faiss-cpu")
BUDGET = 480
"""Seconds of all parts together; a part that would pass it gets what is left."""
LEAST = 5
CPU_PATIENCE = 20
"""Factor of all limits in a trial on the CPU."""


@dataclass(frozen=True)
class Part:
    """A command with its limit in seconds, or the reason why it is not run."""

    name: str
    what: str
    limit: int
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    skipped: str = ""


@dataclass
class Outcome:
    """How a part ended: `state` is passed, failed, timed out or skipped; `figures` are read from its output."""

    name: str
    what: str
    state: str
    seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)
    note: str = ""


def parts(cpu: bool, devices: int, out: Path, model: str = "") -> list[Part]:
    """What is run, in the order of what one wants to know first."""
    device = "cpu" if cpu else "cuda"
    small = ["--steps", "1", "--rounds", "1", "--batch", "4"] if cpu else ["--steps", "10", "--rounds", "2"]
    placed = ["--device", device, *(["--model", model] if model else [])]
    step = [*_script("train_step"), *placed, *small]
    flash = "" if importlib.util.find_spec("flash_attn") else "flash-attn is not installed"
    flash = "flash attention needs a GPU" if cpu else flash
    two = "" if devices > 1 or cpu else f"{devices} GPU here, two are needed"
    tests = ["tests/model/reading/test_seeding.py"] if cpu else ["tests/train", "tests/model", "tests/auxiliary"]
    encode = ["--texts", "8", "--rounds", "1"] if cpu else ["--texts", "4000", "--rounds", "2"]
    tiny = ["train.steps=2", "train.batch_size=8"] if cpu else ["train.steps=60", "train.batch_size=256"]
    quick = [sys.executable, "-m", "embedkit", "train", "quickstart", f"train.device={device}", *tiny]
    # Of few packages: where a machine has the large ones of a GPU, reading all docstrings takes minutes.
    few = "pydocs: {packages: [torch], holdout: [sklearn]}"
    quick += [
        f"data.sources=[{{{few}}}]",
        f"eval.suite.tasks=[{{type: retrieval, name: pydocs, metric: ndcg@10, {few}}}]",
    ]
    if model:
        quick.append(f"model.base={model}")
    if cpu:
        quick += ["eval.suite=null"]
    # A line a test, so that the log names what failed even where the limit ends it.
    pytest = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-vv",
        "--tb=short",
        *_side_by_side(cpu),
        *tests,
    ]
    return [
        Part("tests", "fast tests with the models on the device", 150, pytest, {"EMBEDKIT_TEST_DEVICE": device}),
        Part("step", "training step against sentence-transformers, fp32", 60, step),
        Part("step-bf16", "the same in bf16", 50, [*step, "--precision", "bf16"]),
        Part(
            "step-flash",
            "the same in bf16 with flash attention of variable length",
            50,
            [*step, "--precision", "bf16", "--attention", "flash_attention_2"],
            skipped=flash,
        ),
        Part("encode", "encoding against sentence-transformers", 60, [*_script("encode"), *placed, *encode]),
        Part("memory", "peak memory of a step against the estimate", 30, [*_script("gpu_memory"), *placed]),
        Part(
            "train",
            "a recipe from data to report in bf16",
            80,
            [*quick, "--out", str(out / "train-run"), "train.precision=bf16"],
        ),
        Part(
            "nccl",
            "the recipe in two processes (NCCL on GPUs)",
            60,
            [*quick, "--out", str(out / "nccl-run"), "--nproc", "2"],
            skipped=two,
        ),
    ]


def _side_by_side(cpu: bool) -> list[str]:
    """Test processes that share the GPU: most of a small test is work of the host."""
    processes = min(8, (os.cpu_count() or 1) // 2)
    if cpu or processes < 2 or importlib.util.find_spec("xdist") is None:
        return []
    return ["-n", str(processes), "--dist", "loadfile"]


def _script(name: str) -> list[str]:
    return [sys.executable, str(ROOT / "benchmarks" / f"{name}.py")]


def run(part: Part, out: Path, left: float, patience: int = 1) -> Outcome:
    """Run one part within `patience` times its limit and what is `left` of the budget; its output goes to a log."""
    outcome = Outcome(part.name, part.what, "skipped", note=part.skipped)
    if part.skipped:
        return outcome
    limit = min(patience * part.limit, left)
    if limit < LEAST:
        outcome.note = "no time left"
        return outcome
    log, start = out / f"{part.name}.log", time.perf_counter()
    with log.open("w", encoding="utf-8") as file:
        environment = os.environ | {"HF_HUB_OFFLINE": "1"} | part.environment
        # A session of its own, so that a limit ends processes that the part has started too.
        process = subprocess.Popen(
            part.command, stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True
        )
        try:
            outcome.state = "passed" if process.wait(limit) == 0 else "failed"
        except subprocess.TimeoutExpired:
            outcome.state, outcome.note = "timed out", f"after {limit:.0f} s"
            os.killpg(process.pid, 9)
            process.wait()
    outcome.seconds = round(time.perf_counter() - start, 1)
    outcome.figures, last = read(log.read_text(encoding="utf-8", errors="replace"))
    outcome.note = outcome.note or ("" if outcome.state == "passed" and outcome.figures else last)
    return outcome


def read(text: str) -> tuple[dict[str, Any], str]:
    """Figures in a log: the last ``ratio N`` line and a last line of JSON; and the last line that says anything."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    figures: dict[str, Any] = {}
    for line in lines:
        if found := re.fullmatch(r"ratio (\d+\.\d+)", line):
            figures["ratio"] = float(found[1])
    with suppress(ValueError, IndexError):  # a part that was cut off ends anywhere
        found = json.loads(lines[-1])
        figures |= found if isinstance(found, dict) else {}
    return figures, lines[-1].strip("= ") if lines else "no output"


def machine(cpu: bool) -> tuple[dict[str, Any], int]:
    """Device and versions, and how many GPUs there are."""
    import torch

    count = 0 if cpu else torch.cuda.device_count()
    name = torch.cuda.get_device_name(0) if count else f"CPU, {platform.machine()}, {os.cpu_count()} cores"
    return {"device": name, "gpus": count, "python": platform.python_version(), **_versions()}, count


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--model", default="")
    args = parser.parse_args()
    facts, devices = machine(args.cpu)
    if not devices and not args.cpu:
        parser.error("torch sees no GPU here; --cpu tries the script on the CPU")
    chosen = parts(args.cpu, devices, args.out, args.model)
    wanted = {name for name in args.only.split(",") if name}
    unknown = wanted - {part.name for part in chosen}
    if unknown:
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(p.name for p in chosen)}")
    patience = CPU_PATIENCE if args.cpu else 1
    start, outcomes = time.perf_counter(), []
    for part in chosen:
        if wanted and part.name not in wanted:
            continue
        console.print(f"{part.name}: {part.what}")
        left = patience * BUDGET - (time.perf_counter() - start)
        outcomes.append(run(part, args.out, left, patience))
        record = {"machine": facts, "parts": [asdict(outcome) for outcome in outcomes]}
        (args.out / "figures.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    show(facts, outcomes)
    raise SystemExit(any(outcome.state in ("failed", "timed out") for outcome in outcomes))


def show(facts: dict[str, Any], outcomes: list[Outcome]) -> None:
    """The table at the end."""
    table = Table(title=str(facts["device"]))
    for column in ("part", "state", "seconds", "figures"):
        table.add_column(column)
    for outcome in outcomes:
        figures = ", ".join(f"{name} {value}" for name, value in outcome.figures.items())
        table.add_row(outcome.name, outcome.state, f"{outcome.seconds:.0f}", figures or outcome.note)
    console.print(table)


if __name__ == "__main__":
    main()
