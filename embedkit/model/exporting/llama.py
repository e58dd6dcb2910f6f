"""A GGUF file run by llama.cpp, as a sentence-transformers model: it cuts the texts itself, encodes and pools them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sentence_transformers.base.modules import Transformer
from sentence_transformers.sentence_transformer.modules import Pooling

from embedkit.errors import EmbedkitError
from embedkit.foreign.quoting import cut
from embedkit.model.exporting import llama_worker

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SAME = 0.999
"""Cosine below which a text's tokens must be others; with 8 bits the other texts of a pass change it a little."""
PARALLEL = 4
"""Texts that llama.cpp may take into one pass."""
_TOLD = 2000
"""Last characters of what llama.cpp printed that an error repeats."""


class Llama:
    """llama.cpp with one file, in a process of its own that ends with this object.

    Args:
        file: a GGUF file of an encoder with a pooling.
        longest: tokens that a text may have.

    Raises:
        EmbedkitError: llama.cpp does not load the file.
    """

    def __init__(self, file: Path, longest: int) -> None:
        self.file = file
        self._printed: Any = tempfile.TemporaryFile()  # noqa: SIM115 (the process writes to it)
        sizes = (str(torch.get_num_threads()), str(longest), str(PARALLEL))
        self._process = subprocess.Popen(  # noqa: S603 (our own interpreter and script)
            [sys.executable, llama_worker.__file__, str(file), *sizes],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._printed,
            text=True,
            encoding="utf-8",
        )
        self.close = weakref.finalize(self, _end, self._process, self._printed)
        self._line()

    def embed(self, inputs: Sequence[str | list[int]]) -> np.ndarray:
        """Embeddings as they are pooled, not normalised: float32 [n, d].

        Args:
            inputs: texts, which llama.cpp cuts into tokens, or token ids with the special ones.

        Raises:
            EmbedkitError: llama.cpp refuses them, or ended.
        """
        sent: Any = self._process.stdin
        try:
            sent.write(json.dumps(list(inputs)) + "\n")
            sent.flush()
        except OSError:  # it ended; what it said is in the answer that does not come
            pass
        found = self._line()
        if isinstance(found, dict):
            what = f"llama.cpp refuses a text: {cut(found['error'])}"
            raise EmbedkitError(what, str(self.file), "leave texts with words of hundreds of letters out of --texts")
        return np.asarray(found, dtype=np.float32)

    def _line(self) -> Any:
        """The next answer.

        Raises:
            EmbedkitError: the process has ended.
        """
        received: Any = self._process.stdout
        line = received.readline()
        if line:
            return json.loads(line)
        self._process.wait()
        self._printed.seek(0)
        said = self._printed.read()[-_TOLD:].decode("utf-8", "replace").split("\n")
        below = [text for text in said if text.strip()][-3:]
        what = f"llama.cpp ended with code {self._process.returncode}"
        raise EmbedkitError(what, str(self.file), "export to onnx, and report the model", below)


def _end(process: subprocess.Popen[str], printed: Any) -> None:
    """Its input ends, and so does the process; not waited for long."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            try:
                pipe.close()
            except OSError:  # it ended before it read all
                continue
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    printed.close()


class LlamaTransformer(Transformer):
    """sentence-transformers' `Transformer` that hands texts to llama.cpp; `Pooled` has to follow it.

    A text that is longer than `max_seq_length` is cut here and handed over as token ids: llama.cpp refuses it.
    """

    file: Path
    """Set by whoever loads it."""
    hands_ids = False
    """Whether every text is handed over as token ids, so that nothing depends on how llama.cpp cuts it."""

    def _load_model(self, model_name_or_path: str, task: Any, config: Any, *_: Any, **__: Any) -> Any:
        found = torch.nn.Module()
        found.config = config
        return found

    def preprocess(self, inputs: list[str], prompt: str | None = None, **_: Any) -> dict[str, Any]:
        """The texts with their prompt, or the ids of those that are too long."""
        texts = [(prompt or "") + text for text in inputs]
        rows = self.tokenizer(texts, truncation=False, verbose=False)["input_ids"]
        limit = self.max_seq_length or self.llama_length
        long = [i for i, row in enumerate(rows) if self.hands_ids or len(row) > limit]
        sent: list[str | list[int]] = list(texts)
        if long:
            kept = self.tokenizer([texts[i] for i in long], truncation=True, max_length=limit)["input_ids"]
            for i, row in zip(long, kept, strict=True):
                sent[i] = row
        return {"llama_inputs": sent}

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Adds ``sentence_embedding`` [n, d]."""
        features["sentence_embedding"] = torch.from_numpy(self.llama.embed(features.pop("llama_inputs")))
        return features

    @property
    def llama_length(self) -> int:
        """Tokens that the model has positions for."""
        return int(self.model.config.max_position_embeddings)

    @property
    def llama(self) -> Llama:
        """llama.cpp, started when it is first asked."""
        if getattr(self, "_llama", None) is None:
            self._llama = Llama(self.file, self.llama_length)
        return self._llama


def cut_otherwise(st: SentenceTransformer, texts: Sequence[str], prompts: Sequence[str] = ("",)) -> int:
    """How many texts get another embedding because llama.cpp cuts them into other tokens than the model's tokenizer.

    Args:
        st: begins with `LlamaTransformer`.
        texts: n texts.
        prompts: put before each, one after the other; the largest number counts.
    """
    first: Any = st[0]

    def embeddings(prompt: str, as_ids: bool) -> torch.Tensor:
        first.hands_ids = as_ids
        return st.encode(list(texts), prompt=prompt, show_progress_bar=False, convert_to_tensor=True)

    try:
        pairs = [(embeddings(prompt, False), embeddings(prompt, True)) for prompt in prompts]
    finally:
        first.hands_ids = False
    return max(int((torch.nn.functional.cosine_similarity(a, b) < SAME).sum()) for a, b in pairs)


class Pooled(Pooling):
    """A pooling that llama.cpp has done."""

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """What came."""
        return features
