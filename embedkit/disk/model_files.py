"""The small files of a saved model: read and checked before anything is loaded. Imports nothing heavy.

Every error names the file, the field, and what stands there. Files are asked for by name, so that a folder and a model
on the Hub are read alike.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal, TypeVar

from embedkit.errors import RecipeError
from embedkit.foreign.parsing import from_json

Find = Callable[[str], Path | None]
"""The file of a model by its name, e.g. ``1_Pooling/config.json``; None where the model has none."""

T = TypeVar("T", dict[str, Any], list[Any])

MODULES, SETTINGS, CONFIG, ADAPTERS, TOKENIZER = (
    "modules.json",
    "config_sentence_transformers.json",
    "config.json",
    "adapter_config.json",
    "tokenizer_config.json",
)
_KINDS = ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
TRANSFORMER_SETTINGS = tuple(f"sentence_{kind}_config.json" for kind in _KINDS)
"""Where sentence-transformers keeps the settings of a Transformer module, in the order in which it looks."""
DOCUMENT_PROMPTS = ("document", "passage", "corpus")
SIMILARITIES = ("cosine", "dot", "euclidean", "manhattan")
"""What sentence-transformers compares embeddings by."""
SIZES = {
    "hidden_size": 1,
    "d_model": 1,
    "n_embd": 1,
    "dim": 1,
    "num_attention_heads": 1,
    "n_head": 1,
    "n_heads": 1,
    "num_heads": 1,
    "intermediate_size": 1,
    "vocab_size": 1,
    "num_hidden_layers": 0,
    "n_layer": 0,
    "n_layers": 0,
    "num_layers": 0,
    "type_vocab_size": 0,
    "num_key_value_heads": 1,
    "head_dim": 1,
    "max_position_embeddings": -1,  # XLNet's way to say that there is no limit
    "n_positions": 1,
}
"""Whole numbers of a ``config.json`` and the least that each may be."""
DEPTHS, DEEPEST = ("num_hidden_layers", "n_layer", "n_layers", "num_layers"), 1000
"""Numbers of layers, and the largest: all are built before a weight is read. Nobody has published more."""
BASE, TRUST = "model.base", "model.trust_remote_code"
"""The keys that errors are about; `errors.about` puts others in their place."""
READ_FIRST = "read that code, then set model.trust_remote_code: true"
NOT_OF_ONE = "the two are not of one model: get both again from where the model came from"
COPY_AGAIN = "get the file again from where the model came from"
_POINTER = b"version https://git-lfs.github.com/spec/"
_POINTER_BYTES = 1024


@dataclass(frozen=True)
class Module:
    """An entry of ``modules.json``.

    Attributes:
        name: of the module in the model.
        type: its class, dotted.
        folder: its folder inside the model's; "" for the model's own.
    """

    name: str
    type: str
    folder: str

    def file(self, name: str) -> str:
        """The path of one of its files inside the model's folder."""
        return f"{self.folder}/{name}" if self.folder else name


@dataclass(frozen=True)
class Saved:
    """What the small files of a model say.

    Attributes:
        modules: of sentence-transformers; empty for a plain transformers model.
        config: ``config.json`` of the transformer; empty where there is none.
        prompts: by name, as sentence-transformers will have them (`prompt_for`).
        default_prompt: name of the prompt that `SentenceTransformer.encode` puts before everything, or None.
        similarity: what the model compares embeddings by, None where it does not say.
        settings: of the Transformer module (``sentence_bert_config.json``); empty where there are none.
        adapters: whether the transformer is a folder of peft adapters on a base elsewhere.
        model_type: what kind of model sentence-transformers says it is, e.g. ``CrossEncoder``; empty for none.
    """

    modules: tuple[Module, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None
    similarity: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    adapters: bool = False
    model_type: str = ""

    @property
    def reranks(self) -> bool:
        """Whether it gives scores of pairs: saved as a cross-encoder, or as a classifier of transformers."""
        made_for = self.config.get("architectures") or [""]
        return self.model_type == "CrossEncoder" or str(made_for[0]).endswith("ForSequenceClassification")

    @property
    def is_sparse(self) -> bool:
        """Whether it was saved as a sparse encoder of sentence-transformers."""
        return self.model_type == "SparseEncoder" or any(".sparse_encoder." in module.type for module in self.modules)

    @property
    def kind(self) -> Literal["reranker", "sparse"] | None:
        """`model.kind` of a recipe that reads it; None for an encoder of dense embeddings."""
        if self.reranks:
            return "reranker"
        return "sparse" if self.is_sparse else None

    @property
    def is_multi_vector(self) -> bool:
        """Whether it was saved as a late-interaction model of sentence-transformers, with a vector per token."""
        named = self.model_type in ("MultiVectorEncoder", "ColBERT")
        return named or any(".multi_vector_encoder." in m.type or m.type.startswith("pylate.") for m in self.modules)

    @property
    def is_static(self) -> bool:
        """Whether it begins with a table of token vectors instead of a transformer."""
        return bool(self.modules) and self.modules[0].type.endswith(".StaticEmbedding")

    @property
    def max_length(self) -> int | None:
        """Tokens kept per text; None where the model does not say."""
        return self.settings.get("max_seq_length")

    @property
    def transformer(self) -> str:
        """The folder of the transformer inside the model's."""
        return self.modules[0].folder if self.modules else ""

    def file(self, name: str) -> str:
        """The path of a file of the transformer inside the model's folder."""
        return f"{self.transformer}/{name}" if self.transformer else name


def reader(kind: str) -> str:
    """The class of sentence-transformers that reads a model of a kind (``encoder``, or a `Saved.kind`)."""
    return {"reranker": "CrossEncoder", "sparse": "SparseEncoder"}.get(kind, "SentenceTransformer")


def inside(folder: Path) -> Find:
    """The files of a local folder.

    A cache whose files were removed leaves links that lead nowhere, and a library that finds nothing behind one goes
    on with defaults: another model. So what has the name of a file and is none is an error when it is asked for.
    """

    def find(name: str) -> Path | None:
        path = folder / name
        if path.is_file():
            return path
        if not os.path.lexists(path):
            return None
        if path.is_dir():
            raise damaged(path, "a folder, where a file belongs")
        if path.is_symlink() and not path.exists():
            raise damaged(path, f"a link to {os.readlink(path)}, which is not there")  # noqa: PTH115 shown as written
        raise damaged(path, "no regular file")

    return find


def read_saved(find: Find) -> Saved:
    """Read and check the small files of a model.

    Raises:
        RecipeError: a file is damaged, or a field holds what it cannot.
    """
    modules = read_modules(find)
    inner = modules[0].file if modules else str
    settings, path = _object(find, SETTINGS)
    prompts = _prompts(settings, path)
    config, config_path = _object(find, inner(CONFIG))
    _check_sizes(config, config_path)
    _check_tokenizer(*_object(find, inner(TOKENIZER)))
    adapters, adapters_path = _object(find, inner(ADAPTERS))
    if adapters_path is not None:
        _expect(adapters_path, "base_model_name_or_path", adapters.get("base_model_name_or_path"), str, "a model")
    return Saved(
        modules=modules,
        config=config,
        prompts={"query": "", "document": ""} | {name: text or "" for name, text in prompts.items()},
        default_prompt=_default_prompt(settings, prompts, path),
        similarity=_similarity(settings, path),
        settings=_transformer_settings(find, inner),
        adapters=adapters_path is not None,
        model_type=str(settings.get("model_type") or ""),
    )


def read_modules(find: Find) -> tuple[Module, ...]:
    """The entries of ``modules.json``, in order; none where the model has no such file.

    Raises:
        RecipeError: it is damaged, empty, or an entry lacks something.
    """
    path = find(MODULES)
    if path is None:
        return ()
    entries = read_json(path, list)
    if not entries:
        raise damaged(path, "it lists no modules")
    found = [_module(path, number, entry) for number, entry in enumerate(entries)]
    names = [module.name for module in found]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise damaged(path, f"two modules are called {twice[0]!r}, and the first would be lost")
    return tuple(found)


def read_json(path: Path, kind: type[T]) -> T:
    """The JSON object or list in a file.

    Raises:
        RecipeError: it is no JSON, or of another kind.
    """
    if is_pointer(path):
        raise pointer(path)
    try:
        value = from_json(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        size = path.stat().st_size
        what = "it is empty" if not size else f"it is no JSON ({size:,} bytes): {error or type(error).__name__}"
        raise damaged(path, what) from error
    if not isinstance(value, kind):
        raise damaged(path, f"{_WORDS[kind]} is expected, found {_shown(value)}")
    return value


def prompt_for(prompts: Mapping[str, str | None], role: str) -> str:
    """The prompt of a role among a model's, as `encode_query` and `encode_document` of sentence-transformers find it.

    `encode_document` takes the first of `DOCUMENT_PROMPTS` that the model has. sentence-transformers gives every model
    that it reads the two prompts ``query`` and ``document``, empty where they are not stored, so that a stored
    ``passage`` or ``corpus`` is not taken then; the default prompt never is.

    Args:
        prompts: of a model that was read, by name.
        role: ``query`` or ``document``.
    """
    names = DOCUMENT_PROMPTS if role == "document" else (role,)
    return next((prompts[name] or "" for name in names if name in prompts), "")


def is_pointer(path: Path) -> bool:
    """Whether a file is what Git LFS leaves in the place of a large file."""
    if path.stat().st_size > _POINTER_BYTES:
        return False
    with path.open("rb") as file:
        return file.read(len(_POINTER)) == _POINTER


def pointer(path: Path) -> RecipeError:
    """The error about such a file."""
    return RecipeError(
        f"{path} ({path.stat().st_size:,} bytes) is a Git LFS pointer, not the file itself",
        BASE,
        "run `git lfs pull` in the folder that it was cloned to, or download the file",
    )


def damaged(path: Path, what: str, cure: str = COPY_AGAIN) -> RecipeError:
    """The error about a file of a model."""
    return RecipeError(f"{path}: {what}", BASE, cure)


# Fields -------------------------------------------------------------------------------------------------------

_WORDS: dict[type, str] = {dict: "an object", list: "a list", str: "text", int: "a whole number"}


def _object(find: Find, name: str) -> tuple[dict[str, Any], Path | None]:
    path = find(name)
    return ({}, None) if path is None else (read_json(path, dict), path)


def _module(path: Path, number: int, entry: Any) -> Module:
    where = f"entry {number}"
    if not isinstance(entry, dict):
        raise damaged(path, f"{where}: an object is expected, found {_shown(entry)}")
    for key in ("name", "type", "path"):
        if key not in entry:
            raise damaged(path, f"{where} has no `{key}`")
        _expect(path, f"{where}, `{key}`", entry[key], str, "text")
    folder = PureWindowsPath(entry["path"])
    if folder.anchor or ".." in folder.parts or "\0" in entry["path"]:
        raise damaged(path, f"{where}, `path`: {entry['path']!r} leads out of the model's folder")
    inner = PurePosixPath(entry["path"]).as_posix()
    return Module(entry["name"], entry["type"], "" if inner == "." else inner)


def _prompts(settings: dict[str, Any], path: Path | None) -> dict[str, str | None]:
    prompts = settings.get("prompts")
    if path is None or prompts is None:
        return {}
    _expect(path, "prompts", prompts, dict, "an object")
    for name, text in prompts.items():
        if text is not None:
            _expect(path, f"prompts, {name!r}", text, str, "text")
    return dict(prompts)


def _default_prompt(settings: dict[str, Any], prompts: dict[str, str | None], path: Path | None) -> str | None:
    name = settings.get("default_prompt_name")
    if path is None or name is None:
        return None
    _expect(path, "default_prompt_name", name, str, "the name of a prompt")
    if name not in prompts and name not in ("query", "document"):
        raise damaged(path, f"default_prompt_name: there is no prompt {name!r}, only {', '.join(prompts) or 'none'}")
    return str(name)


def _similarity(settings: dict[str, Any], path: Path | None) -> str | None:
    name = settings.get("similarity_fn_name")
    if path is None or name is None or settings.get("model_type", "SentenceTransformer") != "SentenceTransformer":
        return None
    if name not in SIMILARITIES:
        raise damaged(path, f"similarity_fn_name: {_shown(name)} is none of {', '.join(SIMILARITIES)}")
    return str(name)


def _transformer_settings(find: Find, inner: Callable[[str], str]) -> dict[str, Any]:
    """The first of the files that says anything, as sentence-transformers reads them."""
    for name in TRANSFORMER_SETTINGS:
        settings, path = _object(find, inner(name))
        if path is not None and settings:
            if settings.get("max_seq_length") is not None:
                _whole(path, "max_seq_length", settings["max_seq_length"], 1)
            return settings
    return {}


def _check_sizes(config: dict[str, Any], path: Path | None) -> None:
    """Numbers that no model can have. Architectures may hold lists under these names (a size per layer)."""
    for key, least in SIZES.items():
        if path is not None and config.get(key) is not None and not isinstance(config[key], (list, dict)):
            _whole(path, key, config[key], least)
            if key in DEPTHS and config[key] > DEEPEST:
                raise damaged(path, f"{key}: at most {DEEPEST:,} layers are built, found {_shown(config[key])}")


def _check_tokenizer(settings: dict[str, Any], path: Path | None) -> None:
    """The length at which a tokenizer cuts: transformers takes whatever stands there. No limit is a huge number."""
    length = settings.get("model_max_length")
    if path is None or length is None:
        return
    if isinstance(length, bool) or not isinstance(length, (int, float)) or not length >= 1:
        raise damaged(path, f"model_max_length: a number of at least 1 is expected, found {_shown(length)}")


def _whole(path: Path, key: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise damaged(path, f"{key}: a whole number of at least {least} is expected, found {_shown(value)}")


def _expect(path: Path, key: str, value: Any, kind: type, words: str) -> None:
    if not isinstance(value, kind):
        raise damaged(path, f"{key}: {words} is expected, found {_shown(value)}")


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else text[:57] + "..."
