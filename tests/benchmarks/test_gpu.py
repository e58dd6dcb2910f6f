"""The script for a GPU: its shell is valid, its arguments are checked, and its path runs on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.sh"


def run(*options: str, limit: int = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", str(SCRIPT), *options], capture_output=True, text=True, timeout=limit, check=False)


def test_the_shell_reads_it() -> None:
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0


def test_help_teaches() -> None:
    done = run("--help")
    assert done.returncode == 0 and "--wheels DIR" in done.stdout and "--cpu" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--fast"], "unknown argument --fast"),
        (["--out"], "--out needs a value"),
        (["--out", "--cpu"], "--out needs a value"),
        (["--model"], "--model needs a value"),
        (["--wheels", "no/such"], "there is no folder no/such"),
        (["--wheels", ".", "--python", "python3"], "exclude each other"),
        (["--python", "no/such/python"], "there is no Python at no/such/python"),
    ],
)
def test_wrong_arguments(options: list[str], said: str, tmp_path: Path) -> None:
    done = run(*(options if "--out" in options else ["--out", str(tmp_path), *options]))
    assert done.returncode == 2 and said in done.stderr and "--help" in done.stderr


def test_a_part_that_is_not_there(tmp_path: Path) -> None:
    done = run("--out", str(tmp_path), "--python", sys.executable, "--cpu", "--only", "tests,speed")
    assert done.returncode == 2 and "no such part: speed" in done.stderr


def figures(out: Path) -> dict[str, dict]:
    record = json.loads((out / "figures.json").read_text(encoding="utf-8"))
    assert record["machine"]["device"].startswith("CPU") and record["machine"]["torch"]
    return {part["name"]: part for part in record["parts"]}


def test_a_model_of_ones_own_is_in_every_part_but_the_tests() -> None:
    code = (
        "import sys; sys.path.insert(0, 'benchmarks'); from pathlib import Path; from gpu import parts; import json; "
    )
    code += "print(json.dumps({p.name: p.command for p in parts(False, 2, Path('out'), 'folder')}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    commands = json.loads(done.stdout)
    named = {name for name, words in commands.items() if "model.base=folder" in words or "--model" in words}
    assert named == commands.keys() - {"tests"} and len(commands) == 8


@pytest.mark.slow
def test_a_part_that_runs_and_one_that_cannot(tmp_path: Path) -> None:
    done = run("--out", str(tmp_path), "--python", sys.executable, "--cpu", "--only", "tests,step-flash", limit=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = figures(tmp_path)
    assert found["tests"]["state"] == "passed" and "passed" in found["tests"]["note"]
    assert found["step-flash"] == found["step-flash"] | {"state": "skipped", "note": "flash attention needs a GPU"}


@pytest.mark.slow
def test_figures_of_a_log_that_ends_anywhere() -> None:
    """What libraries print looks like figures; none of it may stop the parts that follow."""
    code = "import sys; sys.path.insert(0, 'benchmarks'); from gpu import read; print(read(sys.stdin.read()))"
    logs = {
        "ratio 2.50\nratio 2.99\n": ({"ratio": 2.99}, "ratio 2.99"),
        'x\n{"keep GiB": 1.5}\n': ({"keep GiB": 1.5}, '{"keep GiB": 1.5}'),
        "ratio of what\n{'train_runtime': '25.56'}\n": ({}, "{'train_runtime': '25.56'}"),
        '{"cut': ({}, '{"cut'),
        "17\n": ({}, "17"),
        "": ({}, "no output"),
    }
    for log, wanted in logs.items():
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, input=log, capture_output=True, text=True, check=True, cwd=ROOT)
        assert done.stdout.strip() == repr(wanted)


@pytest.mark.slow
def test_all_parts_on_the_cpu(tmp_path: Path) -> None:
    done = run("--out", str(tmp_path), "--python", sys.executable, "--cpu", limit=3600)
    found = figures(tmp_path)
    states = {name: part["state"] for name, part in found.items()}
    assert states == dict.fromkeys(states, "passed") | {"step-flash": "skipped"}, done.stdout
    assert found["step"]["figures"]["ratio"] > 0 and found["encode"]["figures"]["ratio"] > 0
    assert found["memory"]["figures"]["keep foreseen GiB"] > found["memory"]["figures"]["reforward foreseen GiB"]
