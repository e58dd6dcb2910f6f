"""Text to token ids and token ids to padded tensors, as sentence-transformers does both, in two separate steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from embedkit.model.reading import static, templates
from embedkit.model.reading.devices import send

if TYPE_CHECKING:
    from sentence_transformers.base.model import BaseModel

NO_PADDING: dict[str, dict[str, Any]] = {"common": {"return_tensors": None}, "text": {"padding": False}}
DROPPED = ("attention_mask", "modality", "prompt_length", "input_ids", "logits_to_keep")


def tokenize(
    st: BaseModel,
    texts: Sequence[str] | Sequence[list[str]],
    prompt: str,
    max_length: int | None = None,
    *,
    training: bool = False,
) -> tuple[list[list[int]], dict[str, list[Any]]]:
    """Tokenise with sentence-transformers' own `preprocess`, without padding.

    Args:
        st: the model.
        texts: n texts; or n pairs, for a cross-encoder.
        prompt: put before each; "" for none.
        max_length: tokens kept, those of a template not counted; None keeps the model's setting.
        training: a template leaves texts as they are, where it would clean them otherwise.

    Returns:
        n lists of token ids, special tokens included, and the tokenizer's other per-row values:
        ``token_type_ids`` (lists) where the tokenizer makes them, ``prompt_length`` (ints, 0 without a prompt)
        where the pooling leaves prompts out.
    """
    if static.is_static(st):
        return static.tokenize(st, [str(text) for text in texts], prompt, max_length), {}
    options = {**NO_PADDING, **({"chat_template": templates.RAW} if training and templates.is_templated(st) else {})}
    if max_length is not None:
        options["text"] = {**NO_PADDING["text"], "max_length": max_length + templates.words(st)}
    with _unflattened(st[0]):
        out = st.preprocess(list(texts), prompt=prompt or None, processing_kwargs=options)
    features: dict[str, list[Any]] = {name: value for name, value in out.items() if name not in DROPPED}
    if excludes_prompt(st):
        features["prompt_length"] = [int(out.get("prompt_length") or 0)] * len(texts)
    return out["input_ids"], features


def excludes_prompt(st: BaseModel) -> bool:
    """Whether the pooling leaves prompt tokens out."""
    return any(getattr(module, "include_prompt", True) is False for module in st)


@contextmanager
def _unflattened(transformer: Any) -> Iterator[None]:
    """Flash attention makes `preprocess` join all texts into one row; rows are what we need."""
    before, transformer.can_flatten_inputs = transformer.can_flatten_inputs, False
    try:
        yield
    finally:
        transformer.can_flatten_inputs = before


def pad(
    st: BaseModel,
    input_ids: Sequence[Sequence[int]],
    extra: dict[str, list[Any]],
    device: torch.device,
) -> dict[str, Tensor]:
    """Pad rows to the longest of them, on the side and with the values of the tokenizer.

    The attention mask is left out when no row is padded: the result is the same and attention is faster.

    Args:
        st: the model.
        input_ids: r rows.
        extra: as `tokenize` returns it, for these rows.
        device: where the tensors go.

    Returns:
        ``input_ids`` [r, t], ``token_type_ids`` [r, t] and ``prompt_length`` [r] where given,
        ``attention_mask`` [r, t] unless all ones.
    """
    tokenizer = st[0].tokenizer
    lengths = np.fromiter((len(ids) for ids in input_ids), np.int64, len(input_ids))
    width = int(lengths.max())
    left = tokenizer.padding_side == "left"
    columns = np.arange(width)
    mask = columns >= (width - lengths)[:, None] if left else columns < lengths[:, None]

    def fill(rows: Sequence[Sequence[int]], value: int) -> Tensor:
        block = np.full(mask.shape, value, np.int64)
        block[mask] = np.concatenate([np.asarray(row, np.int64) for row in rows])
        return send(block, device)

    features = {"input_ids": fill(input_ids, tokenizer.pad_token_id)}
    for name, rows in extra.items():
        if name == "prompt_length":
            features[name] = send(torch.tensor(rows), device)
        else:
            features[name] = fill(rows, tokenizer.pad_token_type_id if name == "token_type_ids" else 0)
    if not mask.all():
        features["attention_mask"] = send(mask.astype(np.int64), device)
    return features
