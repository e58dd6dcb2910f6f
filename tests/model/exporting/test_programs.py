"""Programs of other runtimes give the embeddings of the model, for texts of any length and number, read from the folder
alone; and other libraries can read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from embedkit.errors import RecipeError
from embedkit.model.exporting import programs
from embedkit.model.exporting.loading import Exported
from embedkit.model.exporting.targets import TARGETS, target_of
from tests.model.exporting.conftest import PROMPTS, exported
from tests.tiny import sentences

TEXTS = [*sentences(40, seed=3), "ba", " ".join(sentences(20))]
"""The last is longer than the model keeps."""


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def check_equal(folder: Path, model: Path, to: str) -> None:
    """Same numbers as PyTorch, in both roles, alone and in a batch."""
    (folder / "model.safetensors").unlink()
    st, found = SentenceTransformer(str(model), device="cpu"), Exported.load(folder, TARGETS[to])
    for role, prompt in PROMPTS.items():
        want = st.encode(TEXTS, prompt=prompt)
        assert np.allclose(found.encode(TEXTS, role=role), want, atol=1e-5), role
        assert np.allclose(found.encode(TEXTS[-1:], role=role), want[-1:], atol=1e-5), "alone"
    st.max_seq_length = 7
    assert np.allclose(found.encode(TEXTS, max_length=7), st.encode(TEXTS, prompt=PROMPTS["query"]), atol=1e-5)
    assert found.st.max_seq_length == 64, "the length of one call is no setting"
    assert found.prompt("document") == PROMPTS["document"] and found.similarity == "cosine"


@pytest.mark.slow
def test_openvino(model: Path, tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    folder = exported(model, "openvino", tmp_path / "export")
    check_equal(folder, model, "openvino")
    program = openvino.Core().read_model(folder / "openvino" / "openvino_model.xml")
    assert {port.any_name for port in program.inputs} == {"input_ids", "attention_mask", "token_type_ids"}
    for path in folder.rglob("*"):
        assert path.is_dir() or b"site-packages" not in path.read_bytes(), path


class TestOnnx:
    @pytest.fixture(scope="class")
    def folder(self, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
        pytest.importorskip("onnxruntime")
        pytest.importorskip("onnxscript")
        return exported(model, "onnx", tmp_path_factory.mktemp("onnx") / "export")

    def test_one_file_without_the_places_of_this_machine(self, folder: Path) -> None:
        """TEI, transformers.js and fastembed look for onnx/model.onnx; torch writes tracebacks into it."""
        names = {path.name for path in (folder / "onnx").iterdir()}
        assert names == {"model.onnx", "export.json", "config.json"}
        for path in (folder / "onnx").iterdir():
            assert b"site-packages" not in path.read_bytes() and str(folder).encode() not in path.read_bytes(), path

    def test_any_onnx_runtime_runs_it(self, folder: Path, model: Path) -> None:
        import onnxruntime
        import torch

        session = onnxruntime.InferenceSession(str(folder / "onnx" / "model.onnx"))
        assert {i.name for i in session.get_inputs()} == {"input_ids", "attention_mask", "token_type_ids"}
        assert session.get_outputs()[0].name == "last_hidden_state"
        st: Any = SentenceTransformer(str(model), device="cpu")
        batch = st.tokenizer(TEXTS[:5], padding=True, return_tensors="pt")
        with torch.no_grad():
            want = st[0].model(**batch).last_hidden_state.numpy()
        got = session.run(["last_hidden_state"], {name: value.numpy() for name, value in batch.items()})[0]
        assert np.allclose(got, want, atol=1e-5)

    @pytest.mark.slow
    def test_int8_is_close_and_smaller(self, folder: Path, model: Path, tmp_path: Path) -> None:
        other = exported(model, "int8", tmp_path / "export")
        assert {path.name for path in (other / "onnx").iterdir()} == {"model_int8.onnx", "export.json", "config.json"}
        st, found = SentenceTransformer(str(model), device="cpu"), Exported.load(other, TARGETS["int8"])
        got, want = found.encode(TEXTS), st.encode(TEXTS, prompt=PROMPTS["query"])
        assert cosines(got, want).min() > 0.98 and np.abs(got - want).max() > 1e-4, "it is quantised"
        import onnx

        weights = onnx.load(str(other / "onnx" / "model_int8.onnx")).graph.initializer
        kinds = {onnx.TensorProto.DataType.Name(t.data_type) for t in weights if len(t.dims) == 2 and t.dims[0] > 1}
        assert kinds == {"INT8"}, "every matrix is int8"

    def test_equal(self, folder: Path, model: Path) -> None:
        """Last: it takes the weights for PyTorch away."""
        check_equal(folder, model, "onnx")

    @pytest.mark.slow
    def test_large_weights_stand_beside_it(
        self, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
    ) -> None:
        """Under the name that the Hub's libraries ask for."""
        monkeypatch.setattr(programs, "INLINE", 1000)
        other = exported(model, "onnx", tmp_path / "export")
        names = {path.name for path in (other / "onnx").iterdir()}
        assert names == {"model.onnx", "model.onnx_data", "export.json", "config.json"}
        want = SentenceTransformer(str(model), device="cpu").encode(TEXTS, prompt=PROMPTS["query"])
        assert np.allclose(Exported.load(other, TARGETS["onnx"]).encode(TEXTS), want, atol=1e-5)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedkit.model.exporting.targets.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"onnx, onnxscript, onnxruntime\n.*embedkit-train\[onnx\]"):
        target_of("int8")
    with pytest.raises(RecipeError, match=r"openvino\n.*embedkit-train\[openvino\]"):
        target_of("openvino")
    with pytest.raises(RecipeError, match="there is no 'ggml'"):
        target_of("ggml")


def test_a_model_that_only_torch_runs_is_refused(model: Path, tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    tokens = Tokenizer.from_file(str(model / "tokenizer.json"))
    st = SentenceTransformer(modules=[StaticEmbedding(tokens, embedding_dim=8)], device="cpu")
    with pytest.raises(RecipeError, match="begins with StaticEmbedding"):
        programs.write_program(st, TARGETS["onnx"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_folder_without_an_export(tmp_path: Path) -> None:
    for text in (None, "{", "[]", json.dumps({"to": 3})):
        if text is not None:
            (tmp_path / "embedkit_export.json").write_text(text)
        with pytest.raises(Exception, match="holds no export"):
            Exported.load(tmp_path)
