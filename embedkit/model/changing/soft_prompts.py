"""Deep soft prompts: trainable keys and values before those of every layer, on a frozen backbone.

P-tuning v2 (arXiv 2110.07602) as PromCSE (arXiv 2203.06875) uses it for sentence embeddings, without
reparameterisation. The module below belongs to the model and is saved with it, so a saved folder names a class of
this package: `SentenceTransformer(path, trust_remote_code=True)` loads it where embedkit is installed.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules import Transformer
from torch import Tensor, nn

from embedkit.errors import EmbedkitError, RecipeError
from embedkit.model.changing.prompted_attention import ARGUMENT, LayerPrompts, take_prompts
from embedkit.model.changing.wrapped import as_class
from embedkit.model.reading import probing
from embedkit.model.reading.seeding import seeded
from embedkit.model.reading.structure import position_table
from embedkit.versions import disagreement

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from embedkit.recipe.schema import SoftPrompts

SAVED_AS = tuple(f"embedkit.model.{room}soft_prompts.SoftPromptTransformer" for room in ("changing.", ""))
"""What a saved folder's modules.json may call the class below: its name, then the names it had before."""
WEIGHTS = "soft_prompts.safetensors"
INIT_STD = 0.02
"""PromCSE initialises its prompts with BERT's own initialisation."""
CURE = "use lora, or a BERT, RoBERTa or causal language model"
TOLERANCE = 1e-4
"""Relative difference of states up to which the attention that takes prompts is the backbone's own."""


class SoftPromptTransformer(Transformer):
    """A transformers model behind soft prompts; the backbone is frozen, the prompts are all that trains.

    Layer l attends to ``[K_l, keys]`` and ``[V_l, values]``, with K_l and V_l [P, heads, head size] cut from one row
    of `prompts` per position. Positions of the input start at P. Pooling sees the input's tokens only.

    Args:
        model_name_or_path: as `Transformer`.
        soft_prompts: ``length`` P and ``dropout`` (drawn per row and step).

    Attributes:
        prompts: Embedding(P, layers * 2 * key-value width): per layer K, then V.
    """

    config_keys: ClassVar[list[str]] = [*Transformer.config_keys, "soft_prompts"]

    def __init__(self, model_name_or_path: str, *, soft_prompts: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(model_name_or_path, **kwargs)
        self._attach(**soft_prompts)

    @classmethod
    def around(cls, transformer: Transformer, length: int, dropout: float) -> SoftPromptTransformer:
        """The same transformer (its parts are shared) with new prompts."""
        wrapped = as_class(cls, transformer)
        wrapped._attach(length, dropout)
        return wrapped

    def _attach(self, length: int, dropout: float) -> None:
        layers, heads, size = _shape(self.config)
        self.prompts = nn.Embedding(length, layers * 2 * heads * size)
        nn.init.normal_(self.prompts.weight, 0.0, INIT_STD)
        self.dropout = nn.Dropout(dropout)
        self.model.requires_grad_(False)
        if not take_prompts(self.model):
            have = self.config._attn_implementation
            raise RecipeError(f"soft prompts do not work with {have} attention", "model.attention", "use sdpa or eager")

    @property
    def soft_prompts(self) -> dict[str, Any]:
        """Settings, as they are saved."""
        return {"length": self.prompts.num_embeddings, "dropout": self.dropout.p}

    def _can_flatten_inputs(self) -> bool:
        return False

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """[r, t] tokens -> states [r, t, d].

        Raises:
            VersionError: the installed transformers does not hand the prompts to every layer.
        """
        ids = features["input_ids"]
        mask = features.get("attention_mask")
        kwargs["attention_mask"] = torch.ones_like(ids) if mask is None else mask
        kwargs["position_ids"] = self._positions(features, kwargs["attention_mask"])
        prompts = LayerPrompts(self._states(len(ids)))
        features = super().forward(features, **kwargs, **{ARGUMENT: prompts})
        if len(prompts.seen) != len(prompts.states):
            name = type(self.model).__name__
            what = f"soft prompts reach {len(prompts.seen)} of {len(prompts.states)} layers of {name}"
            raise disagreement(what, "model.soft_prompts", "transformers", "sentence-transformers")
        return features

    def _positions(self, features: dict[str, Any], mask: Tensor) -> Tensor:
        """Those of the input begin after the prompts, wherever a row is padded."""
        length, table = self.prompts.num_embeddings, position_table(self.model)
        if "position_ids" in features:
            return features["position_ids"] + length
        if table is None or table.padding_idx is None:
            return (mask.cumsum(1) - 1).clamp_min(0) + length
        real = features["input_ids"].ne(table.padding_idx)  # RoBERTa's family counts tokens that are no padding
        return (real.cumsum(1) + length) * real + table.padding_idx

    def _states(self, rows: int) -> Tensor:
        """Keys and values [layers, 2, rows, heads, P, size]; each row's dropout is its own."""
        layers, heads, size = _shape(self.config)
        prompts = self.prompts.weight.expand(rows, -1, -1).unflatten(-1, (layers, 2, heads, size))
        states: Tensor = self.dropout(prompts).permute(2, 3, 0, 4, 1, 5)
        return states

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        """Write the backbone, the tokenizer, and the prompts beside them."""
        super().save(output_path, *args, safe_serialization=safe_serialization, **kwargs)
        save_file({"prompts.weight": self.prompts.weight.detach().cpu().contiguous()}, Path(output_path) / WEIGHTS)

    @classmethod
    def load(cls, model_name_or_path: str, *args: Any, **kwargs: Any) -> SoftPromptTransformer:
        """Read what `save` wrote, from a folder or the Hub."""
        module: SoftPromptTransformer = super().load(model_name_or_path, *args, **kwargs)
        where = ("subfolder", "token", "cache_folder", "revision", "local_files_only")
        path = cls.load_file_path(model_name_or_path, WEIGHTS, **{k: kwargs[k] for k in where if k in kwargs})
        if path is None:
            raise EmbedkitError(f"{WEIGHTS} is missing", str(model_name_or_path), "save the model again")
        weights = load_file(path)["prompts.weight"]
        if weights.shape != module.prompts.weight.shape:
            what = f"prompts are {tuple(weights.shape)}, the model needs {tuple(module.prompts.weight.shape)}"
            raise EmbedkitError(what, path, "save the model again")
        with torch.no_grad():
            module.prompts.weight.copy_(weights)
        return module


def add_soft_prompts(st: SentenceTransformer, config: SoftPrompts, seed: int) -> SoftPromptTransformer:
    """The first module of `st` with prompts before it; a model that has them already keeps its own.

    Args:
        st: the model; not changed.
        config: length and dropout.
        seed: of new prompts.

    Raises:
        RecipeError: the model has prompts of another length, or takes no keys and values from outside.
    """
    first: Any = st[0]
    dropout = config.dropout
    if isinstance(first, SoftPromptTransformer):
        have = first.prompts.num_embeddings
        if have != config.length:
            raise RecipeError(
                f"the model has {have} soft prompts already, {config.length} are asked for",
                where="model.soft_prompts.length",
                cure=f"{have} goes on training those; for new ones start from the backbone",
            )
        first.dropout.p = first.dropout.p if dropout is None else dropout
        return first
    _check(first.model)
    rate = _hidden_dropout(first) if dropout is None else dropout
    ids = probing.trial_ids(first.model, 6)
    before, attention = probing.states(first.model, ids), first.config._attn_implementation
    with seeded(seed):
        prompted = SoftPromptTransformer.around(first, config.length, rate)
    try:
        _try_out(prompted, ids, before)
    except EmbedkitError as error:
        first.model.set_attn_implementation(attention)
        raise RecipeError(error.what, "model.soft_prompts", CURE) from error
    return prompted


def _try_out(prompted: SoftPromptTransformer, ids: Tensor, before: Tensor) -> None:
    """What an architecture does with prompts is asked of the model, as it is in the installed transformers."""
    without = probing.states(prompted.model, ids)
    if probing.difference(without, before) > TOLERANCE:
        raise EmbedkitError(
            f"{type(prompted.model).__name__} has attention of its own, which soft prompts would replace"
        )
    with probing.evaluating(prompted), torch.inference_mode():
        prompted({"input_ids": ids})


def _hidden_dropout(transformer: Any) -> float:
    names = ("hidden_dropout_prob", "resid_pdrop", "hidden_dropout", "dropout")
    return float(next((getattr(transformer.config, n) for n in names if hasattr(transformer.config, n)), 0.0))


def _shape(config: Any) -> tuple[int, int, int]:
    """Layers, key-value heads and size of a head."""
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return config.num_hidden_layers, getattr(config, "num_key_value_heads", None) or heads, size


def _check(backbone: Any) -> None:
    """Refuse what need not be tried out."""
    name, config = type(backbone).__name__, backbone.config
    if getattr(config, "is_encoder_decoder", False):
        what = f"{name} has an encoder and a decoder; soft prompts need one stack of layers"
        raise RecipeError(what, "model.soft_prompts", CURE)
    if "position_ids" not in inspect.signature(backbone.forward).parameters:
        raise RecipeError(f"{name} takes no positions, so no text can follow soft prompts", "model.soft_prompts", CURE)
    if not getattr(backbone, "_supports_attention_backend", False):
        what = f"{name} takes no keys and values from outside, so it cannot have soft prompts"
        raise RecipeError(what, "model.soft_prompts", CURE)
