"""Metric learning on labels: pairs and triplets of one batch, as their authors weigh, mine and average them.

Anchors are the views of the rows, candidates all other views of the batch. Alike are views of one label, of one example
and of texts known to match; everything else is unlike. The anchor itself is neither, by its place, so equal texts stay
positives of each other.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from embedkit.objectives.base import Objective, Term, example_weight, mean_where, no_weight
from embedkit.objectives.distances import chord
from embedkit.objectives.logits import log_sum_exp
from embedkit.objectives.views import Views, needs_labels, no_negatives
from embedkit.types import Embeddings, LossOut

Triplets = Literal["all", "semi_hard", "hard", "hardest"]


class Labelled(Objective):
    """What the objectives on labels share.

    Raises:
        DataError: no labels, or explicit negatives.
    """

    name = ""

    def columns(self, e: Embeddings) -> int:
        return (1 + e.positive.shape[1]) ** 2 * len(e)

    def sets(self, e: Embeddings, rows: Tensor) -> tuple[Views, Tensor, Tensor]:
        """The views, and [a, C] which of them are alike and unlike."""
        labels = needs_labels(e, self.name)
        no_negatives(e, self.name)
        views = Views(e, rows)
        alike = views.alike(labels)
        return views, alike & views.other, ~alike


def seen(views: Views, alike: Tensor, unlike: Tensor) -> dict[str, Tensor]:
    """Mean cosine of those that are alike, and of those that are not."""
    cosine = views.cosine.detach()
    return {"positive_similarity": mean_where(cosine, alike), "negative_similarity": mean_where(cosine, unlike)}


class Circle(Labelled):
    """Circle loss (arXiv 2002.10857), per anchor, with cosines s, margin m and scale g::

        loss_a = softplus( log sum over alike of e^(-g u (s - (1 - m))) + log sum over unlike of e^(g v (s - m)) )
        u = max(0, 1 + m - s), v = max(0, s + m), constants

    The mean is over anchors whose loss is not 0, as in pytorch-metric-learning; an anchor without both kinds has none.
    Text encoders begin with unlike cosines near 0.5, where ``g v (s - m)`` is large: scales of 20 to 80.

    Args:
        margin: m.
        scale: g.
    """

    name = "circle"

    def __init__(self, margin: float = 0.4, scale: float = 80.0) -> None:
        super().__init__()
        self.margin, self.scale = margin, scale

    def logits(self, cosine: Tensor) -> tuple[Tensor, Tensor]:
        """Exponents of a pair that is alike, and of one that is not."""
        held = cosine.detach()
        pull = (1 + self.margin - held).clamp_min(0.0) * (cosine - (1 - self.margin))
        push = (held + self.margin).clamp_min(0.0) * (cosine - self.margin)
        return -self.scale * pull, self.scale * push

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        views, alike, unlike = self.sets(e, rows)
        pull, push = self.logits(views.cosine)
        both = alike.any(1) & unlike.any(1)
        exponent = log_sum_exp(pull, alike) + log_sum_exp(push, unlike)
        loss = functional.softplus(torch.where(both, exponent, 0.0)) * both
        value, share = views.mean(loss, loss.detach() > 0)
        return LossOut(value, example_weight(e, rows) * share, seen(views, alike, unlike))


class CircleBatch(Circle):
    """Circle loss with one logarithm over all pairs of the batch, each once, instead of one per anchor.

    ``softplus( log sum over alike pairs + log sum over unlike pairs )``, as in a widely used implementation
    (TinyZeaMays/CircleLoss); its values are far larger than those per anchor.

    Raises:
        DataError: no labels, explicit negatives, or example weights.
    """

    scope = "batch"
    name = "circle_batch"

    def __init__(self, margin: float = 0.25, scale: float = 256.0) -> None:
        super().__init__(margin, scale)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        no_weight(e, self.name)
        views, alike, unlike = self.sets(e, torch.arange(len(e), device=e.query.device))
        once = torch.ones_like(alike).triu(1)
        alike, unlike = alike & once, unlike & once
        pull, push = (x.reshape(1, -1) for x in self.logits(views.cosine))
        both = alike.any() & unlike.any()
        exponent = log_sum_exp(pull, alike.reshape(1, -1)) + log_sum_exp(push, unlike.reshape(1, -1))
        value = functional.softplus(torch.where(both, exponent, 0.0)) * both
        return LossOut(value[0], None, seen(views, alike, unlike))


class MultiSimilarity(Labelled):
    """Multi-Similarity loss (Wang et al., CVPR 2019), per anchor, with cosines s::

        loss_a = log(1 + sum over alike of e^(-alpha (s - base))) / alpha
               + log(1 + sum over unlike of e^(beta (s - base))) / beta

    With `mine` the authors' selection comes first: unlike views with ``s + mine`` above the least alike one, alike
    views with ``s - mine`` below the most similar unlike one; an anchor that keeps none of one kind has loss 0. The
    mean is over all anchors, those of loss 0 too. base 0.5 suits cosines spread over -1..1; encoders whose cosines all
    lie above 0.5 need a higher one.

    Args:
        alpha, beta: sharpness for alike and for unlike views.
        base: the cosine that divides them.
        mine: margin of the selection; None selects nothing (pytorch-metric-learning).
    """

    name = "multi_similarity"

    def __init__(self, alpha: float = 2.0, beta: float = 50.0, base: float = 0.5, mine: float | None = 0.1) -> None:
        super().__init__()
        self.alpha, self.beta, self.base, self.mine = alpha, beta, base, mine

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        views, alike, unlike = self.sets(e, rows)
        if self.mine is not None:
            alike, unlike = self._select(views.cosine.detach(), alike, unlike, self.mine)
        above = views.cosine - self.base
        loss = self._term(-self.alpha * above, alike) / self.alpha + self._term(self.beta * above, unlike) / self.beta
        value = loss.view(len(rows), -1).mean(1)
        kept = {"positives": alike.sum(1).to(loss.dtype).mean(), "negatives": unlike.sum(1).to(loss.dtype).mean()}
        return LossOut(value, example_weight(e, rows), seen(views, alike, unlike) | kept)

    def _select(self, cosine: Tensor, alike: Tensor, unlike: Tensor, margin: float) -> tuple[Tensor, Tensor]:
        least = cosine.masked_fill(~alike, torch.inf).amin(1, keepdim=True)
        most = cosine.masked_fill(~unlike, -torch.inf).amax(1, keepdim=True)
        kept_unlike, kept_alike = unlike & (cosine + margin > least), alike & (cosine - margin < most)
        both = kept_alike.any(1, keepdim=True) & kept_unlike.any(1, keepdim=True)
        return kept_alike & both, kept_unlike & both

    def _term(self, exponent: Tensor, mask: Tensor) -> Tensor:
        total = log_sum_exp(exponent, mask)
        return torch.logaddexp(torch.zeros_like(total), total)


class _Pairs(Labelled):
    """One side of the contrastive loss: a hinge on the distances of pairs that are alike, or of those that are not."""

    name = "label_contrastive"

    def __init__(self, margin: float, alike: bool) -> None:
        super().__init__()
        self.margin, self.of_alike = margin, alike

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        views, alike, unlike = self.sets(e, rows)
        distance, chosen = chord(views.cosine), alike if self.of_alike else unlike
        hinge = distance - self.margin if self.of_alike else self.margin - distance
        which = "positive_distance" if self.of_alike else "negative_distance"
        return mean_of_violations(e, rows, hinge.clamp_min(0.0), chosen, {which: mean_where(distance.detach(), chosen)})


def mean_of_violations(
    e: Embeddings, rows: Tensor, losses: Tensor, chosen: Tensor, metrics: dict[str, Tensor]
) -> LossOut:
    """The mean over all chosen losses of the batch that are not 0: a row weighs as many as it has.

    Args:
        losses, chosen: [a, ...], a anchors of the m rows.
    """
    counted = (chosen & (losses.detach() > 0)).reshape(len(rows), -1)
    count = counted.sum(1)
    value = losses.reshape(len(rows), -1).masked_fill(~counted, 0.0).sum(1) / count.clamp_min(1)
    violating = counted.sum() / chosen.sum().clamp_min(1)
    return LossOut(value, example_weight(e, rows) * count, metrics | {"violating": violating})


class LabelContrastive(Objective):
    """The contrastive loss (Hadsell et al., CVPR 2006) on labels, with Euclidean distances D of unit vectors::

        mean over alike pairs of max(0, D - positive_margin) + mean over unlike pairs of max(0, negative_margin - D)

    Linear, and each mean over the pairs with a loss that is not 0, as in pytorch-metric-learning.
    sentence-transformers' squared form is ``st`` with ContrastiveLoss.

    Args:
        positive_margin, negative_margin: in distances, 0..2.

    Raises:
        DataError: no labels, or explicit negatives.
    """

    def __init__(self, positive_margin: float = 0.0, negative_margin: float = 1.0) -> None:
        super().__init__()
        self.pull, self.push = _Pairs(positive_margin, True), _Pairs(negative_margin, False)

    def terms(self, e: Embeddings) -> list[Term]:
        return [Term(1.0, self.pull, e), Term(1.0, self.push, e)]


class LabelTriplet(Labelled):
    """The triplet loss on labels, with Euclidean distances D of unit vectors: ``max(0, D(a, p) - D(a, n) + margin)``.

    The mean over the triplets of the batch whose loss is not 0, as in pytorch-metric-learning. Triplets of an anchor:

    - ``all``: each positive with each negative.
    - ``semi_hard``: those with ``0 < D(a, n) - D(a, p) <= margin`` (FaceNet, arXiv 1503.03832).
    - ``hard``: those with ``D(a, n) <= D(a, p)``.
    - ``hardest``: its farthest positive with its nearest negative (arXiv 1703.07737).

    Args:
        margin: in distances, 0..2.
        smooth: ``softplus`` instead of ``max(0, .)``; then every triplet counts.
        triplets: which.
    """

    name = "label_triplet"

    def __init__(self, margin: float = 0.05, smooth: bool = False, triplets: Triplets = "all") -> None:
        super().__init__()
        self.margin, self.smooth, self.triplets = margin, smooth, triplets

    def columns(self, e: Embeddings) -> int:
        views = 1 + e.positive.shape[1]
        return views * (views * len(e)) ** (1 if self.triplets == "hardest" else 2)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        views, alike, unlike = self.sets(e, rows)
        distance = chord(views.cosine)
        held = distance.detach()
        metrics = {
            "positive_distance": mean_where(held, alike),
            "negative_distance": mean_where(held, unlike),
        }
        if self.triplets == "hardest":
            far = held.masked_fill(~alike, -torch.inf).argmax(1, keepdim=True)
            near = held.masked_fill(~unlike, torch.inf).argmin(1, keepdim=True)
            gap, chosen = distance.gather(1, far) - distance.gather(1, near), (alike.any(1) & unlike.any(1))[:, None]
        else:
            gap, chosen = distance[:, :, None] - distance[:, None], alike[:, :, None] & unlike[:, None]
            chosen = chosen & self._hard(gap.detach())
        loss = gap + self.margin
        loss = functional.softplus(loss) if self.smooth else loss.clamp_min(0.0)
        return mean_of_violations(e, rows, loss, chosen, metrics)

    def _hard(self, gap: Tensor) -> Tensor:
        if self.triplets == "all":
            return torch.ones_like(gap, dtype=torch.bool)
        return gap >= 0 if self.triplets == "hard" else (gap < 0) & (gap >= -self.margin)
