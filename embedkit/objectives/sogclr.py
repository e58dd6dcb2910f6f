"""Global contrastive objectives: the negatives of all batches, by a running mean per example."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from embedkit.errors import DataError
from embedkit.objectives.base import Objective, example_weight, one_positive
from embedkit.objectives.companions import Table
from embedkit.objectives.logits import log_sum_exp, products, same_text, unit
from embedkit.recipe.memory import rows_per_block
from embedkit.types import Embeddings, LossOut


@dataclass(frozen=True)
class _Contrast:
    """The two sides of m rows against C texts of the other examples; [m, 2] and [m, 2, C].

    For views, `similarities` are v z and `positive` is v v'; for pairs they are h, whose positive is taken off, and 0.
    """

    positive: Tensor
    similarities: Tensor
    negative: Tensor
    log_mean: Tensor  # log g
    log_state: Tensor  # log s
    temperature: Tensor
    pair: Tensor  # [m] cosine of the two sides
    has: Tensor  # [m]


class SogCLR(Objective):
    """SogCLR (arXiv 2202.12387), and iSogCLR (arXiv 2305.11965) where `rho` is given.

    The global objective is ``F = mean_i [ t_i log E_z e^(h_i(z) / t_i) + t_i rho ]``, ``h_i(z) = v_i z - v_i v_i'``, z
    over the views of all other examples of the data set, not of the batch. A batch's mean g of e^(v z / t_i) over its
    2 N - 2 negatives goes into a running mean per example, ``s_i <- (1 - gamma) s_i + gamma g_i`` (gamma is 1 at an
    example's first time), and the row's loss, over both of its views v, is::

        sum_v [ mean over its negatives z of sg(e^(v z / t_i) / s_v) v z - v v' ]

    Only its gradient means something, twice that of F; the metric ``objective`` is F. There is no factor 1 / t:
    learning rates are not InfoNCE's. With rho, after each update, ``u_i <- (1 - beta) u_i + beta G_i``, ``t_i <- t_i -
    rate u_i`` within bounds, G the mean over the two views of ``log s + rho - mean sg(e^(v z / t_i) / s) v z / t_i``.

    With `contrast` = pairs (the authors' form for two modalities) v is the query and z the positives of other examples,
    and v the positive and z the other queries: each side has a state of its own, the running mean is of e^(h / t_i)::

        sum over both sides of mean over z of sg(e^(h_i(z) / t_i) / s_i) h_i(z)

    Their code keeps the pair itself among its negatives, e^0, and begins from s = 0; here neither.

    The state (log s, u, t) is kept by the id of the query's text. It pays from the second epoch on. Texts known to
    match are no negatives. Sums of exponentials are kept as logarithms, so that no temperature overflows.

    Args:
        temperature: t, or where the t_i begin.
        gamma: weight of the batch.
        rho: None: one temperature.
        temperature_bounds: of the t_i.
        temperature_rate, temperature_momentum, temperature_clip: rate, beta, and a bound of G.
        contrast: views or pairs.

    Raises:
        DataError: not one positive per example, or explicit negatives.
    """

    remembers = True

    def __init__(
        self,
        temperature: float = 0.1,
        gamma: float = 0.9,
        rho: float | None = None,
        temperature_bounds: tuple[float, float] = (0.05, 0.7),
        temperature_rate: float = 0.01,
        temperature_momentum: float = 0.9,
        temperature_clip: float | None = None,
        contrast: Literal["views", "pairs"] = "views",
    ) -> None:
        super().__init__()
        self.pairs = contrast == "pairs"
        self.temperature, self.gamma, self.rho, self.bounds = temperature, gamma, rho, temperature_bounds
        self.rate, self.beta, self.clip = temperature_rate, temperature_momentum, temperature_clip
        self.state = Table()

    def columns(self, e: Embeddings) -> int:
        return 4 * len(e)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        c = self._contrast(e, rows)
        count = c.negative.sum(2).clamp_min(1)
        weight = self._weights(c).detach() / count[..., None]
        value = ((weight * c.similarities).sum(2) - c.positive).sum(1)
        value = torch.where(c.has, value, 0.0)
        exact = c.temperature * (c.log_mean + (self.rho or 0.0)) - c.positive.detach()
        metrics = {
            "objective": exact.masked_fill(~c.has[:, None], 0.0).mean(),
            "positive_similarity": c.pair.mean(),
            "temperature": c.temperature.mean(),
        }
        return LossOut(value, example_weight(e, rows) * c.has, metrics)

    @torch.no_grad()
    def remember(self, e: Embeddings) -> None:
        ids, values = [], []
        for rows in torch.arange(len(e), device=e.query.device).split(rows_per_block(self.columns(e))):
            c = self._contrast(e, rows)
            state, _ = self._known(e, rows, c.log_mean)
            if self.rho is not None:
                slope = (1 - self.beta) * state[..., 1] + self.beta * self._temperature_gradient(c)
                state = torch.stack([state[..., 0], slope, (state[..., 2] - self.rate * slope).clamp(*self.bounds)], 2)
            log_state = c.log_state[..., None]
            if not self.pairs:  # one state, the mean of the two
                log_state, state = log_state.logsumexp(1, keepdim=True) - math.log(2), state[:, :1]
            ids.append(e.query_id[rows][c.has])
            values.append(torch.cat([log_state, state[..., 1:]], 2).flatten(1)[c.has])
        self.state.put(torch.cat(ids), torch.cat(values))

    def _known(self, e: Embeddings, rows: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """[m, 2, 3] log s, u and t of both sides of the rows, and [m] which were met before."""
        default = like.new_tensor([0.0, 0.0, self.temperature] * (2 if self.pairs else 1))
        found, met = self.state.find(e.query_id[rows], default)
        return found.view(len(rows), -1, 3).expand(-1, 2, -1), met

    def _contrast(self, e: Embeddings, rows: Tensor) -> _Contrast:
        if e.negative.shape[1]:
            raise DataError(
                "objective 'sogclr' has no place for explicit negatives",
                where="negative",
                cure="set negatives.per_query: 0",
            )
        views = torch.stack([unit(e.query), unit(one_positive(e, "sogclr"))], dim=1)  # [N, 2, d]
        pair = (views[rows, 0] * views[rows, 1]).sum(-1)
        texts = torch.cat([e.query_id[:, None], e.positive_id], dim=1)
        same = same_text(torch.cat([texts, e.known_id], dim=1)[rows], texts)
        same |= rows[:, None] == torch.arange(len(e), device=rows.device)
        similarities, positive = self._similarities(views, rows, pair)
        negative = ~same.repeat_interleave(1 if self.pairs else 2, 1)[:, None].expand(similarities.shape)
        known, met = self._known(e, rows, similarities.detach())
        temperature = known[..., 2]
        logits = similarities.detach() / temperature[..., None]
        has = negative.any(2).all(1)
        total = log_sum_exp(logits.flatten(0, 1), negative.flatten(0, 1)).view(len(rows), 2)
        log_mean = torch.where(has[:, None], total - negative.sum(2).clamp_min(1).to(total.dtype).log(), 0.0)
        log_state = log_mean
        if self.gamma < 1:
            old = known[..., 0] + torch.log1p(known.new_tensor(-self.gamma))
            mixed = torch.logaddexp(old, log_mean + known.new_tensor(self.gamma).log())
            log_state = torch.where(met[:, None], mixed, log_mean)
        return _Contrast(positive, similarities, negative, log_mean, log_state, temperature, pair.detach(), has)

    def _similarities(self, views: Tensor, rows: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
        """[m, 2, C] and [m, 2], see `_Contrast`."""
        m = len(rows)
        if not self.pairs:
            every = products(views[rows].flatten(0, 1), views.flatten(0, 1)).view(m, 2, -1)
            return every, pair[:, None].expand(m, 2)
        sides = [products(views[rows, side], views[:, 1 - side]) for side in (0, 1)]
        apart = torch.stack(sides, dim=1) - pair[:, None, None]
        return apart, torch.zeros_like(apart[..., 0])

    def _weights(self, c: _Contrast) -> Tensor:
        """[m, 2, C] exponentials over s, zeros where there is no negative."""
        logits = c.similarities / c.temperature[..., None]
        return (logits - c.log_state[..., None]).masked_fill(~c.negative, -torch.inf).exp()

    def _temperature_gradient(self, c: _Contrast) -> Tensor:
        """[m, 2] G; of views the mean of both."""
        logits = c.similarities / c.temperature[..., None]
        mean = (self._weights(c) * logits).sum(2) / c.negative.sum(2).clamp_min(1)
        gradient = c.log_state + (self.rho or 0.0) - mean
        if not self.pairs:
            gradient = gradient.mean(1, keepdim=True).expand(-1, 2)
        return gradient if self.clip is None else gradient.clamp(-self.clip, self.clip)
