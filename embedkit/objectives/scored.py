"""Objectives on graded targets and on a row's own candidates: regression, ranking, distillation."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from embedkit.errors import DataError
from embedkit.objectives.base import Objective, example_weight, no_weight, one_positive, targets, upcast
from embedkit.objectives.logits import prepare, unit
from embedkit.recipe.objectives.contrastive import Similarity
from embedkit.types import Embeddings, LossOut


def ranking(similarity: Tensor, score: Tensor, scale: float) -> Tensor:
    """``log(1 + sum over (m, n) with score_m < score_n of exp(scale (similarity_m - similarity_n)))``.

    Ties contribute nothing. It is a sum: it grows with the batch. Sorting by score turns the inner sum over n
    into a running log-sum-exp, so time is N log N and memory N, not N squared.

    Args:
        similarity, score: [N].

    Returns:
        Scalar.
    """
    descending, order = score.sort(descending=True)
    logits = similarity[order] * scale
    higher = torch.searchsorted(-descending, -descending)  # how many scores are strictly higher
    running = functional.pad(torch.logcumsumexp(-logits, dim=0), (1, 0), value=-torch.inf)
    return torch.logsumexp(functional.pad(logits + running[higher], (1, 0)), dim=0)


def angle_similarity(x: Tensor, y: Tensor) -> Tensor:
    """AnglE similarity ``| <x, y> + sum_t (x_{t + h} y_t - x_t y_{t + h}) |`` of unit rows, h = d / 2.

    The halves of a vector are the real and imaginary parts of a complex one; odd d is padded by one zero. Not
    symmetric in x and y; opposite vectors are as similar as identical ones.

    Args:
        x, y: [N, d].

    Returns:
        [N].
    """
    x, y = (functional.pad(unit(v), (0, v.shape[1] % 2)) for v in (x, y))
    (x_re, x_im), (y_re, y_im) = x.chunk(2, dim=1), y.chunk(2, dim=1)
    return ((x * y).sum(1) + (x_im * y_re - x_re * y_im).sum(1)).abs()


class CoSENT(Objective):
    """`ranking` of the pair cosines (Huang et al., IEEE TASLP 2024, doi 10.1109/TASLP.2024.3402087).

    Args:
        scale: 1 / temperature.
    """

    scope = "batch"

    def __init__(self, scale: float = 20.0) -> None:
        super().__init__()
        self.scale = scale

    def similarity(self, x: Tensor, y: Tensor) -> Tensor:
        return (unit(x) * unit(y)).sum(1)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        name = type(self).__name__
        no_weight(e, name)
        score = targets(e, name)[:, 0]
        similarity = self.similarity(e.query, one_positive(e, name))
        return LossOut(ranking(similarity, score, self.scale), None, {"similarity": similarity.detach().mean()})


class AnglE(CoSENT):
    """`ranking` of the `angle_similarity` (arXiv 2309.12871): the angle term alone.

    Full AnglE is a weighted sum with CoSENT and InfoNCE terms. Follows the authors' code; equation 3 of the paper
    has the opposite sign.
    """

    def similarity(self, x: Tensor, y: Tensor) -> Tensor:
        return angle_similarity(x, y)


class CosineMSE(Objective):
    """``(cos(q, p) - score)^2``, scores on the cosine's scale (-1..1, usually 0..1)."""

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        score = targets(e, "cosine_mse")[rows, 0]
        positive = one_positive(e, "cosine_mse")
        cosine = (unit(e.query[rows]) * unit(positive[rows])).sum(1)
        return LossOut((cosine - score) ** 2, example_weight(e, rows), {"similarity": cosine.detach().mean()})


class ContrastiveTension(Objective):
    """``log(1 + e^s) - y s`` with s the dot product of query and positive and y in [0, 1] their score.

    Contrastive Tension (Carlsson et al., ICLR 2021, OpenReview Ov_sMNau-PF): y = 1 where both texts are one text,
    0 for random pairs. A mean over pairs as in the authors' code; sentence-transformers takes the sum.

    Raises:
        DataError: a score outside [0, 1].
    """

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        score = targets(e, "contrastive_tension")[:, 0]
        if bool(((score < 0) | (score > 1)).any()):
            raise DataError(
                f"objective 'contrastive_tension' needs scores in 0..1, got {score.min():g} to {score.max():g}",
                where="score",
                cure="1 for a pair of the same text, 0 for a random pair",
            )
        positive = one_positive(e, "contrastive_tension")
        logit = (upcast(e.query[rows]) * upcast(positive[rows])).sum(1)
        loss = functional.binary_cross_entropy_with_logits(logit, score[rows].to(logit.dtype), reduction="none")
        right = ((logit.detach() > 0) == (score[rows] > 0.5)).to(logit.dtype).mean()
        return LossOut(loss, example_weight(e, rows), {"accuracy": right})


class Triplet(Objective):
    """``max(0, a d(q, p) - b d(q, n) + margin)``, mean over the row's positives and explicit negatives.

    With cosine and different weights the hinge is ``margin - a cos(q, p) + b cos(q, n)``, as in word-level contrast
    (CWM, arXiv 2306.08221). A row without explicit negatives has weight 0.

    Args:
        margin: in units of the distance.
        distance: euclidean, on the embeddings as they are; or cosine, ``-cos``.
        positive_weight: a.
        negative_weight: b.
    """

    def __init__(
        self,
        margin: float = 5.0,
        distance: Literal["euclidean", "cosine"] = "euclidean",
        positive_weight: float = 1.0,
        negative_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.margin, self.distance = margin, distance
        self.positive_weight, self.negative_weight = positive_weight, negative_weight

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        exists = own_negatives(e, rows, "triplet")
        query = e.query[rows, None]
        to_positive = self.positive_weight * self._distance(query, e.positive[rows])
        to_negative = self.negative_weight * self._distance(query, e.negative[rows])
        violation = (to_positive[:, :, None] - to_negative[:, None] + self.margin).relu().mean(1)  # [m, M]
        metrics = {"violations": mean_of((violation > 0).to(violation.dtype).detach(), exists).mean()}
        return LossOut(mean_of(violation, exists), weight_of(e, rows, exists), metrics)

    def _distance(self, a: Tensor, b: Tensor) -> Tensor:
        if self.distance == "cosine":
            return -(unit(a) * unit(b)).sum(-1)
        return torch.linalg.vector_norm(upcast(a) - upcast(b), dim=-1)


class MarginMSE(Objective):
    """``(s(q, p) - s(q, n) - teacher margin)^2``, mean over the row's negatives (arXiv 2010.02666).

    Scores are the teacher's for ``[positive, *negatives]`` (M + 1 of them), or its margins (M). A row without
    explicit negatives has weight 0.
    """

    def __init__(self, similarity: Similarity = "dot") -> None:
        super().__init__()
        self.similarity: Similarity = similarity

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        exists = own_negatives(e, rows, "margin_mse")
        m = exists.shape[1]
        teacher = targets(e, "margin_mse", (m + 1, m))[rows]
        margin = teacher[:, :1] - teacher[:, 1:] if teacher.shape[1] == m + 1 else teacher
        student = own_similarities(e, rows, self.similarity, "margin_mse")
        error = student[:, :1] - student[:, 1:] - margin.masked_fill(~exists, 0.0)
        metrics = {"margin_error": mean_of(error.detach().abs(), exists).mean()}
        return LossOut(mean_of(error**2, exists), weight_of(e, rows, exists), metrics)


class KLDistillation(Objective):
    """``KL(softmax(teacher / t_teacher) || softmax(s / t))`` over the row's own ``[positive, *negatives]``.

    A row without explicit negatives has weight 0: its distribution is constant. `rescale` multiplies by t squared
    (Hinton et al., arXiv 1503.02531; sentence-transformers); LLM-R (arXiv 2307.07164) and BGE do not.
    """

    def __init__(
        self,
        similarity: Similarity = "cos",
        temperature: float = 0.05,
        teacher_temperature: float = 1.0,
        rescale: bool = False,
    ) -> None:
        super().__init__()
        self.similarity: Similarity = similarity
        self.temperature, self.teacher_temperature = temperature, teacher_temperature
        self.factor = temperature**2 if rescale else 1.0

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        exists = own_negatives(e, rows, "kl")
        missing = functional.pad(~exists, (1, 0), value=False)
        teacher = targets(e, "kl", (exists.shape[1] + 1,))[rows] / self.teacher_temperature
        student = own_similarities(e, rows, self.similarity, "kl") / self.temperature
        p = teacher.masked_fill(missing, -torch.inf).log_softmax(1)
        q = student.masked_fill(missing, -torch.inf).log_softmax(1)
        # 0 log 0 = 0 on missing candidates; -inf - -inf would be NaN, in the gradient too.
        loss = (p.exp() * (p.masked_fill(missing, 0.0) - q.masked_fill(missing, 0.0))).sum(1)
        agree = (p.argmax(1) == q.argmax(1)).to(p.dtype).mean()
        return LossOut(self.factor * loss, weight_of(e, rows, exists), {"teacher_agreement": agree})


def own_negatives(e: Embeddings, rows: Tensor, name: str) -> Tensor:
    """[m, M] which explicit negatives the rows have.

    Raises:
        DataError: the batch has no slot for negatives, or no positive.
    """
    if e.negative.shape[1] == 0 or e.positive.shape[1] == 0:
        raise DataError(
            f"objective {name!r} needs explicit negatives and a positive, the batch has {e.negative.shape[1]} "
            f"negatives and {e.positive.shape[1]} positives per query",
            where="negative",
            cure="give the source a negative column, and negatives.per_query at least 1",
        )
    return e.negative_mask[rows]


def own_similarities(e: Embeddings, rows: Tensor, similarity: Similarity, name: str) -> Tensor:
    """[m, 1 + M] similarities of the rows' queries with their positive and negatives; a reranker's scores of them."""
    documents = torch.cat([one_positive(e, name)[rows, None], e.negative[rows]], dim=1)
    if e.paired:
        return upcast(documents[..., 0])
    return (prepare(e.query[rows, None], similarity) * prepare(documents, similarity)).sum(-1)


def mean_of(values: Tensor, exists: Tensor) -> Tensor:
    """[m] mean over the existing columns; 0 where there is none."""
    return values.masked_fill(~exists, 0.0).sum(1) / exists.sum(1).clamp_min(1)


def weight_of(e: Embeddings, rows: Tensor, exists: Tensor) -> Tensor:
    return example_weight(e, rows) * exists.any(1)
