"""The card: what the Hub reads of it, what a person reads of it, and that its code runs."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

from embedkit.disk.folders import RunFolder
from embedkit.errors import RecordError
from embedkit.model.reading.loading import load_saved
from embedkit.publish import card, metadata
from embedkit.publish.facts import ModelFacts
from embedkit.publish.probes import TEXTS, Probes
from embedkit.publish.records import recipe_without_rows
from embedkit.recipe.hand_over import Card
from embedkit.recipe.load import dump, load_recipe, made
from embedkit.recipe.reading.dump import recipe_hash
from embedkit.recipe.schema import Recipe
from embedkit.types import RunRecord
from tests.publish import records
from tests.publish.conftest import material, run

FACTS = ModelFacts(dim=384, max_length=256, base="sentence-transformers/all-MiniLM-L6-v2", license="apache-2.0")


def read(folder: Path) -> ModelCard:
    return ModelCard((folder / "model" / "README.md").read_text(encoding="utf-8"))


def rendered(record: RunRecord | None = None, facts: ModelFacts = FACTS, recipe: str = "", at: str = "/runs/a") -> str:
    return card.render(card.sheet(facts, "user/name", "name", record, recipe, Path(at)))


def test_the_metadata_is_the_owners_and_the_runs(trained: Path) -> None:
    data = read(trained).data
    assert data.license == "cc-by-4.0" and data.language == ["en", "deu"]
    assert data["library_name"] == "sentence-transformers" and data.pipeline_tag == "sentence-similarity"
    assert data.tags == ["sentence-transformers", "feature-extraction", "embedkit", "syllables"]
    assert data.base_model is None and data.datasets is None, "neither is on the Hub"
    record = RunFolder(trained).read_record()
    assert record is not None and record.scores_after is not None
    found = {(r.dataset_name, r.metric_type): r.metric_value for r in data.eval_results or ()}
    for task in record.scores_after["tasks"]:
        main = task["main"]
        assert found[task["task"], main.replace("@", "_at_")] == round(task["metrics"][main], 4)
    assert data.model_name == "Words of two syllables"
    assert {r.task_type for r in data.eval_results or ()} == {"semantic-similarity", "information-retrieval"}


def test_results_for_leaderboards_are_as_the_client_reads_them(trained: Path) -> None:
    client = pytest.importorskip("huggingface_hub._eval_results", reason="the client does not know the format yet")
    folder = trained / "model" / ".eval_results"
    (file,) = folder.iterdir()
    assert file.name == "dev.yaml"
    (entry,) = client.parse_eval_result_entries(yaml.safe_load(file.read_text(encoding="utf-8")))
    record = RunFolder(trained).read_record()
    assert record is not None and record.scores_after is not None
    (task,) = [t for t in record.scores_after["tasks"] if t["task"] == "dev"]
    assert (entry.dataset_id, entry.task_id, entry.dataset_revision) == ("user/dev-set", "main", "abc")
    assert entry.value == round(task["metrics"]["ndcg@10"], 4) and entry.date == record.finished


def test_its_code_runs_and_uses_the_models_own_prompts(trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = read(trained).text
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    name = json.loads(re.search(r"SentenceTransformer\((\".*?\")\)", code)[1])  # type: ignore[index]
    monkeypatch.chdir(trained.parent)
    space: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code.replace(json.dumps(name), json.dumps("run/model")), "README.md", "exec"), space)
    plain = load_saved(trained / "model", "cpu")
    question = re.search(r"encode_query\(\[\"(.*?)\"\]\)", code)[1]  # type: ignore[index]
    np.testing.assert_allclose(space["queries"], plain.encode(["query: " + question]), atol=1e-6)
    assert "tensor" in out.getvalue() and '| query | "query: " |' in text and '| document | "passage: " |' in text


def test_the_code_of_a_model_that_needs_more_than_sentence_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = material(tmp_path)
    run(folder, "eval.suite=null", "card=null", "model.soft_prompts={length: 4}", "train.steps=1")
    text = read(folder / "run").text
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert "pip install -U sentence-transformers embedkit-train" in text
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {}
    exec(compile(re.sub(r'r\(".*?/?run/model"', 'r("run/model"', code), "README.md", "exec"), space)
    assert tuple(space["queries"].shape) == (1, 32)


def test_a_person_reads_results_limits_and_how_to_train_it_again(trained: Path, tmp_path: Path) -> None:
    text, record = read(trained).text, RunFolder(trained).read_record()
    assert record is not None
    assert text.lstrip().startswith("# Words of two syllables\n\nMade for *tests*.\n")
    row = next(line for line in text.splitlines() if line.startswith("| dev | ndcg@10 |"))
    assert len(re.findall(r"-?\d+\.\d\d", row)) >= 4 and " to " in row, "before, after with its interval, difference"
    assert "cut after 32 tokens" in text and "the first 32, 8 numbers are embeddings too" in text
    assert "Languages: en, deu." in text and "measured on Near or far, dev and on nothing else" in text
    assert f"hash is {record.recipe_hash}" in text and "| pairs.jsonl | 16 |" in text
    assert str(trained) not in text and str(Path.home()) not in text
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    (tmp_path / "recipe.yaml").write_text(block)
    assert recipe_hash(load_recipe(tmp_path / "recipe.yaml")) == record.recipe_hash


def test_what_is_not_known_is_not_said() -> None:
    text = rendered(None, ModelFacts(dim=8))
    data = ModelCard(text).data
    assert data.license is None and data.language is None and data.base_model is None and data.eval_results is None
    assert "No language is stated." in text and "sets no limit" in text
    assert "## Results" not in text and "## Training" not in text and "not measured" not in text


def test_what_the_base_model_tells_is_taken_where_the_owner_says_nothing(tmp_path: Path) -> None:
    folder = material(tmp_path)
    record = run(folder, "card=null", "eval.suite=null", "train.steps=1")
    assert record.model["license"] == "mit" and record.model["languages"] == ["fr"]
    data = read(folder / "run").data
    assert data.license == "mit" and data.language == ["fr"] and data.base_model is None
    assert "- It was not measured." in read(folder / "run").text


def test_a_base_of_the_hub_and_its_data_are_named() -> None:
    record = records.record(data=[{"name": "nli", "rows": 3, "digest": "0", "skipped": {}, "hub": "user/nli"}])
    data = ModelCard(rendered(record)).data
    assert data.base_model == FACTS.base and data.datasets == ["user/nli"] and data.license == "apache-2.0"


@pytest.mark.parametrize(
    ("words", "licence"),
    [
        ({"license": "mit"}, "mit"),
        ({"license": "other", "license_name": "ours", "license_link": "https://x.y"}, "other"),
    ],
)
def test_the_owners_licence_comes_first(words: dict[str, str], licence: str) -> None:
    text = metadata.front_matter(FACTS, Card(**words), None, name="x")  # type: ignore[arg-type]
    assert ModelCard(text + "\n").data.license == licence
    assert yaml.safe_load(text.strip("-\n")).get("license_name") == words.get("license_name")


def test_no_secret_no_path_and_no_row_of_data_gets_into_it() -> None:
    token = "hf_" + "aB3" * 9
    recipe = {
        "model": {"base": "/home/ann/models/base"},
        "data": {"sources": [{"path": "/srv/client/pairs.tsv"}, {"rows": [{"query": "a private text"}]}]},
        "objective": {"name": "infonce"},
        "card": {"description": f"See https://example.org, not {token}"},
    }
    record = records.record(recipe=recipe, warnings=[f"/srv/client/pairs.tsv: {token}"])
    text = rendered(record, recipe=yaml.safe_dump(recipe), at="/srv/runs/a")
    assert token not in text and "/srv" not in text and "/home" not in text and "a private text" not in text
    assert "https://example.org" in text and "1 rows of data" in text


def test_texts_of_others_stay_texts() -> None:
    attack = "x | <script>alert(1)</script> [a](http://b) `c`"
    record = records.record(warnings=[attack], data=[{"name": attack, "rows": 1, "digest": "", "skipped": {attack: 1}}])
    text = rendered(record, ModelFacts(dim=3, prompts={"query": attack}), recipe="a: '```'\n")
    assert "<script>" not in text and "](http://b)" not in text
    assert "\n````yaml\na: '```'\n````\n" in text


def test_rows_in_a_recipe_are_left_out_and_counted() -> None:
    recipe = {"data": {"sources": [{"rows": [{"text": "secret"}, {"text": "second"}], "roles": {"text": "text"}}]}}
    text = recipe_without_rows(dump(made(Recipe, **recipe)))
    assert text.startswith("# 2 rows of data") and "secret" not in text and "second" not in text
    assert yaml.safe_load(text)["data"]["sources"][0]["rows"] == []
    assert recipe_without_rows("a: 1\n") == "a: 1\n"
    for damaged in ("rows: 'a secret", "rows: " + "[" * 20_000, "rows: [a]\nrows: [b]\n"):
        left = recipe_without_rows(damaged)
        assert left.startswith("# The recipe of the run is damaged, and is left out here: ") and "secret" not in left


def test_a_card_that_fails_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = material(tmp_path)

    def full(*_: Any) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(card, "write", full)
    said: list[str] = []
    record = run(folder, "eval.suite=null", "card.benchmarks=[]", said=said)
    assert record.finished and not record.failed and (folder / "run" / "model" / "modules.json").is_file()
    assert any("card could not be written" in line for line in said)
    stored = json.loads((folder / "run" / "run.json").read_text())
    assert any("card could not be written" in line for line in stored["warnings"])


def test_the_owners_words_are_no_part_of_the_recipes_identity(trained: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trained.parent, tmp_path / trained.parent.name))
    first = RunFolder(trained).read_record()
    again = run(folder, "card.title=Another", "publish=null", resume=True)
    assert first is not None and again.recipe_hash == first.recipe_hash
    assert read(folder / "run").text.lstrip().startswith("# Another\n")


def test_what_the_model_gave_is_kept_with_the_run(trained: Path, tmp_path: Path) -> None:
    found = Probes.read(trained / "probes.npz")
    assert found is not None and found.texts == TEXTS
    plain = load_saved(trained / "model", "cpu")
    for role, prompt in (("query", "query: "), ("document", "passage: ")):
        np.testing.assert_allclose(found.embeddings[role], plain.encode(list(TEXTS), prompt=prompt), atol=1e-5)
    assert {"model.safetensors", "modules.json", "1_Pooling/config.json", "tokenizer.json"} <= found.hashes.keys()
    assert "README.md" not in found.hashes
    assert Probes.read(tmp_path / "none") is None
    (tmp_path / "cut.npz").write_bytes((trained / "probes.npz").read_bytes()[:200])
    with pytest.raises(RecordError, match="cannot be read"):
        Probes.read(tmp_path / "cut.npz")


def test_facts_survive_the_record(trained: Path) -> None:
    record = RunFolder(trained).read_record()
    assert record is not None
    facts = ModelFacts.of_record(record.model)
    assert (facts.dim, facts.max_length, facts.similarity, facts.base) == (32, 32, "cosine", "")
    assert facts.prompts == {"query": "query: ", "document": "passage: "}
    assert ModelFacts.of_record(json.loads(json.dumps(facts.plain()))) == facts
    assert ModelFacts.of_record({}) == ModelFacts() and "model" in asdict(record)


def test_a_sparse_encoder_is_read_as_one() -> None:
    text = rendered(facts=ModelFacts(dim=30522, max_length=256, similarity="dot", kind="sparse"))
    data = ModelCard(text).data
    assert data.pipeline_tag == "feature-extraction" and {"sparse-encoder", "splade"} <= set(data.tags or ())
    assert 'model = SparseEncoder("user/name")' in text and "model.decode(queries[0], top_k=10)" in text
    assert "the 30,522 words of its vocabulary" in text and "cut to fewer numbers" not in text
