"""What a loaded model is made of: its pooling, where a head belongs, its prompts, how long an input may be."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch import nn

from embedkit.disk.model_files import BASE
from embedkit.errors import RecipeError, check_whole
from embedkit.model.reading import static, templates

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.model import BaseModel

SHORTEST = 3
"""The fewest tokens kept: one between the two that most tokenizers put around a text."""


def transformer(st: SentenceTransformer, what: str) -> Any:
    """The backbone, for what needs a transformer and is called `what` in an error.

    Raises:
        RecipeError: the model is static and has none.
    """
    if static.is_static(st):
        cure = "leave it out, or take a model with a transformer"
        raise RecipeError(f"{what} needs a transformer, and this model is static: a vector for each token", BASE, cure)
    return st[0].auto_model


def find_pooling(st: SentenceTransformer, where: str = "model.pooling") -> Any:
    """The Pooling module.

    Raises:
        RecipeError: the model has none (it makes sentence embeddings in another way).
    """
    from sentence_transformers.sentence_transformer.modules import Pooling

    for module in st:
        if isinstance(module, Pooling):
            return module
    raise RecipeError(
        f"this model has no pooling: its modules are {', '.join(type(m).__name__ for m in st)}",
        where=where,
        cure="leave the option out",
    )


def is_normalize(module: nn.Module) -> bool:
    from sentence_transformers.sentence_transformer.modules import Normalize

    return isinstance(module, Normalize) and module.module_output_name == "sentence_embedding"


def head_position(st: SentenceTransformer) -> int:
    """Where a head belongs: before a closing Normalize, else at the end."""
    last = len(st)
    return last - 1 if is_normalize(st[last - 1]) else last


def position_limit(st: SentenceTransformer) -> int | None:
    """Longest input that a learned position table allows; None where positions are computed (rotary, relative)."""
    if static.is_static(st):
        return None
    rows = position_rows(st[0].auto_model)
    prompts = getattr(st[0], "prompts", None)
    taken = getattr(st[0], "tokens_written", 0) if prompts is None else prompts.num_embeddings
    return None if rows is None else rows - taken


def kept_length(st: BaseModel) -> int | None:
    """Tokens that the model keeps of a text; None where it keeps all."""
    length = st.max_seq_length
    return None if length is None or math.isinf(length) else int(length)


def position_rows(backbone: nn.Module) -> int | None:
    """Tokens that a backbone's position table has rows for; None where positions are computed."""
    table = position_table(backbone)
    if table is not None:
        return table.num_embeddings - (0 if table.padding_idx is None else table.padding_idx + 1)
    for name, module in backbone.named_modules():
        if name.rpartition(".")[2] in ("embed_positions", "position_embedding") and isinstance(module, nn.Embedding):
            return module.num_embeddings - int(getattr(module, "offset", 0))
    return None


def longest_text(st: SentenceTransformer) -> int | None:
    """Longest text, in tokens, that fits beside a template; None where nothing limits it."""
    limit = position_limit(st)
    return None if limit is None else limit - templates.words(st)


def check_length(st: SentenceTransformer, wanted: int | None, where: str) -> None:
    """Refuse to keep more tokens per text than a model has positions for, or what is no number of tokens.

    Args:
        st: the model.
        wanted: tokens to be kept; None for the model's own setting.
        where: where `wanted` was said.

    Raises:
        RecipeError: with the most that is possible.
    """
    if wanted is not None:
        check_whole(wanted, where, SHORTEST)
    longest = longest_text(st)
    if wanted is not None and longest is not None and wanted > longest:
        words = templates.words(st)
        beside = f", and its template takes {words} more" if words else ""
        what = f"max_length {wanted} is more than the {longest} positions that this model has for a text{beside}"
        raise RecipeError(what, where, f"at most {longest}")


def first_position(st: SentenceTransformer) -> int:
    """Position id of the first token: 0, or after the padding id in RoBERTa's family."""
    table = position_table(st[0].auto_model)
    return 0 if table is None or table.padding_idx is None else table.padding_idx + 1


def position_table(backbone: nn.Module) -> nn.Embedding | None:
    """The learned position embeddings; None where positions are computed."""
    for name, module in backbone.named_modules():
        if name.rpartition(".")[2] in ("position_embeddings", "wpe") and isinstance(module, nn.Embedding):
            return module
    return None


def layers(backbone: nn.Module) -> tuple[str, int]:
    """Name and length of the list of transformer layers (the outermost `nn.ModuleList`), or ("", 0)."""
    lists = [(name, len(m)) for name, m in backbone.named_modules() if isinstance(m, nn.ModuleList) and name]
    return min(lists, key=lambda pair: (pair[0].count("."), -pair[1]), default=("", 0))


def is_embedding(name: str) -> bool:
    """Whether a parameter is of the embeddings: position and type tables and the norm after them stand under a module
    named so."""
    return any("embed" in part or part in ("shared", "wte", "wpe") for part in name.split("."))


def depths(backbone: nn.Module) -> dict[str, int]:
    """How many layers are above each parameter of a backbone: 0 in the top layer and behind it, all in the
    embeddings."""
    prefix, count = layers(backbone)

    def depth(name: str) -> int:
        if prefix and name.startswith(f"{prefix}."):
            return count - 1 - int(name[len(prefix) + 1 :].split(".")[0])
        return count if is_embedding(name) else 0

    return {name: depth(name) for name, _ in backbone.named_parameters()}
