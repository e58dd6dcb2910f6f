"""Batch heads: layers over the whole gathered batch, between the encoder and the objective."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from embedkit.errors import RecipeError, TrainingError
from embedkit.objectives.base import BatchHead
from embedkit.objectives.layers import linear

_ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "gelu": functional.gelu, "identity": torch.clone}


def _place(rows: Tensor, present: Tensor) -> Tensor:
    """Rows [R, d] where `present` [N, S] is True, zeros elsewhere: [N, S, d]."""
    out = rows.new_zeros(*present.shape, rows.shape[-1])
    return out.masked_scatter(present[..., None], rows)


class MLP(BatchHead):
    """``act(W x + b)`` of every row, W drawn from N(0, 0.02), b = 0: SimCSE's head, behind other batch heads.

    Args:
        dim: output size; the input's when None.
        activation: tanh, relu, gelu or identity.
    """

    def __init__(
        self, dim: int | None = None, activation: Literal["tanh", "relu", "gelu", "identity"] = "tanh"
    ) -> None:
        super().__init__()
        self.dim, self.activation = dim, activation

    def setup(self, dim: int, seed: int) -> int:
        self.linear = linear(dim, self.dim or dim, torch.Generator().manual_seed(seed), bias=True)
        return self.linear.out_features

    def forward(self, values: Tensor, present: Tensor, seed: int) -> Tensor:
        return _place(_ACTIVATIONS[self.activation](self.linear(values[present])), present)


class BatchNormProjector(BatchHead):
    """Linear, batch norm, ReLU, Linear, batch norm without scale and shift; the linear layers have no bias.

    DiffCSE's projector (arXiv 2204.10298; voidism/DiffCSE, ProjectionMLP). All texts of the batch, whatever their slot,
    are one batch for the norms (biased variance, eps 1e-5). There are no running statistics: the head is not used at
    test.

    Args:
        hidden: size between the layers; twice the input when None.
        dim: output size; the input's when None.
    """

    def __init__(self, hidden: int | None = None, dim: int | None = None) -> None:
        super().__init__()
        self.hidden, self.dim = hidden, dim

    def setup(self, dim: int, seed: int) -> int:
        generator = torch.Generator().manual_seed(seed)
        hidden = self.hidden or 2 * dim
        self.first = linear(dim, hidden, generator, bias=False)
        self.scale, self.shift = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.zeros(hidden))
        self.second = linear(hidden, self.dim or dim, generator, bias=False)
        return self.second.out_features

    def forward(self, values: Tensor, present: Tensor, seed: int) -> Tensor:
        x = self.first(values[present])
        if len(x) < 2:
            raise TrainingError(
                "batch norm needs two texts or more in a batch", where="heads", cure="raise train.batch_size"
            )
        x = functional.batch_norm(x, None, None, self.scale, self.shift, training=True)
        x = functional.batch_norm(self.second(x.relu()), None, None, training=True)
        return _place(x, present)


def group_whitening(
    x: Tensor, order: Tensor, groups: int, *, eps: float = 0.0, gradient: Literal["detached", "attached"] = "detached"
) -> Tensor:
    """ZCA whitening of groups of coordinates.

    The coordinates in `order` are cut into `groups` consecutive groups; each is centred over the rows and multiplied
    by ``W = U (L + eps)^(-1/2) U^T`` of its covariance ``X^T X / B = U L U^T`` (biased); then the order is undone.

    With ``attached`` the gradient of W is ``dW = U (F * (U^T dC U)) U^T``, ``F_ij = -1 / (a_i a_j (a_i + a_j))``,
    ``a = (L + eps)^(1/2)``: the derivative of the inverse square root itself, in which, unlike in that of the
    eigenvectors, no difference of eigenvalues is divided by.

    Args:
        x: [B, D].
        order: [D] a permutation.
        groups: number of groups; divides D.
        eps: added to the eigenvalues.
        gradient: whether W is a constant.

    Raises:
        TrainingError: a covariance is singular (eps 0, and too few rows or a constant coordinate).
    """
    rows, dim = x.shape
    cut = x[:, order].view(rows, groups, -1).transpose(0, 1)  # [G, B, D / G]
    cut = cut - cut.mean(1, keepdim=True)
    covariance = cut.mT @ cut / rows
    values, vectors = torch.linalg.eigh(covariance.detach())
    root = (values + eps).clamp_min(0.0).sqrt()
    if not bool((root > 0).all()):
        raise TrainingError(
            f"a group's covariance over {rows} rows is singular, it cannot be whitened",
            where="heads.shuffled_group_whitening",
            cure="set eps (1e-5), raise train.batch_size, or use more groups",
        )
    matrix = vectors / root[:, None] @ vectors.mT
    if gradient == "attached":
        factor = -1 / (root[:, :, None] * root[:, None] * (root[:, :, None] + root[:, None]))
        change = covariance - covariance.detach()  # zero, but for its gradient
        matrix = matrix + vectors @ (factor * (vectors.mT @ change @ vectors)) @ vectors.mT
    white = (cut @ matrix).transpose(0, 1).reshape(rows, dim)
    return white[:, order.argsort()]


class ShuffledGroupWhitening(BatchHead):
    """`group_whitening` of each view over the batch, its coordinates shuffled anew in every step.

    WhitenedCSE (arXiv 2305.17746). The released code lays rows out so that it whitens groups of sentences with one
    permutation for all their views; here, as in the paper, each view is whitened over the batch with a permutation of
    its own. Slots are the views: 0 the query, then positives, then explicit negatives.

    Args:
        groups: of coordinates; must divide the embedding size.
        eps: added to the eigenvalues of the covariance.
        permutation: per_view or shared.
        gradient: detached (released code) or attached.

    Raises:
        RecipeError: `groups` does not divide the embedding size.
    """

    def __init__(
        self,
        groups: int = 128,
        eps: float = 1e-5,
        permutation: Literal["per_view", "shared"] = "per_view",
        gradient: Literal["detached", "attached"] = "detached",
    ) -> None:
        super().__init__()
        self.groups, self.eps, self.permutation, self.gradient = groups, eps, permutation, gradient

    def setup(self, dim: int, seed: int) -> int:
        if dim % self.groups:
            raise RecipeError(
                f"{self.groups} groups do not divide embeddings of size {dim}",
                where="heads.shuffled_group_whitening.groups",
                cure=f"use a divisor of {dim}, e.g. {_divisor(dim)}",
            )
        return dim

    def orders(self, dim: int, views: int, seed: int) -> Tensor:
        """[S, dim] the permutation of each view."""
        generator = torch.Generator().manual_seed(seed)
        drawn = [torch.randperm(dim, generator=generator) for _ in range(1 if self.permutation == "shared" else views)]
        return torch.stack(drawn).expand(views, dim)

    def forward(self, values: Tensor, present: Tensor, seed: int) -> Tensor:
        orders = self.orders(values.shape[2], values.shape[1], seed).to(values.device)
        views = []
        for view, order, here in zip(values.unbind(1), orders, present.unbind(1), strict=True):
            rows = view[here]
            white = (
                group_whitening(rows, order, self.groups, eps=self.eps, gradient=self.gradient) if len(rows) else rows
            )
            views.append(_place(white, here))
        return torch.stack(views, 1)


def _divisor(dim: int) -> int:
    """The largest divisor that leaves groups of four coordinates or more."""
    return max(g for g in range(1, dim + 1) if dim % g == 0 and (dim // g >= 4 or g == 1))
