"""Damaged models: every loader names file and field, no error of another library reaches a user, no code runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from embedkit.disk.model_files import inside, read_saved
from embedkit.errors import RecipeError
from embedkit.model.checking.folder import look_over
from embedkit.model.reading.loading import load_saved
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from tests.device import DEVICE
from tests.model import damaged


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return damaged.sound(tmp_path_factory.mktemp("sound"))


def broken(name: str, whole: Path, path: Path) -> Path:
    folder = shutil.copytree(whole, path / "model")
    damaged.ALL[name][0](folder)
    return folder


def test_the_sound_model_loads(whole: Path) -> None:
    """The tests below would pass if nothing loaded."""
    assert Encoder.load(Model(base=str(whole)), device=DEVICE).encode(["bade fi"]).shape == (1, damaged.DENSE)
    assert len(read_saved(inside(whole)).modules) == 4
    look_over(inside(whole))


@pytest.mark.parametrize("name", damaged.ALL)
def test_loading_names_file_and_field(
    name: str, whole: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = broken(name, whole, tmp_path)
    with pytest.raises(RecipeError) as caught:
        Encoder.load(Model(base=str(folder)), device=DEVICE)
    message = str(caught.value)
    for words in (str(folder), *damaged.ALL[name][1]):
        assert words in message
    assert caught.value.where in ("model.base", "model.trust_remote_code") and caught.value.cure
    assert "weights_only=False" not in message and "trust_remote_code=True" not in message
    assert "foreign code ran" not in capfd.readouterr().out


@pytest.mark.parametrize("name", damaged.ALL)
def test_a_saved_model_is_read_with_the_same_care(name: str, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        load_saved(broken(name, whole, tmp_path), DEVICE)
    for words in damaged.ALL[name][1]:
        assert words in str(caught.value)


@pytest.mark.parametrize("name", damaged.OF_SMALL_FILES)
def test_small_files_are_checked_without_loading(name: str, whole: Path, tmp_path: Path) -> None:
    if name == "a class that nobody has":
        pytest.skip("only importing it tells")
    with pytest.raises(RecipeError) as caught:
        read_saved(inside(broken(name, whole, tmp_path)))
    for words in damaged.ALL[name][1]:
        assert words in str(caught.value)


@pytest.mark.parametrize("name", damaged.OF_FOLDERS)
def test_a_folder_is_looked_over_without_loading(name: str, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        look_over(inside(broken(name, whole, tmp_path)))
    for words in damaged.ALL[name][1]:
        assert words in str(caught.value)
