"""What the encoder does to single rows: zero parts of the embedding layer's output, permute positions, another
dropout rate. All three are drawn elsewhere (`embedkit.data.augment`); nothing of them stays in the model.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from embedkit.errors import RecipeError
from embedkit.model.changing.adapters import dropout_places
from embedkit.model.reading import structure
from embedkit.model.reading.devices import send

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

CUT = "embedding_cut"
"""Feature of a micro-batch: bool [b, t, width], True where the embedding layer's output is zeroed."""

_CURE = "use a BERT-like model, or transforms of the text"


def embedding_width(st: SentenceTransformer) -> int:
    """Columns of the embedding layer's output.

    Raises:
        RecipeError: the backbone has no module `embeddings`, whose output could be cut.
    """
    backbone = structure.transformer(st, "a view of token states or positions")
    if not isinstance(getattr(backbone, "embeddings", None), nn.Module):
        what = f"{type(backbone).__name__} has no embedding layer (`embeddings`) whose output could be cut"
        raise RecipeError(what, "views.transforms", _CURE)
    return int(backbone.get_input_embeddings().embedding_dim)


def check_positions(st: SentenceTransformer) -> None:
    """Refuse a backbone that takes no positions.

    Raises:
        RecipeError: it computes them itself.
    """
    backbone = structure.transformer(st, "a view of token states or positions")
    if "position_ids" not in inspect.signature(backbone.forward).parameters:
        what = f"{type(backbone).__name__} takes no position ids, so positions cannot be shuffled"
        raise RecipeError(what, "views.transforms", _CURE)


def place(
    st: SentenceTransformer,
    features: dict[str, Any],
    lengths: Sequence[int],
    cut: Sequence[np.ndarray | None] | None,
    order: Sequence[np.ndarray | None] | None,
) -> None:
    """Write the rows' cuts and positions into the features of their micro-batch.

    Args:
        st: the model.
        features: padded or packed, as `EncoderModule.layout` gives them; changed in place.
        lengths: tokens per row.
        cut: per row None or a bool array that broadcasts to [tokens, width].
        order: per row None or the positions [tokens] of its tokens, counted from 0.
    """
    reorders, cuts = (values is not None and any(v is not None for v in values) for values in (order, cut))
    if not (reorders or cuts):
        return  # what stands in the features is not looked at: that would wait for a GPU in every micro-batch
    packed = "packed_runs" in features
    shape, device = features["input_ids"].shape, features["input_ids"].device
    real = np.ones(shape, dtype=bool) if packed else _real(features, lengths)
    if order is not None and reorders:
        position = positions(order, lengths, real) + structure.first_position(st)
        features["position_ids"] = send(position, device)
        if not packed:  # without a mask, transformers would take broken positions for the borders of packed texts
            features["attention_mask"] = send(real.astype(np.int64), device)
    if cut is not None and cuts:
        features[CUT] = send(spread(cut, lengths, real, embedding_width(st)), device)


def positions(order: Sequence[np.ndarray | None], lengths: Sequence[int], real: np.ndarray) -> np.ndarray:
    """Positions [b, t] from 0 of all places: permuted for the tokens of a row with an order, as they stand elsewhere.

    Args:
        order: per row None or [tokens].
        lengths: tokens per row.
        real: [b, t] which places hold tokens, row after row.
    """
    found = np.tile(np.arange(real.shape[1]), (real.shape[0], 1))
    found[real] = np.concatenate([np.arange(n) if o is None else o for n, o in zip(lengths, order, strict=True)])
    return found


def spread(cut: Sequence[np.ndarray | None], lengths: Sequence[int], real: np.ndarray, width: int) -> np.ndarray:
    """Bool [b, t, width]: the rows' cuts at the places of their tokens, False elsewhere; arguments as `positions`."""
    block = np.zeros((*real.shape, width), dtype=bool)
    rows = [np.broadcast_to(np.False_ if c is None else c, (n, width)) for n, c in zip(lengths, cut, strict=True)]
    block[real] = np.concatenate(rows)
    return block


def _real(features: dict[str, Any], lengths: Sequence[int]) -> np.ndarray:
    """[b, t] which places of padded rows hold tokens."""
    mask = features.get("attention_mask")
    if mask is None:
        return np.ones((len(lengths), max(lengths)), dtype=bool)
    return np.asarray(mask.cpu().numpy(), dtype=bool)


@contextmanager
def cutting(backbone: nn.Module, cut: Tensor | None) -> Iterator[None]:
    """Within, the output of the backbone's embedding layer (after its norm and dropout) is 0 where `cut` is True."""
    if cut is None:
        yield
        return

    def zero(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if output.shape != cut.shape:
            what = f"the embedding layer gives {tuple(output.shape)}, where {tuple(cut.shape)} was to be cut"
            raise RecipeError(what, "views.transforms", _CURE)
        return output.masked_fill(cut, 0.0)

    embeddings: Any = backbone.embeddings
    handle = embeddings.register_forward_hook(zero)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def dropout_rate(backbone: nn.Module, rate: float | None) -> Iterator[None]:
    """Within, every dropout of the backbone has this rate; afterwards each has its own again. None: as it is."""
    places = [] if rate is None else [(m, name, getattr(m, name)) for m, name in dropout_places(backbone)]
    try:
        for module, name, _ in places:
            setattr(module, name, rate)
        yield
    finally:
        for module, name, before in places:
            setattr(module, name, before)
