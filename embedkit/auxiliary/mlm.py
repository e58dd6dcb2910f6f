"""Masked language modelling beside an objective, or alone: BERT's pretraining, SimCSE's auxiliary loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from embedkit.auxiliary.base import Auxiliary
from embedkit.auxiliary.language_head import load_language_head, transformer_origin
from embedkit.auxiliary.masking import Masker, row_draws
from embedkit.errors import RecipeError
from embedkit.model.reading import tokens
from embedkit.model.reading.precision import half_where_needed
from embedkit.types import LossOut, RowBatch

if TYPE_CHECKING:
    from embedkit.model.running.encoder import Encoder


_DRAW = 31  # keeps these random streams apart from the others
_TARGETS = "mlm_targets"
TOKEN_FEATURES = ("token_type_ids",)
"""Values of the tokenizer, per token, that a backbone takes beside the ids."""


@dataclass(frozen=True)
class MaskedRows:
    """A masked micro-batch.

    Attributes:
        features: of the backbone, padded or packed.
        chosen: [t] bool over the flattened token places: where a token is to be told.
        targets: [m] its original ids, in the order of the places.
    """

    features: dict[str, Any]
    chosen: Tensor
    targets: Tensor


def masked_lm_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Sum of the cross-entropies of the chosen tokens: logits [m, V], targets [m] -> scalar."""
    return F.cross_entropy(logits.float() if logits.dtype != torch.float64 else logits, targets, reduction="sum")


class MaskedLM(Auxiliary):
    """Masked copies of the rows go through the encoder once more, and a head tells the masked tokens.

    L = sum over the masked tokens of -log p(token) / their number, over all rows of all processes (SimCSE, arXiv
    2104.08821, with weight 0.1; BERT, arXiv 1810.04805). The head is the checkpoint's own where it has one; its
    output is tied to the encoder's token table where the architecture ties it.

    Args:
        weight: factor of the loss.
        rate: probability that a token is chosen; 80 % of the chosen become the mask token, 10 % a random one.
        views: ``all`` rows are masked, or only those of the ``first`` slot (the query, the first view).
        mask_inputs: the objective sees the same masked rows instead of the plain ones (TransliCo).
        mask: text of the token that stands for a mask; None: the tokenizer's own.
        encoder: the encoder of the run.
        seed: of the masks and of a new head.

    Raises:
        RecipeError: the encoder has no mask token, or no masked-LM class in transformers.
    """

    name = "mlm"
    causal = False
    reports = ("mlm_accuracy",)

    def __init__(
        self,
        weight: float = 0.1,
        rate: float = 0.15,
        views: Literal["all", "first"] = "all",
        mask_inputs: bool = False,
        mask: str | None = None,
        *,
        encoder: Encoder,
        seed: int,
    ) -> None:
        super().__init__(weight)
        self.views, self.seed, self._encoder = views, seed, (encoder,)
        self.masker = masker_of(encoder, rate, f"auxiliary.{self.name}", mask)
        origin = transformer_origin(encoder)
        self.head = load_language_head(
            origin,
            table=encoder.st[0].auto_model.get_input_embeddings(),
            seed=seed,
            where=f"auxiliary.{self.name}",
            scratch=encoder.from_scratch,
            trust=encoder.st.trust_remote_code,
            causal=self.causal,
        ).to(encoder.device)
        self.head.take_backbone()
        if self.head.new and not encoder.from_scratch:
            kind = "language-model" if self.causal else "masked-LM"
            self.warn(f"{origin} holds no {kind} head: it starts from new weights")
        if mask_inputs:
            encoder.mask_inputs = self.masked_ids

    @property
    def encoder(self) -> Encoder:
        return self._encoder[0]

    def masked_ids(self, batch: RowBatch, rows: np.ndarray) -> list[list[int]]:
        """Token ids of the masked rows: a pure function of the seed, the step and the rows' places."""
        return self._masked(batch, rows)[0]

    def draw(self, batch: RowBatch, rows: np.ndarray) -> MaskedRows | None:
        """Masked features of the rows, None when no token is chosen."""
        if self.views == "first":
            rows = rows[batch.position[rows] % batch.slots == 0]
        if not len(rows):
            return None
        ids, targets = self._masked(batch, rows)
        extra = {name: [batch.features[name][i] for i in rows] for name in TOKEN_FEATURES if name in batch.features}
        return self._lay_out(ids, targets, extra)

    def count(self, drawn: MaskedRows) -> float:
        """Chosen tokens."""
        return len(drawn.targets)

    def forward(self, drawn: MaskedRows, embeddings: Tensor | None) -> LossOut:
        """Sum over the chosen tokens; reports the share that is told right."""
        logits = self._logits(drawn)
        right = (logits.detach().argmax(-1) == drawn.targets).float().mean()
        return LossOut(masked_lm_loss(logits, drawn.targets), metrics={"mlm_accuracy": right})

    def export(self, folder: Path) -> None:
        """Make the run's model a masked language model too: ``AutoModelForMaskedLM`` loads the same folder."""
        self.head.add_to(folder / "model")

    @torch.no_grad()
    def held_out(self, texts: Sequence[str], *, batch_tokens: int = 4096) -> dict[str, float]:
        """Masked-LM loss of texts that are not trained on, dropout off, the same masks at every call.

        Args:
            texts: any number of texts, with one token to mask at least.
            batch_tokens: padded tokens per batch.

        Returns:
            ``mlm_loss`` (nats per masked token), ``mlm_perplexity`` (its exponential), ``mlm_accuracy`` and
            ``mlm_tokens``, how many were masked.
        """
        from embedkit.model.running.inference import batches, evaluating

        ids, extra = tokens.tokenize(self.encoder.st, texts, self.encoder.prompt("query"), training=True)
        draws = (np.random.default_rng([_DRAW, self.seed, i]) for i in range(len(ids)))
        masked, targets = self._mask(ids, draws)
        order = np.argsort([-len(row) for row in ids], kind="stable")
        loss, right, count = 0.0, 0, 0
        with evaluating(self.encoder.module):
            for cut in batches([len(ids[i]) for i in order], batch_tokens):
                rows = order[cut]
                part = {name: [extra[name][i] for i in rows] for name in TOKEN_FEATURES if name in extra}
                drawn = self._lay_out([masked[i] for i in rows], [targets[i] for i in rows], part)
                if drawn is None:
                    continue
                logits = self._logits(drawn)
                loss += float(masked_lm_loss(logits, drawn.targets))
                right += int((logits.argmax(-1) == drawn.targets).sum())
                count += len(drawn.targets)
        if not count:
            raise RecipeError("no token of the held-out texts was masked", "eval.masked_lm", "give more texts")
        mean = loss / count
        return {
            "mlm_loss": mean,
            "mlm_perplexity": math.exp(min(mean, 700.0)),
            "mlm_accuracy": right / count,
            "mlm_tokens": float(count),
        }

    def _masked(self, batch: RowBatch, rows: np.ndarray) -> tuple[list[list[int]], list[list[int]]]:
        return self._mask([batch.input_ids[i] for i in rows], row_draws(_DRAW, self.seed, batch, rows))

    def _mask(
        self, ids: list[list[int]], draws: Iterable[np.random.Generator]
    ) -> tuple[list[list[int]], list[list[int]]]:
        """Masked ids, and per token the original id + 1 of the token that its state is to tell, else 0."""
        return self.masker(ids, draws)

    def _lay_out(
        self, ids: list[list[int]], targets: list[list[int]], extra: dict[str, list[Any]]
    ) -> MaskedRows | None:
        features = self.encoder.module.layout(ids, extra | {_TARGETS: targets})
        told = features.pop(_TARGETS).flatten()
        chosen = told > 0
        return MaskedRows(features, chosen, told[chosen] - 1) if bool(chosen.any()) else None

    def _logits(self, drawn: MaskedRows) -> Tensor:
        """[m, V] at the chosen places: the head is not run where nobody asks."""
        transformer: Any = self.encoder.st[0]
        with half_where_needed(transformer.auto_model):
            states = transformer(dict(drawn.features))["token_embeddings"].flatten(0, 1)
        return self.head(states[drawn.chosen])


def masker_of(encoder: Encoder, rate: float, where: str, mask: str | None = None) -> Masker:
    """A `Masker` for the encoder's tokenizer; `mask` as there.

    Raises:
        RecipeError: the tokenizer has no mask token, or `mask` is not one token.
    """
    try:
        return Masker(encoder.st.tokenizer, rate, mask)
    except ValueError as error:
        cure = "use an encoder that was trained with masked tokens" if mask is None else "name one token, e.g. mask: _"
        raise RecipeError(str(error), where, cure) from error
