from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor

from embedkit.errors import RecipeError, VersionError
from embedkit.model.changing import prompted_attention
from embedkit.model.changing.soft_prompts import SAVED_AS, SoftPromptTransformer
from embedkit.model.reading.loading import load_saved
from embedkit.model.reading.structure import first_position
from embedkit.model.running.encoder import Encoder
from tests.device import DEVICE, preprocessed
from tests.model.architectures import SMALL_HEADS, TOKENS, build
from tests.model.processes import encoded_elsewhere
from tests.model.reading.test_tokens import batch_of, rows_of
from tests.tiny import sentences, tiny_bert

Load = Callable[..., Encoder]
TEXTS = sentences(9, seed=5, longest=20)
FAMILIES = ("bert", "roberta", "modernbert", "llama", "qwen3", "mistral")
RELATIVE = ("modernbert", "llama", "qwen3", "mistral")
"""Families whose positions are relative: padding may stand on the left."""


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
    """States [t, d] of a text, attention written out: prompts before keys and values, positions from P.

    RoBERTa's layers have BERT's names; its positions begin after the padding id.
    """
    first, model = encoder.st[0], encoder.st[0].auto_model.eval()
    ids = torch.tensor([first.tokenizer(text)["input_ids"]], device=DEVICE)
    prompts = first.prompts.weight
    length, config = len(prompts), model.config
    width = config.hidden_size
    start = length + first_position(encoder.st)
    x = model.embeddings(input_ids=ids, position_ids=torch.arange(start, start + ids.shape[1], device=DEVICE)[None])

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


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_states_are_those_of_the_formula(load: Load, bases: dict[str, Path], family: str, attention: str) -> None:
    for pooling, pool in (("mean", lambda s: s.mean(0)), ("cls", lambda s: s[0])):
        encoder = prompted(load, bases[family], pooling=pooling, attention=attention)
        with torch.no_grad():
            expected = torch.stack([pool(bert_by_hand(encoder, text)) for text in TEXTS])
        np.testing.assert_allclose(encoder.encode(TEXTS), expected.cpu().numpy(), atol=5e-6)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gemma3", "gpt2", "opt"])
def test_prompts_may_be_those_of_a_real_text(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, attention: str
) -> None:
    """With the keys and values of a text's first P tokens as prompts, the rest has the states it has in the text.

    That holds for a causal model, and fixes positions, heads and masks without writing any architecture out.
    """
    length, base = 5, build(family, tmp_path / family)
    encoder = prompted(load, base, attention=attention)
    module, seen = encoder.st[0].eval(), {}
    kind = prompted_attention.FUNCTIONS[attention]

    def watching(layer: Any, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Any:
        seen[layer.layer_idx] = torch.stack([key[0], value[0]]).transpose(1, 2)
        return kind(layer, query, key, value, *args, **kwargs)

    name = encoder.st[0].config._attn_implementation
    ids = preprocessed(encoder.st, ["bade defi goku hami jopu bade kuqo hami goku"])["input_ids"]
    assert ids.shape[1] > length + 5
    with torch.no_grad():
        transformers.AttentionInterface.register(name, watching)
        whole = module.model(input_ids=ids).last_hidden_state
        transformers.AttentionInterface.register(name, kind)
        first = torch.stack([seen[layer][:, :length] for layer in range(len(seen))])  # layer, 2, P, heads, size
        module.prompts.weight.copy_(first.permute(2, 0, 1, 3, 4).flatten(1))
        rest = module({"input_ids": ids[:, length:]})["token_embeddings"]
    torch.testing.assert_close(rest, whole[:, length:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padding_changes_nothing(load: Load, bases: dict[str, Path], family: str, attention: str) -> None:
    encoder = prompted(load, bases[family], attention=attention)
    alone = np.concatenate([encoder.st.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.st.encode(TEXTS), alone, atol=5e-6)
    np.testing.assert_allclose(encoder.encode(TEXTS), alone, atol=5e-6)
    encoder.st[0].tokenizer.padding_side = "left"
    if family in RELATIVE:
        np.testing.assert_allclose(encoder.st.encode(TEXTS), alone, atol=5e-6)


@pytest.mark.parametrize(("family", "first"), [("bert", 0), ("roberta", 1), ("llama", 0)])
def test_positions_given_are_those_in_the_text(load: Load, bases: dict[str, Path], family: str, first: int) -> None:
    """Shuffled positions of a view count from the text's beginning, after the prompts."""
    encoder = prompted(load, bases[family])
    features = preprocessed(encoder.st, TEXTS[:1])
    places = torch.arange(features["input_ids"].shape[1], device=DEVICE)[None] + first
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
            np.testing.assert_allclose(load_saved(folder, DEVICE).encode(TEXTS), expected[folder], atol=1e-6)
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


@pytest.mark.dist
@pytest.mark.parametrize("name", SAVED_AS)
def test_names_that_saved_folders_use(load: Load, bases: dict[str, Path], tmp_path: Path, name: str) -> None:
    encoder, folder = prompted(load, bases["bert"]), tmp_path / "saved"
    encoder.save(folder)
    path, expected = folder / "modules.json", encoder.encode(TEXTS)
    written = json.loads(path.read_text())
    assert written[0]["type"] == SAVED_AS[0]
    path.write_text(json.dumps([{**written[0], "type": name}, *written[1:]]))
    np.testing.assert_array_equal(load(folder).encode(TEXTS), expected)
    np.testing.assert_allclose(load_saved(folder, DEVICE).encode(TEXTS), expected, atol=1e-6)
    np.testing.assert_allclose(encoded_elsewhere([folder], TEXTS, trust=True)[folder], expected, atol=1e-6)


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


@pytest.mark.parametrize("family", ["distilbert", "mpnet", "t5"])
def test_models_that_take_no_prompts(load: Load, tmp_path: Path, family: str) -> None:
    base = build(family, tmp_path / family)
    with pytest.raises(RecipeError, match="soft prompts") as caught:
        load(base, soft_prompts={})
    assert caught.value.where == "model.soft_prompts" and "lora" in caught.value.cure


def test_attention_of_its_own_is_not_replaced(load: Load, tmp_path: Path) -> None:
    """Gemma 2 squashes its logits; the formula above does not."""
    base = tiny_bert(tmp_path / "gemma2")
    config = transformers.Gemma2Config(**TOKENS, **SMALL_HEADS)
    transformers.Gemma2Model(config).save_pretrained(base)
    with pytest.raises(RecipeError, match="softcap") as caught:
        load(base, soft_prompts={}, attention="eager")
    assert caught.value.where == "model.soft_prompts"


def test_other_attention_is_refused(load: Load, bases: dict[str, Path]) -> None:
    st = load(bases["bert"]).st
    st[0].config._attn_implementation = "flex_attention"
    with pytest.raises(RecipeError, match="flex_attention") as caught:
        SoftPromptTransformer.around(st[0], 5, 0.1)
    assert caught.value.where == "model.attention"


def test_prompts_that_do_not_arrive_are_an_error(load: Load, bases: dict[str, Path]) -> None:
    """A transformers that hands nothing on would give the states of the bare backbone, without a word."""
    encoder = prompted(load, bases["llama"])
    forward = encoder.st[0].model.forward
    encoder.st[0].model.forward = lambda layer_prompts=None, **kwargs: forward(**kwargs)
    with pytest.raises(VersionError, match=r"reach 0 of 2 layers of LlamaModel with transformers 5\.\d+") as caught:
        encoder.encode(TEXTS)
    assert transformers.__version__ in caught.value.what and caught.value.cure


def test_a_window_does_not_hide_the_prompts(load: Load, tmp_path: Path) -> None:
    """Each token sees the prompts of its layer, however far it is from the beginning."""
    encoder = prompted(load, build("mistral", tmp_path / "mistral", sliding_window=4))
    module = encoder.st[0].eval()
    ids = preprocessed(encoder.st, [" ".join(TEXTS)])["input_ids"][:, :32]
    states = module({"input_ids": ids})["token_embeddings"]
    states[0, -1].sum().backward()
    width = encoder.st[0].config.num_key_value_heads * 16
    assert (module.prompts.weight.grad.unflatten(1, (2, 2, width))[:, 1].abs().amax((1, 2)) > 0).all(), "last layer"


def test_with_attention_in_both_directions(load: Load, bases: dict[str, Path]) -> None:
    both, causal = (prompted(load, bases["llama"], bidirectional=b, pooling="cls") for b in (True, False))
    texts = ["bade defi", "bade goku"]
    assert np.abs(np.subtract(*both.encode(texts))).max() > 1e-3
    np.testing.assert_allclose(causal.encode(texts[:1]), causal.encode(texts[1:]), atol=1e-6)
    alone = np.concatenate([both.encode([t]) for t in TEXTS])
    np.testing.assert_allclose(both.st.encode(TEXTS), alone, atol=5e-6)
