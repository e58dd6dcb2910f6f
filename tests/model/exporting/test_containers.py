"""GGUF: what the file holds, what llama.cpp could not run and is refused, and that llama.cpp gives the model's
embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

from embedkit.errors import EmbedkitError, RecipeError
from embedkit.model.changing.cutting import cut
from embedkit.model.exporting.targets import TARGETS, target_of
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from tests.model.architectures import build
from tests.model.exporting.conftest import PROMPTS
from tests.tiny import sentences, tiny_bert, vocabulary

TEXTS = [*sentences(12, seed=3), "Bá  DE, fi!", " ".join(sentences(60))]
"""The last is longer than the model keeps."""


def load(folder: Path) -> SentenceTransformer:
    return SentenceTransformer(str(folder), device="cpu")


def test_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedkit.model.exporting.targets.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"gguf, xllamacpp\n.*embedkit-train\[gguf\]"):
        target_of("gguf")


class TestFile:
    @pytest.fixture(autouse=True)
    def package(self) -> None:
        pytest.importorskip("gguf")

    def write(self, st: SentenceTransformer, to: str, folder: Path) -> Path:
        from embedkit.model.exporting.containers import write_container

        write_container(st, TARGETS[to], folder)
        return TARGETS[to].inside(folder)

    @pytest.mark.parametrize(("to", "far"), [("gguf", 0), ("gguf-f16", 1e-3), ("gguf-q8_0", 1e-2)])
    def test_the_weights_come_back(self, model: Path, to: str, far: float, tmp_path: Path) -> None:
        import gguf

        st = load(model)
        reader = gguf.GGUFReader(self.write(st, to, tmp_path))
        found = {t.name: torch.from_numpy(gguf.dequantize(t.data, t.tensor_type).copy()) for t in reader.tensors}
        first: Any = st[0]
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.BERT, first.model.config.num_hidden_layers)
        state = {k: v for k, v in first.model.state_dict().items() if not k.startswith("pooler.")}
        want = {names.get_name(name, (".weight", ".bias")): values for name, values in state.items()}
        assert set(found) == set(want)
        for name, values in want.items():
            apart = (found[name].reshape(values.shape) - values).abs().max() / values.abs().max().clamp_min(1e-9)
            whole = values.ndim == 1 or name in ("position_embd.weight", "token_types.weight")
            assert apart <= (0 if whole else far), name
        assert far == 0 or any(t.tensor_type.name == to.rpartition("-")[2].upper() for t in reader.tensors)

    def test_the_keys(self, model: Path, tmp_path: Path) -> None:
        import gguf

        reader = gguf.GGUFReader(self.write(load(model), "gguf", tmp_path))
        told = {name: field.contents() for name, field in reader.fields.items()}
        bert = {name.removeprefix("bert."): value for name, value in told.items() if name.startswith("bert.")}
        eps = bert.pop("attention.layer_norm_epsilon")
        assert eps == pytest.approx(1e-12) and told["general.architecture"] == "bert"
        assert bert == {
            "context_length": 64,
            "embedding_length": 32,
            "feed_forward_length": 64,
            "block_count": 1,
            "attention.head_count": 2,
            "attention.causal": False,
            "pooling_type": gguf.PoolingType.MEAN,
            "vocab_size": len(vocabulary()),
        }
        tokens = told["tokenizer.ggml.tokens"]
        assert told["tokenizer.ggml.model"] == "bert" and tokens[:6] == [*vocabulary()[:5], "\u2581baba"]
        assert tokens[-1] == ")" and vocabulary()[-1] == "##)", "a later piece has no mark"
        kinds = told["tokenizer.ggml.token_type"]
        assert set(kinds[:5]) == {gguf.TokenType.CONTROL} and set(kinds[5:]) == {gguf.TokenType.NORMAL}
        ids = [told[f"tokenizer.ggml.{name}_token_id"] for name in ("bos", "seperator", "unknown", "padding", "mask")]
        assert ids == [2, 3, 1, 0, 4]
        assert told["tokenizer.ggml.normalizer.lowercase"] is True

    def test_what_it_cannot_carry(self, model: Path, tmp_path: Path) -> None:
        other = load(model)
        cut(other, 8)
        with pytest.raises(RecipeError, match="Dense"):
            self.write(other, "gguf", tmp_path)
        other = load(model)
        other[1] = Pooling(32, pooling_mode="max")
        with pytest.raises(RecipeError, match=r"no pooling max\n.*mean"):
            self.write(other, "gguf", tmp_path)
        other[1] = Pooling(32, pooling_mode="mean", include_prompt=False)
        with pytest.raises(RecipeError, match="where a prompt ends"):
            self.write(other, "gguf", tmp_path)
        other = load(model)
        first: Any = other[0]
        first.model.config.hidden_act = "relu"
        with pytest.raises(RecipeError, match="hidden_act gelu"):
            self.write(other, "gguf", tmp_path)
        with pytest.raises(RecipeError, match="only BertModel"):
            self.write(load(build("mpnet", tmp_path / "mpnet")), "gguf", tmp_path)
        narrow = load(tiny_bert(tmp_path / "narrow", hidden=24, layers=1))
        with pytest.raises(RecipeError, match=r"rows of 24 numbers.*\n.*gguf-f16"):
            self.write(narrow, "gguf-q8_0", tmp_path)
        assert not list(tmp_path.glob("gguf/*q8*")), "no half a file"


class TestLlama:
    """In llama.cpp itself."""

    @pytest.fixture(autouse=True)
    def packages(self) -> None:
        pytest.importorskip("gguf")
        pytest.importorskip("xllamacpp")

    @pytest.mark.slow
    @pytest.mark.parametrize(("to", "pooling", "least"), [("gguf", "mean", 0.99999), ("gguf-q8_0", "cls", 0.999)])
    def test_it_gives_the_models_embeddings(self, to: str, pooling: str, least: float, tmp_path: Path) -> None:
        from embedkit.model.exporting.containers import write_container
        from embedkit.model.exporting.llama import cut_otherwise
        from embedkit.model.exporting.loading import Exported

        base = tiny_bert(tmp_path / "bert", layers=1, positions=160)
        model = Model.model_validate({"base": str(base), "prompts": PROMPTS, "pooling": pooling})
        Encoder.load(model, device="cpu").save(tmp_path / "model")
        st, folder = load(tmp_path / "model"), tmp_path / "export"
        if pooling == "cls":
            st.append(Normalize())
        st.save(str(folder), create_model_card=False)
        (folder / "model.safetensors").unlink()
        write_container(st, TARGETS[to], folder)
        found = Exported.load(folder, target_of(to))
        for role, prompt in PROMPTS.items():
            want, got = st.encode(TEXTS, prompt=prompt), found.encode(TEXTS, role=role)
            length = np.linalg.norm(got, axis=1)
            assert np.allclose(length, np.linalg.norm(want, axis=1), rtol=1e-2), "as long as the model's"
            assert ((got * want).sum(axis=1) / length / np.linalg.norm(want, axis=1)).min() > least
        st.max_seq_length = 7
        want = st.encode(TEXTS[-1:], prompt=PROMPTS["query"])
        assert np.allclose(found.encode(TEXTS[-1:], max_length=7), want, atol=0.05) and found.st.max_seq_length == 160
        assert cut_otherwise(found.st, [*TEXTS, "ba" * 60]) == 1, "WordPiece gives up on words above 100 letters"

    @pytest.mark.slow
    def test_what_is_no_model(self, tmp_path: Path) -> None:
        from embedkit.model.exporting.llama import Llama

        (tmp_path / "model.gguf").write_bytes(b"GGUF" + b"\0" * 60)
        with pytest.raises(EmbedkitError, match=r"llama\.cpp ended with code"):
            Llama(tmp_path / "model.gguf", 64)
