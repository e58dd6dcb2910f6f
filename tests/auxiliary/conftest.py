from __future__ import annotations

from pathlib import Path

import pytest

from tests.auxiliary.models import tiny_masked_lm, tiny_writer
from tests.model.architectures import build


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base`, a tiny BERT with its head, `causal`, a LLaMA, `writer`, an OPT, `generator`, a DistilBERT."""
    folder = tmp_path_factory.mktemp("models")
    tiny_masked_lm(folder / "base")
    build("llama", folder / "causal", attention_dropout=0.0)
    tiny_writer(folder / "writer")
    tiny_masked_lm(folder / "generator", "distilbert", seed=1)
    return folder
