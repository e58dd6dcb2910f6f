"""A query and its positives as V = 1 + P views of one example, and how the views of a batch stand to each other."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.errors import DataError
from embedkit.objectives.logits import prepare, products, same_text
from embedkit.recipe.objectives.contrastive import Similarity
from embedkit.types import Embeddings


def stacked(e: Embeddings, similarity: Similarity = "cos") -> Tensor:
    """[N, V, d] unit vectors, the query first, in float32 at least; for dot the embeddings as they are."""
    return prepare(torch.cat([e.query[:, None], e.positive], dim=1), similarity)


def view_ids(e: Embeddings) -> Tensor:
    """[N, V] text ids, in the order of `stacked`."""
    return torch.cat([e.query_id[:, None], e.positive_id], dim=1)


def matching(e: Embeddings, rows: Tensor) -> Tensor:
    """[m, N] examples with a text that is the row's own or known to match it; the row itself among them."""
    texts = view_ids(e)
    found = same_text(torch.cat([texts, e.known_id], dim=1)[rows], texts)
    return found | itself(e, rows)


def itself(e: Embeddings, rows: Tensor) -> Tensor:
    """[m, N] where the example is the row."""
    return rows[:, None] == torch.arange(len(e), device=rows.device)


def needs_positives(e: Embeddings, name: str) -> None:
    """Refuse a batch in which an example has one view only.

    Raises:
        DataError: the batch has no positives.
    """
    if e.positive.shape[1] == 0:
        raise DataError(
            f"objective {name!r} needs a positive",
            where="positive",
            cure="give the source a positive column, or use role `text` and views.count 2 or more",
        )


def needs_labels(e: Embeddings, name: str, cure: str = "name the label column in roles") -> Tensor:
    """[N] the labels of the examples.

    Raises:
        DataError: the batch has none.
    """
    if e.label is None:
        raise DataError(f"objective {name!r} needs labels", where="label", cure=cure)
    return e.label


def no_negatives(e: Embeddings, name: str) -> None:
    """Refuse explicit negatives, rather than ignore them.

    Raises:
        DataError: the batch has some.
    """
    if e.negative.shape[1]:
        raise DataError(
            f"objective {name!r} has no place for explicit negatives",
            where="negative",
            cure="set negatives.per_query: 0",
        )


class Views:
    """The views of some rows as anchors against the views of the whole batch: a = m V anchors, C = N V columns.

    Args:
        e: the global batch, V views per example.
        rows: [m] rows that are anchors.
        similarity: cos; or dot, which takes the embeddings as they are.

    Attributes:
        count: V.
        vectors: [N, V, d] unit vectors, or the embeddings for dot.
        cosine: [a, C] their products; anchors and columns are ordered by example, then view.
        other: [a, C] whether the column is another text than the anchor, by its place.
    """

    def __init__(self, e: Embeddings, rows: Tensor, similarity: Similarity = "cos") -> None:
        self.e, self.rows = e, rows
        self.vectors = stacked(e, similarity)
        self.count = self.vectors.shape[1]
        self.cosine = products(self.vectors[rows].flatten(0, 1), self.vectors.flatten(0, 1))
        place = torch.arange(len(e) * self.count, device=rows.device).view(len(e), self.count)
        self.other = place[rows].flatten()[:, None] != place.flatten()

    def spread(self, examples: Tensor) -> Tensor:
        """[a, C] from [m, N]: what holds for two examples holds for all their views."""
        return examples.repeat_interleave(self.count, 0).repeat_interleave(self.count, 1)

    def alike(self, labels: Tensor | None) -> Tensor:
        """[a, C] columns that say the same as the anchor: of its example, of a text known to match, of its label."""
        examples = matching(self.e, self.rows)
        if labels is not None:
            examples = examples | (labels[self.rows, None] == labels)
        return self.spread(examples)

    def mean(self, loss: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """[m] mean loss of a row's views that count, and [m] their share: 0 where none does.

        Args:
            loss: [a], 0 where a view does not count.
            counts: [a] bool.
        """
        has = counts.to(loss.dtype).view(-1, self.count)
        return loss.view(-1, self.count).sum(1) / has.sum(1).clamp_min(1.0), has.mean(1)
