"""Attention that takes half precision only: every way into the model gives it bf16."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embedkit.model.changing.bidirectional import make_bidirectional, sees_later_tokens
from embedkit.model.reading import probing
from embedkit.model.reading.precision import half_where_needed
from embedkit.model.running.encoder import Encoder
from tests.device import DEVICE
from tests.model import half_kernels
from tests.model.architectures import build

Load = Callable[..., Encoder]
TEXTS = ["ba de fi", "go ku la me ni po ru", "", "sa te vi wo zu ba de fi go ku la me"]


def test_the_kernels_refuse_float32(load: Load) -> None:
    backbone: Any = half_kernels.use(load()).st[0].auto_model
    with pytest.raises(RuntimeError, match="only support fp16 and bf16"):
        backbone(input_ids=probing.trial_ids(backbone, 5))


def test_encode(load: Load) -> None:
    plain = load().encode(TEXTS)
    found = half_kernels.use(load()).encode(TEXTS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, plain, atol=0.05 * np.abs(plain).max())
    assert not np.array_equal(found, plain)  # it was bf16


def test_probes(load: Load) -> None:
    plain: Any = load().st[0].auto_model
    backbone: Any = half_kernels.use(load()).st[0].auto_model
    ids = probing.trial_ids(plain, 6)
    assert probing.difference(probing.states(backbone, ids), probing.states(plain, ids)) < 0.05


def test_a_decoder_is_made_bidirectional(load: Load, tmp_path: Path) -> None:
    encoder = half_kernels.use(load(build("llama", tmp_path / "llama"), pooling="mean"))
    assert not sees_later_tokens(encoder.st[0].auto_model)
    make_bidirectional(encoder.st)
    assert sees_later_tokens(encoder.st[0].auto_model)


def test_the_step_keeps_its_own_autocast(load: Load) -> None:
    encoder = half_kernels.use(load(dropout=0.0))
    features = encoder.module.layout([[2, 7, 8, 3], [2, 9, 3]], {})
    with torch.autocast(DEVICE, torch.float16):
        assert torch.get_autocast_dtype(DEVICE) == torch.float16
        with half_where_needed(encoder.st[0].auto_model):
            assert torch.get_autocast_dtype(DEVICE) == torch.float16
    encoder.embed(features).sum().backward()
    weight = encoder.st[0].auto_model.encoder.layer[0].attention.self.query.weight
    assert weight.grad is not None and weight.grad.dtype == torch.float32 and float(weight.grad.abs().max()) > 0


def test_other_attention_stays_in_float32(load: Load) -> None:
    with half_where_needed(load().st[0].auto_model):
        assert not torch.is_autocast_enabled(DEVICE)
