"""What of an encoder has parameters: token features in, embeddings out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from embedkit.model.reading import static, tokens
from embedkit.model.reading.precision import half_where_needed
from embedkit.model.reading.structure import head_position
from embedkit.model.running import first_tokens, packing, perturb

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

TOWER, RATE = "tower", "dropout_rate"
"""Features of a whole micro-batch: which tower encodes it, and at which dropout rate."""


class EncoderModule(nn.Module):
    """Everything of the encoder that has parameters: features -> embeddings.

    Args:
        st: the model that is saved.
        head: applied in training only, before a closing Normalize of `st`; None for none.

    Attributes:
        second: the second tower, a module like this one, or None (see `embedkit.model.running.towers`).
        locked: whether its own weights stay as they are: no gradient, dropout off also in training.
        packs: whether `layout` packs rows (see `embedkit.model.running.packing`) or pads them.
        narrows: the module of the backbone from which on first tokens are alone (see
            `embedkit.model.running.first_tokens`); None: all tokens pass.
    """

    def __init__(self, st: SentenceTransformer, head: nn.Module | None = None) -> None:
        super().__init__()
        self.st, self.head = st, head
        self.packs = False
        self.narrows: str | None = None
        self.second: EncoderModule | None = None
        self.locked = False
        self._head_position = head_position(st)
        self._static = static.is_static(st)

    def forward(self, features: dict[str, Any]) -> Tensor:
        """[r, t] token features -> [r, d] embeddings.

        The feature ``tower`` picks the tower, ``dropout_rate`` the rate of this pass, `perturb.CUT` what is zeroed.
        Prompts may differ between rows, which sentence-transformers' pooling cannot know when it leaves them
        out: rows are then pooled in groups of equal prompt length.
        """
        features = dict(features)
        if features.pop(TOWER, 0):
            assert self.second is not None, "Encoder.load makes the towers that the recipe asks for"
            return self.second(features)
        features = self._first(features)
        for index, module in enumerate(self.st):
            if index == self._head_position:
                self._apply_head(features)
            if index == 0:
                continue
            features = _by_prompt(module, features) if "prompt_length" in features else module(features)
        if self._head_position == len(self.st):
            self._apply_head(features)
        return features["sentence_embedding"]

    def _first(self, features: dict[str, Any]) -> dict[str, Any]:
        """Through the transformer, or the table of a static model."""
        cut, rate = features.pop(perturb.CUT, None), features.pop(RATE, None)
        if self._static:
            return self.st[0](features)
        backbone: Any = self.st[0].auto_model
        narrows = first_tokens.now(backbone, self.narrows)
        with (
            perturb.cutting(backbone, cut),
            perturb.dropout_rate(backbone, rate),
            half_where_needed(backbone),
            first_tokens.alone(backbone, narrows, features),
        ):
            features = self.st[0](features)
        return features if narrows is None else first_tokens.as_rows_of_one(features)

    def layout(self, input_ids: Sequence[Sequence[int]], extra: dict[str, list[Any]]) -> dict[str, Any]:
        """Tensors of some rows for `forward`: packed where the model can or is static, else padded to the longest."""
        if self._static:
            return static.bags(input_ids, self.st.device)
        if self.packs:
            return packing.pack(self.st, input_ids, extra)
        return tokens.pad(self.st, input_ids, extra, self.st.device)

    def lock(self) -> None:
        """Switch off the gradient of this tower's weights and its dropout, for good."""
        self.locked = True
        for part in (self.st, *([] if self.head is None else [self.head])):
            part.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> EncoderModule:
        """As in torch, but a locked tower stays as it is used."""
        super().train(mode)
        if self.locked:
            self.training = False
            for part in (self.st, *([] if self.head is None else [self.head])):
                part.train(False)
        return self

    def copy(self) -> EncoderModule:
        """An independent module with the same weights, train-only head included."""
        return copy.deepcopy(self)

    def _apply_head(self, features: dict[str, Any]) -> None:
        if self.head is not None and self.training:
            features["sentence_embedding"] = self.head(features["sentence_embedding"])


def _by_prompt(module: nn.Module, features: dict[str, Any]) -> dict[str, Any]:
    if not hasattr(module, "include_prompt"):
        return module(features)
    states, mask = features["token_embeddings"], features.get("attention_mask")
    lengths = features["prompt_length"]
    out: Tensor | None = None
    for length in lengths.unique().tolist():
        rows = (lengths == length).nonzero()[:, 0]
        part = {"token_embeddings": states[rows], "prompt_length": length}
        if mask is not None:
            part["attention_mask"] = mask[rows]
        pooled = module(part)["sentence_embedding"]
        out = pooled.new_zeros((len(lengths), pooled.shape[-1])) if out is None else out
        out = out.index_copy(0, rows, pooled)
    features["sentence_embedding"] = out
    return features
