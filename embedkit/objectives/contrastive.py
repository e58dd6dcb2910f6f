"""InfoNCE and its family: one softmax (or several) of the positive against negatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from embedkit.objectives.base import Objective, example_weight, mean_where, targets
from embedkit.objectives.logits import Candidates, Pool, Rules, log_sum_exp
from embedkit.objectives.weighting import Weighting
from embedkit.recipe.memory import rows_per_block
from embedkit.recipe.objectives.contrastive import Direction, GuideRule, Similarity, SoftTargets, columns, softmaxes
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
    - GISTEmbed (arXiv 2402.16829): q-d, q-q, d-d with `same_side` = positives and `guide` = absolute.
    - CLHAIF (arXiv 2305.01918): `soft_targets` positive or all, with the score y_i of the row's pair::

        positive: y_i loss_i
        all:      loss_i + (1 - y_i) mean_k [ s(q_i, p_ik) / t - mean over negatives of s_dj / t ]

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
        guide: GuideRule | None = None,
        guide_margin: float = 0.0,
        soft_targets: SoftTargets = "none",
        weighting: Sequence[Weighting] = (),
    ) -> None:
        super().__init__()
        self.temperature = temperature
        self.bounds = (-math.log(temperature_bounds[1]), -math.log(temperature_bounds[0]))
        self.log_scale = nn.Parameter(torch.tensor(-math.log(temperature))) if learn_temperature else None
        self.similarity: Similarity = similarity
        self.rules = Rules(
            in_batch_negatives,
            other_negatives,
            mask_duplicates,
            false_negative_margin,
            same_side,
            guide,
            guide_margin,
        )
        self.hard_negative_weight, self.soft_targets = hard_negative_weight, soft_targets
        self.weighting = nn.ModuleList(weighting)
        self.softmaxes = softmaxes(directions, partition)
        self.copies = [_copies(group, positive_in_denominator) for group in self.softmaxes]

    def columns(self, e: Embeddings) -> int:
        n, p, m = len(e), e.positive.shape[1], e.negative.shape[1]
        return max(columns(d, n, p, m) for group in self.softmaxes for d in group)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        out = self._answer(e, rows)
        pieces = [piece for piece in self.weighting if isinstance(piece, Weighting) and piece.over_batch]
        if pieces:
            every, counted = self._every(e)
            for piece in pieces:
                assert out.weight is not None
                out = replace(out, weight=out.weight * piece.batch(out.value, every, counted))
        return out

    @torch.no_grad()
    def _every(self, e: Embeddings) -> tuple[Tensor, Tensor]:
        """[N] losses of all rows of the batch, and whether they count."""
        size = rows_per_block(self.columns(e), e.query.element_size())
        blocks = [self._answer(e, block) for block in torch.arange(len(e), device=e.query.device).split(size)]
        weight = torch.cat([block.weight for block in blocks if block.weight is not None])
        return torch.cat([block.value for block in blocks]), weight > 0

    def _answer(self, e: Embeddings, rows: Tensor) -> LossOut:
        pool = Pool(e, rows, self.similarity, self.rules)
        scale = self._scale()
        positive = pool.positive * scale  # [m, P]
        losses, log_p, counted = [], [], []  # one [m, P] per softmax
        metrics: dict[str, Any] = {}
        for group, copies in zip(self.softmaxes, self.copies, strict=True):
            sums, totals = [], []
            for direction in group:
                candidates = pool.candidates(direction)
                metrics = metrics or similarity_metrics(candidates)
                logits = self._logits(candidates, scale)
                sums.append(log_sum_exp(logits, candidates.is_negative).view(len(rows), -1).expand_as(positive))
                made = self.made(pool, candidates, scale)
                if made is not None:
                    sums.append(made.view(len(rows), -1).expand_as(positive))
                if self.soft_targets == "all":
                    totals.append(_total(candidates, logits, positive))
            gap = _log_add(sums) - positive
            # log(c e^s + sum) - s, written as log c + log(1 + sum e^-s / c): no digits are lost when it is small.
            surprise = torch.logaddexp(torch.zeros_like(gap), gap - math.log(max(copies, 1)))
            has = ~gap.isneginf()
            decoupled = gap if copies else torch.where(has, gap + self.lift(e, rows, positive), 0.0)
            loss = surprise + math.log(copies) if copies else decoupled
            losses.append(self._soften(loss, positive, totals, e, rows))
            log_p.append(-surprise)
            counted.append(has)
        if self.log_scale is not None:
            metrics["temperature"] = (-self.log_scale.detach()).exp()
        value, weight = self._weigh(torch.cat(losses, 1), torch.cat(log_p, 1), torch.cat(counted, 1))
        return LossOut(value, weight * example_weight(e, rows), metrics)

    def _soften(self, loss: Tensor, positive: Tensor, totals: list[Tensor], e: Embeddings, rows: Tensor) -> Tensor:
        """The loss [m, P] with the score as the positive's target."""
        if self.soft_targets == "none":
            return loss
        score = targets(e, "infonce", (1, 1 + e.negative.shape[1]))[rows, :1]
        return score * loss if self.soft_targets == "positive" else loss + (1 - score) * _above_mean(positive, totals)

    def made(self, pool: Pool, candidates: Candidates, scale: Tensor | float) -> Tensor | None:
        """[a] log of the summed exponentials of negatives that are made up for one direction; None without any."""
        return None

    def lift(self, e: Embeddings, rows: Tensor, positive: Tensor) -> Tensor | float:
        """What a loss without the positive in its denominator gains from the positive's logits [m, P]."""
        return 0.0

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


def _total(candidates: Candidates, logits: Tensor, like: Tensor) -> Tensor:
    """[2, m, P] sum and number of the negatives' logits, for every positive of a row."""
    mask = candidates.is_negative
    both = torch.stack([logits.masked_fill(~mask, 0.0).sum(1), mask.sum(1).to(logits.dtype)])
    return both.view(2, len(like), -1).expand(2, *like.shape)


def _above_mean(positive: Tensor, totals: list[Tensor]) -> Tensor:
    """[m, P] positive logit less the mean negative one; 0 where there is no negative."""
    total, count = torch.stack(totals).sum(0)
    return torch.where(count > 0, positive - total / count.clamp_min(1.0), 0.0)


def _log_add(terms: list[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = torch.logaddexp(total, term)
    return total


@torch.no_grad()
def similarity_metrics(candidates: Candidates) -> dict[str, Any]:
    """Block means in the first direction; NaN where no anchor has a negative."""
    kept = candidates.is_negative
    hardest = candidates.similarities.masked_fill(~kept, -torch.inf).amax(1)
    has = ~hardest.isneginf()
    worst = candidates.positive.amin(1)
    return {
        "positive_similarity": candidates.positive.mean(),
        "hardest_negative": mean_where(hardest, has),
        "accuracy": (worst > hardest).to(worst.dtype).mean(),
        "negatives": kept.sum(1).to(worst.dtype).mean(),
        "masked": candidates.is_masked.sum(1).to(worst.dtype).mean(),
    }
