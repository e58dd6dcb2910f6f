"""From a loaded sentence-transformers model to the one the recipe asks for: pooling, head, normalisation, prompts.

Only sentence-transformers' own modules are used, so a saved model loads without embedkit; soft prompts alone need a
module of ours.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from embedkit.errors import RecipeError
from embedkit.model.changing.adapters import set_dropout
from embedkit.model.changing.bidirectional import make_bidirectional
from embedkit.model.changing.heads import new_dense
from embedkit.model.reading import static, templates
from embedkit.model.reading.structure import (
    check_length,
    find_pooling,
    head_position,
    is_normalize,
    position_limit,
)
from embedkit.types import ROLES

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from embedkit.recipe.schema import Head, Model

FIRST_LAST = "first_last_mean"
OF_TRANSFORMERS = (
    *("pooling", "pooling_layer", "include_prompt_in_pooling", "max_length", "template", "dropout", "bidirectional"),
    *("soft_prompts", "lora", "freeze", "attention", "from_scratch", "rationale"),
)
"""Keys of a recipe's `model` that a static model has no part for."""


def configure(st: SentenceTransformer, config: Model, seed: int) -> None:
    """Change `st` in place to what `config` says; what it leaves as None stays.

    Raises:
        RecipeError: the model cannot have what is asked for.
    """
    if static.is_static(st):
        _check_static(config)
        _configure_any(st, config, seed)
        return
    _check_backbone(st)
    if config.dropout is not None:
        set_dropout(st[0].auto_model, config.dropout)
    if config.bidirectional:
        make_bidirectional(st)
    if config.soft_prompts is not None:
        from embedkit.model.changing.soft_prompts import add_soft_prompts

        _replace(st, [add_soft_prompts(st, config.soft_prompts, seed), *list(st)[1:]])
    pooling = config.pooling
    if config.template is not None:
        templates.set_template(st, config.template)
        pooling = pooling or ("lasttoken" if config.rationale is None else "mean")
    if config.rationale is not None:
        from embedkit.model.changing.rationale import add_rationale

        _replace(st, [add_rationale(st, config.rationale), *list(st)[1:]])
    if config.pooling_layer is not None and (pooling is None or pooling == FIRST_LAST):
        what = f"pooling_layer {config.pooling_layer} needs to know how its tokens are pooled"
        raise RecipeError(what, "model.pooling_layer", "set model.pooling: mean")
    if pooling is not None:
        set_pooling(st, pooling, config.pooling_layer)
    if config.include_prompt_in_pooling is not None:
        find_pooling(st, "model.include_prompt_in_pooling").include_prompt = config.include_prompt_in_pooling
    _configure_any(st, config, seed)
    _set_max_length(st, config.max_length)
    _freeze_unused(st)


def _configure_any(st: SentenceTransformer, config: Model, seed: int) -> None:
    """What every model may have: a head, normalisation, prompts."""
    if config.head is not None and config.head.keep:
        _add_dense(st, config.head, seed)
    if config.normalize is not None:
        _set_normalize(st, config.normalize)
    for role in ROLES:
        prompt = getattr(config.prompts, role)
        if prompt is not None:
            st.prompts[role] = prompt


def _check_static(config: Model) -> None:
    for key in OF_TRANSFORMERS:
        if getattr(config, key) not in (None, False, ()):
            what = "the model is static, a vector for each token, and this is for transformers"
            raise RecipeError(what, f"model.{key}", "leave it out")


def set_pooling(st: SentenceTransformer, mode: str, layer: int | None = None) -> None:
    """Replace the pooling.

    `layer` k pools `hidden_states[k]`, the output of layer k (0: of the embedding layer), instead of the last.

    `first_last_mean` averages the output of the first and of the last transformer layer (`hidden_states[1]` and
    `hidden_states[-1]`), then takes the masked mean over tokens: SimCSE's `avg_first_last` as its code has it.
    The static embeddings (`hidden_states[0]`, used by the paper's first numbers and by BERT-flow) take no part.
    Both are sentence-transformers' WeightedLayerPooling with weights of 0 and 1, which do not train.
    """
    from sentence_transformers.sentence_transformer.modules import Pooling, WeightedLayerPooling

    old = find_pooling(st)
    width = old.embedding_dimension
    tokens = "mean" if mode == FIRST_LAST else mode
    new = Pooling(width, tokens, include_prompt=old.include_prompt)
    if new.get_embedding_dimension() != old.get_embedding_dimension() and _has_dense(st):
        raise RecipeError(
            f"pooling {mode} gives {new.get_embedding_dimension()} numbers, and the model's dense layer expects "
            f"{old.get_embedding_dimension()}",
            where="model.pooling",
            cure="leave model.pooling out, or start from the plain encoder",
        )
    count = len(_hidden_states(st)) if layer is not None or mode == FIRST_LAST else 0
    wanted = {layer} if layer is not None else {1, count - 1} if mode == FIRST_LAST else set()
    modules: list[nn.Module] = []
    for module in st:
        if isinstance(module, WeightedLayerPooling):
            continue
        if module is old:
            modules += [_layers(width, count, wanted), new] if wanted else [new]
        else:
            modules.append(module)
    st[0].auto_model.config.output_hidden_states = bool(wanted)
    _replace(st, modules)


def _hidden_states(st: SentenceTransformer) -> range:
    """Indices of `hidden_states`: 0 for the embedding layer, k for layer k."""
    count = getattr(st[0].auto_model.config, "num_hidden_layers", None)
    if not count:
        what = f"{type(st[0].auto_model).__name__} does not say how many layers it has"
        raise RecipeError(what, "model.pooling", "use mean, without pooling_layer")
    return range(int(count) + 1)


def _layers(width: int, count: int, wanted: set[int]) -> nn.Module:
    """The mean of the hidden states `wanted`, of `count`."""
    from sentence_transformers.sentence_transformer.modules import WeightedLayerPooling

    if max(wanted) >= count:
        what = f"pooling_layer {max(wanted)} is beyond the {count - 1} layers of this model"
        raise RecipeError(what, "model.pooling_layer", f"at most {count - 1}")
    first = min(wanted)
    layers = WeightedLayerPooling(width, num_hidden_layers=count - 1, layer_start=first)
    weights = torch.zeros(count - first)
    weights[[k - first for k in wanted]] = 1.0
    layers.layer_weights = nn.Parameter(weights, requires_grad=False)
    return layers


def _has_dense(st: SentenceTransformer) -> bool:
    from sentence_transformers.sentence_transformer.modules import Dense

    return any(isinstance(module, Dense) for module in st)


def _add_dense(st: SentenceTransformer, head: Head, seed: int) -> None:
    modules = list(st)
    modules.insert(head_position(st), new_dense(head, int(st.get_embedding_dimension() or 0), seed))
    _replace(st, modules)


def _set_normalize(st: SentenceTransformer, wanted: bool) -> None:
    from sentence_transformers.sentence_transformer.modules import Normalize

    modules = [module for module in st if not is_normalize(module)]
    _replace(st, [*modules, Normalize()] if wanted else modules)


def _replace(st: SentenceTransformer, modules: Sequence[nn.Module]) -> None:
    """Give the model these modules, numbered as sentence-transformers numbers them."""
    kwargs = {id(st._modules[name]): value for name, value in (st.module_kwargs or {}).items()}
    dtype, device = next(st.parameters()).dtype, st.device
    st._modules = OrderedDict((str(i), module.to(device=device, dtype=dtype)) for i, module in enumerate(modules))
    if st.module_kwargs is not None:
        st.module_kwargs = {str(i): kwargs[id(m)] for i, m in enumerate(modules) if id(m) in kwargs}


def _set_max_length(st: SentenceTransformer, wanted: int | None) -> None:
    check_length(st, wanted, "model.max_length")
    limit = position_limit(st)
    if wanted is not None:
        st.max_seq_length = wanted + templates.words(st)
    elif limit is not None and (st.max_seq_length is None or st.max_seq_length > limit):
        st.max_seq_length = limit


def _check_backbone(st: SentenceTransformer) -> None:
    from sentence_transformers.base.modules import Transformer

    first = st[0]
    if not isinstance(first, Transformer) or (
        "text" not in first.modality_config and "message" not in first.modalities
    ):
        raise RecipeError(
            f"the model starts with {type(first).__name__}, and embedkit trains transformers models on text",
            where="model.base",
            cure="choose a model whose first module is sentence-transformers' Transformer",
        )
    tokenizer = first.tokenizer
    if tokenizer.pad_token_id is None:
        if tokenizer.eos_token is None:
            raise RecipeError(
                "the tokenizer has neither a padding nor an end token",
                where="model.base",
                cure="set pad_token in the model's tokenizer_config.json",
            )
        tokenizer.pad_token = tokenizer.eos_token


def _freeze_unused(st: SentenceTransformer) -> None:
    """BERT's pooler gets no gradient, because pooling reads the hidden states; its weights must not decay either."""
    pooler = getattr(st[0].auto_model, "pooler", None)
    if isinstance(pooler, nn.Module) and st[0].module_output_name == "token_embeddings":
        pooler.requires_grad_(False)
