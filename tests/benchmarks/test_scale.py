"""The constants of the cost model are measured, on vectors that are what they are said to be."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import scale


def test_every_constant_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import faiss
    import torch

    threads = torch.get_num_threads(), faiss.omp_get_max_threads()
    monkeypatch.setattr(scale, "DIM", 16)
    monkeypatch.setattr(scale, "DEPTH", 5)
    try:
        scale.measure(Namespace(rows=3000, queries=40), tmp_path)
    finally:
        torch.set_num_threads(threads[0])
        faiss.omp_set_num_threads(threads[1])
    said = capsys.readouterr().out
    rows = np.load(tmp_path / "v-3000.npy")
    assert rows.shape == (3000, 16) and np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    for words in (
        "f32 on disk: 64",
        "exact: search",
        "ivf: build",
        "ivf: 40 bytes a vector",
        "ivf-pq: 12 bytes a vector",
    ):
        assert words in said, said
    assert "merge of 16 shards" in said and "keys of texts, 24 bytes each" in said
