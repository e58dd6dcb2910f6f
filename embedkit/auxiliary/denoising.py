"""TSDAE: rebuild a text from the embedding of its damaged form (arXiv 2104.06979), with sentence-transformers' loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from embedkit.auxiliary.base import Auxiliary
from embedkit.auxiliary.language_head import transformer_origin
from embedkit.errors import RecipeError
from embedkit.model.changing import adapters, lora
from embedkit.model.changing.dropout import use_cpu_dropout
from embedkit.model.reading import tokens
from embedkit.model.reading.seeding import seeded
from embedkit.types import LossOut, RowBatch

if TYPE_CHECKING:
    from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss

    from embedkit.model.running.encoder import Encoder

WHERE = "auxiliary.tsdae"
CHARACTERS_PER_TOKEN = 4
"""Of ordinary text in a WordPiece vocabulary; only sorts rows and sizes micro-batches."""


@dataclass(frozen=True)
class Originals:
    """What the decoder must write: [r, t] token ids of the undamaged texts, padded; how many of them are told."""

    input_ids: Tensor
    told: int


class Denoising(Auxiliary):
    """A decoder writes the original text, attending to the embedding of the damaged text and nothing else.

    L = mean over the original's tokens (the first one is given, padding left out) of -log p(token | tokens before,
    embedding). The decoder starts as the encoder's checkpoint with cross-attention added, and shares the encoder's
    weights where their names agree (`tie`), which sentence-transformers' `DenoisingAutoEncoderLoss` arranges and
    computes; only its call of the encoder is exchanged for the embedding that the step has already.

    Args:
        weight: factor of the loss.
        tie: share the encoder's weights. False gives the decoder weights of its own.
        encoder: the encoder of the run; with `tie` its parameters become the decoder's, with the same values.
        seed: of new weights (cross-attention, and a language head where the checkpoint has none).

    Raises:
        RecipeError: the architecture cannot be a decoder with cross-attention, or is adapted (LoRA, soft prompts).
    """

    name = "tsdae"
    conditioned = True

    def __init__(self, weight: float = 1.0, tie: bool = True, *, encoder: Encoder, seed: int) -> None:
        super().__init__(weight)
        self._encoder = (encoder,)
        _check(encoder, tie)
        self._loss = (_build(encoder, tie, seed),)
        shared = {id(p) for p in encoder.module.parameters()}
        own = {n: p for n, p in self.loss.decoder.named_parameters() if id(p) not in shared}
        self.decoder = nn.ParameterDict({n.replace(".", "/"): p for n, p in own.items()})

    @property
    def encoder(self) -> Encoder:
        return self._encoder[0]

    @property
    def loss(self) -> DenoisingAutoEncoderLoss:
        """sentence-transformers' loss; no submodule, because most of its parameters are the encoder's."""
        return self._loss[0]

    def train(self, mode: bool = True) -> Denoising:
        """As usual, the decoder included."""
        super().train(mode)
        if hasattr(self, "_loss"):
            self.loss.train(mode)
        return self

    def sizes(self, batch: RowBatch) -> np.ndarray:
        """By the originals: damaged texts of one length come from originals of many."""
        return np.array([2 + len(text) // CHARACTERS_PER_TOKEN for text in batch.originals])

    def draw(self, batch: RowBatch, rows: np.ndarray) -> Originals:
        """Tokens of the undamaged texts of the rows."""
        encoder = self.encoder
        texts = [batch.originals[i] for i in rows]
        ids, _ = tokens.tokenize(encoder.st, texts, "", training=True)
        padded = tokens.pad(encoder.st, ids, {}, encoder.device)["input_ids"]
        return Originals(padded, sum(len(row) - 1 for row in ids))

    def count(self, drawn: Originals) -> float:
        """Tokens to be written."""
        return drawn.told

    def forward(self, drawn: Originals, embeddings: Tensor | None) -> LossOut:
        """Sum over the tokens to be written."""
        assert embeddings is not None
        hidden = self.loss.decoder.config.hidden_size
        if embeddings.shape[-1] != hidden:
            raise RecipeError(
                f"the decoder attends to {hidden} numbers, and embeddings have {embeddings.shape[-1]}",
                WHERE,
                "give the head (model.head, heads) the encoder's hidden size",
            )
        source = {"sentence_embedding": embeddings, "attention_mask": embeddings.new_ones(len(embeddings), 1)}
        mean = self.loss([source, {"input_ids": drawn.input_ids}], None)
        return LossOut(mean * drawn.told)


class _Told(nn.Module):
    """Stands where sentence-transformers' loss calls the encoder: the embedding is there already."""

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return features


def _check(encoder: Encoder, tie: bool) -> None:
    if lora.has_adapters(encoder.st) or hasattr(encoder.st[0], "soft_prompts"):
        raise RecipeError(
            "a decoder cannot be made of an encoder with adapters", WHERE, "leave model.lora and model.soft_prompts out"
        )
    if encoder.from_scratch:
        raise RecipeError("the decoder starts from the encoder's checkpoint", WHERE, "pretrain with mlm first")
    if type(encoder.st[0].auto_model).__module__.startswith("transformers_modules"):
        raise RecipeError("the decoder cannot be made of a model that brings its own code", WHERE, "use BERT")
    tokenizer = encoder.st.tokenizer
    if tokenizer.padding_side != "right":
        raise RecipeError("a tokenizer that pads on the left gives the decoder its padding first", WHERE, "use BERT")


def _build(encoder: Encoder, tie: bool, seed: int) -> DenoisingAutoEncoderLoss:
    from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss

    backbone: Any = encoder.st[0].auto_model
    device = encoder.device  # now: tying makes the encoder's parameters those of a decoder that was read to the CPU
    folder = transformer_origin(encoder).target
    trains = {n: p.requires_grad for n, p in backbone.named_parameters()}
    with seeded(seed), _named_after(backbone, folder):
        try:
            loss = DenoisingAutoEncoderLoss(encoder.st, None if tie else folder, tie_encoder_decoder=tie)
        except (ValueError, AssertionError, AttributeError) as error:
            raise RecipeError(
                f"{type(backbone).__name__} cannot be made a decoder: {error}",
                WHERE,
                "use an encoder that transformers can run as a decoder with cross-attention (BERT, RoBERTa, ELECTRA)",
            ) from error
    names = [n for n, _ in loss.decoder.named_parameters()]
    if not any("crossattention" in n.replace("_", "") for n in names):
        raise RecipeError(
            f"{type(loss.decoder).__name__} has no cross-attention", WHERE, "use BERT, RoBERTa or ELECTRA"
        )
    loss.encoder = _Told()
    loss.decoder.float().to(device)
    rate = getattr(backbone.config, "hidden_dropout_prob", None)
    if rate is not None:
        adapters.set_dropout(loss.decoder, rate)
    if device.type == "cpu":
        use_cpu_dropout(loss.decoder)
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_(trains[name])
    return loss


@contextmanager
def _named_after(backbone: Any, folder: str) -> Iterator[None]:
    """The loss loads its decoder from where the encoder's configuration says it came from."""
    before, backbone.config._name_or_path = backbone.config._name_or_path, folder
    try:
        yield
    finally:
        backbone.config._name_or_path = before
