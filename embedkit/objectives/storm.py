"""Weights of rows that learn: a step is tried out on half of the batch, and the other half judges it."""

from __future__ import annotations

from dataclasses import fields, replace

import torch
from torch import Tensor, nn
from torch.func import functional_call

from embedkit.errors import RecipeError
from embedkit.objectives.base import Objective
from embedkit.objectives.layers import linear
from embedkit.types import Embeddings, LossOut

FEATURES = 4
"""Of a row's loss l: log(1 + l), l standardised over the batch and cut at 5, e^-l, and its rank as a share."""


class STORM(Objective):
    """A rescaler of row losses that is trained with the model; ours, in the style of STORM (arXiv 2412.12955).

    ``R(x_i)`` in 0..1 is a small network of a row's own loss l_i (`FEATURES`), and ``w_i = R(x_i) * sum l / sum R l``,
    so that the weighted losses have the sum of the plain ones. With I + A a linear layer over all embeddings, A = 0,
    and the batch in halves a and b, its even and odd rows::

        step:    A' = -rate * d/dA mean over a of w_i l_i(I + A)          embeddings are constants
        judge:   mean over b of w_i l_i(I + A')                            trains R alone, through both w and A'
        loss:    mean over the batch of w_i l_i                            trains the embeddings, w constants

    The paper tries its step on the model itself and judges it by another noisy batch, with two passes more of second
    order, and its features come from several dropout passes and labels; the network is not published. On a layer over
    the embeddings nothing but the batch side is needed, so that it works with re-forward, several processes and
    micro-batches. The released code leaves the factor of the sums out of the last line; here it is in all three. R
    begins as 1/2 for every row, which is no weighting. The value is the plain mean loss, whatever the weights.

    Args:
        objective: with one loss per row.
        rate: see above.
        hidden: width of R.

    Raises:
        RecipeError: the objective has no loss per row, or is a wrapper.
    """

    scope = "batch"

    def __init__(self, objective: Objective, rate: float = 0.1, hidden: int = 16) -> None:
        super().__init__()
        self.objective, self.rate, self.hidden = objective, rate, hidden
        self.remembers = objective.remembers

    def setup(self, dim: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.first = linear(FEATURES, self.hidden, generator, bias=True)
        nn.init.normal_(self.first.weight, 0.0, 1.0, generator=generator)
        self.second = linear(self.hidden, 1, generator, bias=True)
        nn.init.zeros_(self.second.weight)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        out = self._row_losses(e)
        assert out.weight is not None
        weight = self.weights(out.value.detach(), out.weight).detach()
        value = _mean(weight * out.value, out.weight)
        if torch.is_grad_enabled():
            judged = self.judged(e)
            value = value + (judged - judged.detach())
        metrics = {**out.metrics, "row_weight_deviation": _deviation(weight, out.weight)}
        return LossOut(value, None, metrics)

    def weights(self, loss: Tensor, counts: Tensor) -> Tensor:
        """[n] w of the rows.

        Args:
            loss: [n] l, constants.
            counts: [n] how much each row counts; features and sums leave rows of weight 0 out.
        """
        with torch.autocast(loss.device.type, enabled=False):
            there = (counts > 0).to(loss.dtype)
            mean = _mean(loss, there)
            spread = _mean((loss - mean).square(), there).clamp_min(torch.finfo(loss.dtype).eps).sqrt()
            rank = ((loss[:, None] > loss).to(loss.dtype) * there).sum(1) / there.sum().clamp_min(1.0)
            above = loss.clamp_min(0.0)
            features = [above.log1p(), ((loss - mean) / spread).clamp(-5, 5), (-above).exp(), rank]
            found = torch.sigmoid(self.second(torch.relu(self.first(torch.stack(features, 1))))[:, 0])
        total = (counts * found * loss).sum().detach()
        safe = torch.where(total.abs() > torch.finfo(loss.dtype).tiny, total, 1.0)
        scale = torch.where(total.abs() > torch.finfo(loss.dtype).tiny, (counts * loss).sum() / safe, 1.0)
        return found * scale

    def judged(self, e: Embeddings) -> Tensor:
        """Scalar loss of the odd rows after the step that the even ones ask for; depends on R alone."""
        if len(e) < 4:
            return e.query.new_zeros(())
        even, odd = (_part(_constant(e), torch.arange(k, len(e), 2, device=e.query.device)) for k in (0, 1))
        layer = torch.zeros(2 * (e.query.shape[1],), dtype=_wide(e.query), device=e.query.device, requires_grad=True)
        tried = self._row_losses(_through(even, layer), constant=True)
        assert tried.weight is not None
        weighted = _mean(self.weights(tried.value.detach(), tried.weight) * tried.value, tried.weight)
        (slope,) = torch.autograd.grad(weighted, layer, create_graph=True)
        after = self._row_losses(_through(odd, -self.rate * slope), constant=True)
        assert after.weight is not None
        return _mean(self.weights(after.value.detach(), after.weight) * after.value, after.weight)

    def _row_losses(self, e: Embeddings, constant: bool = False) -> LossOut:
        """The inner objective's answer for all rows; with its parameters as constants where `constant`."""
        if self.objective.scope != "row" or type(self.objective).terms is not Objective.terms:
            what = f"{type(self.objective).__name__} has no loss per row that could be weighted"
            raise RecipeError(what, "objective.objective", "take infonce, supcon or another with one loss per row")
        every = torch.arange(len(e), device=e.query.device)
        fixed = {name: p.detach() for name, p in self.objective.named_parameters()} if constant else {}
        out: LossOut = functional_call(self.objective, fixed, (e, every))
        return out

    @torch.no_grad()
    def remember(self, e: Embeddings) -> None:
        self.objective.remember(e)


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _mean(x: Tensor, weight: Tensor) -> Tensor:
    return (x * weight).sum() / weight.sum().clamp_min(torch.finfo(x.dtype).tiny)


def _deviation(weight: Tensor, counts: Tensor) -> Tensor:
    mean = _mean(weight, counts)
    return _mean((weight - mean).square(), counts).sqrt()


def _constant(e: Embeddings) -> Embeddings:
    return replace(e, query=e.query.detach(), positive=e.positive.detach(), negative=e.negative.detach())


def _part(e: Embeddings, rows: Tensor) -> Embeddings:
    """The batch of these rows alone, the guide's and the copy's view of it alike."""
    tensors = {f.name: value[rows] for f in fields(e) if isinstance(value := getattr(e, f.name), Tensor)}
    beside = {name: _part(other, rows) for name in ("guide", "target") if (other := getattr(e, name)) is not None}
    return Embeddings(**{**{f.name: getattr(e, f.name) for f in fields(e)}, **tensors, **beside})


def _through(e: Embeddings, layer: Tensor) -> Embeddings:
    """The batch with every embedding x as ``x (I + layer)``."""

    def apply(x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = x.to(layer.dtype)
            return x + x @ layer

    return replace(e, query=apply(e.query), positive=apply(e.positive), negative=apply(e.negative))
