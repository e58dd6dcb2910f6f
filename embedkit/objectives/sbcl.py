"""Subclass-balancing contrast for long tails: SBCL."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from embedkit.objectives.base import Objective, example_weight, mean_where
from embedkit.objectives.companions import Table
from embedkit.objectives.logits import log_sum_exp, products, unit
from embedkit.objectives.views import Views, itself, needs_labels, no_negatives
from embedkit.types import Embeddings, LossOut

ROUNDS = 10
"""Of k-means; ours, the authors' number is not stated."""
SMOOTHING = 10
"""Added to a class's size in the logarithm of its concentration."""
CLIP = 0.2, 0.8
"""Quantiles that concentrations are clipped to."""


def spherical_kmeans(x: Tensor, clusters: int, generator: torch.Generator) -> Tensor:
    """[n] cluster of each unit row of x [n, d], by cosine: Lloyd's steps from rows that are drawn.

    Sums are products with one-hot matrices, which give every process the same bits.
    """
    centre = x[torch.randperm(len(x), generator=generator)[:clusters].to(x.device)]
    found = products(x, centre).argmax(1)
    for _ in range(ROUNDS):
        sums = products(torch.nn.functional.one_hot(found, clusters).to(x).T, x.T)
        centre = torch.where((sums != 0).any(1, keepdim=True), unit(sums), centre)
        found = products(x, centre).argmax(1)
    return found


class SBCL(Objective):
    """SBCL (arXiv 2306.15925): each class of labels is cut into subclasses of about equal size, which are contrasted.

    Over all views r, y their class and q their subclass, t the temperature::

        loss_r = t / base * SupCon_r(q; t) + gamma * second_r
        ccl:   second_r = SupCon_r(y; t)
        rank:  second_r = -mean over B_r of [ c_rb / t_y - log sum over B_r and other subclasses j of e^(c_rj / t_y) ]

    B_r are the texts of the class in other subclasses and the anchor's own other views; the denominator has everything
    outside the anchor's subclass, and these views. ``t_y = t * phi_y / mean phi``, ``phi_y = mean |f - centre of y| /
    log(n_y + 10)`` clipped to its quantiles 0.2 and 0.8 over the classes; t for a class of one subclass.

    The embedding of every text is remembered by its id. Every `every` steps a class of n texts is clustered by cosine
    into ``n / max(smallest, size of the smallest class)`` subclasses. Texts of a class that were not clustered yet are
    a subclass of their own and have no second term: so the run begins as SupCon. A view without a positive counts
    nothing.

    Args:
        temperature: t.
        base_temperature: base.
        gamma: factor of the second term.
        variant: rank or ccl.
        smallest: texts of a subclass at least.
        every: steps between clusterings (the authors: 10 epochs).

    Raises:
        DataError: no labels, or explicit negatives.
    """

    remembers = True

    def __init__(
        self,
        temperature: float = 0.1,
        base_temperature: float = 0.07,
        gamma: float = 0.25,
        variant: Literal["rank", "ccl"] = "rank",
        smallest: int = 10,
        every: int = 200,
    ) -> None:
        super().__init__()
        self.temperature, self.factor, self.gamma = temperature, temperature / base_temperature, gamma
        self.variant, self.smallest, self.every = variant, smallest, every
        self.texts, self.assigned = Table(), Table()  # label and vector; subclass and temperature

    def columns(self, e: Embeddings) -> int:
        views = 1 + e.positive.shape[1]
        return views * views * len(e)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        no_negatives(e, "sbcl")
        label, views = needs_labels(e, "sbcl"), Views(e, rows)
        found, met = self.assigned.find(e.query_id, views.cosine.new_zeros(2))
        subclass = torch.where(met, found[:, 0].long(), -1 - _place(label))
        alike = views.spread(subclass[rows, None] == subclass)
        logits = views.cosine / self.temperature
        first, has = _attracted(logits, alike & views.other, views.other)
        same = views.spread(label[rows, None] == label)
        clustered = met[rows].repeat_interleave(views.count)
        if self.variant == "ccl":
            second, more = _attracted(logits, same & views.other, views.other)
        else:
            own = views.spread(itself(e, rows)) & views.other
            scale = found[rows, 1].repeat_interleave(views.count)
            scale = torch.where(clustered, scale, self.temperature)
            second, more = _attracted(views.cosine / scale[:, None], (same & ~alike) | own, ~alike | own)
        more = more & clustered
        value, share = views.mean(self.factor * first + self.gamma * second.masked_fill(~more, 0.0), has | more)
        metrics = {
            "positive_similarity": mean_where(views.cosine.detach(), alike & views.other),
            "clustered": met[rows].to(value.dtype).mean(),
        }
        return LossOut(value, example_weight(e, rows) * share, metrics)

    @torch.no_grad()
    def remember(self, e: Embeddings) -> None:
        label = needs_labels(e, "sbcl")
        text, inverse = e.query_id.unique(return_inverse=True)
        first = torch.full_like(text, len(e)).scatter_reduce(0, inverse, torch.arange(len(e)).to(text), "amin")
        vector = unit(e.query)
        self.texts.put(text, torch.cat([label[first, None].to(vector), vector[first]], 1))
        if (e.step + 1) % self.every == 0:
            self.cluster(e.step)

    def cluster(self, seed: int) -> None:
        """Cut every class of the remembered texts into subclasses."""
        label, vector = self.texts.value[:, 0].long(), self.texts.value[:, 1:]
        classes, count = label.unique(return_counts=True)
        size = max(self.smallest, int(count.min()))
        subclass, begin = torch.zeros_like(label), 0
        spread = vector.new_zeros(len(classes))
        for k, (one, many) in enumerate(zip(classes.tolist(), count.tolist(), strict=True)):
            own = label == one
            parts = max(1, many // size)
            generator = torch.Generator().manual_seed(seed)
            subclass[own] = begin + spherical_kmeans(vector[own], parts, generator)
            begin += parts
            away = vector[own] - vector[own].mean(0)
            spread[k] = away.norm(dim=1).mean() / torch.log(vector.new_tensor(float(many + SMOOTHING)))
        temperature = self._temperatures(spread, count // size)
        self.assign(self.texts.text, subclass, temperature[torch.searchsorted(classes, label)])

    def assign(self, text: Tensor, subclass: Tensor, temperature: Tensor) -> None:
        """Say of which subclass, numbered over all classes, the texts [n] are, and the temperature of their class."""
        self.assigned.put(text, torch.stack([subclass.to(temperature), temperature], 1))

    def _temperatures(self, spread: Tensor, parts: Tensor) -> Tensor:
        """[C] of the classes, from their concentration."""
        low, high = torch.quantile(spread, spread.new_tensor(CLIP))
        phi = spread.clamp(low, high)
        mean = phi.mean().clamp_min(torch.finfo(phi.dtype).tiny)
        scaled = self.temperature * phi / mean
        return torch.where((parts > 1) & (scaled > 0), scaled, self.temperature)


def _place(label: Tensor) -> Tensor:
    """[N] labels as places 0, 1, ... among the different ones."""
    return label.unique(return_inverse=True)[1]


def _attracted(logits: Tensor, positive: Tensor, candidate: Tensor) -> tuple[Tensor, Tensor]:
    """[a] ``-mean over positives of log softmax over candidates``, 0 where there is none; [a] whether there is one."""
    count = positive.sum(1)
    has = count > 0
    total = log_sum_exp(logits, candidate)
    pulled = logits.masked_fill(~positive, 0.0).sum(1) / count.clamp_min(1)
    return torch.where(has, torch.where(has, total, 0.0) - pulled, 0.0), has
