"""Embeddings as an index stores them: eight bits a number, one bit, or the first numbers alone; and read from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.errors import RecipeError
from embedkit.evaluation import similarity
from embedkit.foreign.quoting import quoted

WHERE = "--embeddings"
FACTOR = 4
"""Candidates of a binary search for each result that is asked for; the float query puts them in order."""
CUT = "truncate="
_CURE = "give int8, binary, truncate=N, or two of them as in truncate=128+int8, separated by commas"


@dataclass(frozen=True)
class Form:
    """How an embedding is stored.

    Attributes:
        name: as it was asked for.
        dim: the first numbers that are kept; None for all.
        kind: ``float32``, ``int8`` or ``binary``.
    """

    name: str
    dim: int | None = None
    kind: str = "float32"

    def check(self, width: int) -> None:
        """Refuse to keep more numbers than there are; 0: how many is not known.

        Raises:
            RecipeError: with both numbers.
        """
        if self.dim is not None and 0 < width < self.dim:
            what = f"embeddings of {width} numbers have no first {self.dim}"
            raise RecipeError(what, WHERE, f"{CUT}N with N of at most {width}")

    def bytes(self, width: int) -> int:
        """Bytes of one embedding of `width` numbers, without an index around it."""
        kept = width if self.dim is None else self.dim
        return {"float32": 4 * kept, "int8": kept, "binary": -(-kept // 8)}[self.kind]


def forms(asked: str) -> list[Form]:
    """The forms of a list such as ``int8,binary,truncate=128+int8``, each once.

    Raises:
        RecipeError: there is no such form.
    """
    return [_form(name) for name in dict.fromkeys(part.strip() for part in asked.split(","))]


def _form(name: str) -> Form:
    found: dict[str, Any] = {}
    for part in name.split("+"):
        key, value = ("dim", part.removeprefix(CUT)) if part.startswith(CUT) else ("kind", part)
        known = value.isdecimal() and int(value) > 0 if key == "dim" else value in ("int8", "binary")
        if not known or key in found:
            raise RecipeError(f"embeddings are not stored as {quoted(name)}", WHERE, _CURE)
        found[key] = int(value) if key == "dim" else value
    return Form(name, **found)


class Stored:
    """Stores the embeddings of one task in a form, and reads them again as float32.

    int8 and binary are sentence-transformers' `quantize_embeddings`. int8: each dimension's range is cut into equal
    steps, 1 / 255 of it, and a number is read as the middle of its own; the ranges are those of the first texts that
    are stored (of retrieval: the corpus), and what is beyond them is read as their end. binary: the sign, read as 1 or
    -1, so that the cosine of two embeddings is ``1 - 2 Hamming / d``. Embeddings compared by the cosine are stored with
    length 1.

    Args:
        form: how.
        compared: what embeddings are compared by.
        asks: whether texts with role ``query`` look for the others: they are then cut, but not stored.
    """

    def __init__(self, form: Form, compared: str, asks: bool) -> None:
        self.form, self.compared, self.asks = form, compared, asks
        self.width = self.calibrated = self.candidates = 0
        self._ranges: np.ndarray | None = None

    def read(self, rows: np.ndarray, role: str) -> np.ndarray:
        """Embeddings [n, d] of texts with a role as a search has them, [n, kept].

        Raises:
            RecipeError: there are fewer numbers than are to be kept.
        """
        self.width = rows.shape[1]
        self.form.check(self.width)
        kept = similarity.prepared(self.compared, rows[:, : self.form.dim])
        if self.form.kind == "float32" or (self.asks and role == "query"):
            return kept
        return signs(kept) if self.form.kind == "binary" else self._int8(kept)

    def _int8(self, rows: np.ndarray) -> np.ndarray:
        from sentence_transformers.util import quantize_embeddings

        if self._ranges is None:
            self._ranges = np.stack([rows.min(axis=0), rows.max(axis=0)])
            self.calibrated = len(rows)
        codes = quantize_embeddings(rows, "int8", ranges=self._ranges).astype(np.float32)
        low, high = self._ranges
        return low + (codes + 128.5) * ((high - low) / 255)

    def search(self, between: similarity.Scores, depth: int) -> similarity.Scores:
        """The similarities of a search that asks for `depth` results.

        binary: of each query `FACTOR` * `depth` candidates by Hamming distance, its own signs against theirs, the first
        of equal ones; they are put in order by `between` the whole query and their signs, and the others stand behind
        them by Hamming distance. Otherwise `between` itself.
        """
        if self.form.kind != "binary":
            return between
        self.candidates = FACTOR * depth

        def rescored(queries: np.ndarray, texts: np.ndarray) -> np.ndarray:
            scale = np.abs(texts[0, 0])  # the signs may have been divided by their length: whole numbers again
            near = np.rint(signs(queries) @ texts.T / scale) / texts.shape[1]
            found = between(queries, texts)
            size = float(np.abs(found).max(initial=0.0)) or 1.0
            scores = found.min(axis=1, keepdims=True) - size * (2 - near)
            chosen = np.argsort(-near, axis=1, kind="stable")[:, : self.candidates]
            np.put_along_axis(scores, chosen, np.take_along_axis(found, chosen, axis=1), axis=1)
            return scores

        return rescored

    def details(self) -> dict[str, Any]:
        """What a reader must know of it."""
        found: dict[str, Any] = {"form": self.form.name, "width": self.width, "bytes": self.form.bytes(self.width)}
        if self.calibrated:
            found["calibrated"] = self.calibrated
        if self.candidates:
            found["candidates"] = self.candidates
        return found


def signs(rows: np.ndarray) -> np.ndarray:
    """[n, d] float32 of 1 and -1, from the bits that are stored: 1 where a number is above 0."""
    from sentence_transformers.util import quantize_embeddings

    bits = np.unpackbits(quantize_embeddings(rows, "ubinary"), axis=-1, count=rows.shape[1])
    return 2 * bits.astype(np.float32) - 1
