"""What a report shows besides scores: from the embeddings of the evaluation, on the same samples for every model."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from embedkit.evaluation import geometry
from embedkit.evaluation.store import load_scores, write_scores
from embedkit.evaluation.suite import evaluate_suite, load_suite
from embedkit.recipe.suite import RetrievalTask, StsTask, Suite
from embedkit.types import Scores
from tests.evaluation.hashing import HashingEncoder

WORDS = ["rain", "snow", "wind", "storm", "sun", "cloud", "river", "lake", "hill", "wood", "stone", "sand"]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    folder = tmp_path_factory.mktemp("data")
    pairs = [f"{a} {b}\t{a} {WORDS[i - 3]}\t{i % 6}" for i, (a, b) in enumerate(pairwise(WORDS))]
    (folder / "a.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *pairs]) + "\n")
    beir = folder / "beir"
    (beir / "qrels").mkdir(parents=True)
    documents = [{"_id": f"d{i}", "text": f"{a} {WORDS[i - 1]} {WORDS[i - 2]}"} for i, a in enumerate(WORDS)]
    queries = [{"_id": f"q{i}", "text": f"{a} {WORDS[i - 2]}"} for i, a in enumerate(WORDS[:6])]
    (beir / "corpus.jsonl").write_text("\n".join(map(json.dumps, documents)))
    (beir / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    qrels = [f"q{i}\td{i}\t1" for i in range(6)] + ["q0\td5\t1"]
    (beir / "qrels" / "test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *qrels]) + "\n")
    tasks = (StsTask(name="A", files=(str(folder / "a.tsv"),)), RetrievalTask(name="R", folder=str(beir)))
    return load_suite(Suite(name="s", tasks=tasks))


@pytest.fixture(scope="module")
def scores(suite: Suite) -> Scores:
    return evaluate_suite(HashingEncoder(), suite, resamples=0, insight=True)


def test_nothing_is_encoded_for_it(suite: Suite) -> None:
    plain, looking = HashingEncoder(), HashingEncoder()
    without = evaluate_suite(plain, suite, resamples=0)
    found = evaluate_suite(looking, suite, resamples=0, insight=True)
    assert looking.calls == plain.calls
    assert [t.metrics for t in without.tasks] == [t.metrics for t in found.tasks]
    assert all(not t.insight and "geometry" not in t.details for t in without.tasks)


def test_pairs_of_a_graded_task_are_those_of_its_scale(scores: Scores) -> None:
    task = scores.tasks[0]
    cosine, gold = task.units["cosine"], task.units["gold"]
    assert task.insight["positive"] == pytest.approx(cosine[gold >= 4])
    assert task.insight["negative"] == pytest.approx(cosine[gold < 4])


def test_a_search_has_the_rank_of_its_first_answer_and_who_stands_on_top(scores: Scores, suite: Suite) -> None:
    task, encoder = scores.tasks[1], HashingEncoder()
    queries = [f"{a} {WORDS[i - 2]}" for i, a in enumerate(WORDS[:6])]
    documents = [f"{a} {WORDS[i - 1]} {WORDS[i - 2]}" for i, a in enumerate(WORDS)]
    q, d = (geometry.unit(encoder.encode(texts)) for texts in (queries, documents))
    similar = q @ d.T
    assert len(task.insight["positive"]) == 7
    assert task.insight["positive"] == pytest.approx(
        [*similar[0, [0, 5]], *(similar[i, i] for i in range(1, 6))], abs=1e-5
    )
    for i in range(6):
        relevant = [0, 5] if i == 0 else [i]
        best = max(similar[i, relevant])
        assert task.insight["rank"][i] == 1 + (similar[i] > best + 1e-6).sum()
        assert similar[i, task.insight["top"][i]] == pytest.approx(similar[i].max(), abs=1e-6)
        assert similar[i, task.insight["first"][i]] == pytest.approx(best, abs=1e-6)
    shape = task.details["geometry"]
    assert shape["texts"] == 18 and shape["positives"] == 7
    assert shape["alignment"] == pytest.approx(float((2 - 2 * task.insight["positive"]).mean()), abs=1e-5)
    assert shape["uniformity"] == pytest.approx(geometry.uniformity(np.concatenate([q, d])), abs=1e-6)


def test_the_map_keeps_what_it_says_of_the_variance(scores: Scores) -> None:
    for task in scores.tasks:
        spectrum, cloud = task.insight["spectrum"], task.insight["cloud"].astype(np.float64)
        assert spectrum.sum() == pytest.approx(1, abs=1e-5)
        assert task.insight["held"] == pytest.approx(spectrum[:2])
        spread = cloud.var(axis=0)  # all rows are on it here, and its middle is theirs
        assert cloud.mean(axis=0) == pytest.approx([0, 0], abs=1e-6)
        assert spread[1] / spread[0] == pytest.approx(spectrum[1] / spectrum[0], rel=1e-4)
    assert scores.tasks[1].insight["kind"].tolist() == [0] * 6 + [1] * 12


def test_two_models_are_seen_on_the_same_pairs(scores: Scores, suite: Suite) -> None:
    other = evaluate_suite(HashingEncoder(64, triples=0.0), suite, resamples=0, insight=True)
    for one, two in zip(scores.tasks, other.tasks, strict=True):
        assert {n: v.shape for n, v in one.insight.items() if n != "spectrum"} == {
            n: v.shape for n, v in two.insight.items() if n != "spectrum"
        }


def test_it_is_kept_beside_the_scores_and_is_never_another_s(scores: Scores, suite: Suite, tmp_path: Path) -> None:
    write_scores(scores, tmp_path)
    found = load_scores(tmp_path)
    for one, two in zip(scores.tasks, found.tasks, strict=True):
        assert one.insight.keys() == two.insight.keys()
        assert all(np.array_equal(one.insight[name], two.insight[name]) for name in one.insight)
    other = evaluate_suite(HashingEncoder(64), suite, resamples=0)
    write_scores(other, tmp_path)
    assert all(not task.insight for task in load_scores(tmp_path).tasks)
