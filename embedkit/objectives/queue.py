"""Queries against keys that are constants: those of a queue of earlier batches."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from embedkit.errors import DataError
from embedkit.objectives.base import Objective, copied, example_weight, mean_where, one_positive, upcast
from embedkit.objectives.companions import Queue
from embedkit.objectives.logits import log_sum_exp, products, same_text, unit
from embedkit.types import Embeddings, LossOut


def keys(e: Embeddings, momentum: float | None, name: str) -> Tensor:
    """[N, P, d] unit vectors of the positives, as constants: by the encoder's copy, or by itself without `momentum`.

    Raises:
        RecipeError: a copy is asked for and the step has none.
        DataError: the batch has no positives.
    """
    if e.positive.shape[1] == 0:
        raise DataError(
            f"objective {name!r} has no keys",
            where="positive",
            cure="give the source a positive column, or use role `text` and views.count 2",
        )
    if momentum is None:
        return unit(e.positive.detach())
    return unit(copied(e, name).positive.detach()).to(upcast(e.query.detach()[:0]).dtype)


class Keyed(Objective):
    """What MoCo and ASCL share: the queue, and which of its keys may stand beside a row's own.

    Args:
        size: keys kept; 0 keeps none.
        momentum: of the encoder's copy that embeds keys; None: the encoder itself.
        mask_duplicates: leave out keys whose text is known to match the row's query.
    """

    remembers = True
    name = ""

    def __init__(self, size: int, momentum: float | None, mask_duplicates: bool) -> None:
        super().__init__()
        self.memory = Queue(size)
        self.momentum, self.mask_duplicates = momentum, mask_duplicates

    def columns(self, e: Embeddings) -> int:
        return max(1, len(self.memory))

    @torch.no_grad()
    def remember(self, e: Embeddings) -> None:
        if self.memory.size:
            key = keys(e, self.momentum, self.name)
            asked = e.query_id.repeat_interleave(key.shape[1])
            self.memory.push(key.flatten(0, 1), e.positive_id.flatten(), asked)

    def _usable(self, e: Embeddings, rows: Tensor, text: Tensor, asked: Tensor) -> Tensor:
        """[m, K] keys that are not known to match the rows' queries."""
        if not self.mask_duplicates:
            return torch.ones(len(rows), len(text), dtype=torch.bool, device=rows.device)
        match = torch.cat([e.query_id[:, None], e.positive_id, e.known_id], dim=1)[rows]
        again = same_text(e.query_id[rows, None], asked[:, None])
        return ~(same_text(match, text[:, None]) | again)


class MoCo(Keyed):
    """MoCo's loss (arXiv 1911.05722): the positive against a queue Q of the keys of earlier batches.

    ``loss_i = mean_k [ log(e^(q_i k_ik / t) + sum over Q of e^(q_i n / t)) - q_i k_ik / t ]``, all unit vectors; keys
    and queue are constants. Other rows of the batch are no negatives. The queue begins empty, not with random
    vectors: rows without a negative have weight 0, as all have in the first batch.

    Args:
        temperature: t.
        queue: keys kept.
        momentum: see `Keyed`; None: keys by the encoder itself.
        top: only this many keys per query, those most similar to it; ours, not MoCo's.
        mask_duplicates: see `Keyed`.

    Raises:
        DataError: the batch has no positives, or explicit negatives.
    """

    name = "moco"

    def __init__(
        self,
        temperature: float = 0.07,
        queue: int = 65536,
        momentum: float | None = 0.999,
        top: int | None = None,
        mask_duplicates: bool = True,
    ) -> None:
        super().__init__(queue, momentum, mask_duplicates)
        self.temperature, self.top = temperature, top

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        _no_negatives(e, self.name)
        query, positive = self.pairs(e, unit(e.query[rows]), keys(e, self.momentum, self.name)[rows])
        stored, each = self.memory, query.shape[1]
        key, usable = self.negatives(e, stored.key.to(query), self._usable(e, rows, stored.text, stored.asked))
        has, usable = usable.any(1), usable.repeat_interleave(each, 0)
        cosine = products(query.flatten(0, 1), key) if len(stored) else query.new_zeros(len(usable), 0)
        if self.top is not None and self.top < cosine.shape[1]:
            best = cosine.detach().masked_fill(~usable, -torch.inf).topk(self.top, dim=1).indices
            usable = usable & torch.zeros_like(usable).scatter_(1, best, True)
        rest = _total(cosine / self.temperature, usable).view(len(rows), each)
        logit = positive / self.temperature
        value = torch.where(has[:, None], torch.logaddexp(logit, rest) - logit, 0.0).mean(1)
        metrics = {
            "positive_similarity": positive.detach().mean(),
            "negatives": usable.sum(1).to(value.dtype).mean(),
            "negative_similarity": mean_where(cosine.detach(), usable),
        }
        return LossOut(value, example_weight(e, rows) * has, metrics)

    def pairs(self, e: Embeddings, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        """What is compared with the queue, [m, P, d] or [m, 1, d] for all positives alike, and [m, P] their cosines.

        Args:
            e: the batch.
            query: [m, d].
            key: [m, P, d].
        """
        return query[:, None], (query[:, None] * key).sum(-1)

    def negatives(self, e: Embeddings, key: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
        """[K, d] the keys of the queue as they stand in the loss, and [m, K] which of them may."""
        return key, usable


class ASCL(Keyed):
    """Adaptive soft contrastive learning (arXiv 2207.11163).

    On the row's key k and n other keys Q: ``r = softmax(k Q / t')``, ``c = 1 - H(r) / log n``, targets y = 1 for k,
    and for j of Q min(1, c K r_j) (soft), c on the K nearest (adaptive) or 1 on them (hard), divided by their sum.
    ``loss = -sum_j y_j log softmax([q k, q Q] / t)_j``; keys and targets are constants.

    Args:
        temperature: t.
        target_temperature: t'.
        neighbours: K.
        targets: soft, adaptive or hard.
        queue: keys kept; 0: Q are the keys of the other rows of the batch.
        momentum, mask_duplicates: see `Keyed`.

    Raises:
        DataError: not one positive per example, or explicit negatives.
    """

    name = "ascl"

    def __init__(
        self,
        temperature: float = 0.1,
        target_temperature: float = 0.05,
        neighbours: int = 1,
        targets: Literal["soft", "adaptive", "hard"] = "soft",
        queue: int = 4096,
        momentum: float | None = 0.99,
        mask_duplicates: bool = True,
    ) -> None:
        super().__init__(queue, momentum, mask_duplicates)
        self.temperature, self.target_temperature = temperature, target_temperature
        self.neighbours, self.targets = neighbours, targets

    def columns(self, e: Embeddings) -> int:
        return max(1, len(self.memory)) if self.memory.size else len(e)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        _no_negatives(e, self.name)
        one_positive(e, self.name)
        key = keys(e, self.momentum, self.name)[:, 0]
        query = unit(e.query[rows])
        if self.memory.size:
            others, text, asked = self.memory.key.to(query), self.memory.text, self.memory.asked
            others = others if len(others) else query.new_zeros(0, query.shape[1])
        else:
            others, text, asked = key.to(query), e.positive_id[:, 0], e.query_id
        usable = self._usable(e, rows, text, asked)
        if not self.memory.size:
            usable = usable & (rows[:, None] != torch.arange(len(e), device=rows.device))
        share, confidence = self.neighbour_targets(products(key[rows], others.to(key)), usable)
        logit = (query * key[rows]).sum(-1) / self.temperature
        rest = products(query, others) / self.temperature
        total = torch.logaddexp(logit, _total(rest, usable))
        has = usable.any(1)
        pulled = logit + (share * rest.masked_fill(~usable, 0.0)).sum(1)
        value = torch.where(has, total - pulled / (1 + share.sum(1)), 0.0)
        metrics = {
            "positive_similarity": (logit.detach() * self.temperature).mean(),
            "confidence": confidence.mean(),
            "shared": share.sum(1).mean(),
        }
        return LossOut(value, example_weight(e, rows) * has, metrics)

    @torch.no_grad()
    def neighbour_targets(self, cosine: Tensor, usable: Tensor) -> tuple[Tensor, Tensor]:
        """[m, n] targets of the other keys, the own key's being 1; [m] c, 0 where there are fewer than two keys.

        Args:
            cosine: [m, n] of the keys with the others.
            usable: [m, n] bool.
        """
        if cosine.shape[1] == 0:
            return torch.zeros_like(cosine), cosine.new_zeros(len(cosine))
        logits = (cosine / self.target_temperature).masked_fill(~usable, -torch.inf)
        r = torch.where(usable.any(1, keepdim=True), logits, 0.0).softmax(1).masked_fill(~usable, 0.0)
        count = usable.sum(1).to(r.dtype)
        entropy = -torch.special.xlogy(r, r).sum(1)
        confidence = torch.where(count > 1, 1 - entropy / count.clamp_min(2).log(), 0.0)
        if self.targets == "soft":
            return (confidence[:, None] * self.neighbours * r).clamp_max(1.0), confidence
        nearest = torch.zeros_like(usable)
        best = logits.topk(min(self.neighbours, logits.shape[1]), dim=1).indices
        nearest = nearest.scatter_(1, best, True) & usable
        return nearest * (confidence[:, None] if self.targets == "adaptive" else torch.ones_like(r)), confidence


def _total(logits: Tensor, usable: Tensor) -> Tensor:
    """[m] log of the sum of exponentials; very small, with zero gradient, where there is no column."""
    if logits.shape[1] == 0:
        return logits.new_full((len(logits),), -math.inf)
    return log_sum_exp(logits, usable)


def _no_negatives(e: Embeddings, name: str) -> None:
    if e.negative.shape[1]:
        raise DataError(
            f"objective {name!r} has no place for explicit negatives",
            where="negative",
            cure="set negatives.per_query: 0",
        )
