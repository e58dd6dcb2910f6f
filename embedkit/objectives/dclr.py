"""DCLR: false negatives by a guide's judgement weigh nothing, noise that climbed towards the batch adds negatives."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from embedkit.objectives.base import Objective, example_weight, one_positive
from embedkit.objectives.contrastive import similarity_metrics
from embedkit.objectives.logits import Candidates, Pool, Rules, log_sum_exp, products, unit
from embedkit.recipe.memory import rows_per_block
from embedkit.recipe.objectives.contrastive import columns
from embedkit.types import Embeddings, LossOut

_NOISE = 0xDC12 << 32
"""Keeps the seeds of this noise apart from those of other draws that depend on the step."""


def draw_noise(count: int, like: Tensor, step: int) -> Tensor:
    """[count, d] standard normal rows, by the step alone: the same on all processes and in all row blocks."""
    generator = torch.Generator().manual_seed(_NOISE + step)
    return torch.randn(count, like.shape[1], generator=generator).to(like)


@torch.no_grad()
def ascend(
    noise: Tensor, query: Tensor, documents: Tensor | None, *, temperature: float, steps: int, length: float
) -> Tensor:
    """Noise after gradient ascent on the loss that it makes for the queries.

    With p_ik the softmax probability of noise k for query i, over all noise and `documents`, and u_k the direction of
    the noise, the gradient of the mean cross-entropy by noise k is, up to a factor::

        g_k = sum_i p_ik (q_i - <q_i, u_k> u_k)

    and a step is ``noise_k += length * g_k / |g_k|``. Written out like this no graph is needed, and the queries are
    taken in blocks of bounded memory.

    Args:
        noise: [K, d] start.
        query: [N, d] unit rows.
        documents: [C, d] unit rows in the softmax beside the noise (released code); None for the noise alone (paper).
        temperature: of the softmax.
        steps, length: how many steps, how long.
    """
    if not len(noise):
        return noise
    size = rows_per_block(len(noise) + (0 if documents is None else len(documents)), query.element_size())
    blocks = query.split(size)
    beside = [torch.full_like(b[:, 0], -torch.inf) for b in blocks]  # log-sum-exp of what does not move
    if documents is not None:
        beside = [torch.logsumexp(products(b, documents) / temperature, 1) for b in blocks]
    for _ in range(steps):
        direction = unit(noise)
        pull = torch.zeros_like(direction)
        for block, other in zip(blocks, beside, strict=True):
            logits = products(block, direction) / temperature
            total = torch.logaddexp(torch.logsumexp(logits, 1), other)
            pull += products((logits - total[:, None]).exp().T, block.T)
        gradient = pull - (pull * direction).sum(1, keepdim=True) * direction
        noise = noise + length * gradient / gradient.norm(dim=1, keepdim=True).clamp_min(torch.finfo(noise.dtype).tiny)
    return noise


def binary_cross_entropies(logits: Tensor, target: Tensor, exists: Tensor) -> Tensor:
    """``-[y log p + (1 - y) log(1 - p)]`` of every column, p the softmax over the columns that exist; others are 0.

    ``log(1 - p)`` of the largest column is the log-sum-exp of the others less that of all, exact where p rounds to 1.

    Args:
        logits: [m, C].
        target: [m, C] bool, y.
        exists: [m, C] bool.
    """
    log_p = logits - log_sum_exp(logits, exists)[:, None]
    top = logits.detach().masked_fill(~exists, -torch.inf).argmax(1, keepdim=True)
    is_top = torch.zeros_like(exists).scatter(1, top, True)
    rest = log_sum_exp(logits, exists & ~is_top) - log_sum_exp(logits, exists)
    small = log_p.masked_fill(is_top | ~exists, -torch.inf).exp()
    log_q = torch.where(is_top, rest[:, None], torch.log1p(-small))
    return -torch.where(target, log_p, log_q).masked_fill(~exists, 0.0)


class DCLR(Objective):
    """Debiased contrastive learning of unsupervised sentence representations (arXiv 2205.00656).

    A candidate j of row i is a false negative where the guide's cosine of (i, j) is above phi; the own positive
    never is. Candidates of the same text are false negatives, too. K = noise_times * N noise rows join the
    negatives of every row; they are constants, drawn by the step and moved by `ascend`. With c cosines and t the
    temperature:

    - ``released`` (RUCAIBox/DCLR, the numbers of the paper): logits are c / t, a false negative's is 0. It stays in the
      softmax p, as e^0. The loss is the mean over all columns, noise included, of the binary cross-entropy of p
      against 1 for the positive and 0 for all others. The noise climbs the ordinary cross-entropy over positives
      and noise.
    - ``paper``: ``-log [ e^(c_ii / t) / sum over negatives e^(c_ij / t) ]``; false negatives are left out and the
      positive is not in the denominator, so the loss may be negative. The noise climbs a loss of the noise alone.

    One value per row, so that rows may be cut into blocks; every block moves the noise anew, which costs
    ``noise_steps`` products of N x K per block.

    Args:
        variant: released or paper.
        phi: guide cosine above which a candidate is a false negative.
        noise_times: K / N.
        noise_steps, step_length: of the ascent.
        temperature: of the logits.
        noise_temperature: of the ascent in the paper's variant; None takes `temperature`.
    """

    def __init__(
        self,
        variant: Literal["released", "paper"] = "released",
        phi: float = 0.9,
        noise_times: float = 1.0,
        noise_steps: int = 4,
        step_length: float = 1e-3,
        temperature: float = 0.05,
        noise_temperature: float | None = None,
    ) -> None:
        super().__init__()
        self.variant, self.temperature = variant, temperature
        self.noise_times, self.noise_steps, self.step_length = noise_times, noise_steps, step_length
        self.noise_temperature = noise_temperature or temperature
        self.rules = Rules(guide="threshold", guide_margin=phi)

    def columns(self, e: Embeddings) -> int:
        return columns("q-d", len(e), e.positive.shape[1], e.negative.shape[1]) + self._count(e)

    def _count(self, e: Embeddings) -> int:
        return int(len(e) * self.noise_times)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        one_positive(e, "dclr")
        pool = Pool(e, rows, "cos", self.rules)
        noise = self.harden(pool, draw_noise(self._count(e), pool.sides.query.detach(), e.step))
        return self.answer(pool, noise)

    def harden(self, pool: Pool, noise: Tensor) -> Tensor:
        """The noise [K, d] after its steps."""
        return ascend(
            noise,
            pool.sides.query.detach(),
            pool.sides.document.detach()[pool.exists] if self.variant == "released" else None,
            temperature=self.noise_temperature,
            steps=self.noise_steps,
            length=self.step_length,
        )

    def answer(self, pool: Pool, noise: Tensor) -> LossOut:
        """The loss of the pool's rows with these noise negatives [K, d]."""
        candidates = pool.candidates("q-d")
        to_noise = products(pool.sides.query[pool.rows], unit(noise))
        value, has = (self._released if self.variant == "released" else self._paper)(candidates, to_noise)
        metrics = similarity_metrics(candidates)
        if to_noise.shape[1]:
            metrics["hardest_noise"] = to_noise.detach().amax(1).mean()
        return LossOut(value, example_weight(pool.e, pool.rows) * has, metrics)

    def _released(self, c: Candidates, to_noise: Tensor) -> tuple[Tensor, Tensor]:
        logits = torch.cat([c.similarities.masked_fill(c.is_masked, 0.0), to_noise], 1) / self.temperature
        added = (0, to_noise.shape[1])
        exists = functional.pad(c.is_positive | c.is_negative | c.is_masked, added, value=True)
        target = functional.pad(c.is_positive, added, value=False)
        count = exists.sum(1)
        return binary_cross_entropies(logits, target, exists).sum(1) / count, count > 1

    def _paper(self, c: Candidates, to_noise: Tensor) -> tuple[Tensor, Tensor]:
        logits = torch.cat([c.similarities, to_noise], 1) / self.temperature
        negative = functional.pad(c.is_negative, (0, to_noise.shape[1]), value=True)
        gap = log_sum_exp(logits, negative) - c.positive[:, 0] / self.temperature
        has = ~gap.isneginf()
        return gap.masked_fill(~has, 0.0), has
