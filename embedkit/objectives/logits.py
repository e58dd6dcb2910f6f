"""Similarities between anchors and candidates, with every mask decided in one place.

Columns of a row's candidates, by direction (N examples, P positives and M explicit negatives each):

=====  ==================  ===========================================================  ==============
name   anchor              candidates                                                   anchors, columns
=====  ==================  ===========================================================  ==============
q-d    query i             all positives (i-major), then all explicit negatives         m, N P + N M
q-q    query i             all queries                                                  m, N
d-q    positive (i, k)     all queries                                                  m P, N
d-d    positive (i, k)     as q-d                                                       m P, N P + N M
=====  ==================  ===========================================================  ==============

A block of m rows holds, per direction, about three floating-point matrices (similarities, logits, their
exponentials) and four boolean ones of that size, with a guide one more; nothing larger is ever made, so the
engine's row blocks bound the memory. Masking is by exclusion from the sum (the value -inf), never by a finite
constant that leaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from embedkit.errors import DataError, RecipeError
from embedkit.objectives.base import upcast
from embedkit.recipe.objectives.contrastive import Direction, GuideRule, Similarity
from embedkit.types import PAD_ID, Embeddings


@dataclass(frozen=True)
class Rules:
    """Which candidates count as negatives.

    Attributes:
        in_batch: candidates of other rows at all; False leaves the row's own explicit negatives.
        other_negatives: explicit negatives of other rows.
        mask_duplicates: leave out candidates whose text is known to match the anchor's.
        false_negative_margin: leave out candidates more similar to the anchor than its best positive by more
            than this; None keeps all. Not applied to d-d.
        same_side: documents that d-d contrasts with: ``others`` all documents of other rows, ``positives`` their
            positives only, ``all`` the row's own explicit negatives too.
        guide, guide_margin: leave out candidates that the guide finds more similar to the anchor, strictly, than
            its similarity of the row's own pair minus the margin (``absolute``), minus this share of it
            (``relative``), or than the margin itself (``threshold``); None asks no guide. In every direction.
    """

    in_batch: bool = True
    other_negatives: bool = True
    mask_duplicates: bool = True
    false_negative_margin: float | None = None
    same_side: Literal["others", "positives", "all"] = "others"
    guide: GuideRule | None = None
    guide_margin: float = 0.0


@dataclass(frozen=True)
class Candidates:
    """Anchors of one direction against their candidates: what weighting pieces see and act on.

    With a anchors and C columns (module docstring):

    Attributes:
        direction: q-d, d-q, q-q or d-d.
        positive: [a, P'] similarity of the anchor with its own positives; P' = P for a query, 1 for a document.
        similarities: [a, C].
        is_positive: [a, C] columns that hold the row's own positive (or, for d-q, its own query).
        is_negative: [a, C] columns that enter the denominator.
        is_own_negative: [a, C] the row's explicit negatives among `is_negative`; q-d only.
        is_masked: [a, C] columns that would be negatives, but for their text, their similarity or the guide.
    """

    direction: Direction
    positive: Tensor
    similarities: Tensor
    is_positive: Tensor
    is_negative: Tensor
    is_own_negative: Tensor
    is_masked: Tensor


def unit(x: Tensor) -> Tensor:
    """Rows of length 1 in float32 at least; a zero row stays zero (``x / max(|x|, 1e-12)``)."""
    return functional.normalize(upcast(x), dim=-1, eps=1e-12)


def prepare(x: Tensor, similarity: Similarity) -> Tensor:
    """`x` such that the similarity is a dot product."""
    return unit(x) if similarity == "cos" else upcast(x)


def products(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b.T`` [a, b] in the precision of the inputs, also where autocast is on."""
    with torch.autocast(a.device.type, enabled=False):
        return a @ b.T


def log_sum_exp(logits: Tensor, mask: Tensor) -> Tensor:
    """Log of the sum of exponentials over the columns where `mask` is True.

    Args:
        logits: [a, C].
        mask: [a, C] bool.

    Returns:
        [a]; -inf, with zero gradient, for a row without any column (`torch.logsumexp` gives NaN gradients).
    """
    kept = logits.masked_fill(~mask, -torch.inf)
    top = kept.detach().amax(dim=1, keepdim=True)
    top = torch.where(top.isneginf(), 0.0, top)
    total = (kept - top).exp().sum(dim=1)
    empty = total == 0
    return torch.where(empty, -torch.inf, total.masked_fill(empty, 1.0).log() + top.squeeze(1))


def same_text(own: Tensor, candidates: Tensor) -> Tensor:
    """Which candidates share a text id with which anchors; `PAD_ID` matches nothing.

    Args:
        own: [a, k] ids of the anchors.
        candidates: [c, k'] ids of the candidates.

    Returns:
        [a, c] bool. Costs a sort of the candidates and memory for the matches, not a [a, c, k] comparison.
    """
    ids, order = candidates.flatten().sort()
    own = own.contiguous()
    first = torch.searchsorted(ids, own)
    count = torch.searchsorted(ids, own, right=True) - first
    count = count.masked_fill(own == PAD_ID, 0).flatten()
    before = count.cumsum(0) - count
    slot = torch.repeat_interleave(count)  # index into own.flatten() of each match
    match = first.flatten()[slot] + torch.arange(len(slot), device=own.device) - before[slot]
    out = torch.zeros(own.shape[0], candidates.shape[0], dtype=torch.bool, device=own.device)
    out[slot // own.shape[1], order[match] // candidates.shape[1]] = True
    return out


class Sides:
    """The embeddings of one model as anchors and candidates.

    Args:
        e: the global batch, P >= 1.
        rows: [m] rows that are anchors.
        similarity: cos or dot.

    Attributes:
        query: [N, d], document: [N P + N M, d], prepared for dot products.
        positive: [m, P] similarity of each row with its own positives.
    """

    def __init__(self, e: Embeddings, rows: Tensor, similarity: Similarity) -> None:
        self.query = prepare(e.query, similarity)
        positive, negative = prepare(e.positive, similarity), prepare(e.negative, similarity)
        self.document = torch.cat([positive.flatten(0, 1), negative.flatten(0, 1)])
        self.anchor_query, self.anchor_document = self.query[rows], positive[rows]
        self.positive = (self.anchor_query[:, None] * self.anchor_document).sum(-1)

    def own(self, direction: Direction) -> Tensor:
        """[a, P'] similarity of the anchors with their own positives."""
        return self.positive if direction.startswith("q") else self.positive.reshape(-1, 1)

    def similarities(self, direction: Direction) -> Tensor:
        """[a, C] similarity of the anchors with all candidates."""
        anchors = self.anchor_query if direction.startswith("q") else self.anchor_document.flatten(0, 1)
        return products(anchors, self.query if direction.endswith("q") else self.document)

    def alignment(self) -> Tensor:
        """Mean similarity of all positive pairs of the batch, a constant."""
        n, d = self.query.shape
        positive = self.document[: n * self.positive.shape[1]].view(n, -1, d)
        return (self.query[:, None] * positive).sum(-1).mean().detach()


class Pool:
    """One batch made ready for similarities; built once per call, asked once per direction.

    Args:
        e: the global batch, P >= 1.
        rows: [m] rows to answer for.
        similarity: cos or dot.
        rules: which candidates are negatives.

    Attributes:
        sides: the embeddings.
        exists: [N P + N M] which documents there are.
        document_id: [N P + N M, 1] their text ids.

    Raises:
        DataError: the batch has no positives.
        RecipeError: the rules ask a guide and the batch has none.
    """

    def __init__(self, e: Embeddings, rows: Tensor, similarity: Similarity, rules: Rules) -> None:
        if e.positive.shape[1] == 0:
            raise DataError(
                "the batch has no positives",
                where="positive",
                cure="give the source a positive column, or use role `text` and dropout views",
            )
        if rules.guide is not None and e.guide is None:
            raise RecipeError("the objective asks a guide", where="guide", cure="add `guide: {model: FOLDER_OR_ID}`")
        self.e, self.rows, self.rules = e, rows, rules
        self.sides = Sides(e, rows, similarity)
        self._guide = None if rules.guide is None or e.guide is None else Sides(e.guide, rows, "cos")
        n, p, m = len(e), e.positive.shape[1], e.negative.shape[1]
        example = torch.arange(n, device=rows.device)
        self._owner = torch.cat([example.repeat_interleave(p), example.repeat_interleave(m)])
        self._explicit = torch.arange(n * (p + m), device=rows.device) >= n * p
        self.exists = torch.cat([torch.ones_like(self._owner[: n * p], dtype=torch.bool), e.negative_mask.flatten()])
        self.document_id = torch.cat([e.positive_id.flatten(), e.negative_id.flatten()])[:, None]
        self._match_id = torch.cat([e.query_id[:, None], e.positive_id, e.known_id], dim=1)
        """[N, 1 + P + K] every text known to match the query of a row."""

    @property
    def positive(self) -> Tensor:
        """[m, P] similarity of each row with its own positives."""
        return self.sides.positive

    def candidates(self, direction: Direction) -> Candidates:
        """The candidates of the rows in one direction."""
        positive, similarities = self.sides.own(direction), self.sides.similarities(direction)
        owner = torch.arange(len(self.e), device=self.rows.device) if direction.endswith("q") else self._owner
        own = self.rows[:, None] == owner  # [m, C]
        positives, negatives, own_negatives = self._roles(direction, own)
        if not self.rules.in_batch:
            negatives = own_negatives
        kept = negatives
        if self.rules.mask_duplicates:
            kept = kept & ~self._same_text(direction)
        p = len(positive) // len(self.rows)
        kept, negatives, own_negatives = (t.repeat_interleave(p, 0) for t in (kept, negatives, own_negatives))
        if self.rules.false_negative_margin is not None and direction != "d-d":
            limit = positive.detach().amax(1, keepdim=True) + self.rules.false_negative_margin
            kept = kept & (similarities.detach() <= limit)
        if self._guide is not None:
            kept = kept & (self._guide.similarities(direction) <= self._guide_limit(self._guide.own(direction)))
        return Candidates(
            direction=direction,
            positive=positive,
            similarities=similarities,
            is_positive=positives.repeat_interleave(p, 0),
            is_negative=kept,
            is_own_negative=own_negatives & kept,
            is_masked=negatives & ~kept,
        )

    def _guide_limit(self, own: Tensor) -> Tensor | float:
        """[a, 1] the guide's similarity above which a candidate is a false negative; the best of several positives."""
        margin = self.rules.guide_margin
        if self.rules.guide == "threshold":
            return margin
        pair = own.amax(1, keepdim=True)
        return pair - (margin if self.rules.guide == "absolute" else margin * pair.abs())

    def _roles(self, direction: Direction, own: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[m, C] columns that are positives, negatives and own explicit negatives, by position alone."""
        rules, none = self.rules, torch.zeros_like(own)
        if direction == "q-q":
            return none, ~own, none
        if direction == "d-q":
            return own, ~own, none
        own_positive, own_negative = own & ~self._explicit, own & self._explicit
        other = self.exists & ~own
        if not rules.other_negatives:
            other = other & ~self._explicit
        if direction == "q-d":
            own_negative = own_negative & self.exists
            return own_positive, other | own_negative, own_negative
        if rules.same_side == "positives":
            other = other & ~self._explicit
        if rules.same_side == "all":
            other = other | (own_negative & self.exists)
        return none, other, none

    def _same_text(self, direction: Direction) -> Tensor:
        """[m, C] columns whose text is known to match the row.

        A document or query matches row i if its text is query i, a positive of i or known to match query i; a
        positive of another row also if that row asks the same query. Query j matches the documents of row i if
        both rows ask the same query or a positive of i is known to match query j.
        """
        e = self.e
        same_query = same_text(e.query_id[self.rows, None], e.query_id[:, None])
        if direction == "d-q":
            return same_query | same_text(e.positive_id[self.rows], self._match_id)
        own = self._match_id[self.rows]
        if direction == "q-q":
            return same_text(own, e.query_id[:, None])
        return same_text(own, self.document_id) | (same_query[:, self._owner] & ~self._explicit)
