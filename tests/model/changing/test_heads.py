from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from embedkit.model.running.encoder import Encoder
from tests.model.reading.test_tokens import batch_of, rows_of

Load = Callable[..., Encoder]


def embed(encoder: Encoder, texts: list[str]) -> np.ndarray:
    batch = batch_of(encoder, rows_of(texts))
    with torch.no_grad():
        return encoder.embed(encoder.features(batch, np.arange(len(texts)))).cpu().numpy()


def test_a_head_for_training_is_applied_in_training_only(load: Load, tmp_path: Path, texts: list[str]) -> None:
    encoder, plain = load(head={"keep": False}, dropout=0.0), load()
    weight, bias = encoder.head.linear.weight.numpy(force=True), encoder.head.linear.bias.numpy(force=True)
    encoder.module.train()
    np.testing.assert_allclose(embed(encoder, texts), np.tanh(plain.encode(texts) @ weight.T + bias), atol=1e-5)
    encoder.module.eval()
    np.testing.assert_allclose(embed(encoder, texts), plain.encode(texts), atol=1e-5)
    encoder.save(tmp_path / "saved")
    np.testing.assert_array_equal(load(tmp_path / "saved").encode(texts), plain.encode(texts))
    assert encoder.fingerprint() == plain.fingerprint()


def test_a_head_stands_before_the_closing_norm(load: Load, texts: list[str]) -> None:
    encoder, plain = load(head={"keep": False, "dim": 7}, normalize=True, dropout=0.0), load()
    encoder.module.train()
    states = np.tanh(plain.encode(texts) @ encoder.head.linear.weight.numpy(force=True).T)
    expected = states / np.linalg.norm(states, axis=1, keepdims=True)
    np.testing.assert_allclose(embed(encoder, texts), expected, atol=1e-5)
    kept = load(head={"keep": True, "dim": 7}, normalize=True)
    np.testing.assert_allclose(kept.encode(texts), expected, atol=1e-5)


@pytest.mark.parametrize("keep", [True, False])
def test_the_start_of_a_head(load: Load, keep: bool) -> None:
    """N(0, 0.02) and bias 0, from the seed, without touching the global random state."""
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, same, other = (load(head={"keep": keep, "dim": 400}, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)

    def linear(e: Encoder) -> torch.nn.Linear:
        return e.st[2].linear if keep else e.head.linear

    weight = linear(first).weight.detach()
    assert float(weight.std()) == pytest.approx(0.02, rel=0.03)
    assert float(weight.mean()) == pytest.approx(0, abs=0.001)
    assert not linear(first).bias.any()
    assert torch.equal(weight, linear(same).weight)
    assert not torch.equal(weight, linear(other).weight)


def test_an_identity_head(load: Load, texts: list[str]) -> None:
    encoder, plain = load(head={"keep": True, "activation": "identity"}), load()
    np.testing.assert_allclose(
        encoder.encode(texts), plain.encode(texts) @ encoder.st[2].linear.weight.numpy(force=True).T, atol=1e-5
    )


def test_the_state_of_a_training_head_comes_back(load: Load) -> None:
    trained, fresh = load(head={}, seed=1), load(head={}, seed=2)
    fresh.load_head_state(trained.head_state())
    assert torch.equal(fresh.head.linear.weight, trained.head.linear.weight)
    assert load().head_state() == {}


def test_the_module_owns_the_head(load: Load) -> None:
    names = {name for name, p in load(head={}).module.named_parameters() if p.requires_grad}
    assert {"head.linear.weight", "head.linear.bias"} <= names
    assert any(name.startswith("st.0.") for name in names)
