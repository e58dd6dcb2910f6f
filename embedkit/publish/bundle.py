"""What of a model's folder goes to the Hub: its own files and small records, each looked through, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from embedkit.disk import files
from embedkit.disk.model_files import TRANSFORMER_SETTINGS, inside, read_modules
from embedkit.errors import EmbedkitError
from embedkit.foreign import redacting
from embedkit.foreign.parsing import from_json
from embedkit.foreign.quoting import listed
from embedkit.publish.metadata import RESULTS

WEIGHTS = ("*.safetensors", "pytorch_model*.bin", "adapter_model.bin", "*.onnx", "*.onnx_data", "openvino_model*")
_SETTINGS = (
    *("config.json", "modules.json", "config_sentence_transformers.json", *TRANSFORMER_SETTINGS),
    *("sentence_*_config.json", "*.index.json", "adapter_config.json", "generation_config.json", "router_config.json"),
    *("preprocessor_config.json", "processor_config.json", "config_*.json", "chat_template.json"),
)
_TOKENIZER = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json"),
    *("vocab.txt", "merges.txt", "bpe.codes", "*.model", "*.tiktoken", "*.spm", "*.vocab", "*.jinja"),
)
_PAPERS = ("README.md", "LICENSE*", "NOTICE*")
_VOCABULARIES = ("tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "bpe.codes", "added_tokens.json", "*.vocab")
"""Text files of words, where a piece that looks like a path or a key is a piece."""
_BINARY = (*WEIGHTS, "*.model", "*.tiktoken", "*.spm")
_WHENCE = {"_name_or_path", "name_or_path", "tokenizer_file", "vocab_file", "merges_file", "tokenizer_name_or_path"}
"""Keys that tell where a file once was and do nothing; a path under them is cut to its last part."""
_PATH = re.compile(r"(?:file://)?(?:/[^/\n]+/|~[^/\n]*/|[A-Za-z]:[\\/]|\\\\)[^\n]+")


@dataclass(frozen=True)
class Item:
    """A file that goes.

    Attributes:
        name: its path in the repository.
        source: the file, or what it holds.
    """

    name: str
    source: Path | bytes

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    @property
    def weights(self) -> bool:
        """Whether it holds weights."""
        return is_weights(self.name)


@dataclass(frozen=True)
class Bundle:
    """What goes, sorted by name, and what does not: name -> why."""

    items: tuple[Item, ...]
    left_out: Mapping[str, str]

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(item.size for item in self.items)

    def stage(self, folder: Path) -> None:
        """Put the files into a folder, in the place of those that are there: as links where the system has them.

        Raises:
            WriteError: there is no room for them.
        """
        with files.writing(folder):
            for item in self.items:
                path = folder / item.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)
                if isinstance(item.source, bytes):
                    path.write_bytes(item.source)
                else:
                    _link(item.source.resolve(), path)


def is_weights(name: str) -> bool:
    """Whether a file of a repository holds weights, or says in which files they are."""
    last = name.rpartition("/")[2]
    return any(fnmatch(last, pattern) for pattern in (*WEIGHTS, "*.index.json", "*.h5", "*.msgpack", "*.pt"))


def collect(model: Path, beside: Mapping[str, bytes]) -> Bundle:
    """The files of a model that may go, cleaned, with those that stand beside it.

    Args:
        model: folder of the model.
        beside: more files by name; they take the place of the folder's own.

    Raises:
        EmbedkitError: a secret, or a path on this machine, is in one of them: where.
    """
    find = inside(model)
    folders = {module.folder for module in read_modules(find)} | {"", RESULTS, "onnx", "openvino"}
    items, left_out = [Item(name, content) for name, content in beside.items()], {}
    for path in sorted(path for path in model.rglob("*") if path.is_file()):
        name = path.relative_to(model).as_posix()
        if name in beside:
            continue
        why = _refused(name, folders)
        if why:
            left_out[name] = why
        else:
            items.append(Item(name, _cleaned(path) if path.suffix == ".json" else path))
    items.sort(key=lambda item: item.name)
    _look_through(items, model)
    return Bundle(tuple(items), left_out)


def _refused(name: str, folders: Iterable[str]) -> str:
    """Why a file does not go; empty for one that does."""
    folder, _, last = name.rpartition("/")
    if last.startswith(files.OURS) or last in (".gitattributes", ".DS_Store"):
        return "not part of the model"
    if not any(folder == known or (known and folder.startswith(f"{known}/")) for known in folders):
        return "not in the model's own folders"
    if folder == RESULTS:
        return "" if last.endswith(".yaml") else "no file of results"
    known = (*WEIGHTS, *_SETTINGS, *_TOKENIZER, *_PAPERS, "*.py")
    if not any(fnmatch(last, pattern) for pattern in known):
        return "not a file of a model"
    return ""


def _link(source: Path, target: Path) -> None:
    import shutil

    try:
        target.symlink_to(source)
    except OSError:  # not every system lets everybody make links
        shutil.copyfile(source, target)


# What is in them ----------------------------------------------------------------------------------------------


def _cleaned(path: Path) -> Path | bytes:
    """A file of settings; without the paths under keys that only tell where something was."""
    if any(fnmatch(path.name, pattern) for pattern in _VOCABULARIES):
        return path
    try:
        value = from_json(path.read_text(encoding="utf-8"))
    except ValueError:
        return path  # reading the model says what is wrong with it
    told = [found for found in _texts(value) if found[0][-1:] and found[0][-1] in _WHENCE and _PATH.fullmatch(found[1])]
    if not told:
        return path
    for where, text in told:
        inner: Any = value
        for key in where[:-1]:
            inner = inner[key]
        inner[where[-1]] = [part for part in re.split(r"[\\/]", text) if part][-1]
    return (json.dumps(value, ensure_ascii=False, indent=2) + "\n").encode()


def _texts(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Every text in plain data, with its key path."""
    if isinstance(value, str):
        yield path, value
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _texts(inner, (*path, key))


def _own_places(model: Path) -> list[str]:
    """Folders of this machine that say whose it is, with a slash behind them: no text that goes may name one."""
    folders = [Path.home(), Path.cwd(), model, model.resolve(), model.resolve().parent]
    return sorted({f"{folder}/" for folder in folders if len(folder.parts) > 1}, key=len, reverse=True)


def _look_through(items: Iterable[Item], model: Path) -> None:
    """Refuse secrets and paths of this machine.

    Raises:
        EmbedkitError: every one that is found, with its file and place in it.
    """
    found, own = [], _own_places(model)
    for item in items:
        last = item.name.rpartition("/")[2]
        if any(fnmatch(last, pattern) for pattern in (*_VOCABULARIES, *_BINARY)):
            continue
        raw = item.source if isinstance(item.source, bytes) else item.source.read_bytes()
        text = raw.decode("utf-8", "replace")
        found += [f"{item.name}: {what}" for what in (*_secrets(last, text), *_paths(last, text, own))]
    if found:
        raise EmbedkitError(
            "what would be published holds what is nobody else's business",
            str(model),
            "take it out of these files",
            found,
        )


def _secrets(name: str, text: str) -> Iterator[str]:
    token = _token()
    if token is not None and token in text:
        yield "the token that you log in to the Hub with"
    if name.endswith(".json"):
        for path, kind in redacting.places(_parsed(text)):
            yield f"{'.'.join(map(str, path))}: {kind}"
        return
    for number, line in enumerate(text.splitlines(), 1):
        for _, kind in redacting.places(line):
            yield f"line {number}: {kind}"


def _paths(name: str, text: str, own: list[str]) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        named = [place for place in own if place in line]
        if named:
            yield f"line {number}: a path on this machine ({named[0]}...)"
    if name.endswith(".json") and not name.startswith("run."):
        where = [path for path, words in _texts(_parsed(text)) if "prompts" not in path and _PATH.fullmatch(words)]
        if where:
            yield f"{listed(['.'.join(map(str, path)) for path in where])}: a path"


def _parsed(text: str) -> Any:
    try:
        return from_json(text)
    except ValueError:
        return text


def _token() -> str | None:
    from huggingface_hub import get_token

    return get_token()
