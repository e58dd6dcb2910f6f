"""Sparse embeddings in the evaluation: rows of a `scipy.sparse.csr_array`, most of whose numbers are 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

import numpy as np

from embedkit.errors import RecipeError
from embedkit.evaluation.noise import STEADY
from embedkit.recipe.suite import RetrievalTask, Task
from embedkit.types import Encodes

if TYPE_CHECKING:
    from scipy.sparse import csr_array

DENSE = 0.5
"""Share of the coordinates from which on embeddings are sparse in name only."""


class EncodesSparse(Encodes, Protocol):
    """A model of sparse embeddings; `embedkit.model.running.lexical.LexicalEncoder` is one."""

    def encode_sparse(
        self,
        texts: Sequence[str],
        *,
        role: str = "query",
        max_length: int | None = None,
        batch_tokens: int = 8192,
        progress: bool = False,
    ) -> csr_array:
        """float32 [len(texts), d]."""
        ...


def is_sparse(encoder: object) -> TypeGuard[EncodesSparse]:
    """Whether a model gives sparse embeddings."""
    return hasattr(encoder, "encode_sparse")


def encoding(encoder: Encodes) -> Callable[..., Any]:
    """What encodes for an evaluation: `encode`, or `encode_sparse` of a model that has it."""
    return encoder.encode_sparse if is_sparse(encoder) else encoder.encode


def check(encoder: object, task: Task) -> None:
    """Refuse a task that needs dense embeddings.

    Raises:
        RecipeError: with the task.
    """
    if is_sparse(encoder) and not isinstance(task, RetrievalTask):
        what = f"a sparse encoder is measured on retrieval, and this task is of type {task.type}"
        raise RecipeError(what, f"task {task.name}", "leave it out")


def rows_with_nan(rows: csr_array) -> np.ndarray:
    """Indices of the rows [n, d] that hold what is not finite."""
    owner = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
    return np.unique(owner[~np.isfinite(rows.data)])


def unit(rows: csr_array) -> csr_array:
    """Rows at length 1; a zero row stays zero."""
    from scipy.sparse import diags_array

    length = np.sqrt(rows.multiply(rows).sum(axis=1))
    return (diags_array(1 / np.maximum(length, 1e-12)) @ rows).astype(np.float32).tocsr()


def all_equal(rows: csr_array) -> bool:
    """Whether all rows [n, d] of length 1 (n > 1) are one vector up to the noise of float32."""
    if rows.shape[0] < 2:
        return False
    apart = (rows.max(axis=0) - rows.min(axis=0)).toarray()
    return float(np.square(apart).sum()) <= (4 * STEADY) ** 2


def products(queries: csr_array, texts: csr_array) -> np.ndarray:
    """Inner products [q, u], float32."""
    found: np.ndarray = (queries @ texts.T).toarray()
    return found.astype(np.float32, copy=False)


def sparsity(queries: csr_array, documents: csr_array) -> dict[str, float]:
    """How sparse they are.

    Returns:
        ``active_query``, ``active_document``: the mean number of coordinates of a text that are not 0. ``flops``: the
        products that scoring one document for one query takes on average in an inverted index,
        ``sum_j p_j(query) p_j(document)`` with p_j the share of the texts in which coordinate j is not 0 (Paria et al.,
        arXiv 2004.05665; SPLADE). ``dim``: d.
    """
    shares = [np.bincount(rows.nonzero()[1], minlength=rows.shape[1]) / rows.shape[0] for rows in (queries, documents)]
    return {
        "active_query": round(float(shares[0].sum()), 2),
        "active_document": round(float(shares[1].sum()), 2),
        "flops": round(float(shares[0] @ shares[1]), 4),
        "dim": int(queries.shape[1]),
    }


def note(found: dict[str, float]) -> str:
    """What a reader must know of `sparsity`; empty where it is as it should be."""
    if found["active_document"] <= DENSE * found["dim"]:
        return ""
    return (
        f"{found['active_document']:,.0f} of {found['dim']:,.0f} words are active in a document: nothing is sparse yet"
    )
