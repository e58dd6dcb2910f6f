"""InfoNCE with negatives that are mixed from others: of a row's own hard ones, or of a query's hardest ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from embedkit.errors import DataError
from embedkit.objectives.contrastive import InfoNCE
from embedkit.objectives.logits import Candidates, Pool, log_sum_exp, prepare, unit
from embedkit.types import PAD_ID, Embeddings, LossOut

_PAIRS, _MOCHI = 0x4D495831, 0x4D495832
"""Keep these draws apart from others that depend on the step."""


@dataclass(frozen=True)
class PairDraws:
    """What is random in the mixing of pairs: [N, c, M] `order`, of which the two least are mixed, and [N, c] `share`
    of the first of them."""

    order: Tensor
    share: Tensor


class MixedNegatives(InfoNCE):
    """InfoNCE in which every row brings `count` more negatives, mixed from its own hard negatives.

    With n_a the row's hard negatives (unit vectors where the similarity is the cosine)::

        pairs: h = lam n_a + (1 - lam) n_b          two different ones at random, lam drawn from Beta(alpha, alpha)
        list:  h = sum_a w_a n_a                    w the softmax of the logits of the n_a

    h has the length of what it is made of, a constant, and is an explicit negative of its row, so other rows see it as
    well. Gradient flows into the n_a and through w.

    A reconstruction of KaLM-Embedding-V2's online mixing (arXiv 2506.20923): Beta(2, 2) and the convex combination of
    two are known from a secondary source; how many, whether h is normalised, the gradient, and all of the weights of
    `list` are not established, nor are they in its public code.

    A hard negative whose text matches the query is not mixed; a row with fewer than two others adds none.

    Args:
        mix: pairs or list.
        count: per row; `list` makes one.
        alpha: of the Beta distribution.
        options: those of InfoNCE.

    Raises:
        DataError: the batch has fewer than two slots for hard negatives.
    """

    def __init__(
        self, mix: Literal["pairs", "list"] = "pairs", count: int = 1, alpha: float = 2.0, **options: Any
    ) -> None:
        super().__init__(**options)
        self.mix, self.count, self.alpha = mix, count, alpha

    def columns(self, e: Embeddings) -> int:
        more = e.negative.new_empty(len(e), e.negative.shape[1] + self.count, 0)
        return super().columns(replace(e, negative=more))

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        return super().forward(self.mixed(e), rows)

    def draw(self, e: Embeddings) -> PairDraws:
        """By the step and the example's place alone."""
        rng = np.random.default_rng([_PAIRS, e.step])
        shape = (len(e), self.count)
        order, share = rng.random((*shape, e.negative.shape[1])), rng.beta(self.alpha, self.alpha, shape)
        return PairDraws(*(_like(e.negative, x) for x in (order, share)))

    def mixed(self, e: Embeddings) -> Embeddings:
        """The batch with the mixed negatives behind the given ones, the guide's view of them mixed alike."""
        if e.negative.shape[1] < 2:
            raise DataError(
                f"objective 'mixed_negatives' mixes two or more hard negatives, the batch has {e.negative.shape[1]}",
                where="negative",
                cure="give the source a negative column, and negatives.per_query at least 2",
            )
        usable = self._usable(e)
        shares = self._shares(e, usable)  # [N, c, M]
        exists = (usable.sum(1, keepdim=True) >= 2).expand(len(e), shares.shape[1])
        guide = e.guide
        if guide is not None:
            made = shares.detach().to(guide.negative.dtype) @ prepare(guide.negative, "cos")
            guide = replace(guide, negative=torch.cat([guide.negative, made.to(guide.negative.dtype)], 1))
        return replace(
            e,
            negative=torch.cat([prepare(e.negative, self.similarity), self._mix(e, shares)], 1),
            negative_mask=torch.cat([e.negative_mask, exists], 1),
            negative_id=functional.pad(e.negative_id, (0, shares.shape[1]), value=PAD_ID),
            guide=guide,
        )

    def _usable(self, e: Embeddings) -> Tensor:
        """[N, M] hard negatives that may be mixed."""
        if not self.rules.mask_duplicates:
            return e.negative_mask
        match = torch.cat([e.query_id[:, None], e.positive_id, e.known_id], 1)
        return e.negative_mask & ~(e.negative_id[:, :, None] == match[:, None]).any(2)

    def _shares(self, e: Embeddings, usable: Tensor) -> Tensor:
        if self.mix == "list":
            query, negative = prepare(e.query, self.similarity), prepare(e.negative, self.similarity)
            logits = (query[:, None] * negative).sum(2) * self._scale()
            some = usable | ~usable.any(1, keepdim=True)  # no softmax of nothing
            return logits.masked_fill(~some, -torch.inf).softmax(1)[:, None]
        draws = self.draw(e)
        two = draws.order.masked_fill(~usable[:, None], 2.0).argsort(2)[..., :2]
        share = torch.stack([draws.share, 1 - draws.share], 2)
        return torch.zeros_like(draws.order, dtype=share.dtype).scatter(2, two, share)

    def _mix(self, e: Embeddings, shares: Tensor) -> Tensor:
        """[N, c, d]; the cosine normalises them later, so they get a length only for dot products."""
        negative = prepare(e.negative, self.similarity)
        shares = shares.to(negative.dtype)
        with torch.autocast(negative.device.type, enabled=False):
            made = shares @ negative
            if self.similarity == "cos":
                return made
            length = (shares @ negative.norm(dim=2, keepdim=True)).detach()
        return unit(made) * length


@dataclass(frozen=True)
class HardestDraws:
    """What is random in MoCHi, all in 0..1.

    Attributes:
        first, second: [N, s] places among a query's hardest of what is mixed with each other.
        share: [N, s] of the first.
        third: [N, s'] place of what is mixed with the query.
        query_share: [N, s'] of the query, in its largest.
    """

    first: Tensor
    second: Tensor
    share: Tensor
    third: Tensor
    query_share: Tensor


class MoCHi(InfoNCE):
    """InfoNCE with hard negatives mixed for each query from its hardest ones (arXiv 2010.01028).

    H are the `hardest` most similar of a query's negatives, u(x) = x / |x|, q and n unit vectors::

        pairs:      h  = u(a n_1 + (1 - a) n_2)      n_1, n_2 drawn from H, a from U(0, 1)
        with_query: h' = u(b q + (1 - b) n)          n drawn from H, b from U(0, query_share)

    Their logits join the denominator of q-d; they are constants, q inside h' too, so gradient reaches the query alone.
    Masked candidates (known matches, the margin, the guide) are not mixed; an unknown match among the hardest is made
    stronger, so use one of these filters. The paper's pool is a queue; here it is the row's negatives: the batch's
    documents and its own.

    Args:
        hardest, pairs, with_query, query_share: n, s, s' and the largest b.
        options: those of InfoNCE.
    """

    def __init__(
        self, hardest: int = 32, pairs: int = 16, with_query: int = 16, query_share: float = 0.5, **options: Any
    ) -> None:
        super().__init__(**options)
        self.hardest, self.pairs, self.with_query, self.query_share = hardest, pairs, with_query, query_share

    def columns(self, e: Embeddings) -> int:
        return super().columns(e) + (self.hardest + self.pairs + self.with_query) * e.query.shape[1]

    def draw(self, e: Embeddings) -> HardestDraws:
        """By the step and the example's place alone."""
        rng = np.random.default_rng([_MOCHI, e.step])
        widths = (self.pairs, self.pairs, self.pairs, self.with_query, self.with_query)
        return HardestDraws(*(_like(e.query, rng.random((len(e), width))) for width in widths))

    def made(self, pool: Pool, candidates: Candidates, scale: Tensor | float) -> Tensor | None:
        if candidates.direction != "q-d":
            return None
        draws = self.draw(pool.e)
        query = pool.sides.anchor_query
        kept = candidates.similarities.detach().masked_fill(~candidates.is_negative, -torch.inf)
        top, place = kept.topk(min(self.hardest, kept.shape[1]), dim=1)
        count = (~top.isneginf()).sum(1, keepdim=True)  # [m, 1]
        hard = pool.sides.document.detach()[place]  # [m, n, d]

        def pick(where: Tensor) -> Tensor:
            index = (where[pool.rows] * count).long().minimum((count - 1).clamp_min(0))
            return hard.gather(1, index[..., None].expand(-1, -1, hard.shape[2]))

        a = draws.share[pool.rows, :, None].to(hard.dtype)
        b = self.query_share * draws.query_share[pool.rows, :, None].to(hard.dtype)
        pairs = a * pick(draws.first) + (1 - a) * pick(draws.second)
        with_query = b * query.detach()[:, None] + (1 - b) * pick(draws.third)
        mixed = unit(torch.cat([pairs, with_query], 1))
        logits = (query[:, None] * mixed).sum(2) * scale
        return log_sum_exp(logits, (count > 0).expand_as(logits))


def _like(x: Tensor, drawn: np.ndarray) -> Tensor:
    """Random numbers beside `x`, in float32 at least."""
    return torch.from_numpy(drawn).to(x.device, torch.promote_types(x.dtype, torch.float32))
