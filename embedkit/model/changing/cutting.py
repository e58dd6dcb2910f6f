"""Embeddings cut to their first dimensions, as part of the model (Matryoshka, arXiv 2205.13147).

sentence-transformers has `truncate_dim`, which is an argument of its reader and stands in no file. A Dense module that
copies the first dimensions is kept with the model, and every reader of models does it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from embedkit.errors import RecipeError
from embedkit.model.reading import structure

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def cut(st: SentenceTransformer, dim: int, where: str = "--dim") -> None:
    """Keep the first `dim` numbers of an embedding, in place: ``x -> x[:dim]``, before a closing Normalize.

    Args:
        st: the model.
        dim: how many.
        where: names the option in an error.

    Raises:
        RecipeError: the model's embeddings have no more than `dim` numbers.
    """
    from sentence_transformers.sentence_transformer.modules import Dense

    width = int(st.get_embedding_dimension() or 0)
    if not 1 <= dim < width:
        what = f"embeddings of {width} numbers cannot be cut to {dim}"
        raise RecipeError(what, where, f"give 1 to {width - 1}, or leave it out")
    dense = Dense(
        width,
        dim,
        bias=False,
        activation_function=torch.nn.Identity(),
        init_weight=torch.eye(dim, width),
    )
    st.insert(structure.head_position(st), dense.to(st.device))
