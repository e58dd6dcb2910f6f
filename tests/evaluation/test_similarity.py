"""Models are compared by what they say of themselves; tasks that keep more tokens than a model has room for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sentence_transformers import SentenceTransformer, util

from embedkit.errors import RecipeError
from embedkit.evaluation import similarity
from embedkit.evaluation import suite as suites
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from embedkit.recipe.suite import Suite
from tests.evaluation.hashing import HashingEncoder
from tests.tiny import sentences, tiny_bert

PAIRED = {
    "cosine": util.pairwise_cos_sim,
    "dot": util.pairwise_dot_score,
    "euclidean": util.pairwise_euclidean_sim,
    "manhattan": util.pairwise_manhattan_sim,
}
BETWEEN = {
    "cosine": util.cos_sim,
    "dot": util.dot_score,
    "euclidean": util.euclidean_sim,
    "manhattan": util.manhattan_sim,
}


@pytest.mark.parametrize("name", PAIRED)
def test_values_are_those_of_sentence_transformers(name: str) -> None:
    draw = np.random.default_rng(0)
    a, b = (draw.normal(size=(n, 16)).astype(np.float32) for n in (5, 7))
    own = [similarity.prepared(name, rows) for rows in (a, b)]
    want = PAIRED[name](torch.tensor(a), torch.tensor(b[:5])).numpy()
    np.testing.assert_allclose(similarity.paired(name, own[0], own[1][:5]), want, atol=1e-5)
    want = BETWEEN[name](torch.tensor(a), torch.tensor(b)).numpy()
    np.testing.assert_allclose(similarity.between(name)(*own), want, atol=1e-4)


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A model whose embeddings differ in length, so that inner products and cosines order pairs differently."""
    st = SentenceTransformer(str(tiny_bert(tmp_path / "plain")), device="cpu")
    st.save(str(tmp_path / "model"))
    return tmp_path / "model"


def says(base: Path, name: str | None) -> Encoder:
    path = base / "config_sentence_transformers.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"similarity_fn_name": name}))
    return Encoder.load(Model(base=str(base)), device="cpu")


def sts(folder: Path, **task: str) -> Suite:
    texts, draw = sentences(60, seed=3), np.random.default_rng(1)
    rows = [f"{a}\t{b}\t{g:.3f}" for a, b, g in zip(texts[:30], texts[30:], draw.uniform(0, 5, 30), strict=True)]
    (folder / "pairs.tsv").write_text("sentence1\tsentence2\tscore\n" + "\n".join(rows) + "\n")
    tasks = [{"name": "pairs", "type": "sts", "files": [str(folder / "pairs.tsv")], **task}]
    return Suite.model_validate({"name": "own", "tasks": tasks})


@pytest.mark.parametrize("name", ["dot", "euclidean", "manhattan", "cosine", None])
def test_a_model_is_measured_by_its_own_similarity(name: str | None, base: Path, tmp_path: Path) -> None:
    encoder = says(base, name)
    assert encoder.similarity == (name or "cosine")
    texts, gold = sentences(60, seed=3), np.random.default_rng(1).uniform(0, 5, 30).round(3)
    rows = torch.tensor(encoder.encode(texts))
    want = 100 * spearmanr(PAIRED[name or "cosine"](rows[:30], rows[30:]).numpy(), gold).statistic
    found = suites.evaluate_suite(encoder, sts(tmp_path), resamples=0).tasks[0]
    assert found.metrics["spearman"] == pytest.approx(want, abs=1e-3)
    assert found.details["similarity"] == (name or "cosine")


def test_a_task_may_ask_for_another(base: Path, tmp_path: Path) -> None:
    cosine, dot = (suites.evaluate_suite(says(base, n), sts(tmp_path), resamples=0).tasks[0] for n in ("cosine", "dot"))
    asked = suites.evaluate_suite(says(base, "dot"), sts(tmp_path, similarity="cos"), resamples=0).tasks[0]
    assert asked.metrics["spearman"] == cosine.metrics["spearman"] != dot.metrics["spearman"]


def test_saving_keeps_what_the_model_says(base: Path, tmp_path: Path) -> None:
    says(base, "dot").save(tmp_path / "saved")
    assert Encoder.load(Model(base=str(tmp_path / "saved")), device="cpu").similarity == "dot"


def test_documents_are_ordered_by_the_models_similarity() -> None:
    """Long documents win by inner products."""
    suite = suites.load_suite("mini")
    cosine, dot = HashingEncoder(), HashingEncoder()
    dot.similarity = "dot"  # type: ignore[misc]
    found = [suites.evaluate_suite(encoder, suite, resamples=0).tasks for encoder in (cosine, dot)]
    retrieval = [next(t for t in tasks if "ndcg@10" in t.metrics) for tasks in found]
    assert [t.details["similarity"] for t in retrieval] == ["cosine", "dot"]
    assert retrieval[0].metrics["ndcg@10"] != retrieval[1].metrics["ndcg@10"]


def test_a_task_keeps_no_more_tokens_than_the_model_has_room_for(tmp_path: Path) -> None:
    encoder = HashingEncoder()
    encoder.longest = 64
    suite = sts(tmp_path).model_copy(deep=True)
    for wanted, refused in ((64, False), (65, True), (1024, True)):
        task = suite.tasks[0].model_copy(update={"max_length": wanted})
        asked = suite.model_copy(update={"tasks": (task,)})
        encoder.calls.clear()
        if refused:
            with pytest.raises(RecipeError, match=f"max_length {wanted} is more than the 64") as caught:
                suites.evaluate_suite(encoder, asked, resamples=0)
            assert caught.value.where == "task pairs" and not encoder.calls
        else:
            suites.evaluate_suite(encoder, asked, resamples=0)
