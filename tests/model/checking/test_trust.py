"""Trust is never raised on anyone's behalf: a model's own code runs where the recipe says so, and nowhere else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedkit.errors import RecipeError
from embedkit.model.reading.loading import load_saved, load_tokenizer
from embedkit.model.reading.resolve import Origin
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from embedkit.train import checkpoint
from tests.device import DEVICE
from tests.model import damaged
from tests.tiny import tiny_bert

MARKER = "ran"
CODE = """
from pathlib import Path
from transformers import BertConfig, BertModel, BertTokenizer
Path({marker!r}).write_text(Path({marker!r}).read_text() + "x" if Path({marker!r}).exists() else "x")
class OwnConfig(BertConfig):
    model_type = "bert"
class OwnModel(BertModel):
    config_class = OwnConfig
class OwnTokenizer(BertTokenizer):
    pass
"""
Change = Callable[[Path], None]


def with_code(folder: Path, marker: Path) -> Path:
    """Write code into a model's folder, and make configuration, model and tokenizer point to it."""
    (folder / "own.py").write_text(CODE.format(marker=str(marker)))
    pointers = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel", "AutoModelForMaskedLM": "own.OwnModel"}
    damaged.field("config.json", auto_map=pointers)(folder)
    damaged.field("tokenizer_config.json", auto_map={"AutoTokenizer": ["own.OwnTokenizer", None]})(folder)
    return folder


def pointers(folder: Path) -> list[str]:
    """Files of a folder that still name foreign code."""
    return sorted(path.name for path in folder.rglob("*.json") if "auto_map" in path.read_text(encoding="utf-8"))


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / MARKER


@pytest.fixture
def base(tmp_path: Path, marker: Path) -> Path:
    return with_code(tiny_bert(tmp_path / "base"), marker)


def load(base: Path, **options: Any) -> Encoder:
    return Encoder.load(Model.model_validate({"base": str(base), **options}), device=DEVICE)


def test_a_native_architecture_needs_no_trust_and_is_saved_without_pointers(
    base: Path, marker: Path, tmp_path: Path
) -> None:
    encoder = load(base)
    assert pointers(base) == ["config.json", "tokenizer_config.json"]
    encoder.save(tmp_path / "saved")
    assert pointers(tmp_path / "saved") == [] and not (tmp_path / "saved" / "own.py").exists()
    assert not marker.exists()
    np.testing.assert_array_equal(load(tmp_path / "saved").encode(["bade fi"]), encoder.encode(["bade fi"]))


def test_trusted_code_runs_and_stays_named(base: Path, marker: Path, tmp_path: Path) -> None:
    encoder = load(base, trust_remote_code=True)
    assert marker.exists() and type(encoder.st[0].auto_model).__name__ == "OwnModel"
    encoder.save(tmp_path / "saved")
    assert "config.json" in pointers(tmp_path / "saved") and (tmp_path / "saved" / "own.py").is_file()
    marker.unlink()
    load_saved(tmp_path / "saved", DEVICE)  # without trust: the native class
    assert not marker.exists()


def test_an_encoder_of_anybodys_model_drops_pointers_too(base: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    Encoder(SentenceTransformer(str(base), device=DEVICE)).save(tmp_path / "saved")
    assert pointers(tmp_path / "saved") == []


def test_without_trust_code_in_a_saved_folder_of_ours_does_not_run(base: Path, marker: Path, tmp_path: Path) -> None:
    """A folder with a module of embedkit's, edited by hand: its class loads, the base's code does not run."""
    encoder = load(base, soft_prompts={"length": 3})
    encoder.save(tmp_path / "saved")
    with_code(tmp_path / "saved", marker)
    saved = load_saved(tmp_path / "saved", DEVICE)
    assert not marker.exists() and not saved.trust_remote_code
    np.testing.assert_allclose(saved.encode(["bade fi"]), encoder.encode(["bade fi"]), atol=1e-5)
    np.testing.assert_allclose(load(tmp_path / "saved").encode(["bade fi"]), encoder.encode(["bade fi"]), atol=1e-5)
    checkpoint.load_encoder(encoder.st, tmp_path / "saved")
    assert not marker.exists()


def renamed(folder: Path, name: str) -> None:
    path = folder / "modules.json"
    entries = json.loads(path.read_text(encoding="utf-8"))
    entries[0]["type"] = name
    path.write_text(json.dumps(entries), encoding="utf-8")


def test_the_class_is_known_under_its_older_name(base: Path, tmp_path: Path) -> None:
    encoder = load(base, soft_prompts={"length": 3})
    encoder.save(tmp_path / "saved")
    (entry, *_) = json.loads((tmp_path / "saved" / "modules.json").read_text())
    assert entry["type"] == "embedkit.model.changing.soft_prompts.SoftPromptTransformer"
    renamed(tmp_path / "saved", "embedkit.model.soft_prompts.SoftPromptTransformer")
    found = load_saved(tmp_path / "saved", DEVICE).encode(["bade fi"])
    np.testing.assert_allclose(found, encoder.encode(["bade fi"]), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("embedkit.model.running.encoder.Encoder", "model.base"),
        ("embedkit.model.changing.soft_prompts.Other", "model.base"),
        ("own.OwnModel", "model.trust_remote_code"),
        ("os.path.Nothing", "model.trust_remote_code"),
        ("embedkit_other.Module", "model.trust_remote_code"),
    ],
)
def test_other_classes_are_refused_by_name(
    name: str, where: str, tmp_path: Path, marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_code(damaged.sound(tmp_path / "sound"), marker)
    renamed(folder, name)
    for read in (lambda: load(folder), lambda: load_saved(folder, DEVICE)):
        with pytest.raises(RecipeError, match=name) as caught:
            read()
        assert caught.value.where == where
    assert not marker.exists()


def test_nobody_is_asked_on_the_terminal(base: Path, marker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers asks for trust with `input` where nothing was said; a yes would run the code."""
    from embedkit.auxiliary.language_head import load_language_head

    damaged.field("config.json", model_type="own")(base)
    monkeypatch.setattr("builtins.input", lambda _: "y")
    origin = Origin("folder", str(base))
    for read in (lambda: load(base), lambda: load_language_head(origin)):
        with pytest.raises(RecipeError):
            read()
    load_tokenizer(origin)  # of a class that transformers has
    assert not marker.exists()


def test_a_copy_of_a_folder_is_as_little_trusted(base: Path, marker: Path, tmp_path: Path) -> None:
    encoder = load(shutil.copytree(base, tmp_path / "copy"))
    encoder.save(tmp_path / "saved")
    assert not marker.exists() and pointers(tmp_path / "saved") == []
