from __future__ import annotations

import pytest
import torch
from torch import nn

from embedkit.model.changing.dropout import CPUDropout, dropout, use_cpu_dropout

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_rate_and_scale(p: float) -> None:
    torch.manual_seed(0)
    out = dropout(torch.ones(401, 499), p)
    assert float((out == 0).float().mean()) == pytest.approx(p, abs=0.005)
    assert float(out.mean()) == pytest.approx(1, abs=0.03)
    assert out.unique().numel() == 2
    assert float(out.max()) == pytest.approx(1 / (1 - p), rel=1e-3)


def test_elements_are_independent_although_they_share_draws() -> None:
    """Four neighbours come from one 64-bit draw; their correlation must be that of chance."""
    torch.manual_seed(0)
    kept = (dropout(torch.ones(200_000, 4), 0.3) != 0).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(4)
    assert float(correlation.abs().max()) < 0.01
    assert (kept.mean(0) - 0.7).abs().max() < 0.005


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_gradient_has_the_mask_of_the_output(dtype: torch.dtype) -> None:
    x = torch.randn(7, 13, dtype=dtype, requires_grad=True)
    out = dropout(x, 0.4)
    out.sum().backward()
    assert out.dtype == dtype
    torch.testing.assert_close(out, x * x.grad)


def test_the_mask_follows_the_global_seed() -> None:
    x = torch.ones(50)
    torch.manual_seed(3)
    first, state = dropout(x, 0.5), torch.get_rng_state()
    second = dropout(x, 0.5)
    torch.manual_seed(3)
    assert torch.equal(dropout(x, 0.5), first)
    torch.set_rng_state(state)
    assert torch.equal(dropout(x, 0.5), second)
    assert not torch.equal(first, second)


def test_the_ends_of_the_range() -> None:
    x = torch.randn(9)
    assert torch.equal(dropout(x, 0.0), x)
    assert not dropout(x, 1.0).any()


def test_modules_are_exchanged_in_place() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Dropout(0.3)), nn.Dropout1d(0.2)).eval()
    names = set(model.state_dict())
    use_cpu_dropout(model)
    assert isinstance(model[1][0], CPUDropout)
    assert model[1][0].p == 0.3
    assert not model[1][0].training
    assert type(model[2]) is nn.Dropout1d
    assert set(model.state_dict()) == names
    x = torch.ones(2, 4)
    assert torch.equal(model[1](x), x)
