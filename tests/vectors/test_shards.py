"""Reading mapped arrays: the same rows, without what was read staying resident."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from embedkit.vectors import shards
from embedkit.vectors.shards import mapped, read_mapped


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "vectors.npy"
    np.save(path, np.random.default_rng(0).normal(size=(40_000, 256)).astype(np.float32))
    return path


@pytest.mark.parametrize("room", [1, 5000, 2**30])
@pytest.mark.parametrize("rows", [[], [3], [3, 3, 0], list(range(99, -1, -1)), [39_999, 5, 5, 20_000, 1] * 9])
def test_rows_are_those_of_the_array(room: int, rows: list[int], file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_FEW", 2)
    monkeypatch.setattr(shards, "_PART", room)
    monkeypatch.setattr(shards, "_TOUCHED", room)
    at = np.array(rows, np.int64)
    want = np.load(file)[at]
    for array in (mapped(file), np.load(file), np.load(file).astype(np.float16)):
        found = read_mapped(array, at)
        assert found.dtype == np.float32 and np.array_equal(found, want.astype(array.dtype))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_is_read_does_not_stay_resident(file: Path) -> None:
    def resident() -> int:
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("RssFile")) // 1024

    array, before = mapped(file), resident()  # 39 MiB
    for start in range(0, len(array), 4000):
        read_mapped(array, np.arange(start, start + 4000))
    read_mapped(array, np.random.default_rng(0).permutation(len(array)))
    assert resident() - before < 10
    read_mapped(array, np.random.default_rng(0).permutation(len(array))[:300])  # which touch nearly all of it
    assert resident() - before < 10
    assert array[:].sum() != 0 and resident() - before > 30, "what stays is seen"


def test_changes_of_a_copied_map_are_kept(file: Path) -> None:
    array = np.load(file, mmap_mode="c")
    array[:] = 1
    assert (read_mapped(array, np.arange(len(array))) == 1).all() and (array == 1).all()
