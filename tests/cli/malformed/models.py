"""Model folders: small files, weights whose headers lie, settings of other types; loaded by `embedkit encode`."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.cli.conftest import Done
from tests.cli.malformed.case import RECIPE, Case, Spoil
from tests.cli.malformed.ground import CPU, vectors
from tests.cli.malformed.mutations import WRONG
from tests.model import damaged

COMMAND = ("encode", "sound", "--texts", "texts.txt", "--out", "out", *CPU)
NEEDS = ("sound", "texts.txt")
WEIGHTS = "sound/model.safetensors"
Header = dict[str, Any]


def _header(change: Callable[[Header], Any]) -> Spoil:
    """The header of the weights says something else; the tensors behind it are as they were."""

    def spoil(folder: Path) -> None:
        content = (folder / WEIGHTS).read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        text = json.dumps(change(header) or header).encode()
        (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])

    return spoil


def _packed(length: int) -> bytes:
    return struct.pack("<Q", length)


def _raw(change: Callable[[bytes], bytes]) -> Spoil:
    return lambda folder: (folder / WEIGHTS).write_bytes(change((folder / WEIGHTS).read_bytes()))


def _first(header: Header) -> Header:
    """What is said of one of the tensors."""
    found: Header = header[max(name for name in header if name != "__metadata__")]
    return found


def _set(**values: Any) -> Callable[[Header], Any]:
    return lambda header: _first(header).update(values)


def _renamed(header: Header) -> Any:
    name = next(name for name in header if "layer.0" in name)
    return {("x" if key == name else key): value for key, value in header.items()}


HEADERS: dict[str, Spoil] = {
    "a list": _header(lambda header: [1]),
    "null": _raw(lambda content: struct.pack("<Q", 4) + b"null" + content),
    "a tensor that is a text": _header(lambda header: {**header, max(header): "x"}),
    "a kind of numbers that nobody knows": _header(_set(dtype="F31")),
    "another kind of numbers": _header(_set(dtype="I64")),
    "a shape of other size": _header(_set(shape=[3, 3])),
    "a shape that is a text": _header(_set(shape="32")),
    "a shape below none": _header(_set(shape=[-32])),
    "a shape beyond all": _header(_set(shape=[2**62, 2**62])),
    "offsets beyond the file": _header(_set(data_offsets=[0, 2**40])),
    "offsets backwards": _header(_set(data_offsets=[128, 0])),
    "offsets that are one": _header(_set(data_offsets=[0])),
    "offsets over another tensor": _header(_set(data_offsets=[0, 128])),
    "a tensor under another name": _header(_renamed),
    "metadata that are a list": _header(lambda header: header.update(__metadata__=[1])),
    "no JSON": _raw(lambda content: content[:8] + b"x" + content[9:]),
    "no UTF-8": _raw(lambda content: content[:8] + b"\xff\xfe" + content[10:]),
    "a length beyond the file": _raw(lambda content: struct.pack("<Q", 2**40) + content[8:]),
    "a length of 2^64 - 1": _raw(lambda content: b"\xff" * 8 + content[8:]),
    "a length of none": _raw(lambda content: bytes(8) + content[8:]),
    "a length one too short": _raw(lambda content: _packed(struct.unpack("<Q", content[:8])[0] - 1) + content[8:]),
    "20,000 brackets": _raw(lambda content: struct.pack("<Q", 40_000) + b"[" * 20_000 + b"]" * 20_000 + content),
    "bytes behind the tensors": _raw(lambda content: content + bytes(64)),
    "seven bytes": _raw(lambda content: content[:7]),
    "eight bytes": _raw(lambda content: content[:8]),
}  # fmt: skip
SMALL = ("sound/config.json", "sound/modules.json", "sound/1_Pooling/config.json", "sound/tokenizer_config.json")
NOT_HERE = frozenset({"a class that nobody has"})


def cases() -> Iterator[Case]:
    for name, (damage, words) in damaged.ALL.items():
        yield Case("model", name, _in_sound(damage), COMMAND, RECIPE, NEEDS, says=tuple(words))
    for name, spoil in HEADERS.items():
        yield Case("model", f"header: {name}", spoil, COMMAND, RECIPE, NEEDS)
    for tenth in range(1, 10):
        cut = _raw(lambda content, tenth=tenth: content[: len(content) * tenth // 10])
        yield Case("model", f"weights cut after {tenth} tenths", cut, COMMAND, RECIPE, NEEDS)
    for seed in range(30):
        spoil = _value(SMALL[seed % len(SMALL)], seed)
        name = f"{SMALL[seed % len(SMALL)]}: changed value {seed}"
        yield Case("model", name, spoil, COMMAND, RECIPE, NEEDS, then=as_before, either=True)
    for file in SMALL:
        for name, content in (("20,000 brackets", b"[" * 20_000), ("no UTF-8", b'{"a": "\xff"}'), ("NUL", bytes(100))):
            yield Case("model", f"{file}: {name}", damaged.data(file, content), COMMAND, RECIPE, NEEDS)
    yield Case("model", "as it was", lambda _: None, COMMAND, 0, NEEDS, then=as_before)


def _in_sound(damage: damaged.Damage) -> Spoil:
    return lambda folder: damage(folder / "sound")


def _value(name: str, seed: int) -> Spoil:
    """One value of a JSON file is of a kind that hardly any key takes."""

    def spoil(folder: Path) -> None:
        draw = random.Random(seed)
        found = json.loads((folder / name).read_text(encoding="utf-8"))
        inside = found if isinstance(found, dict) else draw.choice(found)
        key = draw.choice(sorted(inside))
        inside[key] = draw.choice([value for value in WRONG if repr(value) != repr(inside[key])])
        (folder / name).write_text(json.dumps(found), encoding="utf-8")

    return spoil


def as_before(folder: Path, done: Done) -> None:
    """What was changed has no effect: the vectors are those of the sound model."""
    found, sound = vectors(folder), np.load(folder.parent / "ground" / "sound.npy")
    assert found.shape == sound.shape and np.allclose(found, sound, atol=1e-5), "the vectors are others"
