from __future__ import annotations

import copy
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.models.bert.modeling_bert import BertOutput

from embedkit.model.running import packing
from embedkit.model.running.encoder import Encoder
from embedkit.model.running.fused import functions, layers, products
from tests.model.architectures import build
from tests.model.reading.test_tokens import batch_of, rows_of

pytestmark = pytest.mark.cpu

Load = Callable[..., Encoder]
NAMES = ("dense_gelu", "dense_add_norm", "self_attention")


@pytest.fixture(autouse=True)
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests ask for a processor on which oneDNN is faster by the name `onednn`; all others run as on the rest."""
    faster = "onednn" in request.fixturenames
    if faster and not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        pytest.skip("this torch has no linear layer of oneDNN")
    monkeypatch.setattr(products, "onednn_is_faster", lambda: faster)


@pytest.fixture
def onednn() -> None:
    """See `processor`."""


def pieces(encoder: Encoder) -> list[str]:
    """Kinds of fused pieces of the first layer."""
    layer = encoder.st[0].auto_model.encoder.layer[0]
    return sorted(type(m).__mro__[1].__name__ for m in layer.modules() if isinstance(m, layers._Piece))


def count_calls(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    calls = dict.fromkeys(NAMES, 0)

    def counted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    for name in NAMES:
        monkeypatch.setattr(functions, name, counted(name, getattr(functions, name)))
    return calls


def step(encoder: Encoder, texts: list[str], seed: int = 3) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Embeddings and gradients of one pass over packed rows with dropout."""
    encoder.module.zero_grad()
    batch = batch_of(encoder, rows_of(texts))
    torch.manual_seed(seed)
    out = encoder.embed(encoder.features(batch, np.arange(len(texts))))
    (out * torch.randn_like(out)).sum().backward()
    named = encoder.module.named_parameters()
    return out.detach(), {name: p.grad.clone() for name, p in named if p.grad is not None}


@pytest.mark.parametrize("family", [None, "roberta"])
def test_a_step_with_dropout_is_that_of_the_models_own_layers(
    load: Load, tmp_path: Path, family: str | None, texts: list[str]
) -> None:
    encoder = load(build(family, tmp_path / family)) if family else load()
    assert pieces(encoder) == ["DenseAddNorm", "DenseAddNorm", "DenseGelu", "SelfAttention"]
    encoder.module.double().train()
    fused = step(encoder, texts)
    assert not torch.equal(fused[0], step(encoder, texts, seed=4)[0]), "dropout is off"
    layers.unfuse(encoder.st[0].auto_model)
    assert pieces(encoder) == []
    torch.testing.assert_close(fused, step(encoder, texts), atol=1e-10, rtol=1e-10)


def test_the_fused_pieces_run_when_training_and_when_encoding(
    load: Load, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load()
    count = len(encoder.st[0].auto_model.encoder.layer)
    expected = {"dense_gelu": count, "dense_add_norm": 2 * count, "self_attention": count}
    encoder.module.train()
    calls = count_calls(monkeypatch)
    step(encoder, texts)
    assert calls == expected
    encoder.encode(texts[:8])  # one batch
    assert calls == {name: 2 * n for name, n in expected.items()}


def test_without_dropout_attention_with_a_gradient_is_torchs(
    load: Load, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load(dropout=0.0)
    encoder.module.train()
    calls = count_calls(monkeypatch)
    step(encoder, texts)
    assert calls["self_attention"] == 0
    assert calls["dense_gelu"] == len(encoder.st[0].auto_model.encoder.layer)


@pytest.mark.parametrize("kind", ["hook", "part", "autocast", "type"])
def test_a_part_that_is_no_longer_plain_runs_in_the_models_own_code(
    load: Load, texts: list[str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load()
    layer = encoder.st[0].auto_model.encoder.layer[0]
    seen: list[torch.Tensor] = []
    if kind == "hook":
        for linear in (layer.intermediate.dense, layer.output.dense, layer.attention.self.value):
            linear.register_forward_hook(lambda module, args, out: seen.append(out))
    elif kind == "part":

        class Doubled(torch.nn.Linear):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                seen.append(x)
                return 2 * super().forward(x)

        for linear in (layer.intermediate.dense, layer.output.dense, layer.attention.self.value):
            linear.__class__ = Doubled
    elif kind == "type":
        layer.bfloat16()
    encoder.module.train()
    calls = count_calls(monkeypatch)
    count = len(encoder.st[0].auto_model.encoder.layer)
    batch = batch_of(encoder, rows_of(texts))
    if kind == "type":
        x = torch.randn(1, 4, encoder.dim)
        with pytest.raises(RuntimeError, match="dtype"):  # as it does without fused pieces
            layer.intermediate(x)
        assert calls["dense_gelu"] == 0
        return
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=kind == "autocast"):
        encoder.embed(encoder.features(batch, np.arange(len(texts))))
    left = 0 if kind == "autocast" else count - 1
    assert calls["dense_gelu"] == calls["self_attention"] == left
    assert kind == "autocast" or len(seen) == 3


class PreNorm(BertOutput):
    def forward(self, hidden_states: torch.Tensor, input_tensor: torch.Tensor) -> torch.Tensor:
        return input_tensor + self.LayerNorm(self.dropout(self.dense(hidden_states)))


def test_a_layer_that_does_something_else_stays_and_the_log_says_so(
    load: Load, caplog: pytest.LogCaptureFixture, texts: list[str]
) -> None:
    """Parts alone do not make a piece: one activation is another one, one norm comes before the residual."""
    encoder = load()
    backbone = encoder.st[0].auto_model
    expected = encoder.encode(texts)
    layers.unfuse(backbone)
    for layer in backbone.encoder.layer:
        layer.intermediate.intermediate_act_fn = torch.nn.SiLU()
        layer.output.__class__ = PreNorm
    caplog.set_level(logging.INFO, logger=layers.__name__)
    layers.fuse(backbone)
    assert pieces(encoder) == ["DenseAddNorm", "SelfAttention"]  # the one behind the attention is as it should be
    assert "PreNorm stays as it is: the fused one differs by" in caplog.text
    assert "BertIntermediate stays as it is: the fused one differs by" in caplog.text
    assert np.abs(encoder.encode(texts) - expected).max() > 1e-3


def test_a_model_whose_fused_states_differ_is_packed_without(
    load: Load, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, texts: list[str]
) -> None:
    """Right with random input, wrong in the whole model: the trial of the model finds it."""
    encoder = load()
    expected, backbone = encoder.encode(texts), encoder.st[0].auto_model
    layers.unfuse(backbone)
    backbone.set_attn_implementation("sdpa")
    right = functions.self_attention
    wrong = lambda x, *a, rate, **k: right(x, *a, rate=rate, **k) * (1 if rate else 1.1)  # noqa: E731
    monkeypatch.setattr(functions, "self_attention", wrong)
    caplog.set_level(logging.INFO, logger=packing.__name__)
    assert packing.enable(encoder.st)
    assert pieces(encoder) == []
    assert "runs without fused layers: packed states differ by" in caplog.text
    np.testing.assert_allclose(encoder.encode(texts), expected, atol=2e-6)


def test_fusing_leaves_no_trace_in_random_state_mode_or_what_is_saved(load: Load, tmp_path: Path) -> None:
    encoder = load()
    backbone = encoder.st[0].auto_model
    names = sorted(backbone.state_dict())
    layers.unfuse(backbone)
    backbone.eval()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    rates = [m.p for m in backbone.modules() if isinstance(m, torch.nn.Dropout)]
    assert layers.fuse(backbone) == 4 * len(backbone.encoder.layer)
    assert layers.fuse(backbone) == 0, "what is fused is not fused again"
    assert torch.equal(torch.get_rng_state(), before)
    assert rates == [m.p for m in backbone.modules() if isinstance(m, torch.nn.Dropout)]
    assert not any(m.training for m in backbone.modules())
    assert all(p.grad is None for p in backbone.parameters())
    assert sorted(backbone.state_dict()) == names
    encoder.save(tmp_path / "saved")
    np.testing.assert_array_equal(load(tmp_path / "saved").encode(["bade ki"]), encoder.encode(["bade ki"]))


@pytest.mark.parametrize("how", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
def test_copies_are_fused_too_and_independent(load: Load, how: Callable[[Any], Any]) -> None:
    layer = load().st[0].auto_model.encoder.layer[0].intermediate
    other = how(layer)
    assert type(other) is type(layer)
    x = torch.randn(1, 3, layer.dense.in_features)
    torch.testing.assert_close(other(x), layer(x), atol=0, rtol=0)
    with torch.no_grad():
        other.dense.weight.zero_()
    assert bool(layer.dense.weight.any())


def test_encoding_lays_each_weight_out_once_a_call_and_never_across_calls(
    load: Load, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load()
    many = [f"{a} {b}" for a in texts for b in texts] * 5
    assert sum(len(t.split()) for t in many) > 2 * 2048, "one batch only"
    joined: list[int] = []
    join = products.join
    monkeypatch.setattr(products, "join", lambda parts: joined.append(len(parts)) or join(parts))
    first = encoder.encode(many)
    count = len(encoder.st[0].auto_model.encoder.layer)
    assert sorted(joined) == [1] * 6 * count + [3] * 2 * count
    with torch.no_grad():
        for module in encoder.st[0].auto_model.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.mul_(1.5)
    second = encoder.encode(many)
    assert np.abs(second - first).max() > 1e-3
    layers.unfuse(encoder.st[0].auto_model)
    np.testing.assert_allclose(encoder.encode(many), second, atol=2e-6)


@pytest.mark.usefixtures("onednn")
@pytest.mark.parametrize("family", ["qwen2", "llama", "modernbert", "distilbert"])
def test_linear_layers_of_other_families_are_pieces_where_onednn_is_faster(
    load: Load, tmp_path: Path, family: str, texts: list[str]
) -> None:
    encoder = load(build(family, tmp_path / family))
    backbone = encoder.st[0].auto_model
    linears = [m for m in backbone.modules() if isinstance(m, torch.nn.Linear)]
    assert encoder.module.packs and linears
    assert all(isinstance(m, layers.Linear) for m in linears)
    np.testing.assert_allclose(encoder.encode(texts), encoder.st.encode(texts), atol=2e-6)
    encoder.module.train()
    fused = step(encoder, texts)
    layers.unfuse(backbone)
    assert {type(m) for m in linears} == {torch.nn.Linear}
    torch.testing.assert_close(fused, step(encoder, texts), atol=2e-5, rtol=1e-4)


@pytest.mark.usefixtures("onednn")
def test_linear_layers_below_adapters_are_pieces_and_those_of_other_pieces_are_not(
    load: Load, texts: list[str], tmp_path: Path
) -> None:
    pytest.importorskip("peft")
    plain = load(dropout=0.0)
    assert set(pieces(plain)) == {"DenseAddNorm", "DenseGelu", "SelfAttention"}
    encoder = load(dropout=0.0, lora={"r": 2, "target_modules": ["query", "value"]})
    found = encoder.st[0].auto_model
    kinds = {name.rpartition(".")[2] for name, m in found.named_modules() if isinstance(m, layers.Linear)}
    assert "base_layer" in kinds and "key" not in kinds
    encoder.module.train()
    fused = step(encoder, texts)
    encoder.save(tmp_path / "saved")
    layers.unfuse(found)
    torch.testing.assert_close(fused, step(encoder, texts), atol=2e-5, rtol=1e-4)
    np.testing.assert_allclose(load(tmp_path / "saved").encode(texts), encoder.encode(texts), atol=5e-6)
