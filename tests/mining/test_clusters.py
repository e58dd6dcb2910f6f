"""Clusters by k-means, and runs whose batches follow them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from embedkit.data.sources import LoadedSource, load_source
from embedkit.errors import DataError
from embedkit.mining.clusters import CLUSTERS, RECORD, kmeans_clusters
from embedkit.recipe.clusters import Clusters
from embedkit.recipe.schema import Recipe, Source
from embedkit.run import train
from tests.device import DEVICE
from tests.tiny import sentences, tiny_bert

DIM = 6


class Directions:
    """Texts ``topic i ...`` lie around the axis i % DIM."""

    dim = DIM

    def __init__(self, by: int = 1) -> None:
        self.calls, self.by = 0, by

    def prompt(self, role: str) -> str:
        return ""

    def fingerprint(self) -> str:
        return str(self.by) * 64

    def encode(self, texts: Any, **options: Any) -> np.ndarray:
        self.calls += 1
        rng = np.random.default_rng(0)
        axis = np.array([int(text.split()[1]) // self.by % DIM for text in texts])
        noise = 0.05 * rng.standard_normal((len(texts), DIM))
        return (np.eye(DIM)[axis] + noise).astype(np.float32)


def source(count: int = 48) -> LoadedSource:
    rows = tuple({"query": f"topic {i} text {i}", "positive": f"topic {i // 8} answer {i}"} for i in range(count))
    return load_source(Source(rows=rows))


def find(
    folder: Path, model: Directions | list[Directions], loaded: LoadedSource | None = None, **changes: Any
) -> np.ndarray:
    options = Clusters.model_validate({"batches": "apart", "kmeans": DIM} | changes)
    models = [(f"m{m.by}", lambda m=m: m) for m in (model if isinstance(model, list) else [model])]
    return kmeans_clusters(loaded or source(), options, models, folder=folder, seed=1, cache=folder / "cache")


@pytest.mark.parametrize(("of", "truth"), [("query", lambda i: i % DIM), ("positive", lambda i: i // 8 % DIM)])
def test_kmeans_finds_the_directions(tmp_path: Path, of: str, truth: Any) -> None:
    found = find(tmp_path, Directions(), of=of)
    pairs = {(int(c), truth(i)) for i, c in enumerate(found)}
    assert len(pairs) == len({c for c, _ in pairs}) == DIM


def test_with_several_models_a_cluster_is_the_tuple_of_theirs(tmp_path: Path) -> None:
    found = find(tmp_path, [Directions(), Directions(by=DIM)], source(72))
    pairs = {(int(c), (i % DIM, i // DIM % DIM)) for i, c in enumerate(found)}
    assert len(pairs) == len({c for c, _ in pairs}) == DIM * DIM
    record = json.loads((tmp_path / "clusters.json").read_text(encoding="utf-8"))
    assert record["models"] == ["m1", "m6"] and record["fingerprints"] == ["1" * 64, "6" * 64]


def test_they_are_found_once(tmp_path: Path) -> None:
    model = Directions()
    first = find(tmp_path, model)
    calls = model.calls
    np.save(tmp_path / CLUSTERS, first[::-1])  # what is on disk is what counts
    assert np.array_equal(find(tmp_path, model), first[::-1]) and model.calls == calls
    again = find(tmp_path, model, iterations=7)  # other options: found anew, with the vectors that are there
    assert model.calls == calls and len(again) == len(first)


@pytest.mark.parametrize("name", [CLUSTERS, RECORD])
def test_what_is_damaged_is_found_again(tmp_path: Path, name: str) -> None:
    first = find(tmp_path, Directions())
    for content in (b"", b"[" * 20_000, b"\x93NUMPY half"):
        (tmp_path / name).write_bytes(content)
        assert np.array_equal(find(tmp_path, Directions()), first)


def test_more_clusters_than_texts(tmp_path: Path) -> None:
    loaded = load_source(Source(rows=({"query": "topic 1", "positive": "p"},) * 9))
    with pytest.raises(DataError, match="1 different texts cannot make 6 clusters"):
        find(tmp_path, Directions(), loaded)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base"))


def recipe(base: Path, clusters: dict[str, Any]) -> Recipe:
    texts = sentences(80, seed=1)
    rows = [{"query": a, "positive": b} for a, b in zip(texts[::2], texts[1::2], strict=True)]
    return Recipe.model_validate(
        {
            "model": {"base": str(base), "max_length": 24},
            "data": {"sources": [{"rows": rows, "clusters": clusters}]},
            "train": {"batch_size": 4, "steps": 4, "save_every": 2, "keep_checkpoints": 9, "device": DEVICE},
        }
    )


@pytest.mark.parametrize("batches", ["together", "apart"])
def test_a_resumed_run_is_the_same_run(
    base: Path, tmp_path: Path, batches: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked, whole, stopped = recipe(base, {"batches": batches, "kmeans": 5}), tmp_path / "whole", tmp_path / "stopped"
    record = train(asked, whole, say=lambda line: None, progress=False)
    made = record.data[0]["clusters"]
    assert made["count"] == 5 and made["batches"] >= 1 and made["left_out"] == 40 - 4 * made["batches"]
    shutil.copytree(whole, stopped)
    shutil.rmtree(stopped / "checkpoints" / "checkpoint-4")
    shutil.rmtree(stopped / "model")
    shutil.rmtree(tmp_path / "cache")
    train(asked, stopped, resume=True, say=lambda line: None, progress=False)
    last = Path("checkpoints") / "checkpoint-4" / "model.safetensors"
    want, got = load_file(whole / last), load_file(stopped / last)
    assert all(bool((want[k] == got[k]).all()) for k in want)
    found = np.load(stopped / "clusters" / "source-0" / CLUSTERS)
    assert len(found) == 40 and json.loads((stopped / "run.json").read_text())["resumed_from"] == [2]
