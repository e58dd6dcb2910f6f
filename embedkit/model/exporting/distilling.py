"""A transformer's student of one vector per token, by model2vec: each token of its vocabulary goes through it alone.

What a word means beside others is lost: the embedding of a text is the mean of its tokens' vectors, whatever their
order. What remains is fast, and small where the vocabulary is.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedkit.disk import files
from embedkit.errors import RecipeError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

POOLINGS = {"mean": "mean", "cls": "first", "lasttoken": "last"}
"""sentence-transformers' names of poolings, and model2vec's."""
DIM = 256
"""Numbers of an embedding that are kept, as model2vec keeps them."""


def distil(st: SentenceTransformer, dim: int | None = None) -> SentenceTransformer:
    """The static student of a model, on the CPU.

    For each token of the vocabulary ``[CLS] token [SEP]`` goes through the transformer and its pooling; PCA keeps `dim`
    directions of these vectors (and moves their mean to 0), and each is multiplied by ``a / (a + p)``, a = 1e-4, the
    weight of smooth inverse frequency (Arora et al. 2017) with p from the token's place in the vocabulary by Zipf's
    law. A text's embedding is the normalised mean. That is model2vec (Tulkens and van Dongen 2024). It leaves unknown
    tokens out; sentence-transformers does not, so that their vector is zero here, which has the same effect.

    Args:
        st: a plain model: a transformer, one of `POOLINGS`, and perhaps a Normalize. It stays as it is.
        dim: numbers of an embedding; None: `DIM`, or all where there are fewer.

    Returns:
        Modules StaticEmbedding and Normalize. Prompts are not taken over: nothing reads a text together with them.

    Raises:
        RecipeError: the model has other modules, or fewer numbers or tokens than `dim`.
    """
    from model2vec.distill import distill_from_model
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

    first: Any = st[0]
    pooling, width = _pooling(st), int(st.get_embedding_dimension() or 0)
    if dim is not None and dim > min(width, len(first.tokenizer) - 1):
        what = f"a model of {width} numbers and {len(first.tokenizer):,} tokens has no {dim} directions to keep"
        raise RecipeError(what, "--dim", f"give 1 to {min(width, len(first.tokenizer) - 1)}, or leave it out")
    with _quiet():
        found = distill_from_model(
            copy.deepcopy(first.auto_model),
            first.tokenizer,
            device="cpu",
            pca_dims=min(DIM, width) if dim is None else dim,
            pooling=pooling,
            quantize_to="float32",
        )
    vectors = found.embedding.copy()
    if found.unk_token_id is not None:
        vectors[found.unk_token_id] = 0.0
    static = StaticEmbedding(found.tokenizer, embedding_weights=vectors)
    return SentenceTransformer(modules=[static, Normalize()], device="cpu", similarity_fn_name="cosine")


def write_student(st: SentenceTransformer, export: Path, dim: int | None = None) -> None:
    """Put the student of a model into the folder of an export, in the place of all that is there.

    Raises:
        RecipeError: as `distil`.
        WriteError: the disk is full.
    """
    student = distil(st, dim)
    with files.writing(export):
        shutil.rmtree(export)
        student.save(str(export), create_model_card=False)


def _pooling(st: SentenceTransformer) -> str:
    """model2vec's name of the model's pooling.

    Raises:
        RecipeError: the model has what model2vec does not read.
    """
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    first, *rest = list(st)
    poolings = [module for module in rest if isinstance(module, Pooling)]
    others = [type(m).__name__ for m in rest if not isinstance(m, (Pooling, Normalize))]
    if type(first) is not Transformer or len(poolings) != 1 or others:
        named = ", ".join(type(module).__name__ for module in st)
        what = f"model2vec reads a transformer and its pooling, and the model's modules are {named}"
        raise RecipeError(what, "--to", "export the model without them; --dim keeps fewer numbers of an embedding")
    mode = str(poolings[0].pooling_mode)
    if mode not in POOLINGS:
        what = f"model2vec has no pooling {mode}"
        raise RecipeError(what, "--to", f"export a model with one of {', '.join(POOLINGS)}")
    return POOLINGS[mode]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """model2vec shows a bar and says what it does."""
    logger = logging.getLogger("model2vec")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
