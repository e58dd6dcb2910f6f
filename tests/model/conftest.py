from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from tests.device import DEVICE
from tests.tiny import sentences, tiny_bert


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny BERT of three layers."""
    return tiny_bert(tmp_path_factory.mktemp("bert") / "tiny", layers=3)


@pytest.fixture(scope="session")
def load(bert: Path) -> Callable[..., Encoder]:
    """Build an encoder on the tiny BERT from options of the recipe's `model` block."""

    def build(base: Path | None = None, seed: int = 0, **options: Any) -> Encoder:
        return Encoder.load(Model.model_validate({"base": str(base or bert), **options}), device=DEVICE, seed=seed)

    return build


@pytest.fixture(scope="session")
def texts() -> list[str]:
    """Sentences of many lengths, and what breaks tokenizers."""
    return [*sentences(40), "", "x", "Bade, DEFI! 7", "  bade  ", " ".join(sentences(12))]
