"""What the loops share: similarities, text ids, who is a negative of whom."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.types import Embeddings

Rows = tuple[Tensor, Tensor]


ZERO = torch.zeros((), dtype=torch.float64)


def similarity(a: Tensor, b: Tensor, kind: str) -> Tensor:
    dot = (a * b).sum()
    return dot / (a.norm() * b.norm()) if kind == "cos" else dot


def example_weight(e: Embeddings, i: int) -> Tensor:
    return torch.tensor(1.0, dtype=torch.float64) if e.weight is None else e.weight[i]


def ids(*tensors: Tensor) -> set[int]:
    """The text ids in these tensors; 0 is no text."""
    return {int(v) for t in tensors for v in t.flatten()} - {0}


def others(e: Embeddings, i: int) -> list[tuple[Tensor, Tensor | None, bool]]:
    """(embedding, the guide's, whether the text is known to match) of every document of row i but its positives."""
    match = ids(e.query_id[i], e.positive_id[i], e.known_id[i])
    found = []
    for j in range(len(e)):
        again = bool(ids(e.query_id[i]) & ids(e.query_id[j]))
        for v in range(e.positive.shape[1]):
            if j != i:
                seen = None if e.guide is None else e.guide.positive[j, v]
                found.append((e.positive[j, v], seen, again or int(e.positive_id[j, v]) in match))
        for v in range(e.negative.shape[1]):
            if e.negative_mask[j, v]:
                seen = None if e.guide is None else e.guide.negative[j, v]
                found.append((e.negative[j, v], seen, int(e.negative_id[j, v]) in match))
    return found


def negatives(e: Embeddings, i: int) -> list[Tensor]:
    """Cosines of query i with its negatives."""
    return [similarity(e.query[i], x, "cos") for x, _, known in others(e, i) if not known]
