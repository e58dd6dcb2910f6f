"""A model is read back before it gets its name: other embeddings are refused, rounding is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embedkit.errors import EmbedkitError
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from embedkit.run.save import write_model
from tests.tiny import tiny_bert


class Off(Encoder):
    """An encoder whose embeddings in memory are a little beside what it saves, where they are smallest."""

    by = 0.0

    def encode(self, texts: Any, **options: Any) -> np.ndarray:
        found: np.ndarray = super().encode(texts, **options)
        found[:, np.abs(found).max(0).argmin()] += self.by
        return found


def written(folder: Path, scale: float, by: float) -> None:
    encoder = Off.load(Model(base=str(tiny_bert(folder / "base"))), device="cpu")
    with torch.no_grad():
        last = encoder.st[0].auto_model.encoder.layer[-1].output.LayerNorm
        last.weight *= scale
        last.bias *= scale
    encoder.by = by
    write_model(encoder, folder / "staging", folder / "model", cure="c")


@pytest.mark.parametrize(("scale", "by"), [(1.0, 0.0), (1.0, 5e-6), (1000.0, 5e-4)])
def test_rounding_is_no_other_model(tmp_path: Path, scale: float, by: float) -> None:
    written(tmp_path, scale, by)
    assert (tmp_path / "model" / "modules.json").is_file() and not (tmp_path / "staging").exists()


@pytest.mark.parametrize(("scale", "by"), [(0.1, 5e-5), (1.0, 5e-4), (1000.0, 0.5)])
def test_other_embeddings_are_refused_and_nothing_gets_the_name(tmp_path: Path, scale: float, by: float) -> None:
    with pytest.raises(EmbedkitError, match="gives other embeddings than the one in memory"):
        written(tmp_path, scale, by)
    assert not (tmp_path / "model").exists() and not (tmp_path / "staging").exists()
