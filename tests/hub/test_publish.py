"""Publishing against a Hub on this machine, by the real client."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from huggingface_hub import HfApi, ModelCard, constants
from sentence_transformers import SentenceTransformer

from embedkit.run.publishing import Published
from tests.hub.conftest import REPO, TOKEN
from tests.hub.server import Hub

Push = Callable[..., Published]
MODEL = {
    *("config.json", "config_sentence_transformers.json", "model.safetensors", "modules.json", "1_Pooling/config.json"),
    *("sentence_bert_config.json", "tokenizer.json", "tokenizer_config.json"),
}
BESIDE = {"README.md", ".eval_results/dev.yaml", "recipe.yaml", "run.json"}


def test_a_dry_run_shows_everything_and_leaves_the_hub_alone(push: Push, hub: Hub, said: list[str]) -> None:
    found = push(push=False)
    assert set(found.files) == MODEL | BESIDE and found.problems == [] and found.commit == ""
    assert hub.repos == {} and hub.asked("^(PUT|POST /api/(models|repos))") == 0
    text = "\n".join(said)
    assert f"-> {REPO}, private, main" in text and "model.safetensors" in text and "the Hub takes its metadata" in text
    assert "as when the model was saved" in text and "nothing yet" in text


def test_a_push_brings_the_model_and_nothing_else(push: Push, hub: Hub, run: Path, said: list[str]) -> None:
    found = push()
    files = hub.files(REPO)
    assert set(files) == MODEL | BESIDE | {".gitattributes"} and hub.repos[REPO].private
    assert files["model.safetensors"] == (run / "model" / "model.safetensors").read_bytes()
    assert found.url == f"{hub.url}/{REPO}" and found.commit == hub.repos[REPO].refs["main"]
    assert hub.repos[REPO].messages[-1] == "syllables, by embedkit"
    assert any("the same files, and the same embeddings" in line for line in said)
    assert found.distance is not None and found.distance < 1e-5


def test_large_files_go_and_come_by_xet(
    push: Push, hub: Hub, run: Path, said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hf_xet = pytest.importorskip("hf_xet")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    hub.chunks = tmp_path / "chunks"
    hub.chunks.mkdir()
    monkeypatch.setattr("tests.hub.server.LARGE", 1_000_000)  # the weights alone
    file = run / "model" / "model.safetensors"
    weights = file.read_bytes()
    hub.chunked[hashlib.sha256(weights).hexdigest()] = hf_xet.hash_files([str(file)])[0].hash
    push()
    assert hub.files(REPO)["model.safetensors"] == weights and any(hub.chunks.rglob("*"))
    assert hub.asked("^PUT|objects/batch") == 0 and hub.asked("xet-write-token") and hub.asked("xet-read-token")
    assert hub.asked("^GET .*resolve.*model.safetensors") == 0 and TOKEN not in "\n".join(said)
    assert any("the same files, and the same embeddings" in line for line in said)


def test_what_came_is_loaded_by_its_name_and_its_card_says_so(push: Push, hub: Hub, run: Path, tmp_path: Path) -> None:
    push()
    card = ModelCard(hub.files(REPO)["README.md"].decode())
    assert f'SentenceTransformer("{REPO}")' in card.text and "run/model" not in card.text
    assert card.data.license == "cc-by-4.0"
    folder = HfApi(endpoint=hub.url).snapshot_download(REPO, local_dir=tmp_path / "came")
    came, own = SentenceTransformer(folder, device="cpu"), SentenceTransformer(str(run / "model"), device="cpu")
    np.testing.assert_array_equal(came.encode_query(["bade fi"]), own.encode_query(["bade fi"]))


def test_a_second_push_sends_nothing(push: Push, hub: Hub, said: list[str]) -> None:
    first = push()
    hub.requests.clear()
    second = push()
    assert second.unchanged and second.commit == first.commit
    assert hub.asked("^PUT") == 0 and hub.asked("commit") == 0 and hub.asked("GET .*resolve") >= len(MODEL)


def test_no_secret_no_path_no_state_of_the_training_goes(push: Push, hub: Hub, run: Path) -> None:
    for name in (
        "optimizer.pt",
        "trainer_state.json",
        "rng_state.pth",
        "train.jsonl",
        "notes.md",
        "embedkit/recipe.yaml",
    ):
        path = run / "model" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    found = push()
    assert set(found.left_out) == {
        *("optimizer.pt", "trainer_state.json", "rng_state.pth", "train.jsonl", "notes.md", "embedkit/recipe.yaml")
    }
    for name, content in hub.files(REPO).items():
        text = content.decode("utf-8", "replace")
        assert TOKEN not in text and str(run) not in text and str(run.resolve().parent) not in text, name
        assert str(Path.home()) + "/" not in text and str(Path.cwd()) not in text, name
        assert "/tmp" not in text, name
    assert yaml.safe_load(hub.files(REPO)["recipe.yaml"])["data"]["sources"][0]["path"] == "pairs.jsonl"
    record = json.loads(hub.files(REPO)["run.json"])
    assert record["scores_after"]["tasks"] and "card" not in record["model"]


@pytest.mark.slow
def test_public_only_on_demand(push: Push, hub: Hub) -> None:
    push(private=False)
    assert not hub.repos[REPO].private


def test_a_branch_and_a_message(push: Push, hub: Hub) -> None:
    push(revision="v2", message="The second")
    repo = hub.repos[REPO]
    assert set(hub.files(REPO, "v2")) >= MODEL and set(hub.files(REPO)) == {".gitattributes"}
    assert repo.messages[-1] == "The second"


def test_a_pull_request_leaves_main_as_it_was(push: Push, hub: Hub) -> None:
    hub.add(REPO, {"config.json": b"{}", "model.safetensors": b"x" * 20_000})
    found = push(pr=True)
    assert found.url.endswith("/discussions/1") and hub.files(REPO)["config.json"] == b"{}"
    assert set(hub.files(REPO, "refs/pr/1")) >= MODEL


def test_another_models_weights_do_not_stay_beside(push: Push, hub: Hub) -> None:
    hub.add(REPO, {"model-00001-of-00002.safetensors": b"x" * 20_000, "LICENSE": b"mine"})
    push(overwrite=True)
    assert "model-00001-of-00002.safetensors" not in hub.files(REPO) and hub.files(REPO)["LICENSE"] == b"mine"


def test_the_owners_own_card_is_kept(push: Push, hub: Hub, run: Path) -> None:
    readme = run / "model" / "README.md"
    text = readme.read_text(encoding="utf-8") + "\nWritten by hand.\n"
    local = re.search(r'SentenceTransformer\("(.*?)"\)', text)[1]  # type: ignore[index]
    readme.unlink()
    readme.write_text(text, encoding="utf-8")
    push()
    assert hub.files(REPO)["README.md"].decode() == text.replace(f'("{local}")', f'("{REPO}")')


def test_any_model_folder(hub: Hub, trained: Path, tmp_path: Path, push: Push, said: list[str]) -> None:
    from embedkit.run import publish
    from tests.hub.conftest import copied

    folder = copied(trained / "model", tmp_path / "elsewhere")
    (folder / "README.md").unlink()
    found = publish(folder, REPO, push=True, device="cpu", say=lambda line: said.append(str(line)))
    files = hub.files(REPO)
    assert set(files) >= MODEL and "run.json" not in files and found.distance is None
    assert f'SentenceTransformer("{REPO}")' in files["README.md"].decode()
    assert any("no embeddings were recorded" in line for line in said)
