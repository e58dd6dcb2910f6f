"""The trained model against the frozen guide: the terms of Three Towers."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from embedkit.errors import DataError, RecipeError
from embedkit.objectives.base import Objective, Term
from embedkit.types import Embeddings


class GuidePair(Objective):
    """The inner objective on (trained vector, guide's vector) instead of (query, positive).

    With f and g the trained vectors of query and positive, h the guide's of one of them, and L InfoNCE in both
    directions, Three Towers (arXiv 2305.16999) is::

        loss = [ L(f, g) + L(f, h) + L(g, h) ] / 3

    which is a `sum` of InfoNCE and two of these. The guide is frozen: only f and g have a gradient. With `to` =
    positive, its vectors of the explicit negatives take part as those negatives.

    Args:
        objective: evaluated on the pairs.
        of: trained side, query or (first) positive.
        to: text of the guide's vector.
    """

    def __init__(
        self,
        objective: Objective,
        of: Literal["query", "positive"] = "query",
        to: Literal["query", "positive"] = "positive",
    ) -> None:
        super().__init__()
        self.objective, self.of, self.text = objective, of, to

    def terms(self, e: Embeddings) -> list[Term]:
        return self.objective.terms(self._pairs(e))

    def _pairs(self, e: Embeddings) -> Embeddings:
        if e.guide is None:
            raise RecipeError(
                "guide_pair asks a guide, and there is none", "guide", "add `guide: {model: FOLDER_OR_ID}`"
            )
        trained, guide = e.query.shape[-1], e.guide.query.shape[-1]
        if trained != guide:
            what = f"the guide's vectors have {guide} numbers and the trained ones {trained}"
            cure = f"use a guide of the same size, or give the model a head of {guide} (`model.head`)"
            raise RecipeError(what, "guide.model", cure)
        if "positive" in (self.of, self.text) and not e.positive.shape[1]:
            raise DataError("the batch has no positives", "positive", "give the source a positive column")
        own, own_id = _side(e, self.of, e)
        frozen, frozen_id = _side(e.guide, self.text, e)
        wide = torch.promote_types(own.dtype, torch.float32)  # the guide is not rounded to half precision
        frozen = frozen.detach().to(wide)
        negative, mask, negative_id = e.guide.negative.detach().to(wide), e.negative_mask, e.negative_id
        if self.text == "query":
            negative, mask, negative_id = negative[:, :0], mask[:, :0], negative_id[:, :0]
        return replace(
            e,
            query=own,
            positive=frozen[:, None],
            negative=negative,
            negative_mask=mask,
            query_id=own_id,
            positive_id=frozen_id[:, None],
            negative_id=negative_id,
            known_id=_known(e),
            guide=None,
        )


def _side(vectors: Embeddings, which: str, ids: Embeddings) -> tuple[Tensor, Tensor]:
    """[N, d] and [N] ids of the queries or of the first positives."""
    if which == "query":
        return vectors.query, ids.query_id
    return vectors.positive[:, 0], ids.positive_id[:, 0]


def _known(e: Embeddings) -> Tensor:
    """Both texts of a pair stay known to match, whichever stands for the query."""
    return torch.cat([e.known_id, e.query_id[:, None], e.positive_id], dim=1)
