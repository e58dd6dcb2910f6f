"""Kill commands with signal 9 at random moments, again and again, and compare what they leave with an uncut run.

    python -m tests.torture [--kills 50] [--seed 0] [--only train,mine,encode,eval]

A kill may come at any moment between the first import and the last write. After each, nothing half-written may lie
where the result belongs; then the same command goes on, is killed again with an even chance, and at last ends: its
result must be that of the uncut run, bit for bit. Ends with a table, and with exit code 1 if anything was lost.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.torture.jobs import JOBS, Job, material
from tests.workers import PATIENCE

console = Console(highlight=False)


def begin(job: Job, work: Path, out: Path, *, again: bool) -> subprocess.Popen[str]:
    """Start the command in a process group of its own."""
    words = job.again if again and job.again else job.arguments
    command = [sys.executable, "-m", "embedkit", *(word.replace("{out}", str(out)) for word in words)]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(out) + ".cache"}
    log = Path(f"{out}.log").open("a", encoding="utf-8")  # noqa: SIM115 the process has it
    return subprocess.Popen(command, cwd=work, env=environ, text=True, stdout=log, stderr=log, start_new_session=True)


def finish(job: Job, work: Path, out: Path, *, again: bool) -> float:
    """Run it to its end; seconds."""
    start = time.monotonic()
    child = begin(job, work, out, again=again)
    code = child.wait(PATIENCE)
    if code:
        raise SystemExit(f"{job.name} failed with exit code {code}:\n{Path(f'{out}.log').read_text()[-3000:]}")
    return time.monotonic() - start


def kill(child: subprocess.Popen[str], after: float) -> bool:
    """Kill the command and its children `after` seconds; whether it was still at work."""
    try:
        child.wait(after)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        return True
    return False


def place(job: Job, out: Path) -> Path:
    """Where the result lies."""
    return Path(f"{out}.parquet") if job.name == "mine" else out


def torture(job: Job, work: Path, kills: int, draw: random.Random) -> dict[str, int]:
    """Kill `job` `kills` times; counts of kills, of commands that were done before, and of faults."""
    uncut = work / f"{job.name}-uncut"
    seconds = finish(job, work, uncut, again=False)
    wanted = job.made(place(job, uncut))
    counts = {"kills": 0, "results": 0, "half-written": 0, "differ": 0}
    while counts["kills"] < kills:
        out = work / f"{job.name}-{counts['results']}"
        again = False
        while counts["kills"] < kills:
            killed = kill(begin(job, work, out, again=again), draw.uniform(0, seconds))
            again = True
            counts["kills"] += killed
            try:
                job.whole(place(job, out))
            except Exception as error:
                console.print(f"[red]{job.name}: half-written after kill {counts['kills']}: {error!r}[/]")
                counts["half-written"] += 1
            if not killed or (job.once and place(job, out).exists()) or draw.random() < 0.5:
                break
        if not (job.once and place(job, out).exists()):
            finish(job, work, out, again=True)
        counts["results"] += 1
        if job.made(place(job, out)) != wanted:
            console.print(f"[red]{job.name}: result {counts['results']} differs from the uncut run[/]: {out}")
            counts["differ"] += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="over all commands")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="some of: " + ", ".join(job.name for job in JOBS))
    args = parser.parse_args()
    jobs = [job for job in JOBS if args.only is None or job.name in args.only.split(",")]
    if not jobs:
        parser.error("--only names none of the commands")
    draw = random.Random(args.seed)
    table = Table("command", "kills", "results", "half-written", "differ from the uncut run")
    lost = killed = 0
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        material(work)
        for number, job in enumerate(jobs):
            share = args.kills // len(jobs) + (number < args.kills % len(jobs))
            counts = torture(job, work, share, draw)
            table.add_row(job.name, *(str(value) for value in counts.values()))
            lost += counts["half-written"] + counts["differ"]
            killed += counts["kills"]
    console.print(table)
    console.print(f"{killed} kills, {lost} losses")
    raise SystemExit(lost > 0)


if __name__ == "__main__":
    main()
