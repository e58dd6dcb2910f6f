"""A small row encoder in float64 without dropout, and batches made for it: what the contract is checked with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from embedkit.types import PAD_ID, Embeddings, RowBatch

VOCABULARY, WIDTH = 50, 8


class ToyEncoder(nn.Module):
    """Masked mean of token vectors, then two layers; rows do not see each other and padding does not matter."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.token = nn.Embedding(VOCABULARY, 12)
        self.hidden = nn.Linear(12, 16)
        self.out = nn.Linear(16, WIDTH)
        self.dropout = nn.Dropout(dropout)
        self.double()
        with torch.no_grad():
            for p in self.parameters():
                p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype) * 0.4)

    def features(self, batch: RowBatch, rows: np.ndarray) -> dict[str, Tensor]:
        ids = [batch.input_ids[r] for r in rows]
        width = max(map(len, ids))
        padded = torch.tensor([i + [0] * (width - len(i)) for i in ids])
        mask = torch.tensor([[1.0] * len(i) + [0.0] * (width - len(i)) for i in ids], dtype=torch.float64)
        return {"input_ids": padded, "attention_mask": mask}

    def is_frozen(self, batch: RowBatch, rows: np.ndarray) -> bool:
        return False

    def embed(self, features: dict[str, Tensor]) -> Tensor:
        mask = features["attention_mask"][..., None]
        x = (self.token(features["input_ids"]) * mask).sum(1) / mask.sum(1)
        return self.out(self.dropout(torch.tanh(self.hidden(x))))


def toy_batch(template: Embeddings, *, seed: int, own: slice, micro: int | None) -> RowBatch:
    """This process's share of a batch shaped like `template`, with token ids that depend on (seed, example, slot).

    Args:
        template: gives N, P, M, ids and targets.
        seed: of the token ids; equal on all processes.
        own: which examples are ours.
        micro: rows per micro-batch; None for all rows at once.
    """
    n, p, m = len(template), template.positive.shape[1], template.negative.shape[1]
    indices = range(n)[own]
    input_ids, position = [], []
    for local, i in enumerate(indices):
        for slot in range(1 + p + m):
            if slot > p and template.negative_id[i, slot - 1 - p] == PAD_ID:
                continue
            rng = np.random.default_rng([seed, i, slot])
            input_ids.append(rng.integers(1, VOCABULARY, size=rng.integers(3, 12)).tolist())
            position.append(local * (1 + p + m) + slot)
    order = np.argsort([-len(i) for i in input_ids], kind="stable")
    size = micro or len(order)
    return RowBatch(
        input_ids=input_ids,
        features={},
        position=np.array(position),
        micro_batches=[order[k : k + size] for k in range(0, len(order), size)],
        n=len(indices),
        positives=p,
        negatives=m,
        query_id=template.query_id[own],
        positive_id=template.positive_id[own],
        negative_id=template.negative_id[own],
        known_id=template.known_id[own],
        score=None if template.score is None else template.score[own],
        label=None if template.label is None else template.label[own],
        weight=None if template.weight is None else template.weight[own],
        memory=None if template.memory is None else template.memory[own],
        step=seed,
        origins=[f"toy[{i}]" for i in indices],
        texts=[str(i) for i in input_ids],
    )


def uneven(template: Embeddings) -> Embeddings:
    """The same batch with unequal example weights, so that a local average would differ from the global one."""
    weight = torch.linspace(0.5, 2.0, len(template), dtype=torch.float64)
    return replace(template, weight=weight)
