"""What a model can be exported to, and what has to be installed for it. Imports nothing heavy."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from embedkit.errors import RecipeError, VersionError

RECORD = "embedkit_export.json"
"""What an export is and how it was compared, in its folder."""
MANIFEST = "export.json"
"""What transformers says of a program, beside it: its inputs, and how its outputs are put together."""


@dataclass(frozen=True)
class Target:
    """A runtime, or a form of the model.

    Attributes:
        name: as `--to` takes it.
        words: what it is.
        folder: of the program inside the export, as sentence-transformers and the Hub have it; "" where it is a plain
            sentence-transformers model.
        program: the program's file in it.
        needs: modules that must be there.
        extra: of embedkit, that brings them.
        least: cosine between an embedding of the export and the model's that is still taken for the same; None where
            the export has other dimensions by nature.
        loss: points that the average of a suite may fall by where nobody says otherwise; None: any number. Where there
            is one the export is another model, and is not made without a suite.
    """

    name: str
    words: str
    folder: str = ""
    program: str = ""
    needs: tuple[str, ...] = ()
    extra: str = ""
    least: float | None = 0.9999
    loss: float | None = None

    @property
    def traced(self) -> bool:
        """Whether the exporters of transformers write it."""
        return self.folder in ("onnx", "openvino")

    @property
    def runs_in_llama(self) -> bool:
        """Whether llama.cpp runs it, from the text to the pooled embedding."""
        return self.folder == "gguf"

    @property
    def distils(self) -> bool:
        """Whether the export is a student, another model."""
        return self.loss is not None

    def inside(self, export: Path) -> Path:
        """The program's file in the folder of an export."""
        return export / self.folder / self.program


_ONNX = ("onnx", "onnxscript", "onnxruntime")
_GGUF = ("gguf", "xllamacpp")
TARGETS = {
    target.name: target
    for target in (
        Target("torch", "sentence-transformers"),
        Target("onnx", "ONNX Runtime, float32", "onnx", "model.onnx", _ONNX, "onnx"),
        Target("int8", "ONNX Runtime, int8 weights", "onnx", "model_int8.onnx", _ONNX, "onnx", 0.9),
        Target("openvino", "OpenVINO, float32", "openvino", "openvino_model.xml", ("openvino",), "openvino"),
        Target("gguf", "llama.cpp (GGUF), float32", "gguf", "model-f32.gguf", _GGUF, "gguf"),
        Target("gguf-f16", "llama.cpp (GGUF), float16", "gguf", "model-f16.gguf", _GGUF, "gguf"),
        Target("gguf-q8_0", "llama.cpp (GGUF), 8 bits", "gguf", "model-q8_0.gguf", _GGUF, "gguf", 0.99),
        Target("static", "static vectors of tokens", "", "", ("model2vec", "skeletoken"), "static", None, 20.0),
    )
}


def target_of(name: str, *, to_read: bool = False) -> Target:
    """The target of a name, the packages at hand that write it, or read it: a plain model needs none to be read.

    Raises:
        RecipeError: there is no such target, or a package that it needs is missing.
        VersionError: transformers is older than its exporters.
    """
    if name not in TARGETS:
        raise RecipeError(f"there is no {name!r}", "--to", f"one of {', '.join(TARGETS)}")
    target = TARGETS[name]
    needs = () if to_read and not target.folder else target.needs
    missing = [module for module in needs if find_spec(module) is None]
    if missing:
        what = f"{name} needs packages that are not installed: {', '.join(missing)}"
        raise RecipeError(what, "--to", f'pip install "embedkit-train[{target.extra}]"')
    if target.traced and sys.version_info < (3, 11):
        raise VersionError("the exporters of transformers need Python 3.11", "--to", "use Python 3.11 or newer")
    if target.traced and _absent("transformers.exporters.runners"):
        cure = "pip install 'transformers>=5.23,<5.25'"
        raise VersionError(
            "the installed transformers has no exporters, or none that run what they export", "--to", cure
        )
    return target


def _absent(module: str) -> bool:
    try:
        return find_spec(module) is None
    except ModuleNotFoundError:  # its package is absent, too
        return True
