"""An export, read from its folder alone: the program runs in its own runtime, the rest in sentence-transformers."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sentence_transformers.base.modules import Transformer

from embedkit.disk import files
from embedkit.disk.model_files import inside, prompt_for, read_json
from embedkit.errors import EmbedkitError
from embedkit.foreign.parsing import from_json
from embedkit.model.checking.boundary import reading
from embedkit.model.checking.folder import look_over
from embedkit.model.checking.trust import own_classes
from embedkit.model.exporting.targets import MANIFEST, RECORD, Target, target_of
from embedkit.model.reading import static
from embedkit.model.reading.loading import load_saved
from embedkit.model.reading.resolve import Origin

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

BATCH = 32
"""Texts that run at once; sentence-transformers sorts them by length."""


class Exported:
    """An export as evaluation sees a model (`embedkit.types.Encodes`).

    Attributes:
        st: the whole as a sentence-transformers model, on the CPU.
        folder: where it is.
        longest: tokens of a text that the model has positions for; None where there is no limit, or it is not known.
    """

    def __init__(self, st: SentenceTransformer, folder: Path, longest: int | None = None) -> None:
        self.st, self.folder, self.longest = st, folder, longest

    @classmethod
    def load(cls, folder: str | Path, target: Target | None = None) -> Exported:
        """Read an export.

        Args:
            folder: what `embedkit export` wrote.
            target: None reads it from the export's record.

        Raises:
            RecipeError: a file of it is damaged, or a package that it needs is missing.
            EmbedkitError: there is no export.
        """
        folder = Path(folder)
        record = {} if target is not None else _record(folder)
        found = target or target_of(record["to"], to_read=True)
        if not found.folder:
            st = load_saved(folder, "cpu")
        else:
            st = _with_program(folder) if found.traced else _with_llama(found.inside(folder), folder)
        return cls(st, folder, record.get("longest"))

    @property
    def similarity(self) -> str:
        """What embeddings are compared by."""
        return str(self.st.similarity_fn_name)

    def prompt(self, role: str) -> str:
        """The text put before inputs of a role (``query`` or ``document``)."""
        return prompt_for(self.st.prompts, role)

    def encode(
        self,
        texts: Sequence[str],
        *,
        role: str = "query",
        max_length: int | None = None,
        batch_tokens: int = 8192,
        progress: bool = False,
    ) -> np.ndarray:
        """float32 [texts, d]. `batch_tokens` does nothing: batches are of `BATCH` texts, as a server has them."""
        with _cut_at(self.st, max_length):
            found = self.st.encode(
                list(texts),
                prompt=self.prompt(role),
                batch_size=BATCH,
                convert_to_numpy=True,
                show_progress_bar=progress,
            )
        return np.asarray(found, dtype=np.float32)

    def fingerprint(self) -> str:
        """Content hash of the folder's files, the card and the record left out."""
        digest = hashlib.sha256()
        for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            name = path.relative_to(self.folder).as_posix()
            if path.suffix != ".md" and name != RECORD:
                digest.update(f"{name} {files.sha256(path)}\n".encode())
        return digest.hexdigest()


@contextmanager
def _cut_at(st: SentenceTransformer, length: int | None) -> Iterator[None]:
    if static.is_static(st):
        with static.cut_at(st, length):
            yield
        return
    kept = st.max_seq_length
    try:
        if length is not None:
            st.max_seq_length = length
        yield
    finally:
        if length is not None:
            st.max_seq_length = kept


def _record(folder: Path) -> dict[str, Any]:
    try:
        found = from_json((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        what = f"holds no export: {RECORD} is missing or damaged"
        raise EmbedkitError(what, str(folder), "give the --out of `embedkit export`") from error
    if not isinstance(found, dict) or not isinstance(found.get("to"), str):
        raise EmbedkitError(f"holds no export: {RECORD} is of something else", str(folder), "export the model again")
    return found


# sentence-transformers around a program -----------------------------------------------------------------------


def _with_program(folder: Path) -> SentenceTransformer:
    return _with_classes(folder, lambda types: {types[0]: ProgramTransformer})


def _with_llama(file: Path, folder: Path) -> SentenceTransformer:
    """llama.cpp stands for the transformer and its pooling."""
    from embedkit.model.exporting.llama import LlamaTransformer, Pooled

    def classes(types: list[str]) -> dict[str, type]:
        return {types[0]: LlamaTransformer, **{name: Pooled for name in types if name.endswith(".Pooling")}}

    st = _with_classes(folder, classes)
    first: Any = st[0]
    first.file = file
    return st


def _with_classes(folder: Path, classes_of: Callable[[list[str]], dict[str, type]]) -> SentenceTransformer:
    """The export's folder with some of its modules' classes exchanged."""
    from sentence_transformers import SentenceTransformer

    find = inside(folder)
    with reading("the export", Origin("folder", str(folder)), find):
        saved = look_over(find, weights=False)
        classes = {**classes_of([module.type for module in saved.modules]), **own_classes(saved)}
        return SentenceTransformer._load_with_module_classes(
            str(folder), classes, device="cpu", local_files_only=True, trust_remote_code=False
        )


class ProgramTransformer(Transformer):
    """sentence-transformers' `Transformer` whose model is a program beside the tokenizer."""

    def _load_model(self, model_name_or_path: str, task: Any, config: Any, *_: Any, **__: Any) -> Any:
        return _Program(Path(model_name_or_path), config)


class _Program(torch.nn.Module):
    """What `Transformer` calls: tensors in, transformers' output out."""

    def __init__(self, folder: Path, config: Any) -> None:
        super().__init__()
        from transformers.exporters.auto import get_exporter_class, get_runner_class
        from transformers.exporters.metadata import ExportMetadata

        kind = "onnx" if (folder / "onnx").is_dir() else "openvino"
        told = read_json(folder / kind / MANIFEST, dict)["components"]["model"]
        metadata = ExportMetadata.from_dict(told["metadata"])
        program = get_exporter_class(kind).load_program(folder / kind / Path(told["file"]).name)
        self.config, self.inputs = config, set(metadata.kwargs)
        self.runner = get_runner_class(kind).from_program(program, metadata, "cpu", **_settings(kind))

    def forward(self, **features: Any) -> Any:
        return self.runner(**{name: value for name, value in features.items() if name in self.inputs})


def _settings(kind: str) -> dict[str, Any]:
    """As many threads as torch has: the runtimes would take every core of the machine. OpenVINO would take bfloat16
    where the processor has it, whatever the program holds."""
    count = torch.get_num_threads()
    if kind == "openvino":
        return {"config": {"INFERENCE_NUM_THREADS": count, "INFERENCE_PRECISION_HINT": "f32"}}
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = count
    options.log_severity_level = 3
    return {"session_options": options}
