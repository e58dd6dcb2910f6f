"""SupCon of replayed rows, with separate banks for positives and negatives."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from embedkit.errors import DataError
from embedkit.objectives.base import Objective, copied, example_weight, mean_where
from embedkit.objectives.logits import log_sum_exp, products
from embedkit.objectives.views import Views, needs_labels, no_negatives, stacked
from embedkit.types import Embeddings, LossOut


class ReplaySupCon(Objective):
    """Replayed rows of earlier tasks near what the previous model makes of their class, apart from the batch as it is.

    Ours, after COCONUT's "teacher supplies the positives, student the negatives" (arXiv 2310.02699), whose equation
    was not seen. Over all views of the rows that are memory, with z the trained vectors, z' those of the copy of the
    encoder that stays as it was when training began, c their cosines and t the temperature::

        loss_a = log sum over all other views j of e^(c(z_a, z_j) / t) - mean over its positives b of c(z_a, z'_b) / t

    Positives are the replayed views of its label and of texts known to match, itself among them: its own earlier vector
    is one, so that a class with one row in the batch is held too. No gradient flows into z'. As in SupCon the sum holds
    its label's views, as they are now. The row's loss is the mean over its views. A class of the batch without a
    replayed row has no positives: its rows have no loss, count as negatives only, and the metric
    ``classes_without_memory`` says how many such classes there are. A batch without a replayed row has the loss 0.

    It only holds on, and is a term of a `sum` with the objective that teaches.

    Args:
        temperature: t.
        against: ``batch``, or ``memory`` for a sum over replayed views alone.

    Raises:
        DataError: no labels, no marks of replayed rows, or explicit negatives.
        RecipeError: the step has no copy of the encoder.
    """

    def __init__(self, temperature: float = 0.05, against: Literal["batch", "memory"] = "batch") -> None:
        super().__init__()
        self.temperature, self.against = temperature, against

    def columns(self, e: Embeddings) -> int:
        views = 1 + e.positive.shape[1]
        return views * views * len(e)

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        no_negatives(e, "replay_supcon")
        labels, memory = needs_labels(e, "replay_supcon"), needs_memory(e, "replay_supcon")
        before = stacked(copied(e, "replay_supcon")).detach()
        views = Views(e, rows)
        replayed = memory[None].expand(len(rows), -1)
        attract = views.alike(labels) & views.spread(replayed & memory[rows, None])
        kept = views.other & views.spread(replayed) if self.against == "memory" else views.other
        then = products(views.vectors[rows].flatten(0, 1), before.flatten(0, 1).to(views.vectors))
        apart = log_sum_exp(views.cosine / self.temperature, kept)
        counts = attract.any(1) & kept.any(1)
        log_p = then / self.temperature - torch.where(counts, apart, 0.0)[:, None]
        loss = -log_p.masked_fill(~(attract & counts[:, None]), 0.0).sum(1) / attract.sum(1).clamp_min(1)
        value, share = views.mean(loss, counts)
        metrics = {
            "replayed": memory.to(loss.dtype).mean(),
            "kept_similarity": mean_where(then.detach(), attract),
            "classes_without_memory": classes_without(labels, memory).to(loss.dtype),
        }
        return LossOut(value, example_weight(e, rows) * share, metrics)


def classes_without(labels: Tensor, memory: Tensor) -> Tensor:
    """Scalar, how many of the classes have no row that is memory. Waits for no GPU.

    Args:
        labels: [N] classes.
        memory: [N] bool.
    """
    order = torch.argsort(memory.int(), descending=True, stable=True)
    order = order[torch.argsort(labels[order], stable=True)]  # class by class, memory first
    label = labels[order]
    first = torch.ones_like(memory)
    first[1:] = label[1:] != label[:-1]
    return (first & ~memory[order]).sum()


def needs_memory(e: Embeddings, name: str) -> Tensor:
    """[N] bool, which examples are replayed.

    Raises:
        DataError: the batch does not say.
    """
    if e.memory is None:
        cure = "name a column of true and false in `roles: {memory: COLUMN}`"
        raise DataError(f"objective {name!r} needs to know which rows are replayed", where="memory", cure=cure)
    return e.memory
