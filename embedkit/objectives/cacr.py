"""Contrastive attraction and repulsion: costs of pairs, weighed by how bad they are."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from embedkit.errors import RecipeError
from embedkit.objectives.base import Objective, example_weight
from embedkit.objectives.logits import log_sum_exp, products, unit
from embedkit.objectives.views import Views, matching, needs_positives, no_negatives, stacked
from embedkit.types import Embeddings, LossOut


def weights(logits: Tensor, mask: Tensor, constant: bool) -> Tensor:
    """Softmax over the last dimension among the places where `mask` is True; zeros where none is."""
    found = torch.softmax(logits.masked_fill(~mask, torch.finfo(logits.dtype).min), -1) * mask
    return found.detach() if constant else found


class CACR(Objective):
    """Contrastive attraction and contrastive repulsion (arXiv 2105.03746) among the V views of a text, unit vectors.

    With the cost ``c(x, y) = |x - y|^2``, the loss of text i is ``alpha A_i + beta R_i``::

        A_i = mean over views k of sum over views m != k of w_m c(x_ki, x_mi)          w = softmax over m of t_pos c
        R_i = - mean over views k < m of sum over texts j != i of w_j c(x_ki, x_mj)    w = softmax over j of -t_neg c

    Far positives are pulled more, near negatives pushed more. With two views there is one positive, its weight is 1 and
    the attraction is the mean squared distance: made for three views or more. t_neg acts on squared distances; it is
    the inverse of a temperature of 1 / (2 t_neg) on cosines, so 10 compares with 0.05. Texts known to match are not
    pushed apart; a text without any other has no repulsion.

    Args:
        positive_sharpness, negative_sharpness: t_pos, t_neg.
        attraction, repulsion: alpha, beta.
        detach_weights: take w as constants (the authors' large-scale code); their small-scale code does not.

    Raises:
        DataError: the batch has no positives, or explicit negatives.
    """

    def __init__(
        self,
        positive_sharpness: float = 1.0,
        negative_sharpness: float = 1.0,
        attraction: float = 1.0,
        repulsion: float = 1.0,
        detach_weights: bool = False,
    ) -> None:
        super().__init__()
        self.positive_sharpness, self.negative_sharpness = positive_sharpness, negative_sharpness
        self.attraction, self.repulsion, self.detach_weights = attraction, repulsion, detach_weights

    def columns(self, e: Embeddings) -> int:
        return (1 + e.positive.shape[1]) ** 2 * len(e)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        needs_positives(e, "cacr")
        no_negatives(e, "cacr")
        views, m, n = Views(e, rows), len(rows), len(e)
        v = views.count
        cost = 2 - 2 * views.cosine.view(m, v, n, v)
        own = cost[torch.arange(m, device=rows.device), :, rows]  # [m, V, V]
        twins = ~torch.eye(v, dtype=torch.bool, device=rows.device).expand_as(own)
        pull = weights(self.positive_sharpness * own, twins, self.detach_weights)
        attraction = (pull * own).sum(2).mean(1)
        first, second = torch.triu_indices(v, v, 1, device=rows.device)
        across = cost[:, first, :, second].transpose(0, 1)  # [m, V (V - 1) / 2, N]
        other = ~matching(e, rows)[:, None].expand_as(across)
        push = weights(-self.negative_sharpness * across, other, self.detach_weights)
        repulsion = -(push * across).sum(2).mean(1)
        metrics = {"attraction": attraction.detach().mean(), "repulsion": repulsion.detach().mean()}
        value = self.attraction * attraction + self.repulsion * repulsion
        return LossOut(value, example_weight(e, rows), metrics)


class CACRKeys(Objective):
    """CACR against the keys of a slowly moving copy of the encoder, as in the authors' large-scale code.

    Each of the first `keys` views is the key k in turn, all other views are queries q, weighed among themselves by
    ``w = softmax over queries of |q_i - k_i|^2 / T``, a constant; then the mean over keys. Unit vectors::

        rbf:       sum over queries of 2 T w [ log sum over j of e^(q_i k_j / T) - q_i k_i / T ]
        euclidean: sum over queries of w [ (1 - q_i k_i) - sum over j != i of u_j (1 - q_i k_j) ]

    with ``u = softmax over j of (q_i k_j - 1) / T``, a constant. rbf is InfoNCE whose views weigh the more the worse
    they are. The authors' code adds up the euclidean form over the batch; here it is a mean, as rbf. Texts known to
    match are left out; a text without any other counts nothing.

    Args:
        cost: rbf or euclidean.
        temperature: T.
        keys: how many views are keys in turn; at most V.
        momentum: of the encoder's copy that embeds the keys; None: the encoder itself, as constants.

    Raises:
        DataError: the batch has no positives, or explicit negatives.
        RecipeError: a copy is asked for and the step has none.
    """

    def __init__(
        self,
        cost: Literal["rbf", "euclidean"] = "rbf",
        temperature: float = 1.0,
        keys: int = 2,
        momentum: float | None = 0.99,
    ) -> None:
        super().__init__()
        self.cost, self.temperature, self.keys, self.momentum = cost, temperature, keys, momentum

    def columns(self, e: Embeddings) -> int:
        return (1 + e.positive.shape[1]) * len(e)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        needs_positives(e, "cacr_keys")
        no_negatives(e, "cacr_keys")
        x, fixed = stacked(e)[rows], self._keys(e)
        v = x.shape[1]
        other = ~matching(e, rows)
        losses = []
        for key in range(min(self.keys, v)):
            queries = x[:, [k for k in range(v) if k != key]]  # [m, V - 1, d]
            own = (queries * fixed[rows, key, None]).sum(-1)  # [m, V - 1]
            weight = torch.softmax((2 - 2 * own.detach()) / self.temperature, 1)
            every = products(queries.flatten(0, 1), fixed[:, key]).view(len(rows), v - 1, -1)
            losses.append((weight * self._losses(own, every, other)).sum(1))
        metrics = {"positive_similarity": (x[:, 1:] * fixed[rows, :1]).sum(-1).detach().mean()}
        return LossOut(torch.stack(losses).mean(0), example_weight(e, rows) * other.any(1), metrics)

    def _keys(self, e: Embeddings) -> Tensor:
        """[N, V, d] unit vectors, constants."""
        if self.momentum is None:
            return stacked(e).detach()
        if e.target is None:
            raise RecipeError("objective 'cacr_keys' asks a copy of the encoder", "momentum", "set momentum: null")
        return stacked(e.target).to(unit(e.query[:0]).dtype)

    def _losses(self, own: Tensor, every: Tensor, other: Tensor) -> Tensor:
        """[m, Q] losses of the queries.

        Args:
            own: [m, Q] cosines with the own key.
            every: [m, Q, N] cosines with all keys.
            other: [m, N] keys that are to be pushed away.
        """
        t = self.temperature
        if self.cost == "euclidean":
            cost = 1 - every
            push = weights(-cost / t, other[:, None].expand_as(cost), constant=True)
            return (1 - own) - (push * cost).sum(2)
        mask = other.repeat_interleave(own.shape[1], 0)
        rest = log_sum_exp(every.flatten(0, 1) / t, mask).view_as(own)
        return 2 * t * torch.logaddexp(torch.zeros_like(own), rest - own / t)
