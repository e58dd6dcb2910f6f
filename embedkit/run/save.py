"""A model, written and read back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.disk import files
from embedkit.errors import EmbedkitError
from embedkit.model.reading.loading import load_cross_encoder, load_like
from embedkit.model.reading.resolve import Origin
from embedkit.model.running.encoder import Encoder
from embedkit.model.running.lexical import LexicalEncoder
from embedkit.model.running.reranker import Reranker, Trained
from embedkit.model.running.towers import Pair
from embedkit.publish.facts import ModelFacts
from embedkit.publish.probes import TEXTS, Probes, answers, hashes
from embedkit.run.state import Run
from embedkit.train.trainer import Trainer

PROBE = ["A short sentence.", "And a second one, which is a little longer than the first."]


def save(run: Run, trainer: Trainer, encoder: Trained | Pair) -> None:
    """Write the result with what it is, its frozen partner where it has one, and what auxiliary losses leave behind."""
    if not run.first:
        return
    then = "the checkpoints are whole: go on with --resume"
    with run.timed("saving"), files.writing(run.folder.root, then):
        cure = "the checkpoint of the last update is good; please report this"
        staging = run.folder.unfinished_model
        if isinstance(encoder, Pair):
            write_model(encoder.frozen, staging, run.folder.frozen, cure=cure)
            encoder = encoder.trained
        base, scratch = run.recipe.model.base, run.recipe.model.from_scratch
        if isinstance(encoder, Reranker):
            write_reranker(encoder, staging, run.folder.model, cure=cure)
        else:
            write_model(encoder, staging, run.folder.model, cure=cure)
        run.record.model = ModelFacts.of(encoder, base, from_scratch=scratch).plain()
        for auxiliary in trainer.engine.auxiliaries:
            auxiliary.export(run.folder.root)
        Probes(TEXTS, answers(encoder), hashes(run.folder.model)).write(run.folder.probes)


def write_model(
    encoder: Encoder, staging: Path, final: Path, *, cure: str, role: str = "query", relative: float | None = None
) -> None:
    """Write a model, read it back with plain sentence-transformers, and name it if it gives the same embeddings.

    Args:
        encoder: the model.
        staging: where it is written; the folder is gone afterwards.
        final: its place; what was there is replaced.
        cure: of other embeddings.
        role: whose prompt the compared texts get.
        relative: what they may differ by, as a share of their largest number; None: see `_bounds`.

    Raises:
        EmbedkitError: it gives other embeddings.
        WriteError: it cannot be written.
    """
    with _written(encoder, staging, final):
        plain: Any = load_like(encoder.st, staging, encoder.device)
        dense = {"convert_to_sparse_tensor": False} if isinstance(encoder, LexicalEncoder) else {}
        got = plain.encode(PROBE, prompt=encoder.prompt(role) or None, convert_to_tensor=True, **dense).cpu().numpy()
        want = encoder.encode(PROBE, role=role)
        _compare(got, want, "embeddings", _bounds(want, relative), final, cure)


def write_reranker(reranker: Reranker, staging: Path, final: Path, *, cure: str) -> None:
    """As `write_model`: read back with plain sentence-transformers, it gives the same scores by its own activation.

    Raises:
        EmbedkitError: it gives other scores.
        WriteError: it cannot be written.
    """
    import torch

    with _written(reranker, staging, final):
        plain = load_cross_encoder(Origin("folder", str(staging)), reranker.device, trust=reranker.st.trust_remote_code)
        pairs = [[a, b] for a in PROBE for b in PROBE]
        want = reranker.st.activation_fn(torch.from_numpy(reranker.score([(a, b) for a, b in pairs])))
        got = plain.predict(pairs, convert_to_numpy=True, show_progress_bar=False)
        _compare(got, want.numpy(), "scores", _bounds(want.numpy()), final, cure)


@contextmanager
def _written(model: Trained, staging: Path, final: Path) -> Iterator[None]:
    """The model in `staging`; it gets its name if nothing is raised."""
    try:
        shutil.rmtree(staging, ignore_errors=True)
        model.save(staging)
        yield
        files.publish(staging, final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _bounds(want: np.ndarray, relative: float | None = None) -> tuple[float, float]:
    """Of rounding, as a share of each number and absolute: 1e-5 and 1e-5, the latter of the largest number where that
    is above 1. The states of a decoder reach 30 and more, and its small numbers round as its large ones do."""
    largest = float(np.abs(want).max())
    return (1e-5, 1e-5 * max(1.0, largest)) if relative is None else (0.0, relative * max(largest, 1e-12))


def _compare(got: np.ndarray, want: np.ndarray, what: str, bounds: tuple[float, float], final: Path, cure: str) -> None:
    if not np.allclose(got, want, *bounds):
        worst = float(np.abs(got - want).max())
        said = f"the saved model gives other {what} than the one in memory (difference {worst:.2g})"
        raise EmbedkitError(said, str(final), cure)
