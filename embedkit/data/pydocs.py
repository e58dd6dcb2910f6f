"""pydocs: (query, positive) pairs from the docstrings of the packages installed beside embedkit.

A real corpus without any download: the query is a docstring's summary, the positive the rest of it. Whole
packages are held out, one set to test on and one to choose checkpoints by.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.metadata
import json
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embedkit.data import corpus, harvest
from embedkit.data.cache import cache_folder
from embedkit.data.corpus import Split, build_split, digest, examples, retrieval, without_copies
from embedkit.data.harvest import Docstring, locate, version_of
from embedkit.disk import files
from embedkit.disk.locks import hold_folder
from embedkit.errors import DataError, WriteError
from embedkit.foreign.parsing import from_json
from embedkit.recipe.pydocs import PydocsSource
from embedkit.terminal.progress import watched
from embedkit.types import Example, RetrievalData

PACKAGES = (
    *("numpy", "scipy", "pandas", "sklearn", "statsmodels", "networkx", "sympy", "matplotlib"),
    *("torch", "transformers", "sentence_transformers", "datasets", "huggingface_hub", "accelerate", "tokenizers"),
    *("safetensors", "faiss", "pydantic", "rich", "click", "typer", "jinja2", "pygments", "PIL", "fsspec", "pyarrow"),
    *("joblib", "requests", "packaging", "filelock", "tqdm", "dill", "mpmath", "patsy"),
)
"""Import names read by default: what embedkit and its extra ``pydocs`` install."""
CORPUS = "corpus.json"


@dataclass(frozen=True)
class Pydocs:
    """The corpus.

    Attributes:
        train: one example per query, with all its positives.
        test, dev: queries and documents of the held-out packages; empty where none of them is installed.
        info: ``packages`` (version, role, pairs per import name), ``missing`` import names, counts of ``pairs`` and
            ``queries`` per split, pairs ``dropped`` per split and reason, ``digest`` of everything.
    """

    train: list[Example]
    test: RetrievalData
    dev: RetrievalData
    info: dict[str, Any]


def load_pydocs(block: PydocsSource, cache: Path | None = None, *, progress: bool = False) -> Pydocs:
    """The corpus from the cache, or harvested now (about half a minute) and cached.

    Args:
        block: packages, held-out packages, bounds on length.
        cache: folder of cached corpora; default ``$XDG_CACHE_HOME/embedkit/pydocs`` (``~/.cache`` if unset). The
            key covers package versions, options and this code.
        progress: show a bar if it takes long.

    Raises:
        DataError: no training package is installed.
    """
    wanted = list(dict.fromkeys([*(block.packages or PACKAGES), *block.holdout, *block.dev]))
    located = {package: path for package in wanted if (path := locate(package)) is not None}
    distributions = dict(importlib.metadata.packages_distributions())
    versions = {package: version_of(package, distributions) for package in located}
    folder = (cache or cache_folder("pydocs")) / _key(block, versions)
    missing = [package for package in wanted if package not in located]
    found = _read(folder)
    if found is not None:
        return found
    try:
        with hold_folder(folder, "reading docstrings", wait=True):
            found = _read(folder)  # another process may have built it meanwhile
            if found is None:
                found = _build(block, located, versions, missing, progress)
                files.write_text(folder / CORPUS, json.dumps(asdict(found), ensure_ascii=False))
            return found
    except WriteError as error:
        what = f"pydocs is not cached, the next run harvests again: {error.where}: {error.what}"
        warnings.warn(what, RuntimeWarning, stacklevel=2)
        return found or _build(block, located, versions, missing, progress)


def _key(block: PydocsSource, versions: dict[str, str]) -> str:
    code = b"".join(Path(str(module.__file__)).read_bytes() for module in (harvest, corpus))
    return digest([block.model_dump(mode="json"), versions, hashlib.sha256(code).hexdigest()])[:24]


def _build(
    block: PydocsSource, located: dict[str, Path], versions: dict[str, str], missing: list[str], progress: bool
) -> Pydocs:
    roles = {p: "test" if p in block.holdout else "dev" if p in block.dev else "train" for p in located}
    if "train" not in roles.values():
        raise DataError(
            f"no package to train on is installed (looked for {', '.join(missing) or 'none'})",
            "pydocs",
            "pip install 'embedkit-train[pydocs]', or name other packages",
        )
    docstrings = _harvest_all(located, progress)
    raw: dict[str, Split] = {}
    for part in ("train", "test", "dev"):
        inside = [d for package in located if roles[package] == part for d in docstrings[package]]
        raw[part] = build_split(inside, block.min_words, block.max_words)
    test, dev = raw["test"], without_copies(raw["dev"], [raw["test"]])
    train = without_copies(raw["train"], [test, dev])
    splits = {"train": train, "test": test, "dev": dev}
    pairs = Counter(origin.split(".", 1)[0] for split in splits.values() for origin in split.origins())
    packages = {
        package: {
            "version": versions[package],
            "split": roles[package],
            "docstrings": len(docstrings[package]),
            "pairs": pairs[package],
        }
        for package in located
    }
    made = Pydocs(examples(train), retrieval(test), retrieval(dev), {})
    made.info.update(
        packages=packages,
        missing=missing,
        queries={part: len(split.groups) for part, split in splits.items()},
        pairs={part: split.pairs for part, split in splits.items()},
        dropped={part: {k: v for k, v in sorted(split.dropped.items()) if v} for part, split in splits.items()},
        digest=_digest(made),
    )
    return made


def _harvest_all(located: dict[str, Path], progress: bool) -> dict[str, list[Docstring]]:
    bar = watched(located.items(), "reading docstrings", "packages", show=progress)
    collecting = gc.isenabled()
    gc.disable()  # syntax trees have no cycles; looking for them costs a fifth of the time
    try:
        return {package: list(harvest.harvest(package, path)) for package, path in bar}
    finally:
        if collecting:
            gc.enable()


def _digest(made: Pydocs) -> str:
    return digest([[asdict(example) for example in made.train], asdict(made.test), asdict(made.dev)])


def _read(folder: Path) -> Pydocs | None:
    """The cached corpus, or None if there is none or it is not what was written."""
    try:
        data = from_json((folder / CORPUS).read_text(encoding="utf-8"))
        made = Pydocs(
            [_example(fields) for fields in data["train"]],
            RetrievalData(**data["test"]),
            RetrievalData(**data["dev"]),
            data["info"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return made if _digest(made) == made.info.get("digest") else None


def _example(fields: dict[str, Any]) -> Example:
    plain: Any = {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}
    return Example(**plain)
