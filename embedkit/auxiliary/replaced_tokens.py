"""Conditional replaced-token detection: DiffCSE's second loss (arXiv 2204.10298)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from embedkit.auxiliary.base import Auxiliary
from embedkit.auxiliary.generator import Generator, embedding_layer
from embedkit.auxiliary.masking import row_draws
from embedkit.auxiliary.mlm import TOKEN_FEATURES, masker_of
from embedkit.errors import RecipeError
from embedkit.model.changing import lora
from embedkit.model.changing.heads import INIT_STD
from embedkit.model.reading import tokens
from embedkit.model.reading.precision import half_where_needed
from embedkit.model.reading.seeding import seeded
from embedkit.model.running import packing
from embedkit.types import LossOut, RowBatch

if TYPE_CHECKING:
    from embedkit.model.running.encoder import Encoder

_MASKS, _SAMPLES = 32, 33  # keep these random streams apart from the others
WHERE = "auxiliary.replaced_tokens"
GENERATOR = "distilbert/distilbert-base-uncased"
_PLACES = "replaced_token_places"
_FIRST, _KEPT, _REPLACED = 1, 2, 3


@dataclass(frozen=True)
class EditedRows:
    """A micro-batch that the generator has edited.

    Attributes:
        features: of the discriminator, padded or packed.
        first: [r] place of each row's first token among the flattened tokens.
        counted: [t] bool, the tokens that are judged.
        replaced: [t] bool, of all tokens: differs from the original.
    """

    features: dict[str, Any]
    first: Tensor
    counted: Tensor
    replaced: Tensor


def edited(ids: Tensor, proposed: Tensor, editable: Tensor) -> tuple[Tensor, Tensor]:
    """Rows with the generator's tokens in place, and which tokens differ now.

    A proposal that equals the original is not a replacement (DiffCSE's code recomputes it so).

    Args:
        ids: original token ids, any shape.
        proposed: the generator's, same shape.
        editable: bool, where a proposal is taken.

    Returns:
        The edited ids and a bool tensor "replaced".
    """
    new = torch.where(editable, proposed, ids)
    return new, new != ids


def replaced_token_loss(logits: Tensor, replaced: Tensor, counted: Tensor | None = None) -> Tensor:
    """Sum over the counted tokens of the two-class cross-entropy original / replaced.

    Args:
        logits: [..., 2].
        replaced: [...] bool.
        counted: [...] bool; None counts all.
    """
    logits, target = logits.reshape(-1, 2), replaced.reshape(-1).long()
    if counted is not None:
        logits, target = logits[counted.reshape(-1)], target[counted.reshape(-1)]
    return F.cross_entropy(logits if logits.dtype == torch.float64 else logits.float(), target, reduction="sum")


class ReplacedTokens(Auxiliary):
    """A discriminator, told the sentence embedding, judges each token of an edited row: original or replaced?

    Tokens are masked with probability `rate`; a frozen generator fills them; the discriminator (its weights start as
    the encoder's) reads the result with the output of its embedding layer at the first position exchanged for the
    sentence embedding; a linear layer judges every token. The gradient reaches the encoder through that embedding
    alone, batch heads included. L = mean over tokens of the two-class cross-entropy.

    Args:
        weight: factor of the loss.
        generator: masked language model with the encoder's vocabulary.
        rate: probability that a token is masked; 80 % of the masked carry the mask token, 10 % a random one.
        generator_mode: ``argmax`` takes the generator's most probable token (DiffCSE's code), ``sample`` draws from
            its distribution (DiffCSE's abstract).
        only_masked: only masked tokens may change. False: every token but the first, special tokens included, becomes
            the generator's (DiffCSE's code).
        ignore_padding: padding is not judged. False: rows are padded to the longest of the global batch and padding
            counts as original (DiffCSE's code), which makes the loss depend on it.
        generator_train_mode: dropout on in the generator (DiffCSE's code).
        encoder: the encoder of the run.
        seed: of masks, samples and the linear layer.

    Raises:
        RecipeError: the generator does not fit, or the architecture cannot be told an embedding.
    """

    name = "replaced_tokens"
    conditioned = True
    reports = ("replaced_share", "replaced_accuracy")

    def __init__(
        self,
        weight: float = 0.005,
        generator: str = GENERATOR,
        rate: float = 0.3,
        generator_mode: Literal["argmax", "sample"] = "argmax",
        only_masked: bool = True,
        ignore_padding: bool = True,
        generator_train_mode: bool = False,
        *,
        encoder: Encoder,
        seed: int,
    ) -> None:
        super().__init__(weight)
        self.generator_mode, self.only_masked, self.ignore_padding = generator_mode, only_masked, ignore_padding
        self.seed, self._encoder = seed, (encoder,)
        self.masker = masker_of(encoder, rate, WHERE)
        self._generator = (Generator(generator, encoder, train_mode=generator_train_mode, where=f"{WHERE}.generator"),)
        self.discriminator = _copy_of(encoder)
        layer = embedding_layer(self.discriminator, WHERE)
        layer.register_forward_hook(self._tell)
        hidden = self.discriminator.config.hidden_size
        with seeded(seed):
            self.judge = nn.Linear(hidden, 2)
            nn.init.normal_(self.judge.weight, 0.0, INIT_STD)
            nn.init.zeros_(self.judge.bias)
        self.judge.to(encoder.device)
        self._told: tuple[Tensor, Tensor] | None = None
        self._longest = (-1, 0)

    @property
    def encoder(self) -> Encoder:
        return self._encoder[0]

    def draw(self, batch: RowBatch, rows: np.ndarray) -> EditedRows:
        """Mask the rows and let the generator edit them."""
        ids = [batch.input_ids[i] for i in rows]
        extra = {name: [batch.features[name][i] for i in rows] for name in TOKEN_FEATURES if name in batch.features}
        masked, targets = self.masker(ids, row_draws(_MASKS, self.seed, batch, rows))
        wanted = [[t > 0 for t in row] for row in targets] if self.only_masked else [_all_but_first(row) for row in ids]
        draws = row_draws(_SAMPLES, self.seed, batch, rows) if self.generator_mode == "sample" else None
        original, editable = _flat(ids, torch.int64), _flat(wanted, torch.bool)
        proposed = original.clone()
        proposed[editable] = self._generator[0].propose(masked, extra, wanted, draws).cpu()
        new, replaced = edited(original, proposed, editable)
        codes = torch.where(replaced, _REPLACED, _KEPT)
        lengths = [len(row) for row in ids]
        codes[np.cumsum([0, *lengths[:-1]])] = _FIRST
        width = None if self.ignore_padding else self._global_longest(batch)
        return self._lay_out(_rows(new, lengths), _rows(codes, lengths), extra, width)

    def count(self, drawn: EditedRows) -> float:
        """Judged tokens."""
        return int(drawn.counted.sum())

    def forward(self, drawn: EditedRows, embeddings: Tensor | None) -> LossOut:
        """Sum over the judged tokens; reports the share of replaced tokens and of right judgements."""
        assert embeddings is not None
        if embeddings.shape[-1] != self.judge.in_features:
            raise RecipeError(
                f"embeddings of {embeddings.shape[-1]} numbers cannot stand in for the first token of "
                f"{self.judge.in_features}",
                WHERE,
                "give the head (model.head, heads) the encoder's hidden size",
            )
        self._told = drawn.first, embeddings
        try:
            with half_where_needed(self.discriminator):
                states = self.discriminator(**drawn.features)[0].flatten(0, 1)
        finally:
            self._told = None
        logits, replaced = self.judge(states)[drawn.counted], drawn.replaced[drawn.counted]
        right = (logits.detach().argmax(-1) == replaced.long()).float().mean()
        metrics = {"replaced_share": replaced.float().mean(), "replaced_accuracy": right}
        return LossOut(replaced_token_loss(logits, replaced), metrics=metrics)

    def _lay_out(
        self, ids: list[list[int]], codes: list[list[int]], extra: dict[str, list[Any]], width: int | None
    ) -> EditedRows:
        st = self.encoder.st
        extra = extra | {_PLACES: codes}
        if width is None:
            features = self.encoder.module.layout(ids, extra)
        else:
            features = _widen(tokens.pad(st, ids, extra, st.device), width, st.tokenizer)
        code = features.pop(_PLACES).flatten()
        counted = torch.ones_like(code, dtype=torch.bool) if width is not None else code > 0
        return EditedRows(features, (code == _FIRST).nonzero()[:, 0], counted, code == _REPLACED)

    def _tell(self, layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        """Exchange each row's first token embedding for the sentence embedding."""
        if self._told is None:
            return output
        first, embeddings = self._told
        flat = output.flatten(0, 1).index_copy(0, first, embeddings.to(output.dtype))
        return flat.view_as(output)

    def _global_longest(self, batch: RowBatch) -> int:
        """Tokens of the longest row of all processes; asked once per batch, by all of them."""
        if self._longest[0] != batch.step:
            longest = torch.tensor(max(map(len, batch.input_ids)), device=self.encoder.device)
            if dist.is_available() and dist.is_initialized():
                dist.all_reduce(longest, op=dist.ReduceOp.MAX)
            self._longest = batch.step, int(longest)
        return self._longest[1]


def _all_but_first(row: Sequence[int]) -> list[bool]:
    return [k > 0 for k in range(len(row))]


def _flat(rows: Sequence[Sequence[int]], dtype: torch.dtype) -> Tensor:
    return torch.tensor([value for row in rows for value in row], dtype=dtype)


def _rows(flat: Tensor, lengths: Sequence[int]) -> list[list[int]]:
    return [part.tolist() for part in flat.split(list(lengths))]


def _copy_of(encoder: Encoder) -> Any:
    """The encoder's backbone once more, all of it trainable (with LoRA: its adapters), with its attention."""
    if hasattr(encoder.st[0], "soft_prompts"):
        raise RecipeError("soft prompts leave no first token to condition on", WHERE, "leave model.soft_prompts out")
    discriminator: Any = copy.deepcopy(encoder.st[0].auto_model)
    if not lora.has_adapters(encoder.st):
        discriminator.requires_grad_(True)
        pooler = getattr(discriminator, "pooler", None)
        if isinstance(pooler, nn.Module):
            pooler.requires_grad_(False)
    if encoder.module.packs:
        packing.use_sparse_token_gradients(discriminator)
    return discriminator


def _widen(features: dict[str, Tensor], width: int, tokenizer: Any) -> dict[str, Tensor]:
    """Pad every row to `width` tokens, on the tokenizer's side, with an explicit mask."""
    have = features["input_ids"].shape[1]
    features.setdefault("attention_mask", torch.ones_like(features["input_ids"]))
    fill = {"input_ids": tokenizer.pad_token_id, "token_type_ids": tokenizer.pad_token_type_id}
    more = (width - have, 0) if tokenizer.padding_side == "left" else (0, width - have)
    return {name: F.pad(value, more, value=fill.get(name, 0)) for name, value in features.items()}
