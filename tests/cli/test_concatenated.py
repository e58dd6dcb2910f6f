"""``eval``, ``encode`` and ``mine`` take several models joined by a plus."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from embedkit.evaluation.mteb.encoder import name_of
from embedkit.mining.mined_file import read_about
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from tests.cli.conftest import Done
from tests.tiny import sentences, tiny_static

Run = Callable[..., Done]


@pytest.fixture
def two(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(work / "cache"))
    tiny_static(work / "small")
    return work


def wanted(texts: list[str], role: str = "document") -> np.ndarray:
    each = [
        Encoder.load(Model(base=b), device="cpu").encode(texts, role=role, normalize=True) for b in ("tiny", "small")
    ]
    return np.concatenate(each, axis=1) / np.sqrt(2)


def test_encode(embedkit: Run, two: Path) -> None:
    command = ("encode", "tiny+small", "--texts", "text.txt", "--out", "out", "--device", "cpu")
    done = embedkit(*command)
    assert done.code == 0, done.err
    assert "64 vectors of 44 dimensions" in done.out
    np.testing.assert_allclose(np.load("out/vectors-00000-of-00001.npy"), wanted(sentences(64)), atol=1e-5)
    other = embedkit("encode", "tiny+2*small", *command[2:])
    assert other.code == 1 and "another encoding: model is not the same" in other.err
    cut = embedkit("encode", "tiny+small", "--texts", "text.txt", "--out", "cut", "--dim", "8")
    assert cut.code == 2 and "those of the first model" in cut.err and not Path("cut/encode.json").exists()


def test_eval_measures_the_mean_of_the_cosines_and_keeps_each_model_s_vectors(embedkit: Run, two: Path) -> None:
    options = ("--suite", "suite.yaml", "--resamples", "100")
    assert embedkit("eval", "tiny", *options, "--out", "one").code == 0
    done = embedkit("eval", "tiny + small", *options, "--embeddings", "int8", "--compare", "tiny", "--out", "scores")
    assert done.code == 0, done.err
    assert "VERDICT:" in done.out and "int8" in done.out
    rows = [line.split("\t") for line in Path("sts.tsv").read_text().splitlines()[1:]]
    a, b = (wanted([row[i] for row in rows], "query") for i in (0, 1))
    units = np.load("scores/samples.npz")
    found = next(units[name] for name in units.files if name.endswith("cosine"))
    np.testing.assert_allclose(found, (a * b).sum(1), atol=1e-5)
    scores = [json.loads(Path(name).read_text()) for name in ("one/scores.json", "scores/scores.json")]
    assert scores[0]["fingerprint"] != scores[1]["fingerprint"] and scores[1]["model"] == "tiny + small"
    shares = embedkit("eval", "0.8*tiny + 0.2*small", *options, "--json")
    details = json.loads(shares.out)["scores"]["tasks"][0]["details"]
    assert shares.code == 0 and details["reused"] == details["texts"], "other shares encode nothing again"
    cut = embedkit("eval", "tiny+small", *options, "--embeddings", "truncate=8")
    assert cut.code == 2 and "those of the first model" in cut.err
    stage = embedkit("eval", "tiny+small", *options, "--first-stage", "tiny")
    assert stage.code == 2 and "is an encoder" in stage.err


def test_mine(embedkit: Run, two: Path) -> None:
    texts = sentences(40, seed=3, shortest=5)
    Path("c.jsonl").write_text("".join(json.dumps({"_id": f"d{i}", "text": t}) + "\n" for i, t in enumerate(texts)))
    pairs = [{"query": t[: len(t) // 2], "positive": t} for t in texts[:8]]
    Path("q.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    names = f"{two.resolve()}/tiny+small"
    files = ("--queries", "q.jsonl", "--corpus", "c.jsonl", "--out", "m.parquet", "--device", "cpu")
    done = embedkit("mine", "--model", names, *files, "--depth", "10", "--keep", "3")
    assert done.code == 0, done.err
    q, d = wanted([pair["query"] for pair in pairs], "query"), wanted(texts)
    for i, row in enumerate(parquet.read_table("m.parquet").to_pylist()):
        order = [int(j) for j in np.argsort(-(q[i] @ d.T), kind="stable") if j != i][:3]
        assert row["negative_id"] == [f"d{j}" for j in order]
        np.testing.assert_allclose(row["negative_score"], [q[i] @ d[j] for j in order], atol=1e-5)
    assert read_about(Path("m.parquet"))["model"]["name"] == "tiny+small", "no path of this machine"


def test_mteb_s_name_has_all_of_them() -> None:
    assert name_of("runs/a/model + 0.5*runs/b/model") == "local/a+b" and name_of("user/x+user/y") == "local/x+y"
