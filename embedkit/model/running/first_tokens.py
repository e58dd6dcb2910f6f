"""What stands above the last attention of a BERT-like model, for the first token of every row alone.

With CLS pooling nobody reads the last layer's other tokens. Its attention needs them all as keys and values; its output
projection, feed-forward network and norms, nine of its twelve products of a token with a square matrix, do not. Left
out, they change neither an embedding nor a gradient (dropout draws other masks of the same distribution).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from embedkit.foreign import showing
from embedkit.model.reading import static, structure, tokens
from embedkit.model.reading.probing import agree, evaluating

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = showing.logger(__name__)

PARTS = frozenset({"dense", "LayerNorm", "dropout"})
"""Children of the module behind an attention: it takes the attention's output and the residual, token by token."""


class Narrows(Protocol):
    """A module that may leave tokens out.

    Attributes:
        st: the sentence-transformers model.
        narrows: name of the module of the backbone from which on first tokens are alone; None: all tokens pass.
    """

    st: Any
    narrows: str | None

    def layout(self, input_ids: Sequence[Sequence[int]], extra: dict[str, list[Any]]) -> dict[str, Any]: ...

    def __call__(self, features: dict[str, Any]) -> Tensor: ...


def enable(module: Narrows, probe: Sequence[Any]) -> None:
    """Leave tokens out from now on if the model is built like BERT and a trial gives what all tokens give.

    Args:
        module: one whose embedding, or score, is made of first tokens; `narrows` is set.
        probe: a few texts, or pairs of them, of unequal lengths.
    """
    backbone = module.st[0].auto_model
    name = projection(backbone)
    if name is None or module.st[0].tokenizer.padding_side == "left":
        return
    features = module.layout(*tokens.tokenize(module.st, probe, ""))
    with evaluating(module), torch.no_grad():
        expected = module(dict(features))
        module.narrows = name
        try:
            found = module(dict(features))
            agrees = found.shape == expected.shape and agree(backbone, found, expected)
        except Exception as error:  # a model's own code met input that it was not written for
            logger.info("%s computes all tokens: %s: %s", type(backbone).__name__, type(error).__name__, error)
            agrees = False
    if not agrees:
        module.narrows = None


def pools_first(st: SentenceTransformer) -> bool:
    """Whether an embedding is made of the first token of the last layer and of nothing else."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    if static.is_static(st) or len(st) < 2 or not isinstance(st[1], Pooling) or hasattr(st[0], "rationale"):
        return False
    config = st[0].auto_model.config
    return st[1].pooling_mode in ("cls", ("cls",)) and st[1].include_prompt and not config.output_hidden_states


def projection(backbone: nn.Module) -> str | None:
    """Name of the module that takes the last attention's output and the layer's input, where a model is built so."""
    prefix, count = structure.layers(backbone)
    layer = f"{prefix}.{count - 1}"
    named = dict(backbone.named_modules())
    attention, found = named.get(f"{layer}.attention"), named.get(f"{layer}.attention.output")
    if attention is None or found is None or getattr(named[layer], "is_decoder", False):
        return None
    built = {name for name, _ in attention.named_children()} == {"self", "output"}
    return f"{layer}.attention.output" if built and {name for name, _ in found.named_children()} == PARTS else None


def now(backbone: nn.Module, name: str | None) -> str | None:
    """The name, unless activations are recomputed in the backward pass, which `alone` does not reach."""
    if name is None:
        return None
    layer = backbone.get_submodule(name.removesuffix(".attention.output"))
    return None if getattr(layer, "gradient_checkpointing", False) else name


@contextmanager
def alone(backbone: nn.Module, name: str | None, features: dict[str, Any]) -> Iterator[None]:
    """Within, only first tokens pass the module `name` and what follows it.

    Args:
        backbone: the transformers model.
        name: as `projection` gives it; None changes nothing.
        features: of the pass, padded or packed.
    """
    if name is None:
        yield
        return
    ends = features.get("cu_seq_lens_q")

    def first(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(states[:, :1] if ends is None else states.index_select(1, ends[:-1]) for states in args)

    handle = backbone.get_submodule(name).register_forward_pre_hook(first)
    try:
        yield
    finally:
        handle.remove()


def as_rows_of_one(features: dict[str, Any]) -> dict[str, Any]:
    """The features behind `alone`, for a pooling: as if every row had one token."""
    ends, mask = features.get("cu_seq_lens_q"), features.get("attention_mask")
    if ends is not None:
        features = {**features, "cu_seq_lens_q": torch.arange(len(ends), dtype=ends.dtype, device=ends.device)}
        features.pop("seq_idx", None)
    if mask is not None:
        features["attention_mask"] = mask[:, : len(ends) - 1] if ends is not None else mask[:, :1]
    return features
