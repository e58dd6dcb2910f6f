"""The model, written and read back."""

from __future__ import annotations

import shutil

import numpy as np

from embedkit.disk import files
from embedkit.errors import EmbedkitError
from embedkit.model.reading.loading import load_saved
from embedkit.model.running.encoder import Encoder
from embedkit.run.state import Run
from embedkit.train.trainer import Trainer


def save(run: Run, trainer: Trainer, encoder: Encoder) -> None:
    """Write the result and what auxiliary losses leave behind."""
    if not run.first:
        return
    then = "the checkpoints are whole: go on with --resume"
    with run.timed("saving"), files.writing(run.folder.root, then):
        checked_model(run, encoder)
        for auxiliary in trainer.engine.auxiliaries:
            auxiliary.export(run.folder.root)


def checked_model(run: Run, encoder: Encoder) -> None:
    """Write the model, read it back with plain sentence-transformers, and name it if it gives the same embeddings.

    Raises:
        EmbedkitError: it does not.
        WriteError: it cannot be written.
    """
    staging = run.folder.unfinished_model
    try:
        encoder.save(staging)
        probe = ["A short sentence.", "And a second one, which is a little longer than the first."]
        plain = load_saved(staging, encoder.device, trust=encoder.st.trust_remote_code)
        got = plain.encode(probe, prompt_name="query", convert_to_numpy=True)
        want = encoder.encode(probe, role="query")
        if not np.allclose(got, want, atol=1e-5):
            worst = float(np.abs(got - want).max())
            raise EmbedkitError(
                f"the saved model gives other embeddings than the trained one (difference {worst:.2g})",
                str(run.folder.model),
                "the checkpoint of the last update is good; please report this",
            )
        files.publish(staging, run.folder.model)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
