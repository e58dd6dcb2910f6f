"""Objectives on the scores of a row's own candidates ``[positive, *negatives]``: pointwise, pairwise, listwise.

A score is what a reranker says of the pair, or an encoder's similarity of the two (`scored.own_similarities`), over a
temperature. Candidates are graded by the `score` of the source; without one the positive has grade 1, the negatives 0.
An absent negative takes no part. Where sentence-transformers has the loss, ours is its value
(`tests/objectives/test_candidates.py`).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from embedkit.errors import DataError
from embedkit.objectives.base import Objective, example_weight, no_weight, targets
from embedkit.objectives.scored import mean_of, own_negatives, own_similarities, weight_of
from embedkit.recipe.objectives.contrastive import Similarity
from embedkit.types import Embeddings, LossOut

LARGEST_GRADE = 64
"""nDCG's gain is ``2^grade - 1``; beyond this a float32 holds no sums of them."""


def candidates(
    e: Embeddings, rows: Tensor, similarity: Similarity, name: str, *, alone: bool = False
) -> tuple[Tensor, Tensor]:
    """Scores [m, C] of the rows' candidates, the positive first, and which exist [m, C].

    Args:
        alone: whether a batch without slots for negatives is allowed.

    Raises:
        DataError: the batch has not one positive, or no negatives.
    """
    negatives = e.negative_mask[rows] if alone else own_negatives(e, rows, name)
    return own_similarities(e, rows, similarity, name), functional.pad(negatives, (1, 0), value=True)


def grades(e: Embeddings, rows: Tensor, exists: Tensor, name: str) -> Tensor:
    """[m, C] grades of the candidates, 0 where there is none: the batch's scores, else 1 for the positive.

    One score for a row that has negatives is the positive's.
    """
    count = exists.shape[1]
    if e.score is None:
        found = torch.zeros(exists.shape, dtype=example_weight(e, rows).dtype, device=exists.device)
        found[:, 0] = 1
        return found
    given = targets(e, name, (1, count))[rows]
    return functional.pad(given, (0, count - given.shape[1])).masked_fill(~exists, 0.0)


class OwnCandidates(Objective):
    """What they share.

    Args:
        similarity: of an encoder's embeddings.
        temperature: divides the scores.
    """

    name = ""

    def __init__(self, similarity: Similarity = "cos", temperature: float = 1.0) -> None:
        super().__init__()
        self.similarity: Similarity = similarity
        self.temperature = temperature

    def scores(self, e: Embeddings, rows: Tensor, *, alone: bool = False) -> tuple[Tensor, Tensor]:
        """As `candidates`, over the temperature; 0 where there is none."""
        found, exists = candidates(e, rows, self.similarity, self.name, alone=alone)
        return (found / self.temperature).masked_fill(~exists, 0.0), exists


class BCE(OwnCandidates):
    """``- w y log sigma(z) - (1 - y) log sigma(-z)`` with ``z = (s - bias) / t``, over a row's candidates.

    For a model that answers yes or no, s is the difference of the two logits, and this is supervised fine-tuning on the
    answer. Grades y are in 0..1; a pair alone may have one.

    Args:
        reduction: ``sum`` or ``mean`` over the row's candidates.
        positive_weight: w.
        bias: taken from the score.

    Raises:
        DataError: a grade outside 0..1.
    """

    name = "bce"

    def __init__(
        self,
        reduction: Literal["sum", "mean"],
        positive_weight: float = 1.0,
        bias: float = 0.0,
        similarity: Similarity = "cos",
        temperature: float = 1.0,
    ) -> None:
        super().__init__(similarity, temperature)
        self.reduction, self.positive_weight, self.bias = reduction, positive_weight, bias

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        logits, exists = self.scores(e, rows, alone=True)
        logits = logits - self.bias / self.temperature
        y = grades(e, rows, exists, self.name).to(logits.dtype)
        if e.score is not None and bool(((y < 0) | (y > 1)).any()):
            what = f"objective 'bce' needs grades in 0..1, got {y.min():g} to {y.max():g}"
            raise DataError(what, "score", "scale them, or use score_mse, listnet or kl for a teacher's scores")
        weight = logits.new_full((), self.positive_weight)
        loss = functional.binary_cross_entropy_with_logits(logits, y, reduction="none", pos_weight=weight)
        right = mean_of(((logits.detach() > 0) == (y > 0.5)).to(logits.dtype), exists).mean()
        total = mean_of(loss, exists)
        if self.reduction == "sum":
            total = total * exists.sum(1)
        return LossOut(total, example_weight(e, rows), {"accuracy": right})


class LCE(OwnCandidates):
    """``- log e^(s_0 / t) / sum_j e^(s_j / t)`` over the row's own candidates, 0 the positive.

    Localized contrastive estimation (arXiv 2101.08751). A row without negatives has weight 0.
    """

    name = "lce"

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        scores, exists = self.scores(e, rows)
        log_p = scores.masked_fill(~exists, -torch.inf).log_softmax(1)
        first = (log_p.argmax(1) == 0).to(log_p.dtype).mean()
        return LossOut(-log_p[:, 0], weight_of(e, rows, exists[:, 1:]), {"accuracy": first})


class ListNet(OwnCandidates):
    """``- sum_j softmax(y / t_y)_j log softmax(s / t)_j`` over the row's own candidates, y their grades.

    The top-one approximation of ListNet (Cao et al., ICML 2007). Its gradient is that of `scored.KLDistillation`, which
    leaves out the teacher's entropy. A row without negatives has weight 0.
    """

    name = "listnet"

    def __init__(
        self, target_temperature: float = 1.0, similarity: Similarity = "cos", temperature: float = 1.0
    ) -> None:
        super().__init__(similarity, temperature)
        self.target_temperature = target_temperature

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        scores, exists = self.scores(e, rows)
        y = grades(e, rows, exists, self.name).to(scores.dtype) / self.target_temperature
        p = y.masked_fill(~exists, -torch.inf).softmax(1)
        log_q = scores.masked_fill(~exists, -torch.inf).log_softmax(1)
        loss = -(p * log_q.masked_fill(~exists, 0.0)).sum(1)
        agree = (p.argmax(1) == log_q.argmax(1)).to(p.dtype).mean()
        return LossOut(loss, weight_of(e, rows, exists[:, 1:]), {"best_agreement": agree})


class RankNet(OwnCandidates):
    """Mean of ``log(1 + e^((s_b - s_a) / t))`` over all pairs of candidates of one row with grade a above grade b.

    RankNet (Burges et al., ICML 2005). The mean runs over the pairs of the whole batch. sentence-transformers takes the
    logarithm to base 2, which is 1 / log 2 = 1.4427 times as much. Ties have no pair; a row without pairs has weight 0.

    Args:
        top: only pairs with a candidate among the first `top` of the model's own order; None: all.
    """

    name = "ranknet"

    def __init__(self, top: int | None = None, similarity: Similarity = "cos", temperature: float = 1.0) -> None:
        super().__init__(similarity, temperature)
        self.top = top

    def columns(self, e: Embeddings) -> int:
        return (1 + e.negative.shape[1]) ** 2

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        scores, exists = self.scores(e, rows)
        y = grades(e, rows, exists, self.name).to(scores.dtype)
        order = scores.detach().masked_fill(~exists, -torch.inf).argsort(dim=1, descending=True, stable=True)
        scores, y, exists = (x.gather(1, order) for x in (scores, y, exists))  # by the model's own order, best first
        pairs = (y[:, :, None] > y[:, None]) & exists[:, :, None] & exists[:, None]
        if self.top is not None:
            head = torch.arange(y.shape[1], device=y.device) < self.top
            pairs = pairs & (head[:, None] | head)
        loss = functional.softplus(scores[:, None] - scores[:, :, None]) * self.weights_of(y, exists)
        count = pairs.sum((1, 2))
        value = loss.masked_fill(~pairs, 0.0).sum((1, 2)) / count.clamp_min(1)
        right = pairs & pairs.new_ones(pairs.shape[1:]).triu(1)
        agree = right.sum().to(value.dtype) / count.sum()
        return LossOut(value, example_weight(e, rows) * count, {"order_agreement": agree})

    def weights_of(self, y: Tensor, exists: Tensor) -> Tensor:
        """[m, C, C] weights of the pairs, without gradient.

        Args:
            y: [m, C] grades in the model's order.
            exists: [m, C].
        """
        return y.new_ones(())


class LambdaLoss(RankNet):
    """`RankNet` with pairs weighted by what they cost in nDCG (Wang et al., CIKM 2018).

    With gains ``G = (2^y - 1) / maxDCG``, discounts ``D(r) = log2(1 + r)`` of the places r in the model's own order:

        lambdarank: |1 / D(r_a) - 1 / D(r_b)| |G_a - G_b|
        ndcg2:      |1 / D(d) - 1 / D(d + 1)| |G_a - G_b|, d = |r_a - r_b|
        ndcg2++:    lambdarank + mu ndcg2

    Args:
        weights: which.
        mu: as above.
        top: maxDCG is that of the first `top`; and as in `RankNet`.

    Raises:
        DataError: a negative grade, or one beyond `LARGEST_GRADE`.
    """

    name = "lambda_loss"

    def __init__(
        self,
        weights: Literal["ndcg2++", "ndcg2", "lambdarank"] = "ndcg2++",
        mu: float = 10.0,
        top: int | None = None,
        similarity: Similarity = "cos",
        temperature: float = 1.0,
    ) -> None:
        super().__init__(top, similarity, temperature)
        self.weights, self.mu = weights, mu

    def weights_of(self, y: Tensor, exists: Tensor) -> Tensor:
        if bool(((y < 0) | (y > LARGEST_GRADE)).any()):
            what = f"objective 'lambda_loss' needs grades in 0..{LARGEST_GRADE}, got {y.min():g} to {y.max():g}"
            raise DataError(what, "score", "use grades of relevance, or listnet or kl for a teacher's scores")
        place = torch.arange(1, y.shape[1] + 1, device=y.device, dtype=y.dtype)
        gain = torch.exp2(y.double()) - 1
        ideal = gain.sort(dim=1, descending=True).values / torch.log2(1 + place)
        best = ideal[:, : self.top].sum(1).clamp_min(torch.finfo(torch.float32).tiny)
        gain = (gain / best[:, None]).to(y.dtype)
        between = (gain[:, :, None] - gain[:, None]).abs()
        discount = 1 / torch.log2(1 + place)
        weight = torch.zeros_like(between)
        if self.weights != "ndcg2":
            weight = weight + (discount[:, None] - discount).abs() * between
        if self.weights != "lambdarank":
            distance = (place[:, None] - place).abs()
            change = 1 / torch.log2(1 + distance.clamp_min(1)) - 1 / torch.log2(2 + distance)
            weight = weight + (self.mu if self.weights == "ndcg2++" else 1.0) * change * between
        return weight


class MarginRanking(OwnCandidates):
    """A row's candidates in the order of their scores, with a margin that grows with the distance (arXiv 2106.01890).

    With s_k the scores of the K candidates, best grade first, and g that of the reference::

        L = sum over i = 1..K-1 of mean over k of max(0, s_(k+i) - s_k + i margin)
            + reference_weight mean over k of max(0, s_k - g + reference_margin)

    Means run over the pairs of the whole batch: K - 1 of them are summed, so the last distance, one pair a row, counts
    as much as the first. Rows with fewer candidates have fewer pairs. Equal grades make no pair (ours: the reference
    code would force a margin on them).

    Args:
        margin, reference_margin, reference_weight: as above.
        reference: ``above``: the positive is the reference. ``candidate``: it is a candidate, and there is none.
    """

    scope = "batch"
    name = "margin_ranking"

    def __init__(
        self,
        margin: float = 0.01,
        reference: Literal["above", "candidate"] = "above",
        reference_margin: float = 0.0,
        reference_weight: float = 1.0,
        similarity: Similarity = "cos",
        temperature: float = 1.0,
    ) -> None:
        super().__init__(similarity, temperature)
        self.margin, self.reference = margin, reference
        self.reference_margin, self.reference_weight = reference_margin, reference_weight

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        no_weight(e, self.name)
        rows = torch.arange(len(e), device=e.query.device)
        scores, exists = self.scores(e, rows)
        y = targets(e, self.name, (scores.shape[1],)).to(scores.dtype)
        above = self.reference == "above"
        reference = scores[:, :1]
        if above:
            scores, exists, y = scores[:, 1:], exists[:, 1:], y[:, 1:]
        order = y.masked_fill(~exists, -torch.inf).argsort(dim=1, descending=True, stable=True)
        scores, exists, y = (x.gather(1, order) for x in (scores, exists, y))
        loss, wrong, pairs = scores.new_zeros(()), scores.new_zeros(()), scores.new_zeros(())
        for i in range(1, scores.shape[1]):
            there = exists[:, i:] & (y[:, i:] < y[:, :-i])
            difference = scores[:, i:] - scores[:, :-i]
            violation = (difference + i * self.margin).relu().masked_fill(~there, 0.0)
            loss = loss + violation.sum() / there.sum().clamp_min(1)
            wrong, pairs = wrong + ((difference.detach() > 0) & there).sum(), pairs + there.sum()
        if above:
            over = (scores - reference + self.reference_margin).relu().masked_fill(~exists, 0.0)
            loss = loss + self.reference_weight * over.sum() / exists.sum().clamp_min(1)
        return LossOut(loss, None, {"order_agreement": torch.where(pairs > 0, 1 - wrong / pairs, math.nan)})


class ScoreMSE(OwnCandidates):
    """Mean over a row's candidates of ``(s / t - teacher)^2``: distillation on the teacher's own scale.

    A student of another scale learns the differences only (`scored.MarginMSE`) or the distribution
    (`scored.KLDistillation`).
    """

    name = "score_mse"

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        scores, exists = self.scores(e, rows, alone=True)
        teacher = targets(e, self.name, (scores.shape[1],))[rows].to(scores.dtype).masked_fill(~exists, 0.0)
        error = scores - teacher
        metrics = {"score_error": mean_of(error.detach().abs(), exists).mean()}
        return LossOut(mean_of(error**2, exists), example_weight(e, rows), metrics)
