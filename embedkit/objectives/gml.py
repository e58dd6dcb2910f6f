"""Logit-adjusted contrast of classes: GML."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from embedkit.errors import DataError
from embedkit.objectives.base import Objective, example_weight
from embedkit.objectives.companions import Pools, Table
from embedkit.objectives.logits import log_sum_exp, products, unit
from embedkit.objectives.views import needs_labels, no_negatives, stacked
from embedkit.types import Embeddings, LossOut


def class_logits(logits: Tensor, usable: Tensor, place: Tensor, classes: int) -> Tensor:
    """[m, C] log of the mean exponential over the usable keys of each class; -inf where a class has none.

    Args:
        logits: [m, K] of the keys.
        usable: [m, K] bool.
        place: [K] class of each key, in 0..C-1.
        classes: C.
    """
    kept = logits.masked_fill(~usable, -torch.inf)
    index = place.expand_as(kept)
    top = kept.detach().new_full((len(kept), classes), -torch.inf).scatter_reduce(1, index, kept.detach(), "amax")
    top = torch.where(top.isneginf(), 0.0, top)
    total = torch.zeros_like(top).scatter_add(1, index, (kept - top.gather(1, index)).exp())
    count = torch.zeros_like(top).scatter_add(1, index, usable.to(top.dtype))
    there = count > 0
    found = torch.where(there, total, 1.0).log() + top - count.clamp_min(1).log()
    return found.masked_fill(~there, -torch.inf)


class GML(Objective):
    """The contrastive part of GML (ICML 2023; bluecdm/Long-tailed-recognition): logit-adjusted contrast of classes.

    ``l_ic = log mean over keys j of class c of e^(q_i k_j / t) + log pi_c``, ``loss_i = -log softmax(l_i)_(y_i)``, unit
    vectors, pi the share of class c in the training data. Keys are the other views of the batch and the `pool` newest
    texts of each class, constants; the authors have a queue of a slowly moving copy. A class without a key is left out
    (0 / 0 in the code); a row whose own class has none does not count.

    With a learned t there are two such losses: one with t as a constant, which trains the embeddings, and one with the
    embeddings as constants, which trains log t and leaves the row's own views out of the keys. The value is their sum.
    The authors' classifier and its distillation are not part of it.

    Args:
        temperature: t.
        learn_temperature, temperature_bounds: see above.
        pool: texts remembered per class.
        prior: texts of each class; None counts those of all batches so far.

    Raises:
        DataError: no labels, explicit negatives, or a label beyond `prior`.
    """

    remembers = True

    def __init__(
        self,
        temperature: float = 0.1,
        learn_temperature: bool = True,
        temperature_bounds: tuple[float, float] = (0.01, 1.0),
        pool: int = 0,
        prior: tuple[float, ...] | None = None,
    ) -> None:
        super().__init__()
        self.temperature, self.prior = temperature, prior
        self.bounds = math.log(temperature_bounds[0]), math.log(temperature_bounds[1])
        start = torch.tensor(math.log(temperature))
        self.log_temperature = nn.Parameter(start) if learn_temperature else None
        self.memory = Pools(pool) if pool else None
        self.counts = Table()

    def columns(self, e: Embeddings) -> int:
        return len(e) * (1 + e.positive.shape[1]) + (0 if self.memory is None else len(self.memory))

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        no_negatives(e, "gml")
        label, views = needs_labels(e, "gml"), stacked(e)
        n, count = views.shape[:2]
        key, classes = views.flatten(0, 1), label.repeat_interleave(count)
        owner = torch.arange(n, device=rows.device).repeat_interleave(count)
        itself = torch.arange(n * count, device=rows.device) == rows[:, None] * count
        if self.memory is not None and len(self.memory):
            key = torch.cat([key, unit(self.memory.vector.to(key))])
            classes = torch.cat([classes, self.memory.label])
            itself = nn.functional.pad(itself, (0, len(self.memory)), value=False)
            owner = nn.functional.pad(owner, (0, len(self.memory)), value=-1)
        known, place = classes.unique(return_inverse=True)
        own = torch.searchsorted(known, label[rows])
        log_prior = self._log_prior(known, label, views.dtype)
        value, has = self.contrast(products(views[rows, 0], key), place, own, log_prior, itself, owner == rows[:, None])
        metrics = {"classes": float(len(known))}
        if self.log_temperature is not None:
            metrics["temperature"] = float(self.log_temperature.detach().exp())
        return LossOut(value, example_weight(e, rows) * has, metrics)

    def contrast(
        self, cosine: Tensor, place: Tensor, own: Tensor, log_prior: Tensor, itself: Tensor, same: Tensor
    ) -> tuple[Tensor, Tensor]:
        """[m] the loss, and [m] whether the row's class has a key.

        Args:
            cosine: [m, K] of queries and keys.
            place: [K] classes of the keys, in 0..C-1.
            own: [m] class of the queries.
            log_prior: [C] log pi.
            itself: [m, K] keys that are the query.
            same: [m, K] keys that are of its example.
        """
        if self.log_temperature is None:
            return _cross_entropy(cosine / self.temperature, ~itself, place, own, log_prior)
        with torch.no_grad():
            self.log_temperature.clamp_(*self.bounds)
        t = self.log_temperature.exp()
        value, has = _cross_entropy(cosine / t.detach(), ~itself, place, own, log_prior)
        learned, _ = _cross_entropy(cosine.detach() / t, ~(itself | same), place, own, log_prior)
        return value + learned, has

    def _log_prior(self, known: Tensor, label: Tensor, dtype: torch.dtype) -> Tensor:
        """[C] of the classes `known`, ascending; by the batches so far and this one where none is given."""
        if self.prior is not None:
            if bool((known >= len(self.prior)).any()) or bool((known < 0).any()):
                raise DataError(
                    f"objective 'gml' has a prior of {len(self.prior)} classes and meets label {int(known.max())}",
                    where="objective.prior",
                    cure="give one number per class, by the labels' order, or null: they are counted",
                )
            share = torch.tensor(self.prior, dtype=dtype, device=known.device)
            return (share / share.sum()).log()[known]
        past, _ = self.counts.find(known, torch.zeros(1, dtype=dtype, device=known.device))
        seen = past[:, 0] + (label[:, None] == known).sum(0)
        return (seen / seen.sum()).log()

    @torch.no_grad()
    def remember(self, e: Embeddings) -> None:
        label = needs_labels(e, "gml")
        if self.memory is not None:
            self.memory.push(unit(e.query), label)
        if self.prior is None:
            known, count = label.unique(return_counts=True)
            past, _ = self.counts.find(known, torch.zeros(1, device=known.device))
            self.counts.put(known, past + count[:, None])


def _cross_entropy(
    logits: Tensor, usable: Tensor, place: Tensor, own: Tensor, log_prior: Tensor
) -> tuple[Tensor, Tensor]:
    """[m] ``-log softmax(class logits + log_prior)_own``, 0 where that class has no key; [m] whether it has one."""
    found = class_logits(logits, usable, place, len(log_prior)) + log_prior.to(logits)
    there = ~found.isneginf()
    has = there.gather(1, own[:, None])[:, 0]
    mine = found.masked_fill(~there, 0.0).gather(1, own[:, None])[:, 0]
    total = log_sum_exp(found, there)
    return torch.where(has, torch.where(has, total, 0.0) - mine, 0.0), has
