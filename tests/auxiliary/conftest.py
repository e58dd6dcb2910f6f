from __future__ import annotations

from pathlib import Path

import pytest

from tests.auxiliary.models import tiny_masked_lm
from tests.model.architectures import build


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base`, a tiny BERT with its masked-LM head, `causal`, a tiny LLaMA, `generator`, a tiny DistilBERT."""
    folder = tmp_path_factory.mktemp("models")
    tiny_masked_lm(folder / "base")
    build("llama", folder / "causal", attention_dropout=0.0)
    tiny_masked_lm(folder / "generator", "distilbert", seed=1)
    return folder
