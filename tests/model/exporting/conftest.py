"""A tiny model with prompts, and what it is exported to, each once."""

from __future__ import annotations

from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from embedkit.model.exporting.programs import write_program
from embedkit.model.exporting.targets import TARGETS
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from tests.tiny import tiny_bert

PROMPTS = {"query": "ba: ", "document": "de fi: "}


def saved(folder: Path, **model: object) -> Path:
    """A plain sentence-transformers folder of a tiny BERT."""
    base = tiny_bert(folder / "bert", layers=1)
    config = Model.model_validate({"base": str(base), "pooling": "mean", **model})
    Encoder.load(config, device="cpu").save(folder / "model")
    return folder / "model"


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("exporting"), prompts=PROMPTS)


def exported(model: Path, to: str, folder: Path) -> Path:
    """The model with a program beside it."""
    st = SentenceTransformer(str(model), device="cpu")
    st.save(str(folder), create_model_card=False)
    write_program(st, TARGETS[to], folder)
    return folder
