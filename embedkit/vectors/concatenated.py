"""Several models as one: the embeddings that each gives a text, one after the other (MCL, arXiv 2402.11816)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from embedkit.disk import paths
from embedkit.errors import RecipeError
from embedkit.foreign.quoting import quoted
from embedkit.vectors.view import unit

if TYPE_CHECKING:
    import torch

    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.schema import Model

SIGN = "+"
"""Between the models of a name: ``A+B``, or with shares ``0.7*A+0.3*B``."""


class Concatenated:
    """k encoders whose embeddings are concatenated.

    ``z(x) = [sqrt(w_1) u_1(x), ..., sqrt(w_k) u_k(x)]``, d_1 + ... + d_k numbers, where u_i is encoder i's embedding
    and w_i its share, their sum 1. Where the encoders compare by the cosine each u_i is scaled to length 1; z then has
    length 1, too, and the cosine of two texts is the mean of their cosines by shares. Of encoders that compare by the
    dot product it is that of their dot products. Each encoder has its own tokenizer, prompts and length.

    Args:
        encoders: at least one.
        shares: above 0; scaled to the sum 1.

    Raises:
        RecipeError: the encoders do not compare alike, or by a distance.
    """

    def __init__(self, encoders: Sequence[Encoder], shares: Sequence[float]) -> None:
        ways = {encoder.similarity for encoder in encoders}
        if len(ways) > 1 or not ways <= {"cosine", "dot"}:
            what = f"models are concatenated that compare by {' and '.join(sorted(ways))}"
            raise RecipeError(what, "model.base", "give models that all compare by cosine, or all by dot")
        self.encoders, self.similarity = list(encoders), ways.pop()
        self.shares = [share / sum(shares) for share in shares]

    @property
    def dim(self) -> int:
        """Numbers of an embedding, of all encoders together."""
        return sum(encoder.dim for encoder in self.encoders)

    @property
    def longest(self) -> int | None:
        """Tokens of a text that every encoder has positions for; None where none has a limit."""
        return min((found for encoder in self.encoders if (found := encoder.longest) is not None), default=None)

    @property
    def device(self) -> torch.device:
        """Where the first encoder's weights are."""
        return self.encoders[0].device

    def prompt(self, role: str) -> str:
        """The prompt of a role where all encoders have the same, else theirs in JSON."""
        found = [encoder.prompt(role) for encoder in self.encoders]
        return found[0] if len(set(found)) == 1 else json.dumps(found)

    def fingerprint(self) -> str:
        """Content hash of the encoders in their order, and of their shares."""
        parts = [[encoder.fingerprint(), share] for encoder, share in zip(self.encoders, self.shares, strict=True)]
        return hashlib.sha256(json.dumps(["concatenated", *parts]).encode()).hexdigest()

    def tower(self, index: int) -> Concatenated:
        """One of the towers of each encoder, as `Encoder.tower`."""
        return Concatenated([encoder.tower(index) for encoder in self.encoders], self.shares)

    def encode(
        self,
        texts: Iterable[str],
        *,
        role: str = "query",
        max_length: int | None = None,
        batch_tokens: int = 8192,
        progress: bool = False,
        normalize: bool = False,
    ) -> np.ndarray:
        """float32 [n, dim], arguments and errors as of `Encoder.encode`; each encoder reads all texts in its turn."""
        from embedkit.model.running.inference import as_texts

        given = as_texts(texts)
        options: dict[str, Any] = {"role": role, "max_length": max_length}
        options |= {"batch_tokens": batch_tokens, "progress": progress}
        found = self.together([encoder.encode(given, **options) for encoder in self.encoders])
        return unit(found) if normalize else found

    def together(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Embeddings [n, d_i] of each encoder -> float32 [n, dim]."""
        scaled = [unit(part) for part in parts] if self.similarity == "cosine" else parts
        return np.concatenate(
            [np.float32(math.sqrt(share)) * part for share, part in zip(self.shares, scaled, strict=True)],
            axis=1,
            dtype=np.float32,
        )


def load(config: Model, *, device: str = "auto") -> Encoder | Concatenated:
    """The encoder of a `model` block, or those whose names its base joins with `SIGN`.

    Raises:
        RecipeError: one is not found or is no dense encoder; a share is not above 0; see `Concatenated`.
    """
    from embedkit.model.running.encoder import Encoder

    if not is_concatenated(config.base):
        return Encoder.load(config, device=device)
    found = parts(config.base)
    encoders = [Encoder.load(config.model_copy(update={"base": name}), device=device) for name, _ in found]
    return Concatenated(encoders, [share for _, share in found])


def refuse_cut(encoder: object, dim: int | None, where: str) -> None:
    """Refuse to keep the first numbers of concatenated embeddings.

    Args:
        encoder: a model.
        dim: numbers asked for; None: all.
        where: where they were asked for.

    Raises:
        RecipeError: they are those of the first models alone.
    """
    if dim is not None and isinstance(encoder, Concatenated):
        what = "the first numbers of concatenated embeddings are those of the first model"
        raise RecipeError(what, where, "keep all of them, or name one model")


def is_concatenated(base: str) -> bool:
    """Whether a name is that of several models; a folder that has the sign in its name is one."""
    return SIGN in base and paths.folder(base) is None


def parts(base: str) -> list[tuple[str, float]]:
    """The models of a name with their shares, one model with share 1.

    Raises:
        RecipeError: a name is missing beside a sign, or a share is not above 0.
    """
    if not is_concatenated(base):
        return [(base, 1.0)]
    found: list[tuple[str, float]] = []
    pieces = base.split(SIGN)
    while pieces:  # a folder may have the sign in its name: the longest one that is there
        sizes = range(len(pieces), 1, -1)
        size = next((n for n in sizes if paths.folder(_part(SIGN.join(pieces[:n]))[0]) is not None), 1)
        name, share = _part(SIGN.join(pieces[:size]))
        if not name:
            raise RecipeError(f"a model is missing beside {SIGN} in {quoted(base)}", "model.base", "write A+B")
        if not (0 < share < math.inf):
            what = f"the share of {quoted(name)} is {share:g}"
            raise RecipeError(what, "model.base", "give shares above 0, as in 0.7*A+0.3*B")
        found.append((name, share))
        pieces = pieces[size:]
    return found


def absolute(base: str) -> str:
    """The name with every folder's absolute path, for other processes."""
    if not is_concatenated(base):
        return _absolute(base)
    return SIGN.join(f"{share!r}*{_absolute(name)}" for name, share in parts(base))


def _absolute(name: str) -> str:
    folder = paths.folder(name)
    return name if folder is None else str(folder.absolute())


def _part(text: str) -> tuple[str, float]:
    """``0.7*A`` -> A, 0.7."""
    number, star, name = text.strip().partition("*")
    try:
        share = float(number) if star else 1.0
    except ValueError:
        star = ""
    return (name.strip(), share) if star else (text.strip(), 1.0)
