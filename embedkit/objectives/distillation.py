"""Objectives that follow a teacher's scores of a row's own candidates, beside `scored.KLDistillation`."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from embedkit.objectives.base import Objective, example_weight, targets
from embedkit.objectives.logits import Pool, Rules, log_sum_exp, same_text
from embedkit.objectives.scored import own_negatives, own_similarities, weight_of
from embedkit.recipe.objectives.contrastive import Similarity, columns
from embedkit.types import Embeddings, LossOut


def log_softmax(logits: Tensor, exists: Tensor) -> Tensor:
    """[m, C] log probabilities over the columns that exist, 0 in the others; a row has at least one."""
    return (logits - log_sum_exp(logits, exists)[:, None]).masked_fill(~exists, 0.0)


def divergence(p: Tensor, q: Tensor, exists: Tensor, epsilon: float) -> Tensor:
    """[m] ``sum_j e^p_j (p_j - log(e^q_j + epsilon))`` over the columns that exist; p and q are log probabilities."""
    softened = q if epsilon == 0 else torch.logaddexp(q, torch.full_like(q, math.log(epsilon)))
    return (p.exp() * (p - softened)).masked_fill(~exists, 0.0).sum(1)


class SymmetricKL(Objective):
    """``(KL(T || P) + KL(P || T)) / 2`` with T = softmax(teacher / t) and P = softmax(s / t) over the own candidates.

    UniME-V2 (arXiv 2510.13515): candidates are ``[positive, *negatives]``, the teacher a judge's scores in 0..1, and
    both have one temperature. As in the authors' code, the second distribution of each divergence has `epsilon` added
    inside its logarithm. A row without explicit negatives has weight 0.
    """

    def __init__(self, similarity: Similarity = "cos", temperature: float = 0.02, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.similarity: Similarity = similarity
        self.temperature, self.epsilon = temperature, epsilon

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        negatives = own_negatives(e, rows, "symmetric_kl")
        exists = functional.pad(negatives, (1, 0), value=True)
        teacher = targets(e, "symmetric_kl", (exists.shape[1],))[rows].masked_fill(~exists, 0.0)
        student = own_similarities(e, rows, self.similarity, "symmetric_kl")
        t, p = (log_softmax(x / self.temperature, exists) for x in (teacher, student))
        loss = (divergence(t, p, exists, self.epsilon) + divergence(p, t, exists, self.epsilon)) / 2
        best = [x.masked_fill(~exists, -torch.inf).argmax(1) for x in (teacher, student)]
        agree = (best[0] == best[1]).to(loss.dtype).mean()
        return LossOut(loss, weight_of(e, rows, negatives), {"teacher_agreement": agree})


class PartialRank(Objective):
    """The order of a row's own candidates by a teacher, each against all below it and against easy negatives (ours).

    With s the similarities / t, a the own candidates ``[positive, *negatives]`` and E the documents of other rows::

        loss_i = sum_a w_a ( log [ e^s_a + sum over b below a of e^s_b + sum over E of e^s ] - s_a ) / sum_a w_a

    over the `top` of the teacher's order. A truncated Plackett-Luce likelihood with a floor of easy negatives, whose
    own order counts nothing; what is tied with a is not below it, and a text that the teacher scored is not easy. With
    order `given` and weights `teacher`, b are the later positions and w the softmax of the scores: FlagEmbedding's
    m3_kd_loss (BGE-M3, arXiv 2402.03216).

    Candidates without anything below them, here or in the batch, have no term; a row without a term has weight 0.

    Metrics: order_agreement, the share of own pairs that are in the teacher's order.
    """

    def __init__(
        self,
        similarity: Similarity = "cos",
        temperature: float = 0.05,
        top: int | None = None,
        order: Literal["score", "given"] = "score",
        weights: Literal["equal", "teacher"] = "equal",
        teacher_temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.similarity: Similarity = similarity
        self.temperature, self.teacher_temperature = temperature, teacher_temperature
        self.top, self.order, self.weights = top, order, weights

    def columns(self, e: Embeddings) -> int:
        m = e.negative.shape[1]
        return max(columns("q-d", len(e), e.positive.shape[1], m), (1 + m) ** 2)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        exists = functional.pad(own_negatives(e, rows, "partial_rank"), (1, 0), value=True)  # [m, C]
        teacher = targets(e, "partial_rank", (exists.shape[1],))[rows].masked_fill(~exists, -torch.inf)
        logits = own_similarities(e, rows, self.similarity, "partial_rank") / self.temperature
        pool = Pool(e, rows, self.similarity, Rules())
        candidates = pool.candidates("q-d")
        easy = candidates.is_negative & ~candidates.is_own_negative & ~same_text(e.negative_id[rows], pool.document_id)
        below = self._below(teacher, exists)
        place = below.sum(1)  # how many stand above
        own = below | torch.eye(exists.shape[1], dtype=torch.bool, device=rows.device)
        size = own.shape
        lower = log_sum_exp(logits[:, None].expand(size).flatten(0, 1), own.flatten(0, 1)).view(size[:2])
        rest = log_sum_exp(candidates.similarities / self.temperature, easy)[:, None]
        term = torch.logaddexp(lower, rest) - logits
        counts = exists & (below.any(2) | easy.any(1, keepdim=True)) & (place < (self.top or size[1]))
        weight = counts.to(term.dtype)
        if self.weights == "teacher":
            weight = weight * (teacher / self.teacher_temperature).softmax(1)
        total = weight.sum(1)
        value = (term.masked_fill(~counts, 0.0) * weight).sum(1) / total.clamp_min(torch.finfo(total.dtype).tiny)
        ordered = ((logits[:, :, None] > logits[:, None]) & below).sum() / below.sum()
        return LossOut(value, example_weight(e, rows) * counts.any(1), {"order_agreement": ordered.to(term.dtype)})

    def _below(self, teacher: Tensor, exists: Tensor) -> Tensor:
        """[m, C, C] whether candidate b (last) stands below candidate a."""
        both = exists[:, :, None] & exists[:, None]
        if self.order == "score":
            return both & (teacher[:, :, None] > teacher[:, None])
        return both & torch.ones_like(both[0]).triu(1)
