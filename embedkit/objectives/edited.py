"""Negatives that are the text with a small edit: they oppose their own query alone, and softly."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from embedkit.objectives.base import Objective, example_weight
from embedkit.objectives.candidates import OwnCandidates
from embedkit.objectives.contrastive import similarity_metrics
from embedkit.objectives.logits import Candidates, Pool, Rules, log_sum_exp
from embedkit.objectives.scored import weight_of
from embedkit.recipe.objectives.contrastive import Direction, Similarity, columns
from embedkit.types import Embeddings, LossOut


def focal_smoothed(logits: Tensor, exists: Tensor, competes: Tensor, gamma: float, smoothing: float) -> Tensor:
    """[m] ``sum_k y_k (1 - p_k)^gamma (-log p_k)`` with ``p`` the softmax of the logits that compete.

    The target is ``y_0 = 1 - smoothing + smoothing / n`` on the positive and ``y_k = smoothing / n`` on the negatives
    that exist, n of them with the positive. Gradient flows through the focal factor.

    Args:
        logits: [m, 1 + K], the positive first.
        exists, competes: [m, 1 + K] bool; what does not exist has target 0.
        gamma: of the focal factor; 0 is cross-entropy.
        smoothing: of the targets.
    """
    log_p = logits.masked_fill(~competes, -torch.inf).log_softmax(1).masked_fill(~exists, -1.0)
    there = exists.to(log_p.dtype)
    target = smoothing * there / there.sum(1, keepdim=True)
    target[:, 0] += 1 - smoothing
    rest = (-torch.expm1(log_p)).clamp_min(torch.finfo(log_p.dtype).tiny)
    return -(target * rest.pow(gamma) * log_p).sum(1)


class FocalSmoothed(OwnCandidates):
    """Focal, smoothed cross-entropy of the positive against the row's own negatives (FSC-CLIP, arXiv 2410.05210).

    With `focal_smoothed` of ``s_k / t``: an edited text that is told apart already pushes little, and none is pushed as
    far as an unrelated text. The authors add it with weight 0.5 to the loss of the batch, which does not see the edited
    texts::

        objective: {name: sum, terms: [{objective: {name: infonce, ...}}, {weight: 0.5, objective: focal_smoothed}]}

    A row without negatives has weight 0. The released code leaves an absent negative in the softmax as a zero vector,
    a competitor with logit 0 (`absent` = zero).

    Args:
        gamma, smoothing: of `focal_smoothed`.
        absent: mask: an absent negative takes no part; zero: as released.
    """

    name = "focal_smoothed"

    def __init__(
        self,
        gamma: float = 2.0,
        smoothing: float = 0.02,
        absent: Literal["mask", "zero"] = "mask",
        similarity: Similarity = "cos",
        temperature: float = 0.05,
    ) -> None:
        super().__init__(similarity, temperature)
        self.gamma, self.smoothing, self.absent = gamma, smoothing, absent

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        scores, exists = self.scores(e, rows)
        competes = exists if self.absent == "mask" else torch.ones_like(exists)
        loss = focal_smoothed(scores, exists, competes, self.gamma, self.smoothing)
        best = scores.detach().masked_fill(~exists, -torch.inf).argmax(1)
        return LossOut(loss, weight_of(e, rows, exists[:, 1:]), {"accuracy": (best == 0).to(loss.dtype).mean()})


class HardNegativeNCE(Objective):
    """InfoNCE whose two directions are measured in the logarithm of their candidates (VFC, arXiv 2304.06708).

    A query meets all positives of the batch and its own negatives, n_i candidates with the positive; a positive meets
    all queries, N of them. With s the similarity and t the temperature::

        loss_i = query_weight (- log p_i) / log n_i + document_weight (- log p'_i) / log N

    so that a part with many candidates weighs as one with few, and 1 is a uniform guess. With ``beta``, a negative's
    exponential weighs its share of the negatives' ``e^(beta s / t)`` times their number, with gradient.
    Texts known to match are neither candidates nor counted; a direction without a negative adds 0, and a row in which
    neither has one does not count. The mean is over the row's positives.

    VFC adds 0.5 times the same loss of videos and their verb phrases with ``document_weight: 0``: a source of pairs of
    its own here. The released code divides each row by the logarithms of all rows and takes the mean of that table.

    Args:
        temperature: t.
        similarity: cos or dot.
        query_weight, document_weight: as above.
        beta: as above; 0 weighs all negatives alike.
        normalize: False: the sums are not divided by the logarithms.
        mask_duplicates: whether texts known to match are left out.
    """

    def __init__(
        self,
        temperature: float = 0.05,
        similarity: Similarity = "cos",
        query_weight: float = 0.5,
        document_weight: float = 1.0,
        beta: float = 0.0,
        normalize: bool = True,
        mask_duplicates: bool = True,
    ) -> None:
        super().__init__()
        self.temperature, self.beta, self.normalize = temperature, beta, normalize
        self.similarity: Similarity = similarity
        given: dict[Direction, float] = {"q-d": query_weight, "d-q": document_weight}
        self.weights = {direction: weight for direction, weight in given.items() if weight}
        self.rules = Rules(other_negatives=False, mask_duplicates=mask_duplicates)

    def columns(self, e: Embeddings) -> int:
        n, p, m = len(e), e.positive.shape[1], e.negative.shape[1]
        return max(columns(direction, n, p, m) for direction in self.weights)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        pool = Pool(e, rows, self.similarity, self.rules)
        positive = pool.positive / self.temperature  # [m, P]
        value, counts = torch.zeros_like(positive[:, 0]), torch.zeros_like(rows, dtype=torch.bool)
        metrics: dict[str, Any] = {}
        for direction, weight in self.weights.items():
            candidates = pool.candidates(direction)
            metrics = metrics or similarity_metrics(candidates)
            loss = self._loss(candidates, positive)
            has = candidates.is_negative.any(1).view(len(rows), -1)
            value = value + weight * loss.mean(1)
            counts = counts | has.any(1)
        return LossOut(value, example_weight(e, rows) * counts, metrics)

    def _loss(self, candidates: Candidates, positive: Tensor) -> Tensor:
        """[m, P] one direction's loss."""
        negative, logits = candidates.is_negative, candidates.similarities / self.temperature
        count = negative.sum(1).to(logits.dtype)
        if self.beta:
            hard = self.beta * logits
            share = hard - log_sum_exp(hard, negative)[:, None].masked_fill(count[:, None] == 0, 0.0)
            logits = logits + share + count.clamp_min(1)[:, None].log()
        total = log_sum_exp(logits, negative).view(len(positive), -1).expand_as(positive)
        loss = torch.logaddexp(total - positive, torch.zeros_like(positive))
        by = count.clamp_min(1).log1p() if self.normalize else torch.ones_like(count)
        return loss / by.view(len(positive), -1)
