"""A teacher's scores beside hard labels, where rows weigh by how unsure the teacher is."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from embedkit.objectives.base import targets
from embedkit.objectives.candidates import OwnCandidates
from embedkit.objectives.scored import mean_of, weight_of
from embedkit.recipe.objectives.contrastive import Similarity
from embedkit.types import Embeddings, LossOut


def entropy_shares(teacher: Tensor, exists: Tensor) -> Tensor:
    """[N] entropy of the teacher's softmax over each row's candidates, over the sum of all rows.

    A row with one candidate has none. Equal shares of the rows with more where every entropy is 0.

    Args:
        teacher: [N, C] scores.
        exists: [N, C] bool.
    """
    log_p = teacher.masked_fill(~exists, -torch.inf).log_softmax(1).masked_fill(~exists, 0.0)
    entropy = -(log_p.exp() * log_p * exists).sum(1)
    several = (exists.sum(1) > 1).to(entropy.dtype)
    entropy = torch.where(entropy.sum() > torch.finfo(entropy.dtype).tiny, entropy * several, several)
    return entropy / entropy.sum().clamp_min(torch.finfo(entropy.dtype).tiny)


class DCD(OwnCandidates):
    """Dynamic contrastive distillation (doi 10.1109/TMM.2023.3236837) over a row's own candidates.

    With s the student's scores over the temperature, y those of the teacher, H the entropy of the teacher's softmax and
    the sums over the rows of the batch that have negatives, ``w_i = H_i / sum H``::

        alpha sum_i d_i mean_k (s_ik - y_ik)^2 + (1 - alpha) sum_i w_i mean_k BCE(s_ik, 1 for the positive, else 0)
        d = softmax_i (1 - w_i)^2

    so hard labels count where the teacher is unsure, its scores where it is sure. The released code multiplies d into a
    mean that is taken already, where they do nothing; `weights` = hard is what it computes, d_i = 1 / B. The scores of
    the teacher are on the student's scale: both are logits, or the temperature makes them so.

    Args:
        alpha: as above.
        weights: both, or hard: d is uniform.
    """

    name = "dcd"

    def __init__(
        self,
        alpha: float = 0.2,
        weights: Literal["both", "hard"] = "both",
        similarity: Similarity = "cos",
        temperature: float = 1.0,
    ) -> None:
        super().__init__(similarity, temperature)
        self.alpha, self.both = alpha, weights == "both"

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        scores, exists = self.scores(e, rows)
        teacher = targets(e, self.name, (scores.shape[1],)).to(scores.dtype)
        soft, hard = (share[rows] for share in self.shares(e, teacher))
        y = functional.pad(torch.zeros_like(scores[:, 1:]), (1, 0), value=1.0)
        error = scores - teacher[rows].masked_fill(~exists, 0.0)
        labels = functional.binary_cross_entropy_with_logits(scores, y, reduction="none")
        value = self.alpha * soft * mean_of(error.square(), exists) + (1 - self.alpha) * hard * mean_of(labels, exists)
        metrics = {
            "score_error": mean_of(error.detach().abs(), exists).mean(),
            "accuracy": (scores.detach().masked_fill(~exists, -torch.inf).argmax(1) == 0).to(scores.dtype).mean(),
        }
        return LossOut(value, weight_of(e, rows, exists[:, 1:]), metrics)

    def shares(self, e: Embeddings, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """d and w of all rows [N], times the number of rows that count, whose mean the batch's loss is."""
        every = functional.pad(e.negative_mask, (1, 0), value=True)
        hard = entropy_shares(teacher, every)
        counts = e.negative_mask.any(1)
        unequal = (1 - hard).square() if self.both else torch.zeros_like(hard)
        soft = unequal.exp() * counts
        soft = soft / soft.sum().clamp_min(torch.finfo(soft.dtype).tiny)
        many = counts.sum()
        return many * soft, many * hard
