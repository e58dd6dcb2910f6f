"""A model's embedder made again in another process: on another machine, or beside this one."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from embedkit.errors import EmbedkitError
from embedkit.vectors import concatenated
from embedkit.vectors.space import Embedder, Encode

if TYPE_CHECKING:
    from embedkit.recipe.schema import Model


def remade(embedder: Embedder, model: Model, *, device: str, tower: int | None = None, **settings: Any) -> Embedder:
    """The embedder, with what makes it in another process, which must find the same model.

    Args:
        embedder: of a model as it was loaded.
        model: where it is loaded from.
        device: ``auto``: the best that is there.
        tower: which one, of a model with two.
        settings: of `Embedder.of`.
    """
    model = model.model_copy(update={"base": concatenated.absolute(model.base)})
    return replace(embedder, remake=_Loads(model, device, embedder.space.model, tower, settings))


@dataclass(frozen=True)
class _Loads:
    model: Model
    device: str
    fingerprint: str
    tower: int | None
    settings: dict[str, Any] = field(default_factory=dict)

    def __call__(self) -> Encode:
        encoder = concatenated.load(self.model, device=self.device)
        if self.tower is not None:
            encoder = encoder.tower(self.tower)
        if encoder.fingerprint() != self.fingerprint:
            what = f"the machine {socket.gethostname()} has another model of this name"
            raise EmbedkitError(what, self.model.base, "give a folder that all machines of the cluster share")
        return Embedder.of(encoder, **self.settings).encode
