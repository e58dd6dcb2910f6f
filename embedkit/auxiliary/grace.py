"""GRACE: a language model learns by policy gradient to write what makes its embeddings match (arXiv 2510.04506)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from embedkit.auxiliary.base import Auxiliary
from embedkit.auxiliary.masking import row_draws
from embedkit.errors import DataError, RecipeError
from embedkit.model.changing.rationale import WHERE, WRITTEN, RationaleTransformer
from embedkit.model.reading import tokens
from embedkit.model.reading.precision import half_where_needed
from embedkit.model.reading.probing import evaluating
from embedkit.model.running.inference import batches
from embedkit.model.running.sampling import Gumbel
from embedkit.objectives.rewards import Reward, Settings, advantage, supervised_reward, unsupervised_reward
from embedkit.spread.processes import gather
from embedkit.types import LossOut, RowBatch

if TYPE_CHECKING:
    from embedkit.model.running.encoder import Encoder

_DRAW = 67  # keeps these random streams apart from the others
_MARK = "rationale_tokens"
BATCH_TOKENS = 8192
"""Tokens written or read at once where nothing is kept for a gradient."""


@dataclass(frozen=True)
class Written:
    """What was written behind a row: R rollouts.

    Attributes:
        rationales: R lists of token ids, with the end token where one came.
        finished: R times, whether it came.
        embeddings: [R, d] of row and rationale.
    """

    rationales: list[list[int]]
    finished: list[bool]
    embeddings: Tensor


@dataclass(frozen=True)
class Rollouts:
    """The rollouts of one batch that train: those of its documents.

    Attributes:
        rationales: by row, its token ids.
        advantages: by row, [R].
        metrics: means over the rollouts of all processes.
    """

    rationales: dict[int, list[list[int]]]
    advantages: dict[int, Tensor]
    metrics: dict[str, Tensor]


@dataclass(frozen=True)
class Continued:
    """Rollouts as the policy reads them again.

    Attributes:
        features: ``input_ids`` and ``attention_mask`` [r, t], padded on the left.
        told: [r, t] bool, the tokens that the policy chose.
        advantages: [r].
    """

    features: dict[str, Tensor]
    told: Tensor
    advantages: Tensor


class Grace(Auxiliary):
    """The model writes rationales for queries and documents; those of documents that earn more become likelier.

    Per example a group of R rollouts: rationale i of the query, and i of the document, drawn from the model at
    temperature 1. Their rewards are those of `embedkit.objectives.rewards`: `supervised_reward` where examples have a
    negative (its first, with one rationale), else `unsupervised_reward`. With A = reward less the group's mean (GRPO
    without division by the deviation)::

        L = - sum over documents' rationales of A_i sum_t log p(token_t | text, tokens before) / all their tokens

    Every update draws anew, so that the ratio of policies is 1 and its clipping never acts. No KL and no entropy term,
    as the authors set them.

    Args:
        weight: factor of the loss.
        rollouts: R.
        temperature, clustering_weight, cross_group_weight: of the reward.
        encoder: a causal language model with `model.rationale`.
        seed: of the draws.

    Raises:
        RecipeError: the model writes nothing.
    """

    name = "grace"
    reports = ("reward", "reward_positive", "reward_spread", "unfinished", "rationale_tokens")

    def __init__(
        self,
        weight: float = 1.0,
        rollouts: int = 8,
        temperature: float = 0.1,
        clustering_weight: float = 0.2,
        cross_group_weight: float = 0.2,
        *,
        encoder: Encoder,
        seed: int,
    ) -> None:
        super().__init__(weight)
        self.rollouts, self.seed, self._encoder = rollouts, seed, (encoder,)
        self.settings = Settings(temperature, clustering_weight, cross_group_weight)
        if not isinstance(encoder.st[0], RationaleTransformer) or not encoder.st[0].tokens:
            what = "grace trains what a language model writes about a text, and this model writes nothing"
            raise RecipeError(what, f"{WHERE}.tokens", "set it above 0, or train without grace: objective infonce")
        self._rolled: tuple[RowBatch, Rollouts] | None = None
        self._said = False

    @property
    def encoder(self) -> Encoder:
        return self._encoder[0]

    @property
    def writer(self) -> RationaleTransformer:
        """The encoder's first module."""
        first = self.encoder.st[0]
        assert isinstance(first, RationaleTransformer)
        return first

    def sizes(self, batch: RowBatch) -> np.ndarray:
        """All rollouts of a document, which share a micro-batch; the batch's rationales are written here."""
        found = self._roll(batch)
        sizes = np.ones(len(batch.input_ids), np.int64)
        for row, rationales in found.rationales.items():
            sizes[row] = self.rollouts * (len(batch.input_ids[row]) + max(map(len, rationales)))
        return sizes

    def draw(self, batch: RowBatch, rows: np.ndarray) -> Continued | None:
        """The rollouts of the documents among the rows; None where there is none."""
        found = self._rolled[1] if self._rolled is not None and self._rolled[0] is batch else self._roll(batch)
        documents = [int(row) for row in rows if int(row) in found.rationales]
        if not documents:
            return None
        pairs = [(batch.input_ids[row], rationale) for row in documents for rationale in found.rationales[row]]
        marks = {_MARK: [[0] * len(text) + [1] * len(rationale) for text, rationale in pairs]}
        ids = [[*text, *rationale] for text, rationale in pairs]
        features = tokens.pad(self.encoder.st, ids, marks, self.encoder.device)
        told = features.pop(_MARK).bool()
        features.setdefault("attention_mask", torch.ones_like(features["input_ids"]))
        return Continued(features, told, torch.cat([found.advantages[row] for row in documents]))

    def count(self, drawn: Continued) -> float:
        """Tokens of the rationales."""
        return int(drawn.told.sum())

    def forward(self, drawn: Continued, embeddings: Tensor | None) -> LossOut:
        """Sum over the rationales' tokens; reports the rewards of the whole batch."""
        assert self._rolled is not None
        width = int(drawn.told.sum(1).max())
        with half_where_needed(self.writer.model):
            logits = self.writer.language_model(**drawn.features, logits_to_keep=width + 1, use_cache=False).logits
        told = drawn.told[:, -width:]
        chosen = logits[:, -width - 1 : -1][told]
        surprise = F.cross_entropy(
            chosen if chosen.dtype == torch.float64 else chosen.float(),
            drawn.features["input_ids"][:, -width:][told],
            reduction="none",
        )
        worth = drawn.advantages[:, None].expand_as(told)[told].to(surprise)
        return LossOut((worth * surprise).sum(), metrics=self._rolled[1].metrics)

    # Rollouts ---------------------------------------------------------------------------------------------------

    def _roll(self, batch: RowBatch) -> Rollouts:
        if batch.positives != 1:
            what = f"grace pairs a query with one document, and a batch has {batch.positives} positives per example"
            raise DataError(what, "data", "give one positive per query (data.one_positive: first), or views.count 2")
        query, document, negative = self._write(batch)
        device = self.encoder.device
        finished = gather(torch.tensor([end for w in document.values() for end in w.finished], device=device))
        lengths = gather(torch.tensor([len(r) for w in document.values() for r in w.rationales], device=device))
        group = torch.arange(len(finished), device=device) // self.rollouts
        reward = self._reward(batch, query, document, negative, group, finished)
        gain = advantage(reward.total, group)
        first = batch.offset * self.rollouts
        own = gain[first : first + batch.n * self.rollouts].split(self.rollouts)
        found = Rollouts(
            {row: written.rationales for row, written in document.items()},
            dict(zip(document, own, strict=True)),
            {
                "reward": reward.total.mean(),
                "reward_positive": reward.positive.mean(),
                "reward_spread": gain.square().mean().sqrt(),
                "unfinished": 1 - finished.float().mean(),
                "rationale_tokens": lengths.float().mean(),
            },
        )
        self._warn_of_nothing(found)
        self._rolled = batch, found
        return found

    def _write(self, batch: RowBatch) -> tuple[dict[int, Written], dict[int, Written], dict[int, Written]]:
        """What is written for queries, documents and first negatives, by row, in the order of the examples."""
        slot = batch.position % batch.slots
        times = {0: self.rollouts, 1: self.rollouts, 2: 1}
        rows = [int(row) for row in np.argsort(batch.position, kind="stable") if int(slot[row]) in times]
        draws = row_draws(_DRAW, self.seed, batch, np.array(rows))
        each = [times[int(slot[row])] for row in rows]
        seeds = [int(s) for draw, n in zip(draws, each, strict=True) for s in draw.integers(2**63 - 1, size=n)]
        found = self._rollouts(
            [batch.input_ids[row] for row, n in zip(rows, each, strict=True) for _ in range(n)], seeds
        )
        written, start = {}, 0
        for row, n in zip(rows, each, strict=True):
            part = slice(start, start + n)
            written[row] = Written(found.rationales[part], found.finished[part], found.embeddings[part])
            start += n
        query, document, negative = ({r: w for r, w in written.items() if slot[r] == k} for k in times)
        return query, document, negative

    def _rollouts(self, texts: list[list[int]], seeds: list[int]) -> Written:
        """A rationale for each text, each from its own seed, and the embeddings; dropout off, no gradient."""
        st, first, device = self.encoder.st, self.writer, self.encoder.device
        rationales: list[list[int]] = [[] for _ in texts]
        ends = set(first.ends)
        vectors: dict[int, Tensor] = {}
        with evaluating(self.encoder.module), torch.no_grad(), half_where_needed(first.model):
            for rows in batches([len(text) + first.tokens for text in texts], BATCH_TOKENS):
                features = tokens.pad(st, [texts[i] for i in rows], {}, device)
                ids = features["input_ids"]
                mask = features.get("attention_mask", torch.ones_like(ids))
                ids, mask = first.write(ids, mask, [Gumbel([seeds[i] for i in rows], device)])
                for place, i in enumerate(rows):
                    rationales[i] = ids[place][mask[place].bool()][len(texts[i]) :].tolist()
                out = self.encoder.module({"input_ids": ids, "attention_mask": mask, WRITTEN: True})
                vectors.update(zip(rows.tolist(), out, strict=True))
        finished = [bool(rationale) and rationale[-1] in ends for rationale in rationales]
        return Written(rationales, finished, torch.stack([vectors[i] for i in range(len(texts))]))

    def _reward(
        self,
        batch: RowBatch,
        query: dict[int, Written],
        document: dict[int, Written],
        negative: dict[int, Written],
        group: Tensor,
        finished: Tensor,
    ) -> Reward:
        """Rewards of all rollouts of all processes."""
        q, d = (gather(torch.cat([w.embeddings for w in part.values()])) for part in (query, document))
        if not batch.negatives:
            return unsupervised_reward(q, d, group, self.settings, finished)
        n = d.new_zeros(batch.n, d.shape[1])  # a cosine of 0 where an example has no negative
        for row, written in negative.items():
            n[int(batch.position[row]) // batch.slots] = written.embeddings[0]
        n = gather(n).repeat_interleave(self.rollouts, 0)
        return supervised_reward(q, d, n, group, self.settings, finished)

    def _warn_of_nothing(self, found: Rollouts) -> None:
        if not self._said and float(found.metrics["unfinished"]) == 1:
            self._said = True
            self.warn(
                f"no rationale of a batch came to its end within {self.writer.tokens} tokens: all earn the same, and "
                f"nothing is learned from it; raise {WHERE}.tokens, or ask for less in model.template"
            )
