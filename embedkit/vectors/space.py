"""What a vector depends on besides its text."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, get_args

import numpy as np

from embedkit.errors import RecipeError
from embedkit.vectors.view import unit

Dtype = Literal["float32", "float16"]
Encode = Callable[[Sequence[str]], np.ndarray]
"""n texts -> [n, d], row i of text i."""


class Model(Protocol):
    """What encodes: an `embedkit.model.running.encoder.Encoder`."""

    @property
    def dim(self) -> int: ...

    def prompt(self, role: str) -> str: ...

    def fingerprint(self) -> str: ...

    def encode(
        self,
        texts: Sequence[str],
        *,
        role: str,
        max_length: int | None,
        batch_tokens: int,
        progress: bool = False,
        normalize: bool = False,
    ) -> np.ndarray: ...


@dataclass(frozen=True)
class Space:
    """Vectors of one space may be compared; vectors of two are never mixed.

    Attributes:
        model: content hash of weights, modules, pooling, tokenizer and settings; of given vectors, their name and hash.
        dim: numbers of a vector, after truncation.
        prompt: the text put before every input (not the role's name: two roles with one prompt share vectors).
        max_length: tokens kept; None: the model's own setting, which `model` covers.
        dtype: on disk. float16 has 11 significant bits: a relative error of at most 2^-11 (4.9e-4), and numbers above
            65,504 are refused.
        normalized: scaled to length 1 after truncation, for a model that does not do it itself.
    """

    model: str
    dim: int
    prompt: str = ""
    max_length: int | None = None
    dtype: Dtype = "float32"
    normalized: bool = False

    def __post_init__(self) -> None:
        if self.dim < 1:
            raise RecipeError(f"vectors have at least one dimension, not {self.dim}", "dim", "give a larger one")
        if self.dtype not in get_args(Dtype):
            raise RecipeError(f"there is no {self.dtype!r}", "dtype", f"one of {', '.join(get_args(Dtype))}")

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that stand for all of it; the name of its folder."""
        return hashlib.sha256(json.dumps(self.plain(), sort_keys=True).encode()).hexdigest()[:32]

    def plain(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return asdict(self)


@dataclass(frozen=True)
class Embedder:
    """What turns texts into the vectors of a space.

    Attributes:
        space: of the vectors.
        encode: gives [n, space.dim] for n texts.
        remake: picklable; gives `encode` in another process. None: only this process encodes.
    """

    space: Space
    encode: Encode
    remake: Callable[[], Encode] | None = None

    @classmethod
    def of(
        cls,
        model: Model,
        *,
        role: str = "query",
        max_length: int | None = None,
        dim: int | None = None,
        dtype: Dtype = "float32",
        normalize: bool = False,
        batch_tokens: int = 8192,
    ) -> Embedder:
        """A model with one of its prompts.

        Args:
            model: the encoder as it is now: trained further, it has another space.
            role: ``query`` or ``document``; picks the prompt.
            max_length: tokens kept; None keeps the model's setting.
            dim: leading dimensions kept (Matryoshka); None: all.
            dtype: on disk.
            normalize: scale to length 1, after truncation.
            batch_tokens: tokens per batch at most, padding included.

        Raises:
            RecipeError: `dim` is more than the model has.
        """
        if dim is not None and not 1 <= dim <= model.dim:
            what = f"{dim} dimensions asked of embeddings that have {model.dim}"
            raise RecipeError(what, "dim", f"at most {model.dim}")
        space = Space(model.fingerprint(), dim or model.dim, model.prompt(role), max_length, dtype, normalize)

        def encode(texts: Sequence[str]) -> np.ndarray:
            whole = normalize and space.dim == model.dim
            found = model.encode(texts, role=role, max_length=max_length, batch_tokens=batch_tokens, normalize=whole)[
                :, : space.dim
            ]
            return unit(found) if normalize and not whole else found

        return cls(space, encode)
