"""Ray on this machine: equals one process, makes up for an actor that dies, does nothing twice."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

ray = pytest.importorskip("ray")

from embedkit.errors import DataError, EmbedkitError  # noqa: E402
from embedkit.run.mining_job import mine  # noqa: E402
from embedkit.spread.engines import pool_of  # noqa: E402
from embedkit.spread.pool import Pool  # noqa: E402
from embedkit.vectors.encoding import encode_into, encode_spread  # noqa: E402
from embedkit.vectors.given import given_embedder  # noqa: E402
from embedkit.vectors.store import VectorStore  # noqa: E402
from tests.spread.cluster import Logged, asked  # noqa: E402
from tests.tiny import sentences, tiny_bert  # noqa: E402

pytestmark = pytest.mark.cpu
QUIET: dict[str, Any] = {"progress": False, "device": "cpu"}


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    ray.init(
        num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level=logging.CRITICAL,
        object_store_memory=128 * 2**20,
    )  # fmt: skip
    try:
        with pool_of("ray") as found:
            assert found is not None
            yield found
    finally:
        ray.shutdown()


def test_the_cluster_is_described(pool: Pool) -> None:
    assert pool.words.startswith("ray: 1 machine, 4 cores, 0 GPUs, ") and pool.words.endswith("GiB of memory")


def test_encoding_equals_one_process_and_an_actor_that_is_killed_is_made_up_for(pool: Pool, tmp_path: Path) -> None:
    """Several windows; the process of one is killed in its middle, and nothing is encoded twice but what it had."""
    from embedkit.vectors import encoding

    texts = [f"text {i}" for i in range(3 * encoding.WINDOW + 50)]
    world = Logged(tmp_path, dies_at=f"text {encoding.WINDOW + 7}")
    by = given_embedder(world, name="logged", dim=8)
    shelf = VectorStore(tmp_path / "spread").of(by.space)
    view = encode_spread(shelf, texts, by, pool)
    assert (tmp_path / "killed").exists()
    alone = encode_into(VectorStore(tmp_path / "alone").of(by.space), texts, Logged(tmp_path / "."), progress=False)
    np.testing.assert_array_equal(view[:], alone[:])
    assert len(list(shelf.folder.glob("*.npy"))) == 4, "a shard a window"
    for path in tmp_path.glob("asked-*.txt"):
        path.unlink()
    keys = sorted(shelf.folder.glob("*.keys"))
    keys[1].unlink()  # one shard is gone
    again = VectorStore(tmp_path / "spread").of(by.space)
    np.testing.assert_array_equal(encode_spread(again, texts, by, pool)[:], view[:])
    assert 50 <= len(asked(tmp_path)) <= encoding.WINDOW and max(Counter(asked(tmp_path)).values()) == 1


@pytest.mark.slow
def test_errors_travel_as_they_are_and_a_task_that_always_dies_ends(pool: Pool) -> None:
    def refuses() -> Any:
        def work(task: int) -> int:
            if task == 1:
                raise DataError("no good", "f:1", "mend it")
            return task

        return work

    with pytest.raises(DataError, match="f:1: no good"):
        list(pool.map(refuses, [0, 1]))

    def dies() -> Any:
        return lambda task: os.kill(os.getpid(), signal.SIGKILL) if task == 1 else task

    assert [result for _, result in pool.map(dies, [0, 2])] in ([0, 2], [2, 0])
    with pytest.raises(EmbedkitError, match="a task could not be done") as caught:
        list(pool.map(dies, [1]))
    assert "start again" in caught.value.cure


@pytest.mark.slow
def test_mining_with_every_judge_equals_one_process(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real model, a guide, a cross-encoder and a language model behind a server, from files to the Parquet file."""
    from tests.mining.filters.test_cross_encoder import reranker
    from tests.synthesis.server import serving

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    texts = sentences(60, seed=3, shortest=5)
    tiny_bert(tmp_path / "tiny")
    tiny_bert(tmp_path / "guide", seed=4)
    cross = reranker(tmp_path / "cross")
    Path("c.jsonl").write_text("".join(json.dumps({"_id": f"d{i}", "text": t}) + "\n" for i, t in enumerate(texts)))
    rows = [{"query": texts[i][: len(texts[i]) // 2], "positive": texts[i]} for i in range(12)]
    Path("q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines: list[str] = []
    with serving() as server:
        filters = ["guide=guide,margin=1", f"cross-encoder={cross},margin=1", f"judge=m,endpoint={server.url}"]
        options = {**QUIET, "depth": 40, "keep": 40, "filters": filters, "queries": "q.jsonl", "corpus": "c.jsonl"}
        alone = mine("tiny", out="a.parquet", say=lines.append, store="s1", **options)
        spread = mine("tiny", out="b.parquet", say=lines.append, store="s2", engine="ray", **options)
    a, b = (parquet.read_table(name).to_pylist() for name in ("a.parquet", "b.parquet"))
    assert [r["negative_id"] for r in a] == [r["negative_id"] for r in b] and any(r["negative_id"] for r in a)
    assert alone.about["filters"] == spread.about["filters"] and alone.about["unscored"] == spread.about["unscored"]
    np.testing.assert_allclose([r["positive_score"] for r in a], [r["positive_score"] for r in b], atol=1e-6)
    assert any(line.startswith("ray: 1 machine") for line in lines)
    assert not list(tmp_path.glob(".embedkit*parts")) and list(tmp_path.glob("b.answers.shards/scores-*.npy"))


@pytest.mark.slow
def test_the_shell_encodes_on_ray_to_the_same_files(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedkit.data.column import TextColumn
    from embedkit.run.encoding import Settings, encode

    monkeypatch.chdir(tmp_path)
    tiny_bert(tmp_path / "tiny")
    Path("t.txt").write_text("\n".join(sentences(100)) + "\n")
    for out, engine in (("a", "local"), ("b", "ray")):
        settings = Settings(dtype="float16", dim=8)
        texts = TextColumn(Path("t.txt"))
        encode("tiny", texts, Path(out), settings, shards=2, engine=engine, say=lambda line: None, **QUIET)
    for name in ("vectors-00000-of-00002.npy", "vectors-00001-of-00002.npy", "lines.npy"):
        np.testing.assert_array_equal(np.load(f"a/{name}"), np.load(f"b/{name}"))
    assert sorted(p.name for p in Path("b").iterdir()) == sorted(p.name for p in Path("a").iterdir())
