"""A few texts and the embeddings that a model had when it was saved: what is published must still give them.

They are embedded by the model in memory at the moment it is saved. A checkpoint could not take their place: checkpoints
are removed, the result may be another one than the last, and adapters are merged on the way.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedkit.disk import files
from embedkit.errors import RecordError
from embedkit.model.running.encoder import Encoder
from embedkit.model.running.reranker import Reranker, Trained
from embedkit.types import ROLES

TEXTS = (
    "How long does delivery take?",
    "Parcels arrive two to four days after they were ordered.",
    "Größe, 尺寸, размер: 42,5 cm (±3 %)",
    "def area(width, height): return width * height",
    "one two three four five six seven eight nine ten " * 60,  # longer than most models keep
)
"""Question, sentence, letters beyond ASCII and digits, code, and a text that is cut."""
TOLERANCE = 1e-4
"""How far an embedding may be from the recorded one, as a share of the largest number recorded: devices and versions of
libraries round differently, and a model that was trained on by one update is further away."""
_VERSION = 1


@dataclass(frozen=True)
class Probes:
    """What a model gave for `texts` when it was saved.

    Attributes:
        texts: the probes.
        embeddings: role -> float32 [texts, d]; of a reranker the scores of all pairs of them, see `scored`.
        hashes: file of the model's folder -> SHA-256; all that make its embeddings.
    """

    texts: tuple[str, ...]
    embeddings: Mapping[str, np.ndarray]
    hashes: Mapping[str, str]

    def write(self, path: Path) -> None:
        """Write them whole or not at all.

        Raises:
            WriteError: they cannot be written.
        """
        about = {"version": _VERSION, "texts": self.texts, "hashes": dict(self.hashes)}
        with files.new_file(path) as file:
            np.savez_compressed(file, about=np.array(json.dumps(about)), **self.embeddings)  # type: ignore[arg-type]

    @classmethod
    def read(cls, path: Path) -> Probes | None:
        """What `write` wrote; None where nothing was.

        Raises:
            RecordError: it is damaged.
        """
        if not path.is_file():
            return None
        try:
            with np.load(path, allow_pickle=False) as found:
                about = json.loads(str(found["about"]))
                embeddings = {role: np.asarray(found[role], dtype=np.float32) for role in ROLES}
            return cls(tuple(about["texts"]), embeddings, dict(about["hashes"]))
        except Exception as error:  # numpy, zip and JSON each have their own
            what = f"the embeddings recorded with the model cannot be read: {error}"
            raise RecordError(what, str(path), "train again with --resume, which saves the model again") from error


def answers(model: Trained, texts: tuple[str, ...] = TEXTS) -> dict[str, np.ndarray]:
    """What a model gives for the probes: embeddings, or a reranker's scores."""
    return scored(model, texts) if isinstance(model, Reranker) else embed(model, texts)


def embed(encoder: Encoder, texts: tuple[str, ...] = TEXTS) -> dict[str, np.ndarray]:
    """Embeddings of the probes: role -> float32 [texts, d]."""
    return {role: encoder.encode(texts, role=role) for role in ROLES}


def scored(reranker: Reranker, texts: tuple[str, ...] = TEXTS) -> dict[str, np.ndarray]:
    """A reranker's scores of every probe as a query with every probe as a document: role -> float32 [texts, texts].

    The square and its transpose, so that each role has what belongs to its texts.
    """
    found = reranker.score([(query, text) for query in texts for text in texts]).reshape(len(texts), len(texts))
    return {"query": found, "document": found.T.copy()}


def distance(got: Mapping[str, np.ndarray], want: Mapping[str, np.ndarray]) -> float:
    """The largest difference between two sets of embeddings, as a share of the largest number of the second; infinite
    where they have other sizes, or something is no number."""
    worst = 0.0
    for role, wanted in want.items():
        found = got[role]
        if found.shape != wanted.shape or not np.isfinite(found).all() or not np.isfinite(wanted).all():
            return float("inf")
        scale = max(float(np.abs(wanted).max()), 1e-12)
        worst = max(worst, float(np.abs(found - wanted).max()) / scale)
    return worst


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in a model's folder that can change an embedding: not of its card and results."""
    return {
        path.relative_to(folder).as_posix(): files.sha256(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.suffix != ".md"
        and not any(p.startswith(".") for p in path.relative_to(folder).parts)
    }
