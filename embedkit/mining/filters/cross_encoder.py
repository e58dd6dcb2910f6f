"""A cross-encoder as what scores pairs of texts."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from embedkit.errors import EmbedkitError
from embedkit.mining.filters.pairs import ScorePairs
from embedkit.mining.filters.spread_scores import Counted, SpreadScores, counted
from embedkit.mining.spreading import Spread

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

    from embedkit.model.reading.resolve import Origin

BATCH = 32


def probabilities(model: CrossEncoder, *, batch_size: int = BATCH) -> ScorePairs:
    """Probabilities of relevance by a cross-encoder with one label.

    They are the sigmoid of its logit, whatever activation it was saved with, so that a threshold means the same for
    every model.

    Args:
        model: sentence-transformers' own.
        batch_size: pairs in a forward pass; within a call it sorts them by length.
    """
    import torch

    return _scores(model, torch.nn.Sigmoid(), batch_size)


def logits(model: CrossEncoder, *, batch_size: int = BATCH) -> ScorePairs:
    """Logits of a cross-encoder with one label, likewise: what a teacher gives."""
    import torch

    return _scores(model, torch.nn.Identity(), batch_size)


def _scores(model: CrossEncoder, activation: Any, batch_size: int) -> ScorePairs:
    def score(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        options = {"batch_size": batch_size, "activation_fn": activation, "show_progress_bar": False}
        return np.asarray(model.predict([list(pair) for pair in pairs], convert_to_numpy=True, **options))

    return score


def content_of(model: CrossEncoder) -> str:
    """SHA-256 over the weights, sorted by name."""
    import torch

    sha = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        sha.update(memoryview(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()))
    return sha.hexdigest()


def spread_probabilities(
    spread: Spread, origin: Origin, device: str, content: str, *, batch_size: int = BATCH
) -> SpreadScores:
    """`probabilities` by the processes of a pool.

    Args:
        spread: the pool, and where its results stand.
        origin: the model, found there too.
        device: of each process.
        content: of the model (`content_of`).
        batch_size: pairs in a forward pass.
    """
    return SpreadScores(spread, _Loads(origin, device, content, batch_size), f"cross-encoder {content}")


@dataclass(frozen=True)
class _Loads:
    origin: Origin
    device: str
    content: str
    batch_size: int

    def __call__(self) -> Counted:
        from embedkit.model.reading.loading import load_cross_encoder
        from embedkit.model.running.encoder import pick_device

        model = load_cross_encoder(self.origin, pick_device(self.device))
        if content_of(model) != self.content:
            what = f"the machine {socket.gethostname()} has another cross-encoder of this name"
            raise EmbedkitError(what, str(self.origin), "give a folder that all machines of the cluster share")
        return counted(probabilities(model, batch_size=self.batch_size))
