from __future__ import annotations

from pathlib import Path

import pytest

from tests.auxiliary.models import tiny_masked_lm


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`base`, a tiny BERT with its masked-LM head, and `generator`, a tiny DistilBERT of the same vocabulary."""
    folder = tmp_path_factory.mktemp("models")
    tiny_masked_lm(folder / "base")
    tiny_masked_lm(folder / "generator", "distilbert", seed=1)
    return folder
