"""Loading a sentence-transformers model, with the module classes of this package where it names them."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from embedkit.errors import RecipeError, VersionError
from embedkit.model.reading.resolve import Origin, cache_folder

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from embedkit.recipe.schema import Model

OWN, ST = "embedkit.", "sentence_transformers."


def load_st(config: Model, origin: Origin, device: torch.device) -> SentenceTransformer:
    """Load the model that a recipe names, in float32; with `from_scratch` its configuration with new weights.

    sentence-transformers imports module classes of other packages with `trust_remote_code` only. embedkit's own
    classes need no such trust here: they, and no others, are handed over.

    Raises:
        RecipeError: it does not load.
    """
    model_kwargs: dict[str, Any] = {"dtype": torch.float32}
    if config.attention is not None:
        model_kwargs["attn_implementation"] = config.attention
    options: dict[str, Any] = {
        "revision": origin.revision if origin.kind == "hub" else None,
        "cache_folder": cache_folder() if origin.kind == "hub" else None,
        "local_files_only": origin.kind != "hub",
        "trust_remote_code": config.trust_remote_code,
        "device": str(device),
        "model_kwargs": model_kwargs,
    }
    try:
        if config.from_scratch:
            return _untrained(origin, options)
        return _trained(origin, options)
    except ImportError as error:
        what = f"the model from {origin} needs what is not installed, or too old: {error}"
        raise VersionError(what, "model.base", "install it; the tested versions are in docs/start.md") from error
    except (OSError, ValueError) as error:
        remote = "trust_remote_code" in str(error)
        raise RecipeError(
            f"the model from {origin} does not load: {error}",
            where="model.trust_remote_code" if remote else "model.base",
            cure="read the model's code, then set model.trust_remote_code: true"
            if remote
            else "check that the folder is complete, that its architecture is known to the installed transformers, "
            "and that model.attention is available here",
        ) from error


def _trained(origin: Origin, options: dict[str, Any]) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    from embedkit.model.reading.adapted import AdaptedTransformer, has_adapter_files, load_bare

    where = {key: options[key] for key in ("revision", "cache_folder", "local_files_only")}
    listed = _listed(origin, where)
    classes = _own_classes([entry["type"] for entry in listed])
    first = {e["type"]: e["path"] for e in listed if e["type"].startswith(ST) and e["type"].endswith(".Transformer")}
    adapted = has_adapter_files(origin, list(first.values()), **where)
    if adapted:
        classes |= dict.fromkeys(first, AdaptedTransformer)
    if adapted and not listed:
        st = load_bare(origin.target, options)
    elif classes:
        st = SentenceTransformer._load_with_module_classes(origin.target, classes, **options)
    else:
        st = SentenceTransformer(origin.target, **options)
    module: Any = st[0]
    if isinstance(module, AdaptedTransformer):
        module.plain()
    return st


def _untrained(origin: Origin, options: dict[str, Any]) -> SentenceTransformer:
    """The plain encoder of a configuration and a tokenizer, weights drawn from the global random state.

    sentence-transformers reads encoders from folders only, so it gets one that is gone afterwards.
    """
    from sentence_transformers import SentenceTransformer
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    known = ("revision", "local_files_only", "trust_remote_code")
    found = {name: options[name] for name in known if options[name] is not None}
    config = AutoConfig.from_pretrained(origin.target, **found)
    with tempfile.TemporaryDirectory() as folder:
        AutoModel.from_config(config, trust_remote_code=options["trust_remote_code"]).save_pretrained(folder)
        AutoTokenizer.from_pretrained(origin.target, **found).save_pretrained(folder)
        st = SentenceTransformer(folder, **{**options, "revision": None, "local_files_only": True})
    st[0].auto_model.config._name_or_path = origin.target
    return st


def load_saved(folder: str | Path, device: torch.device | str) -> SentenceTransformer:
    """Read a folder that `Encoder.save` wrote as anyone would: with `trust_remote_code` only where it is needed.

    Needed where a module class is embedkit's (soft prompts).
    """
    from sentence_transformers import SentenceTransformer

    ours = bool(_own_names(Path(folder) / "modules.json"))
    return SentenceTransformer(str(folder), device=str(device), trust_remote_code=ours)


def _listed(origin: Origin, where: dict[str, Any]) -> list[dict[str, Any]]:
    """The entries of the model's modules.json; none without that file."""
    from sentence_transformers.util import load_file_path

    path = load_file_path(origin.target, "modules.json", **where)
    return json.loads(Path(path).read_text(encoding="utf-8")) if path else []


def _own_classes(types: list[str]) -> dict[str, type]:
    """Classes of this package that a model's modules name."""
    names = [name for name in types if name.startswith(OWN)]
    if not names:
        return {}
    from embedkit.model.changing.soft_prompts import SAVED_AS, SoftPromptTransformer

    known: dict[str, type] = dict.fromkeys(SAVED_AS, SoftPromptTransformer)
    for name in names:
        if name not in known:
            raise ValueError(f"its modules.json names {name}, which this version of embedkit does not have")
    return known


def _own_names(path: Path) -> list[str]:
    if not path.is_file():
        return []
    return [m["type"] for m in json.loads(path.read_text(encoding="utf-8")) if m["type"].startswith(OWN)]
