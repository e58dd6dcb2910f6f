"""Adapters of the schema "sentence": augmentations inside the encoder, with the draws of the authors' generator."""

from __future__ import annotations

import random
import re
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from embedkit.data.augment import Change, ElementDropout, FeatureCutoff, RowTransform, Shuffle, TokenCutoff
from embedkit.model.running import perturb
from tests.conformance.runner import Case, adapter

CUTOFFS = {"row": TokenCutoff, "column": FeatureCutoff, "random": ElementDropout}


class _PythonShuffle:
    """What the transforms ask of a generator, answered by Python's `random`, as in the authors' code."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def permutation(self, n: int) -> np.ndarray:
        order = list(range(n))
        self.random.shuffle(order)
        return np.array(order)


class _Backbone(nn.Module):
    """A model whose embedding layer gives its input back."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = nn.Identity()


@adapter("sentence", "ConSERT cutoff and token shuffle semantics")
def augmentations(case: Case) -> dict[str, Any]:
    """Each kind of cutoff on `emb`, then the shuffled positions.

    The authors' column cutoff also zeroes padding, which nothing reads; to compare whole outputs, padding counts as
    tokens there.
    """
    case.hyper.only("cases", "direction_rate")
    recipe = case.entry.inputs["recipe"]
    lengths = [int(n) for n in cast("re.Match[str]", re.search(r"attention lengths ([\d,]+)", recipe))[1].split(",")]
    seed = int(cast("re.Match[str]", re.search(r"random\.seed\((\d+)\)", recipe))[1])
    emb = case["emb"]
    _, width, columns = emb.shape
    values: dict[str, Any] = {}
    for name in case.entry.raw["outputs"]["cutoff"]:
        direction, rate = name.split("_")
        rows = [width] * len(lengths) if direction == "column" else lengths
        changes = _changes(CUTOFFS[direction](float(rate)), rows, columns, seed)
        zero = perturb.spread([c.cut for c in changes], rows, _real(rows, width), columns)
        backbone = _Backbone()
        with perturb.cutting(backbone, torch.from_numpy(zero)):
            out = backbone.embeddings(emb)
        values |= {f"cutoff.{name}.{key}": value for key, value in _zeros(out).items()}
    orders = [c.order for c in _changes(Shuffle(), lengths, columns, seed)]
    return values | {"shuffled_position_ids": perturb.positions(orders, lengths, _real(lengths, width)).tolist()}


def _changes(transform: RowTransform, rows: list[int], width: int, seed: int) -> list[Change]:
    rng = cast("np.random.Generator", _PythonShuffle(seed))
    return [transform.draw(tokens, width, rng) for tokens in rows]


def _real(lengths: list[int], width: int) -> np.ndarray:
    return np.arange(width) < np.array(lengths)[:, None]


def _zeros(out: Tensor) -> dict[str, Any]:
    """What is zero in [b, t, width], and the tensor itself."""
    zero = out == 0
    return {
        "zero_rows": [row.all(-1).nonzero()[:, 0].tolist() for row in zero],
        "zero_cols": [row.all(0).nonzero()[:, 0].tolist() for row in zero],
        "n_zero_elements": zero.flatten(1).sum(1).tolist(),
        "output": out,
    }
