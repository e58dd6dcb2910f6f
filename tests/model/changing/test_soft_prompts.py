from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from embedkit.errors import RecipeError
from embedkit.model.reading.loading import load_saved
from embedkit.model.running.encoder import Encoder
from tests.model.architectures import build
from tests.model.processes import encoded_elsewhere
from tests.model.reading.test_tokens import batch_of, rows_of
from tests.tiny import sentences, tiny_bert

Load = Callable[..., Encoder]
TEXTS = sentences(9, seed=5, longest=20)
FAMILIES = ("bert", "roberta", "llama", "qwen3")


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {f: tiny_bert(folder / f) if f == "bert" else build(f, folder / f) for f in FAMILIES}


def prompted(load: Load, base: Path, scale: float = 0.5, **options: Any) -> Encoder:
    """Prompts large enough to be seen clearly."""
    encoder = load(base, **{"soft_prompts": {"length": 5}, "pooling": "mean", **options})
    with torch.no_grad():
        encoder.st[0].prompts.weight.normal_(0, scale)
    return encoder


def train_output(encoder: Encoder, texts: list[str]) -> Tensor:
    encoder.module.train()
    return encoder.embed(encoder.features(batch_of(encoder, rows_of(texts)), np.arange(len(texts))))


def bert_by_hand(encoder: Encoder, text: str) -> Tensor:
    """States [t, d] of a text, attention written out: prompts before keys and values, positions from P."""
    first, model = encoder.st[0], encoder.st[0].auto_model.eval()
    ids = torch.tensor([first.tokenizer(text)["input_ids"]])
    prompts = first.prompts.weight
    length, config = len(prompts), model.config
    width = config.hidden_size
    x = model.embeddings(input_ids=ids, position_ids=torch.arange(length, length + ids.shape[1])[None])

    def heads(t: Tensor) -> Tensor:
        return t.unflatten(-1, (config.num_attention_heads, -1)).transpose(0, 1)

    for number, layer in enumerate(model.encoder.layer):
        own, mine = layer.attention.self, prompts[:, number * 2 * width : (number + 1) * 2 * width]
        q = heads(own.query(x[0]))
        k = heads(torch.cat([mine[:, :width], own.key(x[0])]))
        v = heads(torch.cat([mine[:, width:], own.value(x[0])]))
        attended = (q @ k.mT / k.shape[-1] ** 0.5).softmax(-1) @ v
        after = layer.attention.output(attended.transpose(0, 1).flatten(1)[None], x)
        x = layer.output(layer.intermediate(after), after)
    return x[0]


def test_states_are_those_of_the_formula(load: Load, bases: dict[str, Path]) -> None:
    for pooling, pool in (("mean", lambda s: s.mean(0)), ("cls", lambda s: s[0])):
        encoder = prompted(load, bases["bert"], pooling=pooling)
        with torch.no_grad():
            expected = torch.stack([pool(bert_by_hand(encoder, text)) for text in TEXTS])
        np.testing.assert_allclose(encoder.encode(TEXTS), expected.numpy(), atol=5e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padding_changes_nothing(load: Load, bases: dict[str, Path], family: str, attention: str) -> None:
    encoder = prompted(load, bases[family], attention=attention)
    alone = np.concatenate([encoder.st.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.st.encode(TEXTS), alone, atol=5e-6)
    np.testing.assert_allclose(encoder.encode(TEXTS), alone, atol=5e-6)
    encoder.st[0].tokenizer.padding_side = "left"
    if family in ("llama", "qwen3"):  # their positions are relative
        np.testing.assert_allclose(encoder.st.encode(TEXTS), alone, atol=5e-6)


@pytest.mark.parametrize(("family", "first"), [("bert", 0), ("roberta", 1), ("llama", 0)])
def test_positions_given_are_those_in_the_text(load: Load, bases: dict[str, Path], family: str, first: int) -> None:
    """Shuffled positions of a view count from the text's beginning, after the prompts."""
    encoder = prompted(load, bases[family])
    features = encoder.st.preprocess(TEXTS[:1])
    places = torch.arange(features["input_ids"].shape[1])[None] + first
    with torch.no_grad():
        given, own, turned = (
            encoder.st[0].eval()({**features, **more})["token_embeddings"]
            for more in ({"position_ids": places}, {}, {"position_ids": places.flip(1)})
        )
    torch.testing.assert_close(given, own)
    assert (turned - own).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_alone_train(load: Load, bases: dict[str, Path], family: str) -> None:
    encoder = prompted(load, bases[family], head={"keep": False})
    names = {n for n, p in encoder.module.named_parameters() if p.requires_grad}
    assert names == {"st.0.prompts.weight", "head.linear.weight", "head.linear.bias"}
    assert not encoder.module.packs
    train_output(encoder, TEXTS).pow(2).sum().backward()
    gradient = encoder.st[0].prompts.weight.grad
    config = encoder.st[0].config
    width = getattr(config, "num_key_value_heads", 2) * getattr(config, "head_dim", 16)
    assert gradient.shape == (5, 2 * 2 * width)
    assert (gradient.unflatten(1, (2, 2, width)).abs().amax((0, 3)) > 0).all(), "keys and values of every layer"


def test_dropout_of_the_prompts_differs_between_rows(load: Load, bases: dict[str, Path]) -> None:
    same = [TEXTS[0]] * 2
    off = prompted(load, bases["bert"], dropout=0.0)
    assert off.st[0].dropout.p == 0, "takes the rate of the backbone"
    a, b = train_output(off, same)
    torch.testing.assert_close(a, b)
    a, b = train_output(prompted(load, bases["bert"], dropout=0.0, soft_prompts={"length": 5, "dropout": 0.3}), same)
    assert (a - b).abs().max() > 1e-3
    assert load(bases["bert"], soft_prompts={}).st[0].soft_prompts == {"length": 16, "dropout": 0.1}


def test_start_depends_on_the_seed_alone(load: Load, bases: dict[str, Path]) -> None:
    one, same, other = (load(bases["bert"], soft_prompts={}, seed=s).st[0].prompts.weight for s in (1, 1, 2))
    assert torch.equal(one, same) and not torch.equal(one, other)
    assert one.std().item() == pytest.approx(0.02, rel=0.1)


@pytest.mark.dist
def test_saved_and_read_in_a_new_process(load: Load, bases: dict[str, Path], tmp_path: Path) -> None:
    expected: dict[Path, np.ndarray] = {}
    for family in FAMILIES:
        for pooling in ("cls", "mean", "lasttoken"):
            encoder = prompted(load, bases[family], pooling=pooling)
            folder = tmp_path / f"{family}-{pooling}"
            encoder.save(folder)
            expected[folder] = encoder.encode(TEXTS)
            again = load(folder)
            assert again.fingerprint() == encoder.fingerprint()
            np.testing.assert_array_equal(again.encode(TEXTS), expected[folder])
            np.testing.assert_allclose(load_saved(folder, "cpu").encode(TEXTS), expected[folder], atol=1e-6)
    for folder, got in encoded_elsewhere(expected, TEXTS, trust=True).items():
        np.testing.assert_allclose(got, expected[folder], atol=1e-6)


def test_sentence_transformers_asks_for_trust(load: Load, bases: dict[str, Path], tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    prompted(load, bases["bert"]).save(tmp_path / "saved")
    with pytest.raises(ValueError, match="trust_remote_code=True"):
        SentenceTransformer(str(tmp_path / "saved"))


def test_training_goes_on_from_a_saved_model(load: Load, bases: dict[str, Path], tmp_path: Path) -> None:
    encoder = prompted(load, bases["bert"])
    encoder.save(tmp_path / "saved")
    for options in ({}, {"soft_prompts": {"length": 5}}):
        again = load(tmp_path / "saved", **options)
        assert [n for n, p in again.module.named_parameters() if p.requires_grad] == ["st.0.prompts.weight"]
        assert torch.equal(again.st[0].prompts.weight, encoder.st[0].prompts.weight)
    with pytest.raises(RecipeError, match="has 5 soft prompts already"):
        load(tmp_path / "saved", soft_prompts={"length": 6})


def test_a_class_that_is_not_ours_is_not_imported(load: Load, bases: dict[str, Path], tmp_path: Path) -> None:
    prompted(load, bases["bert"]).save(tmp_path / "saved")
    path = tmp_path / "saved" / "modules.json"
    written = json.loads(path.read_text())
    for name in ("embedkit.model.changing.heads.Other", "os.path.Other"):
        path.write_text(json.dumps([{**written[0], "type": name}, *written[1:]]))
        with pytest.raises(RecipeError, match=r"heads\.Other|trust_remote_code"):
            load(tmp_path / "saved")


def test_prompts_take_positions(load: Load, bases: dict[str, Path]) -> None:
    encoder = load(bases["bert"], soft_prompts={"length": 14})
    assert encoder.st.max_seq_length == 50
    assert encoder.encode(["bade " * 100]).shape == (1, 32)
    with pytest.raises(RecipeError, match="50 positions"):
        load(bases["bert"], soft_prompts={"length": 14}, max_length=51)


@pytest.mark.parametrize("family", ["distilbert", "mpnet", "t5", "modernbert"])
def test_models_that_take_no_prompts(load: Load, tmp_path: Path, family: str) -> None:
    with pytest.raises(RecipeError, match="soft prompts") as caught:
        load(build(family, tmp_path / family), soft_prompts={})
    assert caught.value.where == "model.soft_prompts" and "lora" in caught.value.cure


def test_a_window_that_hides_prompts(load: Load, tmp_path: Path) -> None:
    base = build("mistral", tmp_path / "mistral")  # sees 64 tokens
    with pytest.raises(RecipeError, match="last 64 tokens"):
        load(base, soft_prompts={"length": 8})
    assert load(base, soft_prompts={"length": 8}, max_length=40).encode(TEXTS).shape == (9, 32)


def test_with_attention_in_both_directions(load: Load, bases: dict[str, Path]) -> None:
    both, causal = (prompted(load, bases["llama"], bidirectional=b, pooling="cls") for b in (True, False))
    texts = ["bade defi", "bade goku"]
    assert np.abs(np.subtract(*both.encode(texts))).max() > 1e-3
    np.testing.assert_allclose(causal.encode(texts[:1]), causal.encode(texts[1:]), atol=1e-6)
    alone = np.concatenate([both.encode([t]) for t in TEXTS])
    np.testing.assert_allclose(both.st.encode(TEXTS), alone, atol=5e-6)
