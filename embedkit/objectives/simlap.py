"""Contrast of arbitrary classes: a gate per pair of classes chooses the coordinates in which their texts are alike."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from embedkit.errors import DataError
from embedkit.objectives.base import Objective, example_weight, mean_where
from embedkit.objectives.layers import linear
from embedkit.objectives.logits import log_sum_exp, products
from embedkit.objectives.views import Views, needs_labels, no_negatives
from embedkit.types import Embeddings, LossOut

_PARTNERS = 0x48594431
"""Keeps these draws apart from others that depend on the step."""


def gated_cosine(anchors: Tensor, gates: Tensor, every: Tensor) -> Tensor:
    """[a, C] cosines of ``z_i * g_i`` and ``z_j * g_i``: the candidate goes through the anchor's gate.

    Computed from matrix products, so that nothing of size a x C x d is ever made.

    Args:
        anchors, gates: [a, d].
        every: [C, d].
    """
    square = gates.square()
    own = (anchors.square() * square).sum(1).clamp_min(1e-24).sqrt()
    other = products(square, every.square()).clamp_min(1e-24).sqrt()
    return products(anchors * square, every) / (own[:, None] * other)


class SimLAP(Objective):
    """SimLAP, first called Hydra (arXiv 2410.18200), on labels y out of a closed set, each anchor with a second class::

        g_i    = sigmoid( net( (e[y_i] + e[y2_i]) / 2 ) )
        x_ij   = scale * cos(z_i * g_i, z_j * g_i)
        loss_i = mean over j with y_j = y2_i of [ log(e^x_ij + sum over n of e^x_in) - x_ij ]

    e are trained vectors of the classes; negatives n have neither class. The second class is the anchor's own
    (``identical``), that of the example at a random place (``permutation``), or that of a random example of another
    class (``arbitrary``), drawn by the step and the example's place. The batch's mean is over all positive pairs.

    The gate knows classes alone: nothing of it reaches a class that it was not trained with, and it is dropped after
    training. Without it texts of arbitrary classes cannot be positives (the authors: 25 instead of 90). An anchor is no
    positive of itself here; in the authors' code it may be (`with_itself`). Views of one text share their second class;
    texts known to match are no negatives.

    Args:
        classes: size of the label set; labels are 0 .. classes - 1.
        pairs: identical, permutation or arbitrary.
        scale: of the logits, 1 / temperature.
        hidden: width of net, two linear layers with a ReLU, behind class vectors of that size; None: none, and class
            vectors of the embeddings' size. The authors' net has batch norms too, which would tie rows together.
        with_itself: keep an anchor among its own positives.

    Raises:
        DataError: no labels, one outside the set, or explicit negatives.
    """

    def __init__(
        self,
        classes: int,
        pairs: Literal["identical", "permutation", "arbitrary"] = "arbitrary",
        scale: float = 10.0,
        hidden: int | None = 512,
        with_itself: bool = False,
    ) -> None:
        super().__init__()
        self.classes, self.pairs, self.scale = classes, pairs, scale
        self.hidden, self.with_itself = hidden, with_itself

    def setup(self, dim: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.vectors = nn.Parameter(torch.randn(self.classes, self.hidden or dim, generator=generator))
        if self.hidden is not None:
            layers = [
                linear(self.hidden, self.hidden, generator, bias=True),
                linear(self.hidden, dim, generator, bias=True),
            ]
            self.net: nn.Module = nn.Sequential(layers[0], nn.ReLU(), layers[1])
        else:
            self.net = nn.Identity()

    def columns(self, e: Embeddings) -> int:
        return (1 + e.positive.shape[1]) ** 2 * len(e)

    def partners(self, e: Embeddings, labels: Tensor) -> Tensor:
        """[N] second classes."""
        if self.pairs == "identical":
            return labels
        rng = np.random.default_rng([_PARTNERS, e.step])
        if self.pairs == "permutation":
            return labels[torch.from_numpy(rng.permutation(len(e))).to(labels.device)]
        score = torch.from_numpy(rng.random((len(e), len(e)))).to(labels.device)
        other = labels[:, None] != labels
        drawn = labels[score.masked_fill(~other, -1.0).argmax(1)]
        return torch.where(other.any(1), drawn, labels)  # a batch of one class has no other

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        no_negatives(e, "simlap")
        labels = self._labels(e)
        views, second = Views(e, rows), self.partners(e, labels)
        with torch.autocast(e.query.device.type, enabled=False):
            mean = (self.vectors[labels[rows]] + self.vectors[second[rows]]) / 2
            gates = torch.sigmoid(self.net(mean)).repeat_interleave(views.count, 0).to(views.vectors.dtype)
        every = views.vectors.flatten(0, 1)
        logits = self.scale * gated_cosine(views.vectors[rows].flatten(0, 1), gates, every)
        own, wanted = labels[rows, None] == labels, second[rows, None] == labels
        positive = views.spread(wanted) & (views.other | self.with_itself)
        negative = views.spread(~own & ~wanted) & ~views.alike(None)
        rest = log_sum_exp(logits, negative)[:, None]
        loss = (torch.logaddexp(logits, rest) - logits).masked_fill(~positive, 0.0).view(len(rows), -1).sum(1)
        count = positive.view(len(rows), -1).sum(1)
        metrics = {
            "positive_similarity": mean_where(logits.detach() / self.scale, positive),
            "positives": count.to(loss.dtype).mean(),
            "gate": gates.detach().mean(),
        }
        return LossOut(loss / count.clamp_min(1), example_weight(e, rows) * count, metrics)

    def _labels(self, e: Embeddings) -> Tensor:
        labels = needs_labels(e, "simlap")
        if bool(((labels < 0) | (labels >= self.classes)).any()):
            raise DataError(
                f"objective 'simlap' has {self.classes} classes, and the batch a label {int(labels.max())}",
                where="objective.classes",
                cure="set it to the number of classes",
            )
        return labels
