"""``embedkit export``: what is compared and told, what is written, what is refused, and that nothing is left behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from embedkit.model.exporting.loading import Exported
from embedkit.model.exporting.targets import TARGETS
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from tests.cli.conftest import Done
from tests.tiny import sentences

Run = Callable[..., Done]


@pytest.fixture
def model(work: Path) -> str:
    config = Model(base="tiny", pooling="mean", prompts={"query": "ba: ", "document": "de: "})
    Encoder.load(config, device="cpu").save("model")
    return "model"


def onnx() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)


def left() -> list[str]:
    return [path.name for path in Path().glob(".embedkit*") if path.is_dir()]


def test_shorter_embeddings(embedkit: Run, model: str) -> None:
    """Without another runtime: cut, compared with the model's own first numbers, measured against the whole model."""
    done = embedkit("export", model, "--to", "torch", "--dim", "8", "--out", "short", "--suite", "suite.yaml")
    assert done.code == 0, done.err
    texts = sentences(4)
    st, short = SentenceTransformer(model, device="cpu"), SentenceTransformer("short", device="cpu")
    assert np.allclose(short.encode(texts), st.encode(texts)[:, :8], atol=1e-6)
    record = json.loads(Path("short/embedkit_export.json").read_text())
    assert record["to"] == "torch" and record["dim"] == 8 and record["program"] == ""
    assert record["fingerprint"] == Encoder.load(Model(base=model), device="cpu").fingerprint()
    assert record["parity"]["least"] == pytest.approx(1, abs=1e-6) and set(record["parity"]["cosines"]) == {
        "query",
        "document",
    }
    (compared,) = record["comparison"]
    assert compared["task"] == "A" and compared["after"] != compared["before"], (
        "the whole model is what it is told from"
    )
    for said in ("cosine 1.000000 on average", "largest difference", "size", "texts/s", "A", "exported"):
        assert said in done.out
    assert Exported.load("short").encode(texts).shape == (4, 8) and not left()


def test_a_loss_that_is_not_allowed(embedkit: Run, model: str) -> None:
    words = ("export", model, "--to", "torch", "--dim", "1", "--out", "short", "--suite", "suite.yaml")
    done = embedkit(*words, "--max-loss", "0.1")
    assert done.code == 1 and "points, 0.1 are allowed" in done.err and "--max-loss" in done.err
    assert not Path("short").exists() and not left()


def test_texts_of_ones_own(embedkit: Run, model: str) -> None:
    Path("mine.jsonl").write_text("".join(json.dumps({"body": text}) + "\n" for text in sentences(9)))
    words = ("export", model, "--to", "torch", "--out", "same", "--texts", "mine.jsonl")
    assert embedkit(*words).code == 3, "the column is called otherwise"
    done = embedkit(*words, "--column", "body", "--json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record["parity"]["texts"] == 9 + 5 and record == json.loads(Path("same/embedkit_export.json").read_text())
    assert "ba" not in json.dumps(record["parity"]), "no text is in the record"


def test_what_is_refused(embedkit: Run, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (Path("there")).mkdir()
    for words, code, said in (
        (("--to", "ggml", "--out", "x"), 2, "one of torch, onnx"),
        (("--to", "torch", "--out", "there"), 1, "is there already"),
        (("--to", "torch", "--out", "x", "--dim", "32"), 2, "32 numbers cannot be cut to 32"),
        (("--to", "torch", "--out", "x", "--data", "."), 2, "add --suite"),
        (("--to", "torch", "--out", "x", "--max-loss", "1"), 2, "add --suite"),
        (("--to", "torch", "--out", "x", "--suite", "nothing"), 2, "nothing"),
        (("--to", "torch", "--out", "x", "--texts", "nothing.txt"), 3, "no such file"),
    ):
        done = embedkit("export", model, *words)
        assert done.code == code and said in done.err and "cure" in done.err, (words, done.err)
    assert embedkit("export", "nowhere/at-all", "--to", "torch", "--out", "x", "--offline").code == 2
    monkeypatch.setattr("embedkit.model.exporting.targets.find_spec", lambda name: None)
    done = embedkit("export", model, "--to", "onnx", "--out", "x")
    assert done.code == 2 and "embedkit-train[onnx]" in done.err
    assert not Path("x").exists() and not left()


@pytest.mark.slow
def test_onnx_and_int8(embedkit: Run, model: str) -> None:
    onnx()
    done = embedkit("export", model, "--to", "onnx", "--out", "onnx", "--suite", "suite.yaml", "--keep-weights")
    assert done.code == 0, done.err
    record = json.loads(Path("onnx/embedkit_export.json").read_text())
    assert record["parity"]["least"] > 0.99999 and record["parity"]["largest"] < 1e-5
    assert abs(record["comparison"][0]["difference"]["value"]) < 0.01
    assert record["program"] == "onnx/model.onnx" and record["bytes"][1] > 10_000
    assert SentenceTransformer("onnx", device="cpu").encode(["ba"]).shape == (1, 32), "the weights were kept"
    far = embedkit("export", model, "--to", "int8", "--out", "int8", "--min-cosine", "0.999999")
    assert far.code == 1 and "other embeddings than the model" in far.err and "export to onnx" in far.err
    assert not Path("int8").exists() and not left()
    done = embedkit("export", model, "--to", "int8", "--out", "int8")
    assert done.code == 0 and not Path("int8/model.safetensors").exists(), done.err


@pytest.mark.slow
def test_gguf(embedkit: Run, model: str) -> None:
    """Run by llama.cpp itself; the file has no prompts, and that is said."""
    for name in ("gguf", "xllamacpp"):
        pytest.importorskip(name)
    done = embedkit("export", model, "--to", "gguf-f16", "--out", "gguf", "--suite", "suite.yaml", "--max-loss", "1")
    assert done.code == 0, done.err
    record = json.loads(Path("gguf/embedkit_export.json").read_text())
    assert record["program"] == "gguf/model-f16.gguf" and record["cut_otherwise"] == 0
    assert record["parity"]["least"] > 0.9999 and record["bytes"][1] > 10_000 and not left()
    for said in (
        "put 'ba: ' before each query",
        "put 'de: ' before each document",
        "0 of",
        "speed is that of llama.cpp",
    ):
        assert said in done.out, done.out
    assert not Path("gguf/model.safetensors").exists() and Exported.load("gguf").encode(["ba"]).shape == (1, 32)
    far = embedkit("export", model, "--to", "gguf-q8_0", "--out", "q8", "--min-cosine", "0.9999999")
    assert far.code == 1 and "llama.cpp may cut this text into other tokens" in far.err and not Path("q8").exists()


@pytest.mark.slow
def test_a_static_student(embedkit: Run, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("model2vec.distill")
    words = ("export", model, "--to", "static", "--out", "static", "--dim", "16")
    for more, said in (
        ((), "only a suite tells"),
        (("--suite", "suite.yaml", "--min-cosine", "0.5"), "no cosine with the model's"),
        (("--suite", "suite.yaml", "--keep-weights"), "leave it out"),
    ):
        done = embedkit(*words, *more)
        assert done.code == 2 and said in done.err, done.err
    with monkeypatch.context() as patch:
        patch.setitem(TARGETS, "static", replace(TARGETS["static"], loss=-100.0))
        far = embedkit(*words, "--suite", "suite.yaml")
    assert far.code == 1 and "-100 are allowed" in far.err and "--max-loss" in far.err and not Path("static").exists()
    done = embedkit(*words, "--suite", "suite.yaml")
    assert done.code == 0, done.err
    record = json.loads(Path("static/embedkit_export.json").read_text())
    assert record["to"] == "static" and record["dim"] == 16 and record["bound"] is None
    assert record["parity"]["least"] is None and record["bytes"][1] < record["bytes"][0]
    for said in ("no cosine with the model's", "kept", "% of the model's score", "prompts are not part of it"):
        assert said in done.out, done.out
    texts, st = sentences(4), SentenceTransformer("static", device="cpu")
    assert [type(module).__name__ for module in st] == ["StaticEmbedding", "Normalize"]
    assert np.allclose(Encoder.load(Model(base="static"), device="cpu").encode(texts), st.encode(texts), atol=1e-6)
    assert np.allclose(Exported.load("static").encode(texts), st.encode(texts), atol=1e-6)
    assert embedkit("eval", "static", "--suite", "suite.yaml", "--resamples", "100").code == 0
    assert not left()
