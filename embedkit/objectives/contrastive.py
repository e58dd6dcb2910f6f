"""InfoNCE and its family: one softmax (or several) of the positive against negatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from embedkit.objectives.base import Objective, example_weight
from embedkit.objectives.logits import Candidates, Pool, Rules, log_sum_exp
from embedkit.objectives.weighting import Weighting
from embedkit.recipe.objectives import Direction, Similarity, softmaxes
from embedkit.types import Embeddings, LossOut


class InfoNCE(Objective):
    """Cross-entropy of the positive against negatives.

    For row i with positives k = 1..P, s the similarity, t the temperature and D the chosen directions::

        Z_ik  = c exp(s(q_i, p_ik) / t) + sum over d in D, over the negatives j of direction d, exp(s_dj / t)
        loss_i = mean_k [ log Z_ik - s(q_i, p_ik) / t ]

    A query's own other positives are neither counted nor negatives; positives of other rows are, all of them.
    ``c`` counts the positive once for each of q-d and d-q in D (`positive_in_denominator` = each), at most once
    (once), or not at all (never). With `partition` = per_direction, q-d with q-q and d-q with d-d have a softmax
    each and the two losses are averaged. In these terms:

    - SimCSE, DPR, sentence-transformers' MultipleNegativesRankingLoss: the defaults.
    - CLIP, symmetric: q-d, d-q, per_direction. NT-Xent (SimCLR): all four, per_direction.
    - GTE (arXiv 2308.03281): all four, joint. E5 and LLM-R: the same with the positive once.
    - DCL (arXiv 2110.06848): NT-Xent with the positive never; this loss may be negative.
    - KaLM's expanded negatives: q-d, q-q, d-d with `same_side` = positives. Qwen3 (ms-swift): `same_side` = all
      and `false_negative_margin` = 0.1.

    A row without any negative has weight 0 in the batch average. Similarities, logits and sums are in float32 at
    least. Options are described at `embedkit.recipe.objectives.InfoNCE`.

    Attributes:
        log_scale: log(1 / temperature) when it is learned; kept in the bounds at each forward.
    """

    scope = "row"

    def __init__(
        self,
        temperature: float = 0.05,
        learn_temperature: bool = False,
        temperature_bounds: tuple[float, float] = (0.01, 1.0),
        similarity: Similarity = "cos",
        directions: Sequence[Direction] = ("q-d",),
        partition: Literal["joint", "per_direction"] = "joint",
        positive_in_denominator: Literal["each", "once", "never"] = "each",
        hard_negative_weight: float = 0.0,
        in_batch_negatives: bool = True,
        other_negatives: bool = True,
        same_side: Literal["others", "positives", "all"] = "others",
        false_negative_margin: float | None = None,
        mask_duplicates: bool = True,
        weighting: Sequence[Weighting] = (),
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.bounds = (-math.log(temperature_bounds[1]), -math.log(temperature_bounds[0]))
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature))) if learn_temperature else None
        self.similarity: Similarity = similarity
        self.rules = Rules(in_batch_negatives, other_negatives, mask_duplicates, false_negative_margin, same_side)
        self.hard_negative_weight = hard_negative_weight
        self.weighting = nn.ModuleList(weighting)
        self.softmaxes = softmaxes(directions, partition)
        self.copies = [_copies(group, positive_in_denominator) for group in self.softmaxes]

    def columns(self, e: Embeddings) -> int:
        n, p, m = len(e), e.positive.shape[1], e.negative.shape[1]
        width = {"q-d": n * (p + m), "q-q": n, "d-q": n * p, "d-d": n * (p + m) * p}
        return max(width[d] for group in self.softmaxes for d in group)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        pool = Pool(e, rows, self.similarity, self.rules)
        scale = self._scale()
        positive = pool.positive * scale  # [m, P]
        losses, log_p, counted = [], [], []  # one [m, P] per softmax
        metrics: dict[str, Any] = {}
        for group, copies in zip(self.softmaxes, self.copies, strict=True):
            sums = []
            for direction in group:
                candidates = pool.candidates(direction)
                if not metrics:
                    metrics = _metrics(candidates)
                logsum = log_sum_exp(self._logits(candidates, scale), candidates.is_negative)
                sums.append(logsum.view(len(rows), -1).expand_as(positive))
            gap = _log_add(sums) - positive
            # log(c e^s + sum) - s, written as log c + log(1 + sum e^-s / c): no digits are lost when it is small.
            surprise = torch.logaddexp(torch.zeros_like(gap), gap - math.log(max(copies, 1)))
            has = ~gap.isneginf()
            losses.append(surprise + math.log(copies) if copies else torch.where(has, gap, 0.0))
            log_p.append(-surprise)
            counted.append(has)
        if self.log_scale is not None:
            metrics["temperature"] = (-self.log_scale.detach()).exp()
        value, weight = self._weigh(torch.cat(losses, 1), torch.cat(log_p, 1), torch.cat(counted, 1))
        return LossOut(value, weight * example_weight(e, rows), metrics)

    def _scale(self) -> Tensor | float:
        if self.log_scale is None:
            return 1.0 / self.temperature
        # Projection, not a clamp in the graph: outside its range a clamp has no gradient and would never return.
        self.log_scale.data.clamp_(*self.bounds)
        return self.log_scale.exp()

    def _logits(self, candidates: Candidates, scale: Tensor | float) -> Tensor:
        logits = candidates.similarities * scale
        if self.hard_negative_weight and candidates.direction == "q-d":
            logits = logits + self.hard_negative_weight * candidates.is_own_negative.to(logits.dtype)
        for piece in self.weighting:
            assert isinstance(piece, Weighting)
            term = piece.logits(candidates)
            logits = logits if term is None else logits + term
        return logits

    def _weigh(self, losses: Tensor, log_p: Tensor, counted: Tensor) -> tuple[Tensor, Tensor]:
        """The rows' losses [m] and weights [m] from their terms [m, T], one per positive and softmax."""
        share = torch.ones_like(losses)
        for piece in self.weighting:
            assert isinstance(piece, Weighting)
            factor = piece.rows(log_p)
            if factor is not None and piece.normalize == "weight":
                share = share * factor.detach()
            elif factor is not None:
                losses = losses * factor
        total = share.sum(1)
        value = (losses * share).sum(1) / total.clamp_min(torch.finfo(total.dtype).tiny)
        return value, (total / share.shape[1]) * counted.any(1)


def _copies(group: Sequence[Direction], rule: str) -> int:
    """How often the positive stands in the denominator of a softmax over these directions."""
    if rule == "never":
        return 0
    return sum(d in ("q-d", "d-q") for d in group) if rule == "each" else 1


def _log_add(terms: list[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = torch.logaddexp(total, term)
    return total


@torch.no_grad()
def _metrics(candidates: Candidates) -> dict[str, Any]:
    """Block means in the first direction; NaN where no anchor has a negative."""
    kept = candidates.is_negative
    hardest = candidates.similarities.masked_fill(~kept, -torch.inf).amax(1)
    has = ~hardest.isneginf()
    worst = candidates.positive.amin(1)
    return {
        "positive_similarity": candidates.positive.mean(),
        "hardest_negative": hardest[has].mean(),
        "accuracy": (worst > hardest).to(worst.dtype).mean(),
        "negatives": kept.sum(1).to(worst.dtype).mean(),
        "masked": candidates.masked.to(worst.dtype).mean(),
    }
