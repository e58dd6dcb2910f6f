"""Encoding many texts: sorted by length, cut by a token budget, in bounded memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from embedkit.errors import DataError
from embedkit.model.reading import tokens
from embedkit.model.reading.devices import works_behind
from embedkit.model.reading.probing import evaluating
from embedkit.model.running.fused.products import fixed_weights
from embedkit.model.running.module import EncoderModule
from embedkit.terminal import progress as terminal

_SURROGATES = re.compile("[\ud800-\udfff]")
CHUNK = 16_384
"""Texts tokenised at once; what keeps a million texts from being token lists all at the same time."""

AHEAD = 512
"""Texts tokenised at once where a GPU works behind the host: it has those before to do meanwhile."""

PACKED_TOKENS = 2048
"""Tokens per packed batch: a CPU is busy with these, and more of them leave its cache. Measured with MiniLM-L6:
1,024 to 4,096 are equal, 8,192 is 8 to 13 % slower."""
LAUNCHED = 4
"""Packed batches of a GPU hold this times as many tokens as are asked for: it has computed a batch of 8,192 before the
host has launched the kernels of the next, and keeps nothing of a layer for the way back."""

T = TypeVar("T")
Done = Sequence[tuple[np.ndarray, T]]
"""Places of the texts of a batch, and what is kept of their vectors."""


def as_texts(texts: Iterable[str]) -> list[str]:
    """The texts in the order of iteration; a text alone is one.

    Raises:
        DataError: something is no text, or holds half of a character (a lone surrogate).
    """
    if isinstance(texts, str):
        texts = [texts]
    if isinstance(texts, (bytes, bytearray, Mapping, set, frozenset)) or getattr(texts, "ndim", 1) != 1:
        what = f"texts in an order are expected, found {type(texts).__name__}"
        raise DataError(what, "texts", "give a list of texts, or one column of a table")
    try:
        found = list(texts)
    except TypeError as error:
        what = f"texts are expected, found {type(texts).__name__}"
        raise DataError(what, "texts", "give a list of texts") from error
    for position, text in enumerate(found):
        if not isinstance(text, str):
            what = f"a text is expected, found {type(text).__name__}: {text!r:.60}"
            raise DataError(what, f"texts, position {position}", "leave it out, or turn it into text")
        if not text.isascii() and _SURROGATES.search(text):
            what = (
                f"half of a character (a lone surrogate) in {text.encode('utf-8', 'backslashreplace').decode()!r:.80}"
            )
            raise DataError(what, f"texts, position {position}", "decode the text again from its bytes")
    return found


def encode(
    module: EncoderModule,
    texts: Sequence[str],
    *,
    prompt: str,
    max_length: int | None,
    batch_tokens: int,
    progress: bool,
    normalize: bool,
) -> np.ndarray:
    """See `embedkit.model.running.encoder.Encoder.encode`."""
    dim = int(module.st.get_embedding_dimension() or 0)  # after st.truncate_dim
    out = np.empty((len(texts), dim), np.float32)

    def keep(vectors: Tensor) -> Tensor:
        return nn.functional.normalize(vectors[:, :dim], dim=-1) if normalize else vectors[:, :dim]

    def take(done: Done[Tensor]) -> None:
        for where, vectors in done:  # copied once per chunk: an accelerator is not made to wait for each batch
            out[where] = vectors.float().cpu().numpy()

    each_batch(
        module, texts, keep, take, prompt=prompt, max_length=max_length, batch_tokens=batch_tokens, progress=progress
    )
    return out


def each_batch(
    module: EncoderModule,
    texts: Sequence[str],
    keep: Callable[[Tensor], T],
    take: Callable[[Done[T]], None],
    *,
    prompt: str,
    max_length: int | None,
    batch_tokens: int,
    progress: bool,
) -> None:
    """Encode all texts, the longest first.

    Args:
        module: what encodes; dropout off meanwhile.
        texts: all of them.
        keep: what of the vectors [r, d] of a batch is kept.
        take: receives that for all batches of a chunk.
        prompt, max_length, batch_tokens, progress: as of `embedkit.model.running.encoder.Encoder.encode`.
    """
    st = module.st
    budget = _budget(batch_tokens, module.packs, st.device)
    longest_first = np.argsort([-len(text) for text in texts], kind="stable")
    shown = terminal.progress("encoding", len(texts), "texts", show=progress)
    with shown as bar, evaluating(module), torch.inference_mode():

        def encoded(chosen: np.ndarray) -> Iterator[tuple[np.ndarray, T]]:
            ids, extra = tokens.tokenize(st, [texts[i] for i in chosen], prompt, max_length)
            cut = list(batches([len(row) for row in ids], budget))
            with fixed_weights() if len(cut) > 1 else nullcontext():
                for rows in cut:
                    part = {name: [values[i] for i in rows] for name, values in extra.items()}
                    yield chosen[rows], keep(module(module.layout([ids[i] for i in rows], part)))
                    bar.advance(len(rows))

        at_once = AHEAD if works_behind(st.device) else CHUNK
        for chunk in _cut(longest_first, CHUNK):
            take([done for piece in _cut(chunk, at_once) for done in encoded(piece)])


def _cut(places: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (places[start : start + size] for start in range(0, len(places), size))


def _budget(batch_tokens: int, packs: bool, device: torch.device) -> int:
    """Tokens of a batch on a device, of what was asked."""
    if not packs:
        return batch_tokens
    return LAUNCHED * batch_tokens if works_behind(device) else min(batch_tokens, PACKED_TOKENS)


def batches(lengths: Sequence[int], budget: int) -> Iterator[np.ndarray]:
    """Indices of batches of at most `budget` padded tokens, longest rows first; a longer row goes alone."""
    order = np.argsort([-n for n in lengths], kind="stable")
    start = 0
    while start < len(order):
        stop = start + max(1, budget // max(1, lengths[order[start]]))
        yield order[start:stop]
        start = stop
