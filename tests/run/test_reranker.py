"""One run of a reranker from recipe to result: measured, saved, described, published, used as a teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sentence_transformers import CrossEncoder

from embedkit.errors import RecipeError
from embedkit.evaluation.suite import load_scores
from embedkit.model.running.encoder import Encoder
from embedkit.model.running.reranker import Reranker
from embedkit.publish.probes import Probes, scored
from embedkit.recipe.schema import Model, Recipe
from embedkit.run import evaluate, train
from embedkit.run.publishing import publish
from embedkit.types import RunRecord
from tests.tiny import WORDS, sentences, tiny_bert

QUERIES, DEPTH = 8, 12


def text(seed: int, good: bool = False) -> str:
    """A sentence; a good document has one word twice."""
    words = sentences(1, seed=seed, shortest=4, longest=7)[0].split()
    return " ".join([*words[:2], *([WORDS[7]] * 2 if good else []), *words[2:]])


def material(folder: Path) -> None:
    """A model, rows whose positives are good documents, and a task of the same kind."""
    tiny_bert(folder / "tiny", layers=1)
    rows = [
        {"query": text(100 + i), "positive": text(200 + i, True), "negative": [text(300 + 3 * i + k) for k in range(3)]}
        for i in range(64)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = folder / "task"
    (task / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "title": "", "text": text(900 + i, i % 4 == 0)} for i in range(24)]
    queries = [{"_id": f"q{i}", "text": text(800 + i)} for i in range(QUERIES)]
    for name, some in (("corpus", documents), ("queries", queries)):
        (task / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in some))
    judged = [f"q{i}\td{k}\t1" for i in range(QUERIES) for k in range(0, 24, 4)]
    (task / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")


def recipe(folder: Path) -> Recipe:
    suite = {"name": "mine", "tasks": [{"type": "retrieval", "name": "topics", "folder": str(folder / "task")}]}
    return Recipe.model_validate(
        {
            "model": {"kind": "reranker", "base": str(folder / "tiny"), "max_length": 48, "dropout": 0.0},
            "data": {"sources": [{"path": str(folder / "rows.jsonl")}]},
            "negatives": {"per_query": 3},
            "objective": {"name": "lce"},
            "train": {"batch_size": 8, "steps": 24, "learning_rate": 2e-3, "device": "cpu"},
            "eval": {
                "suite": suite,
                "first_stage": {"model": str(folder / "tiny"), "depth": DEPTH},
                "every": 12,
                "resamples": 100,
            },
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("reranker")
    material(found)
    return found


@pytest.fixture(scope="module")
def done(folder: Path) -> tuple[Path, RunRecord, list[str]]:
    said: list[str] = []
    record = train(recipe(folder), folder / "run", say=lambda line: said.append(str(line)), progress=False)
    return folder / "run", record, said


Done = tuple[Path, RunRecord, list[str]]


def test_it_learns_to_put_a_search_in_order(done: Done) -> None:
    _, record, _ = done
    (change,) = [c for c in record.comparison if c["task"] == "topics"]
    assert change["metric"] == "ndcg@10" and change["difference"]["value"] > 5
    assert change["difference"]["low"] < change["difference"]["value"] < change["difference"]["high"]
    scores = load_scores(done[0] / "eval" / "after").tasks[0]
    assert scores.details["depth"] == DEPTH and scores.details["pairs"] == DEPTH * QUERIES
    assert scores.details["first_stage"]["ndcg@10"] < scores.metrics["ndcg@10"]
    assert {e["step"] for e in record.evaluations} == {12, 24}


def test_it_is_a_plain_cross_encoder(done: Done) -> None:
    run, record, _ = done
    model = CrossEncoder(str(run / "model"), device="cpu")
    pairs = [(text(1), text(2, True)), (text(1), text(3))]
    reranker = Reranker.load(Model.model_validate({"base": str(run / "model")}))
    plain = model.predict([list(pair) for pair in pairs])
    np.testing.assert_allclose(1 / (1 + np.exp(-reranker.score(pairs))), plain, atol=1e-5)
    assert plain[0] > plain[1]
    assert record.model["kind"] == "reranker" and record.model["max_length"] == 48
    kept = Probes.read(run / "probes.npz")
    assert kept is not None
    np.testing.assert_allclose(kept.embeddings["query"], scored(reranker)["query"], atol=1e-4)


def test_card_and_report_say_what_it_is(done: Done) -> None:
    run, _, said = done
    card = (run / "model" / "README.md").read_text()
    assert "from sentence_transformers import CrossEncoder" in card and "makes no embeddings" in card
    assert "text-ranking" in card and "cross-encoder" in card and "the first 12 documents" in card
    assert "SentenceTransformer(" not in card
    report = (run / "report" / "report.md").read_text()
    assert "CrossEncoder" in report and "topics" in report and "pair" in report
    assert any("8 examples x 4 pairs = 32 pairs per batch" in line for line in said)


@pytest.mark.slow
def test_it_can_be_published(done: Done) -> None:
    found = publish(done[0], "me/reranker", push=False, say=lambda line: None)
    assert "model.safetensors" in found.files and "README.md" in found.files


@pytest.mark.slow
def test_a_finished_run_is_not_trained_again(folder: Path, done: Done) -> None:
    again = train(recipe(folder), done[0], resume=True, say=lambda line: None, progress=False)
    assert again.updates == 24 and again.scores_after is not None and done[1].scores_after is not None
    assert again.scores_after["tasks"][0]["metrics"] == done[1].scores_after["tasks"][0]["metrics"]


def test_it_is_measured_by_the_verb_beside_the_search_alone(folder: Path, done: Done) -> None:
    model, tiny = str(done[0] / "model"), str(folder / "tiny")
    suite = recipe(folder).eval.suite
    assert suite is not None
    options: dict[str, Any] = {"resamples": 100, "say": lambda line: None, "progress": False}
    found: list[Any] = []
    scores = evaluate(model, suite, first_stage=tiny, depth=DEPTH, compare=tiny, answer=found.append, **options)
    assert done[1].scores_after is not None
    assert scores.tasks[0].metrics["ndcg@10"] == pytest.approx(done[1].scores_after["tasks"][0]["metrics"]["ndcg@10"])
    alone = scores.tasks[0].details["first_stage"]["ndcg@10"]
    assert found[0].base.tasks[0].metrics["ndcg@10"] == pytest.approx(alone, abs=1e-3)
    fused = evaluate(model, suite, first_stage=tiny, depth=DEPTH, first_stage_weight=1e-9, **options).tasks[0]
    assert fused.metrics["ndcg@10"] == pytest.approx(alone, abs=1e-3) and fused.details["weight"] == 1e-9
    with pytest.raises(RecipeError, match="there is none"):
        evaluate(model, suite, **options)
    with pytest.raises(RecipeError, match="no first stage whose scores"):
        evaluate(model, suite, first_stage_weight=0.1, **options)
    for wrong, what in (
        (0.0, "must be > 0"),
        (-1.0, "must be > 0"),
        (float("nan"), "got nan"),
        (float("inf"), "got inf"),
    ):
        with pytest.raises(RecipeError, match=what) as refused:
            evaluate(model, suite, first_stage=tiny, first_stage_weight=wrong, **options)
        assert refused.value.where == "--first-stage-weight" and "> 0" in refused.value.cure
    with pytest.raises(RecipeError, match="first stage itself"):
        evaluate(tiny, suite, first_stage=tiny, **options)


def test_the_next_reranker_behind_a_first_stage_waits_for_none_of_its_vectors(
    folder: Path, done: Done, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    encode = Encoder.encode

    def counted(self: Encoder, texts: Any, **options: Any) -> Any:
        encoded.append(len(texts))
        return encode(self, texts, **options)

    monkeypatch.setattr(Encoder, "encode", counted)
    monkeypatch.setattr("embedkit.evaluation.kept.cache_folder", lambda what: tmp_path / what)
    made = recipe(folder)
    options: dict[str, Any] = {"first_stage": str(folder / "tiny"), "depth": DEPTH, "resamples": 0, "progress": False}
    assert made.eval.suite is not None
    first = evaluate(str(done[0] / "model"), made.eval.suite, say=lambda line: None, **options)
    assert sum(encoded) == 24 + QUERIES
    again = evaluate(str(done[0] / "model"), made.eval.suite, say=lambda line: None, **options)
    short = made.model_copy(update={"train": made.train.model_copy(update={"steps": 2})})
    train(short, tmp_path / "run", say=lambda line: None, progress=False)
    assert sum(encoded) == 24 + QUERIES
    assert again.tasks[0].metrics == first.tasks[0].metrics


def test_it_teaches_at_once(folder: Path, done: Done, tmp_path: Path) -> None:
    """`embedkit mine --teacher RUN/model`: its logits of every candidate."""
    import pyarrow.parquet as pq

    from embedkit.run import mine

    queries, corpus = tmp_path / "queries.jsonl", tmp_path / "corpus.jsonl"
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()[:8]]
    queries.write_text("".join(json.dumps({k: row[k] for k in ("query", "positive")}) + "\n" for row in rows))
    texts = [text for row in rows for text in (row["positive"], *row["negative"])]
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    out = tmp_path / "mined.parquet"
    teacher = str(done[0] / "model")
    base, quiet = str(folder / "tiny"), {"say": lambda line: None, "progress": False}
    mine(base, out=out, queries=queries, corpus=corpus, store=tmp_path / "store", keep=3, teacher=teacher, **quiet)
    (row, *_) = pq.read_table(out).to_pylist()
    reranker = Reranker.load(Model.model_validate({"base": str(done[0] / "model")}))
    wanted = reranker.score([(row["query"], t) for t in (row["positive"], *row["negative"])])
    np.testing.assert_allclose(row["teacher_score"], wanted, atol=1e-4)
