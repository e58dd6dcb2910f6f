"""The spread-out term: unlike texts are pushed towards right angles."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from embedkit.errors import DataError
from embedkit.objectives.base import Objective, example_weight
from embedkit.objectives.logits import prepare, products, same_text
from embedkit.recipe.objectives.contrastive import Similarity
from embedkit.types import Embeddings, LossOut


class SpreadOut(Objective):
    """``mean_{i != j} cos(q_i, q_j)^2 + mean_{i != j} cos(p_i, p_j)^2`` (EmbeddingGemma, arXiv 2509.20354, eq. 4).

    The second moment of uniformly spread vectors is 1 / d. sentence-transformers'
    GlobalOrthogonalRegularizationLoss has a hinge there, ``relu(moment - 1 / d)`` a side, and no gradient below;
    here, as in the paper, there is none. Texts that are equal are not pushed apart, and a row's positives are not
    pushed from each other. The row's value is its own mean, so a row without any other text counts nothing.

    Args:
        of: both sides added, or one of them.
        similarity: cos, or dot products of the embeddings as they are.

    Raises:
        DataError: documents are asked for and the batch has no positives.
    """

    def __init__(self, of: Literal["both", "query", "document"] = "both", similarity: Similarity = "cos") -> None:
        super().__init__()
        self.of = of
        self.similarity: Similarity = similarity

    def columns(self, e: Embeddings) -> int:
        return max(len(e), len(e) * e.positive.shape[1] ** 2)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        sides = []
        if self.of != "document":
            sides.append(_moment(prepare(e.query[:, None], self.similarity), e.query_id[:, None], rows))
        if self.of != "query":
            if e.positive.shape[1] == 0:
                raise DataError(
                    "objective 'spread_out' has no documents to spread out",
                    where="positive",
                    cure="give the source a positive column, or set of: query",
                )
            sides.append(_moment(prepare(e.positive, self.similarity), e.positive_id, rows))
        value = torch.stack([moment for moment, _ in sides]).sum(0)
        has = torch.stack([has for _, has in sides]).any(0)
        return LossOut(value, example_weight(e, rows) * has, {"second_moment": value.detach().mean() / len(sides)})


def _moment(z: Tensor, ids: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """[m] mean squared similarity of the rows' texts to those of other rows; [m] whether there is any.

    Args:
        z: [N, P, d], such that the similarity is a dot product.
        ids: [N, P] of the texts.
        rows: [m].
    """
    n, p, _ = z.shape
    owner = torch.arange(n, device=rows.device).repeat_interleave(p)
    other = rows.repeat_interleave(p)[:, None] != owner  # [m P, N P]
    other &= ~same_text(ids[rows].reshape(-1, 1), ids.reshape(-1, 1))
    squares = products(z[rows].flatten(0, 1), z.flatten(0, 1)).square().masked_fill(~other, 0.0)
    total, count = squares.sum(1).view(-1, p).sum(1), other.sum(1).view(-1, p).sum(1)
    return total / count.clamp_min(1), count > 0
