"""An encoder as mteb asks for one, with an identity that no other model has."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.disk.paths import is_path, is_there
from embedkit.evaluation import similarity
from embedkit.evaluation.side import Side
from embedkit.vectors import concatenated

_PLAIN = ("model", "best", "final")
"""Names of folders that say nothing of the run they are in."""


def roles(kind: str) -> tuple[str, ...]:
    """The roles whose prompts a task of mteb's type `kind` uses."""
    return ("query", "document") if kind in ("Retrieval", "Reranking", "InstructionRetrieval") else ("query",)


def name_of(model: str) -> str:
    """``organisation/name`` for mteb: a Hub id as it is, a folder as ``local/RUN``, several as ``local/A+B``."""
    if concatenated.is_concatenated(model):
        return "local/" + concatenated.SIGN.join(name_of(name).split("/")[-1] for name, _ in concatenated.parts(model))
    path = Path(model)
    if not is_path(model) and model.count("/") == 1 and not is_there(path):
        return model
    parts = [part for part in path.resolve().parts if part != "/"]
    while len(parts) > 1 and parts[-1] in _PLAIN:
        parts.pop()
    return f"local/{parts[-1] if parts else 'model'}"


def revision_of(fingerprint: str, max_length: int | None) -> str:
    """40 hex digits: what the embeddings of a model are made of, its `fingerprint`, and the length that a task sets."""
    return hashlib.sha256(f"{fingerprint} {max_length}".encode()).hexdigest()[:40]


def describe(encoder: Any, name: str, max_length: int | None) -> Any:
    """The `ModelMeta`, by whose name and revision alone mteb keeps results.

    Both are of the content here: weights, modules, prompts, length. A model that trained on, or that was saved with
    another prompt, has another revision, and no stored score of the old one can come back for it.

    Args:
        encoder: the model.
        name: how it is called.
        max_length: of the task.
    """
    from mteb.models import ModelMeta

    st = getattr(encoder, "st", None)
    count = None if st is None else sum(p.numel() for p in st.parameters())
    prompts = {role: encoder.prompt(role) for role in ("query", "document")} if hasattr(encoder, "prompt") else {}
    length = max_length if max_length is not None else getattr(st, "max_seq_length", None)
    named = similarity.chosen(None, encoder)
    return ModelMeta.create_empty(
        {
            "name": name_of(name),
            "revision": revision_of(encoder.fingerprint(), max_length),
            "n_parameters": count,
            "max_tokens": None if length is None else float(length),
            "embed_dim": getattr(encoder, "dim", None),
            "similarity_fn_name": _scoring(named),
            "framework": ["Sentence Transformers", "PyTorch"],
            "use_instructions": any(prompts.values()),
        }
    )


class MtebEncoder:
    """mteb's protocol on top of embedkit's packed encoding.

    Documents get the prompt of documents, everything else (queries, sentences, texts to classify) that of queries, as
    in embedkit's own tasks. Every distinct text of a call is encoded once.

    Args:
        side: encodes.
        meta: from `describe`.
        compared_by: the model's similarity.
    """

    def __init__(self, side: Side, meta: Any, compared_by: str) -> None:
        self._side, self._similarity, self.mteb_model_meta = side, compared_by, meta

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **_: Any,
    ) -> np.ndarray:
        """float32 [n, d] of the texts of a `DataLoader`, in its order."""
        texts = [text for batch in inputs for text in batch["text"]]
        role = "document" if str(getattr(prompt_type, "value", prompt_type)) in ("document", "passage") else "query"
        found, place = self._side.encode(texts, role)
        return found[place]

    def similarity(self, first: Any, second: Any) -> Any:
        """[n, m] tensor: all pairs."""
        import torch

        a, b = (similarity.prepared(self._similarity, _rows(rows)) for rows in (first, second))
        return torch.from_numpy(np.ascontiguousarray(similarity.between(self._similarity)(a, b)))

    def similarity_pairwise(self, first: Any, second: Any) -> Any:
        """[n] tensor: row i of `first` with row i of `second`."""
        import torch

        a, b = (similarity.prepared(self._similarity, _rows(rows)) for rows in (first, second))
        return torch.from_numpy(similarity.paired(self._similarity, a, b))


def _rows(rows: Any) -> np.ndarray:
    found = np.asarray(rows.cpu() if hasattr(rows, "cpu") else rows, dtype=np.float32)
    return found[None] if found.ndim == 1 else found


def _scoring(name: str) -> Any:
    from mteb.models.model_meta import ScoringFunction

    known = {found.value: found for found in ScoringFunction}
    return known.get(name)
