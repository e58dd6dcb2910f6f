"""Low-rank adapters (arXiv 2106.09685) through peft's own injection: put in, read from a folder, merged, written alone.

transformers has adapter methods too, but asks there for peft versions that may not be out yet; nothing here needs them.
"""

from __future__ import annotations

import copy
import importlib.util
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import nn

from embedkit.errors import EmbedkitError, RecipeError
from embedkit.model.reading.seeding import seeded
from embedkit.versions import disagreement

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from embedkit.recipe.schema import Lora

NAME = "default"
"""peft's own name for a model's first adapters."""
PREFIX = "base_model.model."
"""Before every key of a file of adapters."""
WHERE = "model.lora"
TARGETS = "`all-linear`, or names of linear modules of the model, e.g. [query, value]"


@contextmanager
def peft_works(what: str, where: str = WHERE) -> Iterator[Any]:
    """The module peft; what it raises inside is about versions, unless it is an error of embedkit.

    Raises:
        EmbedkitError: peft is not installed.
        VersionError: it does not work with the installed transformers.
    """
    if importlib.util.find_spec("peft") is None:
        cure = 'pip install "embedkit-train[lora]"'
        raise EmbedkitError("LoRA needs peft, which is not installed", where=where, cure=cure)
    try:
        import peft

        yield peft
    except (EmbedkitError, OSError, torch.OutOfMemoryError, pickle.UnpicklingError):
        raise
    except Exception as error:  # whatever an untested pair of versions raises; the cause stands in the message
        failed = f"{what} fails ({type(error).__name__}: {error})"
        raise disagreement(failed, where, "peft", "transformers", "torch") from error


def add_lora(st: SentenceTransformer, config: Lora, seed: int) -> None:
    """Put low-rank adapters into the backbone; everything else in it is frozen.

    A backbone that has adapters already goes on training them.

    Raises:
        EmbedkitError: peft is not installed.
        RecipeError: `target_modules` match nothing, or the model's own adapters are of another size.
        VersionError: peft and transformers do not work together.
    """
    backbone: Any = st[0].auto_model
    if has_adapters(st):
        _go_on(backbone, config)
        return
    targets = config.target_modules
    every = isinstance(targets, str)  # "all-linear"
    if not isinstance(targets, str):
        _check_targets(backbone, targets)
    pooler = isinstance(getattr(backbone, "pooler", None), nn.Module)
    with seeded(seed), peft_works("adding adapters") as peft:
        settings = peft.LoraConfig(
            r=config.r,
            lora_alpha=config.alpha,
            lora_dropout=config.dropout,
            target_modules=targets if isinstance(targets, str) else list(targets),
            exclude_modules=r".*\bpooler\b.*" if every and pooler else None,
        )
        settings.base_model_name_or_path = backbone.name_or_path
        peft.inject_adapter_in_model(settings, backbone, NAME)
    backbone._hf_peft_config_loaded = True


def _check_targets(backbone: nn.Module, targets: tuple[str, ...]) -> None:
    from transformers.pytorch_utils import Conv1D

    for name, module in backbone.named_modules():
        if any(name == target or name.endswith(f".{target}") for target in targets):
            if isinstance(module, (nn.Linear, nn.Embedding, Conv1D, nn.Conv1d, nn.Conv2d)):
                continue
            what = f"LoRA cannot be added to {name}: {type(module).__name__} is no linear module"
            raise RecipeError(what, "model.lora.target_modules", TARGETS)
    names = {name for name, _ in backbone.named_modules()}
    if not any(name == t or name.endswith(f".{t}") for name in names for t in targets):
        linear = {n.rpartition(".")[2] for n, m in backbone.named_modules() if isinstance(m, (nn.Linear, Conv1D))}
        what = f"LoRA cannot be added: {type(backbone).__name__} has no module {' or '.join(targets)}"
        raise RecipeError(what, "model.lora.target_modules", f"`all-linear`, or of {', '.join(sorted(linear))}")


def _go_on(backbone: Any, config: Lora) -> None:
    """Train the adapters that the model came with."""
    have = backbone.peft_config[NAME]
    kind = getattr(have.peft_type, "value", str(have.peft_type))
    if kind != "LORA" or (have.r, have.lora_alpha) != (config.r, config.alpha):
        own = f"r {have.r} and alpha {have.lora_alpha}" if kind == "LORA" else f"the kind {kind}"
        raise RecipeError(
            f"the model has adapters of {own} already, r {config.r} and alpha {config.alpha} are asked for",
            WHERE,
            "give the same to go on training them, or save the model with them merged and start from that",
        )
    have.inference_mode, have.lora_dropout = False, config.dropout
    for layer in adapter_layers(backbone).values():
        layer.lora_dropout[NAME] = nn.Dropout(config.dropout) if config.dropout else nn.Identity()
    for name, parameter in backbone.named_parameters():
        parameter.requires_grad_("lora_" in name)


def adapter_layers(backbone: nn.Module) -> dict[str, Any]:
    """Modules that hold adapters, by name."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return {name: module for name, module in backbone.named_modules() if isinstance(module, BaseTunerLayer)}


def has_adapters(st: SentenceTransformer) -> bool:
    """Whether the backbone holds peft adapters."""
    return bool(getattr(getattr(st[0], "auto_model", None), "_hf_peft_config_loaded", False))


def merged(st: SentenceTransformer) -> SentenceTransformer:
    """A copy whose adapters are added into the weights they adapt, so that it needs no peft; `st` is untouched."""
    copied = copy.deepcopy(st)
    backbone = copied[0].auto_model
    for name, module in adapter_layers(backbone).items():
        module.merge()
        parent, _, child = name.rpartition(".")
        setattr(backbone.get_submodule(parent), child, module.get_base_layer())
    backbone._hf_peft_config_loaded = False
    if hasattr(backbone, "peft_config"):
        del backbone.peft_config
    for parameter in backbone.parameters():
        parameter.requires_grad_(True)
    return copied


def save_alone(st: SentenceTransformer, folder: Path) -> None:
    """Write the model with its adapters in place of the weights, as peft writes them; loading needs the base model."""
    backbone: Any = st[0].auto_model
    backbone.save_pretrained = partial(_write_adapters, backbone)  # what sentence-transformers' Transformer calls
    try:
        st.save(str(folder), create_model_card=False)
    finally:
        del backbone.save_pretrained


def _write_adapters(backbone: Any, folder: str, **kwargs: Any) -> None:
    with peft_works("writing adapters") as peft:
        found = peft.get_peft_model_state_dict(backbone, adapter_name=NAME, save_embedding_layers=False)
        state = {PREFIX + name: value.detach().cpu().contiguous() for name, value in found.items()}
        Path(folder).mkdir(parents=True, exist_ok=True)
        save_file(state, Path(folder) / "adapter_model.safetensors", metadata={"format": "pt"})
        backbone.peft_config[NAME].save_pretrained(folder)
