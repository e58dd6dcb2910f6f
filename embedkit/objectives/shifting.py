"""One side of the batch is moved onto the other before both are compared: translations, whose languages lie apart."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from embedkit.errors import DataError
from embedkit.objectives.base import Objective, Term
from embedkit.objectives.logits import unit
from embedkit.types import Embeddings


def language_vector(vectors: Tensor) -> Tensor:
    """[d] where a language lies: the mean of the unit vectors of its texts [n, d]."""
    return unit(vectors).mean(0)


def shifted(vectors: Tensor, own: Tensor, target: Tensor) -> Tensor:
    """`vectors` [n, d] moved from the language of vector `own` [d] to that of `target` [d]; not normalised again."""
    return vectors - own + target


class MeanShift(Objective):
    """The inner objective after the positives are moved by the difference of the two sides' means.

    ``p'_i = p_i - mean(p) + mean(q)`` of unit vectors, the means over the batch and with gradient, nothing normalised
    again; then two softmaxes, of rows and of columns, of ``q_i . p'_j / temperature``. It is ShifCon's contrast
    (arXiv 2410.19453, by its first released code) on the final embeddings alone: what tells the languages apart as a
    whole costs nothing, which text is meant does. Explicit negatives are moved with the positives.

    A batch must hold one pair of languages: give each pair a source of its own.

    Args:
        objective: compares by the dot product; its parameters are shared.

    Raises:
        DataError: fewer than two rows: their difference from the mean is 0, whatever the model says.
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def terms(self, e: Embeddings) -> list[Term]:
        if len(e) < 2:
            what = f"objective 'mean_shift' compares with the mean of a batch, and this one has {len(e)} row"
            raise DataError(what, "train.batch_size", "raise it, to 16 at least")
        query, positive, negative = (unit(part) for part in (e.query, e.positive, e.negative))
        own, target = language_vector(positive.flatten(0, 1)), language_vector(query)
        moved = replace(
            e,
            query=query,
            positive=shifted(positive, own, target),
            negative=shifted(negative, own, target) * e.negative_mask[..., None],
        )
        return self.objective.terms(moved)
