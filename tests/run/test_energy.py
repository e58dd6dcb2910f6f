"""The energy of a training: counters that begin again, that cannot be read, that are read too late, that never move."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from embedkit.run import energy
from embedkit.run.energy import Counter, Meter, metered, of_all, processors, together
from embedkit.train.distributed import Comm
from tests.run import mined
from tests.workers import wait_until

RANGE = 1000.0
"""Joules after which the counters of these tests begin again."""
Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A powercap folder of real files: two packages, cores and memory of one, and zones that are no part of the sum."""

    def zone(folder: str, name: str, joules: float) -> None:
        path = tmp_path / "powercap" / folder
        path.mkdir(parents=True, exist_ok=True)
        (path / "name").write_text(f"{name}\n")
        (path / "energy_uj").write_text(f"{round(joules * 1e6)}\n")
        (path / "max_energy_range_uj").write_text(f"{round(RANGE * 1e6)}\n")

    def make(package: float = 0, memory: float = 0, other: float = 0) -> Path:
        zone("intel-rapl:0", "package-0", package)
        zone("intel-rapl:0:0", "core", 7 * package)
        zone("intel-rapl:0:1", "dram", memory)
        zone("intel-rapl:1", "package-1", other)
        zone("intel-rapl:2", "psys", 9 * package)
        zone("intel-rapl-mmio:0", "package-0", package)
        return tmp_path / "powercap"

    return make


def test_packages_and_memory_count_once_and_begin_again(tree: Tree) -> None:
    meter = Meter({"processor": processors(tree(900, 10, 999))}, every=1e6)
    meter.start()
    tree(100, 15, 999.5)  # 200 + 5 + 0.5
    meter.read()
    tree(101, 15, 0.25)  # 1 + 0 + 0.75
    assert meter.stop() == {"processor": pytest.approx(207.25)}


def test_it_reads_on_in_the_background_so_that_no_turn_is_missed() -> None:
    values = iter([0.0, 60.0, 20.0, 80.0, 40.0])  # 60 more each time
    last, done = [0.0], threading.Event()

    def read() -> float:
        last[0] = next(values, last[0])
        if last[0] == 40.0:
            done.set()
        return last[0]

    meter = Meter({"processor": [Counter(read, wraps=100.0)]}, every=0.001)
    meter.start()
    wait_until(done.is_set)
    assert meter.stop() == {"processor": 240.0}


def test_a_reading_that_comes_too_late_says_nothing(tree: Tree) -> None:
    clock = [0.0]
    gpu = iter([5.0, 8.0])
    counters = {"processor": processors(tree(1)), "gpus": [Counter(lambda: next(gpu))]}
    meter = Meter(counters, every=1e6, clock=lambda: clock[0])
    meter.start()
    tree(2)
    clock[0] = energy.LATE + 1
    assert meter.stop() == {"gpus": 3.0}, "a counter that never begins again is as good as ever"


def test_one_counter_that_cannot_be_read_is_no_sum_of_the_others(tree: Tree) -> None:
    root = tree(1, 1, 1)
    (root / "intel-rapl:1" / "energy_uj").unlink()
    assert processors(root) == []
    (root / "intel-rapl:1" / "energy_uj").write_text("none\n")
    assert processors(root) == []
    assert processors(root / "nowhere") == []
    assert len(processors(tree(1, 1, 1))) == 3


def test_one_that_goes_away_is_left_out_and_the_training_goes_on(tree: Tree) -> None:
    root = tree(1, 1, 1)
    found: dict[str, float] = {}
    with metered(Comm(), torch.device("cpu"), found, root):
        (root / "intel-rapl:0" / "energy_uj").unlink()
    assert found == {}


def test_a_block_is_recorded_with_its_seconds_and_added_to_an_earlier_start(tree: Tree) -> None:
    found: dict[str, float] = {}
    for joules in (10.0, 30.0):
        with metered(Comm(), torch.device("cpu"), found, tree(0)):
            tree(joules)
    assert found["processor"] == 40.0 and 0 <= found["seconds"] < 3600
    with pytest.raises(ValueError, match="it failed"), metered(Comm(), torch.device("cpu"), found, tree(0)):
        tree(500)
        raise ValueError("it failed")
    assert found["processor"] == 40.0
    before = dict(found)
    with metered(Comm(), torch.device("cpu"), found, tree(7)):
        pass
    assert found == before, "counters that do not move count nothing"


def test_processes_and_stages_are_summed_where_all_were_counted() -> None:
    assert of_all([{"processor": 5.0, "gpus": 1.0}, {"gpus": 2.0}]) == {"processor": 5.0, "gpus": 3.0}
    assert of_all([{"processor": 5.0, "gpus": 1.0}, {"gpus": None}]) == {"processor": 5.0}
    assert of_all([{"processor": None}, {}]) == {} and of_all([{"processor": 0.0}]) == {}
    first, second = {"processor": 5.0, "seconds": 2.0}, {"processor": 1.0, "gpus": 2.0, "seconds": 1.5}
    assert together([first, second]) == {"processor": 6.0, "seconds": 3.5}
    assert together([first]) == first and together([first, {}]) == {} and together([]) == {}


def test_a_machine_without_a_gpu_has_none() -> None:
    assert energy.gpus(torch.device("cpu")) == []


@pytest.mark.slow
def test_a_run_records_and_reports_it(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "POWERCAP", tree(0, 0, 0))
    folder, done = mined.material(tmp_path / "run"), threading.Event()
    counter = tmp_path / "powercap" / "intel-rapl:0" / "energy_uj"

    def work() -> None:
        used = 0
        while not done.wait(0.001):
            used += 1000
            fresh = counter.with_name("fresh")
            fresh.write_text(f"{used}\n")
            fresh.replace(counter)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        start = time.perf_counter()
        record = mined.go(folder, "out", mined.recipe())
        passed = time.perf_counter() - start
    finally:
        done.set()
        worker.join()
    assert 0 < record.energy["processor"] <= passed, "1 mJ each millisecond at most"
    assert 0 < record.energy["seconds"] <= record.timings["training"] + 0.001
    assert "energy of the training: processor" in (folder / "out" / "report" / "report.md").read_text()
