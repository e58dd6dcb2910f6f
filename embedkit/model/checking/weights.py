"""The files that hold a model's weights, looked at without loading them: which, whether whole, names and shapes."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedkit.disk.model_files import BASE, COPY_AGAIN, Find, damaged, is_pointer, pointer, read_json
from embedkit.errors import RecipeError

SAFE, PICKLED = "model.safetensors", "pytorch_model.bin"
OF_MODEL = (SAFE, f"{SAFE}.index.json", PICKLED, f"{PICKLED}.index.json")
"""What transformers looks for, in this order."""
OF_MODULE = (SAFE, PICKLED)
"""What the modules of sentence-transformers look for."""
OF_ADAPTERS = ("adapter_model.safetensors", "adapter_model.bin")
FOREIGN = ("tf_model.h5", "flax_model.msgpack", "model.ckpt.index", "openvino_model.xml", "onnx/model.onnx")
"""Weights for other libraries, which transformers 5 does not read."""
_Header = dict[str, tuple[tuple[int, ...], str]]
"""Shape and type (``F32``, ``BF16``, ``I64``, ``BOOL``) of tensors by their names."""
_WHOLE = ("I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64")
_TORCH = (b"PK\x03\x04", b"\x80\x02")
"""How files of `torch.save` begin: an archive, or before torch 1.6 a pickle."""


@dataclass(frozen=True)
class Weights:
    """Files of weights.

    Attributes:
        files: in order; several for a model in shards.
        shapes: of every tensor by its name; empty for pickled files, which say nothing before they are read.
        whole: names of the tensors that hold whole numbers; as `shapes`.
    """

    files: tuple[Path, ...]
    shapes: dict[str, tuple[int, ...]]
    whole: tuple[str, ...] = ()

    @property
    def widest(self) -> int | None:
        """The largest dimension of any tensor; None where it is not known."""
        return max((max(shape, default=1) for shape in self.shapes.values()), default=None)


def find_weights(find: Find, folder: str, names: tuple[str, ...]) -> Weights:
    """The weights in a folder of a model, checked as far as that is cheap.

    Args:
        find: the files of the model.
        folder: inside the model's; "" for the model's own.
        names: candidates, the first that is there is taken.

    Raises:
        RecipeError: there are none, one is missing, a Git LFS pointer, cut short, or no file of weights.
    """
    place = f"{folder}/" if folder else ""
    for name in names:
        path = find(place + name)
        if path is None:
            continue
        files = _shards(path, find, place) if name.endswith(".index.json") else (path,)
        header: _Header = {}
        for file in files:
            header |= _read_header(file)
        shapes = {name: shape for name, (shape, _) in header.items()}
        return Weights(files, shapes, tuple(name for name, (_, kind) in header.items() if kind in _WHOLE))
    others = [name for name in FOREIGN if find(place + name) is not None]
    beside = f"; {', '.join(others)} is for another library" if others else ""
    raise RecipeError(
        f"there are no weights{f' in {folder}' if folder else ''}: none of {', '.join(names)}{beside}",
        BASE,
        "give the folder that `save_pretrained` wrote, or " + COPY_AGAIN,
    )


def _shards(index: Path, find: Find, place: str) -> tuple[Path, ...]:
    weight_map = read_json(index, dict).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise damaged(index, "weight_map: names of tensors with their files are expected")
    found = []
    for name in dict.fromkeys(weight_map.values()):
        if not isinstance(name, str) or Path(name).name != name:
            raise damaged(index, f"weight_map: the name of a file in the same folder is expected, found {name!r:.80}")
        path = find(place + name)
        if path is None:
            raise damaged(index, f"{name} is not there: the model is in {len(set(weight_map.values()))} files")
        found.append(path)
    return tuple(found)


def _read_header(path: Path) -> _Header:
    if is_pointer(path):
        raise pointer(path)
    if not path.stat().st_size:
        raise damaged(path, "it is empty")
    return _safetensors(path) if path.suffix == ".safetensors" else _pickled(path)


def _safetensors(path: Path) -> _Header:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in slices.items()}
    except (SafetensorError, OSError, ValueError) as error:
        what = f"no whole safetensors file ({path.stat().st_size:,} bytes): {error}"
        raise damaged(path, what) from error


def _pickled(path: Path) -> _Header:
    with path.open("rb") as file:
        start = file.read(4)
    if not start.startswith(_TORCH):
        raise damaged(path, f"no file of torch.save ({path.stat().st_size:,} bytes): it begins with {start!r}")
    if start.startswith(_TORCH[0]):
        try:
            with zipfile.ZipFile(path):
                pass
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            what = f"cut short, or damaged otherwise ({path.stat().st_size:,} bytes): {error}"
            raise damaged(path, what) from error
    return {}


def more_than_tensors(files: tuple[Path, ...]) -> tuple[Path, list[str]] | None:
    """The first pickled file that asks for more than tensors, with what it asks for; None where there is none.

    Nothing is run: torch lists the names in the pickle.
    """
    from torch.serialization import get_unsafe_globals_in_checkpoint

    for path in files:
        if path.suffix == ".safetensors" or not zipfile.is_zipfile(path):
            continue
        asked: list[Any] = get_unsafe_globals_in_checkpoint(path)
        if asked:
            return path, [str(name) for name in asked]
    return None
