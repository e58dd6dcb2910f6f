"""Post-hoc whitening: a linear map after pooling that gives the embeddings of a text collection mean 0 and
covariance I (Su et al. 2021, arXiv 2103.15316, "BERT-whitening").

With mu and C the mean and the covariance (ddof 1) of the embeddings of some texts and ``C = U diag(s) U^T``,
s descending:

- PCA: ``x' = (x - mu) U_k diag(s_k + eps)^(-1/2)``, the k directions of largest variance, [n, k];
- ZCA: ``x' = (x - mu) U diag(s + eps)^(-1/2) U^T``, all directions, turned back to where they came from, [n, d].

Cosines of PCA with all directions and of ZCA are the same; coordinates are not. Directions without variance (`FLAT`)
are left out of both unless `eps` is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from embedkit.errors import DataError, RecipeError
from embedkit.model.reading import structure

if TYPE_CHECKING:
    from sentence_transformers.base.modules import Dense

    from embedkit.model.running.encoder import Encoder

Kind = Literal["pca", "zca"]

FLAT = 1e-10
"""Share of the largest variance up to which a direction does not vary: what is left is the rounding of single
precision (1e-14 to 1e-17 measured). Every encoder that ends in a LayerNorm has such a direction, because its tokens lie
in a hyperplane; dividing by its root would fill a dimension with noise."""


class Moments:
    """Mean and covariance of rows that come in blocks; memory is that of the d x d matrix.

    Sums are kept about the running mean, in float64 (Chan, Golub and LeVeque 1983), so that a mean much larger than
    the spread, as embeddings often have, costs no digits.

    Attributes:
        count: rows seen.
        mean: [d] float64.
    """

    def __init__(self, dim: int) -> None:
        self.count, self.mean = 0, np.zeros(dim)
        self._scatter = np.zeros((dim, dim))

    def add(self, rows: np.ndarray) -> None:
        """Take in a block [n, d]."""
        if not len(rows):
            return
        block = rows.astype(np.float64)
        mean = block.mean(axis=0)
        block -= mean
        apart, total = mean - self.mean, self.count + len(rows)
        self._scatter += block.T @ block + np.outer(apart, apart) * (self.count * len(rows) / total)
        self.mean += apart * (len(rows) / total)
        self.count = total

    @property
    def covariance(self) -> np.ndarray:
        """[d, d], divided by n - 1."""
        return self._scatter / (self.count - 1)


@dataclass(frozen=True)
class Whitening:
    """``x -> (x - mean) @ kernel``.

    Attributes:
        mean: [d] float64.
        kernel: [d, k] float64.
        variances: [d] eigenvalues of the covariance, descending.
        directions: how many of them are kept; k for PCA.
        count: texts it was fitted on.
        kind: ``pca`` or ``zca``.
    """

    mean: np.ndarray
    kernel: np.ndarray
    variances: np.ndarray
    directions: int
    count: int
    kind: Kind

    @property
    def dim(self) -> int:
        """Size of a whitened embedding."""
        return self.kernel.shape[1]

    @property
    def explained(self) -> float:
        """Share of the variance that the kept directions hold."""
        return float(self.variances[: self.directions].sum() / self.variances.sum())

    @property
    def condition(self) -> float:
        """Largest over smallest kept variance: how much more the weakest direction is stretched, squared."""
        return float(self.variances[0] / max(self.variances[self.directions - 1], np.finfo(float).tiny))

    def apply(self, rows: np.ndarray) -> np.ndarray:
        """Whitened rows, [n, d] -> [n, k] float64; not normalised."""
        return (rows.astype(np.float64) - self.mean) @ self.kernel

    def dense(self) -> Dense:
        """The same map as a sentence-transformers module: weight ``kernel^T``, bias ``-mean @ kernel``, no
        activation; float32."""
        from sentence_transformers.sentence_transformer.modules import Dense

        weight, bias = self.kernel.T, -self.mean @ self.kernel
        return Dense(
            *self.kernel.shape,
            activation_function=torch.nn.Identity(),
            init_weight=torch.tensor(weight, dtype=torch.float32),
            init_bias=torch.tensor(bias, dtype=torch.float32),
        )


def check(kind: Kind, count: int, width: int, dim: int | None = None) -> int:
    """The number of dimensions that a whitening keeps; can be asked before anything is encoded.

    Args:
        kind, dim: as in `fit`.
        count: texts.
        width: d.

    Raises:
        RecipeError: `dim` is not possible.
        DataError: too few texts.
    """
    kept = width if dim is None else dim
    if not 1 <= kept <= width:
        raise RecipeError(
            f"{kept} dimensions asked of embeddings that have {width}", "whitening, dim", f"between 1 and {width}"
        )
    if kind == "zca" and kept < width:
        raise RecipeError(
            f"ZCA keeps all {width} dimensions: it turns the whitened space back to the original axes",
            "whitening, dim",
            "leave the dimension out, or use pca",
        )
    if count <= kept:
        raise DataError(
            f"{count} texts cannot whiten {kept} dimensions: they span {max(count - 1, 0)} at most",
            "whitening",
            f"give more than {kept} texts (many times as many for a good estimate), or keep fewer dimensions",
        )
    return kept


def fit(moments: Moments, kind: Kind = "pca", dim: int | None = None, eps: float = 0.0) -> Whitening:
    """The whitening of the rows that `moments` has seen.

    Args:
        moments: at least k + 1 rows.
        kind: ``pca`` (the paper's) or ``zca``.
        dim: k, dimensions kept (PCA); None keeps every direction that varies.
        eps: added to the variances before their root is taken; 0 as in the paper. Above 0 all directions are kept.

    Raises:
        RecipeError: `dim` is not possible.
        DataError: too few rows, or fewer than `dim` directions vary.
    """
    width = len(moments.mean)
    kept = check(kind, moments.count, width, dim)
    values, vectors = np.linalg.eigh(moments.covariance)
    values, vectors = values[::-1].clip(min=0), vectors[:, ::-1]
    varied = width if eps else int((values > FLAT * values[0]).sum())
    if dim is not None and kind == "pca" and varied < kept:
        raise DataError(
            f"{kept} dimensions asked, and only {varied} directions vary over these {moments.count} texts",
            "whitening",
            f"keep at most {varied}, give more different texts, or set eps, e.g. 1e-5",
        )
    if not varied:
        raise DataError(f"these {moments.count} texts have one embedding", "whitening", "give different texts")
    kept = min(kept, varied)
    kernel = vectors[:, :kept] / np.sqrt(values[:kept] + eps)
    if kind == "zca":
        kernel = kernel @ vectors[:, :kept].T
    return Whitening(moments.mean.copy(), kernel, values, kept, moments.count, kind)


def whiten(
    encoder: Encoder,
    blocks: Iterable[Sequence[str]],
    *,
    kind: Kind = "pca",
    dim: int | None = None,
    eps: float = 0.0,
    normalize: bool = False,
    role: str = "query",
    batch_tokens: int = 8192,
    seen: Callable[[int], None] | None = None,
) -> Whitening:
    """Fit a whitening on texts and put it at the end of the model, in place.

    A closing Normalize is taken off for the fit and put back behind the whitening: mean and covariance are those of
    the embeddings before they are normalised.

    Args:
        encoder: the model.
        blocks: texts, a block in memory at a time; some thousands each keep batches of equal length.
        kind, dim, eps: as in `fit`.
        normalize: end with Normalize even if the model did not (the paper does; cosines do not depend on it).
        role: picks the prompt.
        batch_tokens: padded tokens per batch.
        seen: called with the number of texts after each block (progress).

    Raises:
        RecipeError: `dim` is not possible.
        DataError: too few texts, directions without variance, or an embedding that is not finite. The model is then
            as it was.
    """
    st = encoder.st
    closing = st.pop(-1) if structure.head_position(st) < len(st) else None
    try:
        found = fit(_moments(encoder, blocks, role, batch_tokens, seen), kind, dim, eps)
        st.append(found.dense().to(encoder.device))
    finally:
        if closing is not None:
            st.append(closing)
    if normalize and closing is None:
        from sentence_transformers.sentence_transformer.modules import Normalize

        st.append(Normalize())
    return found


def _moments(
    encoder: Encoder, blocks: Iterable[Sequence[str]], role: str, batch_tokens: int, seen: Callable[[int], None] | None
) -> Moments:
    moments = Moments(encoder.dim)
    for block in blocks:
        rows = encoder.encode(block, role=role, batch_tokens=batch_tokens)
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
        if len(bad):
            what = f"the embedding of {block[bad[0]][:80]!r} is not finite"
            raise DataError(what, "whitening", "the weights hold NaN or infinity: check the model")
        moments.add(rows)
        if seen is not None:
            seen(len(block))
    return moments
