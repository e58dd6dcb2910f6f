from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from embedkit.errors import RecipeError
from embedkit.model.reading import resolve
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import DEFAULT_MODEL, Model
from tests.device import DEVICE

needs_offline_extra = pytest.mark.skipif(
    importlib.util.find_spec(resolve.OFFLINE_MODULE) is None, reason="the extra `offline` is not installed"
)


def in_cache(cache: Path, repo: str, model: Path, revision: str = "main") -> Path:
    """The layout in which huggingface_hub keeps a downloaded model."""
    sha = "0123456789abcdef0123456789abcdef01234567"
    folder = cache / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / revision).write_text(sha)
    shutil.copytree(model, folder / "snapshots" / sha)
    return folder / "snapshots" / sha


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENTENCE_TRANSFORMERS_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_a_folder_comes_first(bert: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_cache(cache, "someone/tiny", bert)
    monkeypatch.chdir(bert.parent)
    (bert.parent / "someone").mkdir(exist_ok=True)
    shutil.copytree(bert, bert.parent / "someone" / "tiny", dirs_exist_ok=True)
    assert resolve.resolve("someone/tiny").kind == "folder"


@pytest.mark.parametrize("base", ["./nowhere", "/nowhere/model", "~/no-such-model", "a/b/c"])
def test_a_path_that_is_not_there_is_no_hub_id(base: str) -> None:
    with pytest.raises(RecipeError, match="there is no folder"):
        resolve.resolve(base)


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"holds no model.*modules\.json"):
        resolve.resolve(str(tmp_path))


def test_a_file_is_not_a_folder(bert: Path) -> None:
    with pytest.raises(RecipeError, match="is not a folder"):
        resolve.resolve(str(bert / "config.json"))


def test_the_cache_of_the_hub(bert: Path, cache: Path) -> None:
    snapshot = in_cache(cache, "someone/tiny", bert)
    origin = resolve.resolve("someone/tiny")
    assert (origin.kind, origin.target, origin.revision) == ("cache", str(snapshot), snapshot.name)
    assert Encoder.load(Model(base="someone/tiny"), device=DEVICE).origin == origin


def test_a_short_name_in_the_cache(bert: Path, cache: Path) -> None:
    in_cache(cache, "sentence-transformers/tiny", bert)
    in_cache(cache, "bert-base-uncased", bert)
    assert resolve.resolve("tiny").kind == "cache"
    assert resolve.resolve("bert-base-uncased").kind == "cache"


def test_a_revision_in_the_cache(bert: Path, cache: Path) -> None:
    in_cache(cache, "someone/tiny", bert, revision="v2")
    assert resolve.resolve("someone/tiny", "v2").kind == "cache"
    with pytest.raises(RecipeError):
        resolve.resolve("someone/tiny")


def test_the_error_names_all_places(cache: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        resolve.resolve("someone/unknown")
    message = str(caught.value)
    for place in ("local folder", "HF_HUB_OFFLINE", f"cache {cache}", "extra `offline`: holds"):
        assert place in message
    assert caught.value.exit_code == 2


def test_an_unreachable_hub_is_said_so(cache: Path, bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' network guard refuses the real request that the hub's client makes."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(RecipeError, match="not reached"):
        resolve.resolve("someone/unknown")
    in_cache(cache, "someone/tiny", bert)
    assert resolve.resolve("someone/tiny").kind == "cache"


def test_a_package_with_other_weights_is_refused(cache: Path, bert: Path) -> None:
    with pytest.raises(RecipeError, match="sha256"):
        resolve.resolve(DEFAULT_MODEL, offline_folder=bert)


@needs_offline_extra
@pytest.mark.parametrize("name", [DEFAULT_MODEL, "all-MiniLM-L6-v2"])
def test_the_offline_extra_is_verified_and_used(cache: Path, name: str) -> None:
    assert resolve.resolve(name).kind == "offline"


def test_a_folder_that_does_not_load(tmp_path: Path, bert: Path) -> None:
    broken = shutil.copytree(bert, tmp_path / "broken")
    (broken / "model.safetensors").unlink()
    with pytest.raises(RecipeError, match=r"broken: there are no weights: none of model\.safetensors"):
        Encoder.load(Model(base=str(broken)), device=DEVICE)


def test_remote_code_needs_the_recipe_to_say_so(tmp_path: Path, bert: Path) -> None:
    remote = shutil.copytree(bert, tmp_path / "remote")
    config = (remote / "config.json").read_text()
    (remote / "config.json").write_text(
        config.replace('"model_type": "bert"', '"model_type": "own", "auto_map": {"AutoConfig": "own.OwnConfig"}')
    )
    with pytest.raises(RecipeError) as caught:
        Encoder.load(Model(base=str(remote)), device=DEVICE)
    assert caught.value.where == "model.trust_remote_code"
