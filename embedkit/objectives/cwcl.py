"""Continuously weighted contrast: a teacher says how much each candidate is a positive."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from embedkit.errors import DataError, RecipeError
from embedkit.objectives.base import Objective, example_weight, one_positive
from embedkit.objectives.contrastive import similarity_metrics
from embedkit.objectives.logits import Pool, Rules, log_sum_exp, products, unit
from embedkit.types import Embeddings, LossOut


class CWCL(Objective):
    """CWCL (arXiv 2309.14580): the query against all documents, each a positive by the guide's similarity::

        loss_i = - sum over documents j of w_ij log softmax_j(c(q_i, d_j) / t) + reverse CE_i
        w_ij   = (1 + c(g_i, g_j)) / 2, over their sum in the row

    CE_i is the cross-entropy of the row's document against all queries, and g the frozen guide's vectors: of the row's
    document and the candidates (`of` = document), or of the queries that they belong to. Weights of right angles are
    1 / 2: among N documents the positive's own weight is about 2 / N. `teacher_temperature` sharpens them,
    ``w = softmax_j(c(g_i, g_j) / T)`` (ours).

    The authors' code was not found; this follows a third party's (suinleelab/CellCLIP), in which the two directions
    are added. Candidates known to match are not left out of the first term, they get the guide's weight; they are out
    of the second.

    Args:
        temperature: t.
        of: whose vectors of the guide compare a row with its candidates.
        reverse: weight of the cross-entropy.
        teacher_temperature: T; None: linear weights, as published.

    Raises:
        DataError: not one positive per example; explicit negatives with `of` = query, which have no query.
        RecipeError: the batch has no guide.
    """

    def __init__(
        self,
        temperature: float = 0.07,
        of: Literal["query", "document"] = "document",
        reverse: float = 1.0,
        teacher_temperature: float | None = None,
    ) -> None:
        super().__init__()
        self.temperature, self.of, self.reverse = temperature, of, reverse
        self.teacher_temperature = teacher_temperature

    def columns(self, e: Embeddings) -> int:
        return len(e) * (1 + e.negative.shape[1])

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        one_positive(e, "cwcl")
        if self.of == "query" and e.negative.shape[1]:
            raise DataError(
                "objective 'cwcl' compares queries, and explicit negatives have none",
                where="negative",
                cure="set of: document, or negatives.per_query: 0",
            )
        pool = Pool(e, rows, "cos", Rules())
        candidates = pool.candidates("q-d")
        exists = pool.exists.expand(len(rows), -1)
        logits = candidates.similarities / self.temperature
        log_p = logits - log_sum_exp(logits, exists)[:, None]
        weight = self._weights(e, rows, exists).to(logits.dtype)
        value = -(weight * log_p.masked_fill(~exists, 0.0)).sum(1)
        metrics = similarity_metrics(candidates)
        metrics["positive_weight"] = (weight * candidates.is_positive).sum(1).mean()
        if self.reverse:
            back = pool.candidates("d-q")
            positive = back.positive[:, 0] / self.temperature
            rest = log_sum_exp(back.similarities / self.temperature, back.is_negative)
            value = value + self.reverse * torch.logaddexp(torch.zeros_like(rest), rest - positive)
        return LossOut(value, example_weight(e, rows) * (exists.sum(1) > 1), metrics)

    @torch.no_grad()
    def _weights(self, e: Embeddings, rows: Tensor, exists: Tensor) -> Tensor:
        """[m, C] shares of the documents in each row."""
        if e.guide is None:
            raise RecipeError("objective 'cwcl' asks a guide", "guide", "add `guide: {model: FOLDER_OR_ID}`")
        if self.of == "query":
            anchor = every = unit(e.guide.query)
        else:
            anchor = unit(e.guide.positive[:, 0])
            every = torch.cat([anchor, unit(e.guide.negative).flatten(0, 1)])
        cosine = products(anchor[rows], every)
        if self.teacher_temperature is not None:
            return (cosine / self.teacher_temperature).masked_fill(~exists, -torch.inf).softmax(1)
        weight = ((1 + cosine) / 2).clamp_min(0.0).masked_fill(~exists, 0.0)
        return weight / weight.sum(1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)
