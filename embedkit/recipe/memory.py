"""Formulas for memory, shared by `check` and the step engine. Bytes in, bytes out; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

KEEP_SHARE = 0.5
"""Share of the free memory that kept activations may take; optimiser state and the batch side need the rest."""
LOGITS_BYTES = 64 * 2**20
"""Bound on one row block of logits when `train.rows_per_block` is not set."""
LOGIT_COPIES = 4
"""Matrices of a block's size alive at once: similarities, logits, exponentials, masks."""

_PER_LAYER = {"fp32": 72, "bf16": 51}
_PER_PROBABILITY = 12
_EMBEDDING = 12
_WORD = {"fp32": 4, "bf16": 2}
ADAM_BYTES = 16
"""Per trained parameter in fp32: weight, gradient and Adam's two moments."""
LION_BYTES = 12
"""The same with Lion's one moment."""


def activation_bytes(
    tokens: int,
    layers: int,
    hidden: int,
    heads: int,
    length: int,
    precision: str = "fp32",
    words: int = 0,
    *,
    gpu: bool = False,
) -> int:
    """Bytes that the backward of a BERT-like encoder keeps from the forward.

    ``tokens * (layers * (c * hidden + 12 * heads * length) + 12 * hidden + b * words)`` with c = 72 and b = 4 in
    fp32, 51 and 2 under bf16 autocast. Counted with saved-tensor hooks on BERT (MLP of 4 * hidden, dropout on) in
    torch 2.13 on the CPU, within 10 % there for lengths 32 to 256. The second term is the attention matrix with its
    dropout. A GPU's kernels keep none in bf16: on an H200 the peak of a step of BERT-base with all rows packed was 9 to
    14 % below what is foreseen without it, for rows of 28 and of 324 tokens; in fp32, for rows of 28, 29 % above.

    Args:
        tokens: padded tokens whose graph is kept.
        layers, hidden, heads: of the encoder.
        length: tokens per row.
        precision: ``fp32`` or ``bf16``.
        words: of the vocabulary, which a sparse encoder has a logit for at every token; 0 for all others.
        gpu: whether the encoder is on one.
    """
    matrix = 0 if gpu and precision == "bf16" else _PER_PROBABILITY * heads * length
    per_layer = _PER_LAYER[precision] * hidden + matrix
    return tokens * (layers * per_layer + _EMBEDDING * hidden + _WORD[precision] * words)


def rows_per_block(columns: int, element_bytes: int = 4) -> int:
    """Rows of logits per block so that a block's matrices stay within `LOGITS_BYTES`."""
    return max(1, LOGITS_BYTES // max(1, columns * element_bytes * LOGIT_COPIES))


@dataclass(frozen=True)
class EncoderSize:
    """The numbers of a transformer that memory depends on.

    Attributes:
        layers, hidden, heads, intermediate, vocabulary, positions: from ``config.json``.
        max_length: tokens the model keeps per text, None if it does not say.
        dim: size of its embeddings.
        key_value: width of a layer's keys; below `hidden` where heads share them.
    """

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    max_length: int | None
    dim: int
    key_value: int

    @classmethod
    def of(cls, config: dict[str, Any], max_length: int | None = None, dim: int | None = None) -> EncoderSize | None:
        """Read a ``config.json``; None where it does not speak BERT's terms."""
        try:
            layers, hidden, heads = (
                int(config[key]) for key in ("num_hidden_layers", "hidden_size", "num_attention_heads")
            )
        except (KeyError, TypeError, ValueError):
            return None
        if layers < 0 or hidden < 1 or heads < 1:
            return None
        positions = int(config.get("max_position_embeddings") or 0)
        return cls(
            layers,
            hidden,
            heads,
            int(config.get("intermediate_size") or 4 * hidden),
            int(config.get("vocab_size") or 0),
            positions,
            max_length or positions or None,
            dim or hidden,
            int(config.get("num_key_value_heads") or heads) * int(config.get("head_dim") or hidden // heads),
        )

    @property
    def parameters(self) -> int:
        """Of a BERT with these sizes: embeddings, attention, MLP, norms; the pooler left out."""
        h, i = self.hidden, self.intermediate
        embeddings = (self.vocabulary + self.positions + 2) * h + 2 * h
        return embeddings + self.layers * (4 * h * h + 4 * h + 2 * h * i + i + h + 4 * h)


def amount(size: float) -> str:
    """Bytes for a reader: ``1.5 GiB``."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
