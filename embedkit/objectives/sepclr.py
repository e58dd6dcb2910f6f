"""SepCLR: common and salient coordinates of two corpora."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.errors import DataError, RecipeError
from embedkit.objectives.base import Objective, no_weight, one_positive, upcast
from embedkit.objectives.logits import unit
from embedkit.objectives.uniformity import log_potential, square_distances, unlike_pairs
from embedkit.objectives.views import needs_labels, no_negatives
from embedkit.types import Embeddings, LossOut


class SepCLR(Objective):
    """SepCLR (arXiv 2402.11928): patterns that all texts share apart from those of the target texts alone.

    Label 0 is background, 1 target. Of each view, all coordinates but the last `salient` are c, brought to length 1;
    those are s, as they are; s' is s with zeros for the background. With distances divided by 2 tau::

        align(x, y) = mean |x_i - y_i|^2;     unif(x) = log mean over i < j of e^(-|x_i - x_j|^2)
        common   = align(c1, c2) + unif(c1) + unif(c2)
        salient  = align(s1, s2 over targets) + unif(s1') + unif(s2')
        infoless = (mean |s1|^2 + mean |s2|^2, over the background) / 2
        jem      = mean over views and i of log mean over j of e^(-|c_i - c_j|^2 - |s'_i - s'_j|^2)
        loss     = common + salient_weight salient + infoless_weight infoless + jem_weight jem

    jem is minus an estimate of the joint entropy, with i itself among j. All background rows coincide in unif(s'),
    which bounds it from below. A term over texts that the batch has none of is 0: sample both kinds.

    Args:
        salient: coordinates of s.
        tau: see above.
        salient_weight, infoless_weight, jem_weight: factors; the authors' for digits on images, choose them anew.

    Raises:
        DataError: not one positive per example, other labels than 0 and 1, explicit negatives or example weights.
        RecipeError: no coordinate is left for c.
    """

    scope = "batch"

    def __init__(
        self,
        salient: int = 32,
        tau: float = 0.5,
        salient_weight: float = 1000.0,
        infoless_weight: float = 1000.0,
        jem_weight: float = 10.0,
    ) -> None:
        super().__init__()
        self.salient, self.t = salient, 1 / (2 * tau)
        self.weights = {"salient": salient_weight, "infoless": infoless_weight, "jem": jem_weight}

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        parts = self.parts(e)
        value = parts["common"] + sum(weight * parts[name] for name, weight in self.weights.items())
        return LossOut(torch.as_tensor(value), None, {name: part.detach() for name, part in parts.items()})

    def parts(self, e: Embeddings) -> dict[str, Tensor]:
        """The four terms, scalars."""
        target, pairs = self._targets(e), unlike_pairs(e)
        (c1, s1), (c2, s2) = (self._split(x) for x in (e.query, one_positive(e, "sepclr")))
        kept = target.to(s1.dtype)[:, None]
        moved = (s1 - s2).square().sum(1)
        return {
            "common": self.t * (c1 - c2).square().sum(1).mean() + self._uniform(c1, pairs) + self._uniform(c2, pairs),
            "salient": self.t * _mean(moved, target)
            + self._uniform(s1 * kept, pairs)
            + self._uniform(s2 * kept, pairs),
            "infoless": self.t * _mean(s1.square().sum(1) + s2.square().sum(1), ~target) / 2,
            "jem": (self._joint(c1, s1 * kept) + self._joint(c2, s2 * kept)) / 2,
        }

    def _uniform(self, x: Tensor, pairs: Tensor) -> Tensor:
        return log_potential(x, self.t, pairs)

    def _joint(self, c: Tensor, s: Tensor) -> Tensor:
        logits = -self.t * (square_distances(c, c) + square_distances(s, s))
        return (logits.logsumexp(1) - torch.log(logits.new_tensor(float(len(c))))).mean()

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.salient >= x.shape[1]:
            what = f"{self.salient} salient coordinates of {x.shape[1]} leave none for the common part"
            raise RecipeError(what, "objective.salient", "lower it")
        x = upcast(x)
        return unit(x[:, : -self.salient]), x[:, -self.salient :]

    def _targets(self, e: Embeddings) -> Tensor:
        """[N] bool, whether an example is a target."""
        no_weight(e, "sepclr")
        no_negatives(e, "sepclr")
        label = needs_labels(e, "sepclr")
        if bool(((label != 0) & (label != 1)).any()):
            what = f"objective 'sepclr' knows labels 0 (background) and 1 (target), got {int(label.max())}"
            raise DataError(what, where="label", cure="write 0 and 1")
        return label == 1


def _mean(x: Tensor, chosen: Tensor) -> Tensor:
    """Scalar mean of `x` where `chosen`, 0 where nothing is."""
    return torch.where(chosen, x, 0.0).sum() / chosen.sum().clamp_min(1)
