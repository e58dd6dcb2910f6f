"""Static models, sentence-transformers' `StaticEmbedding`: each token has a vector, and a text has their mean.

There is no transformer in them: no positions, hence no length, no special tokens, no dropout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, device

from embedkit.disk.model_files import BASE
from embedkit.errors import RecipeError
from embedkit.model.reading.devices import send

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.model import BaseModel


def is_static(st: BaseModel) -> bool:
    """Whether a model begins with a table of token vectors instead of a transformer."""
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    return isinstance(st[0], StaticEmbedding)


def tokenize(st: BaseModel, texts: Sequence[str], prompt: str, max_length: int | None) -> list[list[int]]:
    """Token ids of each text as sentence-transformers finds them, without special tokens; a text may have none.

    Args:
        st: a static model.
        texts: n texts.
        prompt: put before each; its tokens count in the mean.
        max_length: tokens kept; None keeps all.
    """
    found = st.preprocess(list(texts), prompt=prompt or None)
    rows = np.split(found["input_ids"].numpy(), found["offsets"].numpy()[1:])
    return [row[:max_length].tolist() for row in rows]


def bags(input_ids: Sequence[Sequence[int]], where: device) -> dict[str, Tensor]:
    """Rows end to end for `torch.nn.EmbeddingBag`: ``input_ids`` [t] and ``offsets`` [r], where each row begins."""
    lengths = np.fromiter((len(row) for row in input_ids), np.int64, len(input_ids))
    ids = np.fromiter((i for row in input_ids for i in row), np.int64, int(lengths.sum()))
    return {"input_ids": send(ids, where), "offsets": send(np.cumsum(lengths) - lengths, where)}


def check_rows(st: SentenceTransformer) -> None:
    """Refuse a tokenizer with tokens that the table has no vector for.

    Raises:
        RecipeError: with both numbers.
    """
    first: Any = st[0]
    numbers = first.tokenizer.get_vocab(with_added_tokens=True).values()
    last, rows = max(numbers, default=-1), int(first.num_embeddings)
    if last >= rows:
        what = f"the tokenizer has {last + 1:,} tokens and the table of a static model {rows:,} vectors"
        raise RecipeError(what, BASE, "take the tokenizer that belongs to it")


@contextmanager
def cut_at(st: BaseModel, length: int | None) -> Iterator[None]:
    """Let sentence-transformers keep `length` tokens of a text for a while; None keeps all.

    `max_seq_length` of a static model is infinite and cannot be set; its tokenizer can cut.
    """
    tokenizer: Any = st[0].tokenizer
    kept = tokenizer.truncation
    try:
        if length is not None:
            tokenizer.enable_truncation(length)
        yield
    finally:
        tokenizer.no_truncation()
        if kept is not None:
            tokenizer.enable_truncation(**kept)
