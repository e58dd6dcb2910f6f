"""A model's transformer as a program of ONNX Runtime or OpenVINO, by the exporters of transformers.

Pooling and what follows it stay modules of sentence-transformers: their settings and small weights are in the same
folder, as every server of embeddings reads them.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedkit.disk import files
from embedkit.errors import RecipeError
from embedkit.foreign.quoting import cut
from embedkit.model.exporting.targets import MANIFEST, Target

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SAMPLE = ("A short text.", "And another one, which is longer than the first: the program has to take any length.")
"""What the transformer is traced with; two texts of two lengths, so that neither becomes a constant."""
_TRACED = 16
"""Tokens of them: any model has room for so many."""
INLINE = int(1.5 * 2**30)
"""Bytes of weights up to which an ONNX model is one file: protobuf ends at 2 GiB."""


def write_program(st: SentenceTransformer, target: Target, export: Path) -> None:
    """Write the transformer of a plain model, float32 on the CPU, into the folder of an export.

    Args:
        st: the model, as sentence-transformers loads it.
        target: where it shall run.
        export: gets ``onnx/`` or ``openvino/``: the program, transformers' description of it, its configuration.

    Raises:
        RecipeError: the exporter cannot translate this architecture.
        WriteError: the disk is full.
    """
    folder = export / target.folder
    transformer: Any = st[0]
    inputs = _traced(transformer)
    exporter, config = _exporter(target)
    with files.writing(export), _quiet():
        try:
            exported = exporter.export(transformer.model.eval(), inputs, config)
        except OSError:
            raise
        except Exception as error:  # torch, onnxscript and OpenVINO each have their own
            what = f"{type(transformer.model).__name__} cannot be exported to {target.name}: {_last(error)}"
            raise RecipeError(
                what, "--to", "try another target; the architecture is not one that the exporter knows"
            ) from error
        exported.save_pretrained(folder)
    if target.folder == "onnx":
        _tidy_onnx(folder, target)


def _traced(transformer: Any) -> dict[str, Any]:
    """What the transformer is traced with: those of the tokenizer's values that its forward takes.

    Raises:
        RecipeError: the model does not begin with a transformer and nothing else.
    """
    from sentence_transformers.base.modules import Transformer

    if type(transformer) is not Transformer:
        what = f"the model begins with {type(transformer).__name__}, which only PyTorch runs"
        raise RecipeError(what, "--to", "export to torch, or another model")
    taken = inspect.signature(transformer.model.forward).parameters
    found = transformer.tokenizer(list(SAMPLE), padding=True, truncation=True, max_length=_TRACED, return_tensors="pt")
    return {name: value for name, value in found.items() if name in taken}


def _exporter(target: Target) -> tuple[Any, Any]:
    from transformers import exporters

    if target.name == "openvino":
        return exporters.OpenVINOExporter(), exporters.OpenVINOConfig(dynamic=True)
    quantizer = None
    if target.name == "int8":
        quantizer = exporters.OnnxRuntimeQuantizer(exporters.OnnxRuntimeDynamicConfig(**INT8))
    return exporters.OnnxExporter(), exporters.OnnxConfig(dynamic=True, quantizer=quantizer)


INT8: dict[str, Any] = {"per_channel": True, "reduce_range": True}
"""A scale for each output of a matrix, and seven bits of eight: the sums of AVX2 machines saturate at eight."""


def _tidy_onnx(folder: Path, target: Target) -> None:
    """One file where protobuf allows it, under the name that other libraries look for, without the paths of this
    machine's Python files, which torch writes beside every operation."""
    import onnx

    written = folder / "model.onnx"
    with files.writing(folder):
        model = onnx.load(str(written))
        for node in (*model.graph.node, *(node for function in model.functions for node in function.node)):
            del node.metadata_props[:]
            node.doc_string = ""
        for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
            del value.metadata_props[:]
        size = sum(path.stat().st_size for path in folder.glob("model.onnx*"))
        for path in folder.glob("model.onnx*"):
            path.unlink()
        place = folder / target.program
        inline = size < INLINE
        beside = {} if inline else {"save_as_external_data": True, "location": f"{target.program}_data"}
        onnx.save(model, str(place), **beside)
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    manifest["components"]["model"]["file"] = target.program
    files.write_json(folder / MANIFEST, manifest)


def _last(error: BaseException) -> str:
    """The reason at the bottom of a chain of errors, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return cut(" ".join(f"{type(error).__name__}: {error}".split()))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Exporters print their steps and warn of versions; what matters is compared afterwards."""
    names = ("torch.onnx", "onnxscript", "onnx_ir", "root", "openvino", "nncf")
    loggers = [logging.getLogger("" if name == "root" else name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
