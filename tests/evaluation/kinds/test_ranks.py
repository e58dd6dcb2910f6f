"""Questions in several languages, and questions that nothing answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embedkit.errors import DataError
from embedkit.evaluation import suite as suites
from embedkit.evaluation.kinds import consistency, no_answer
from embedkit.evaluation.kinds.consistency import rank_spread
from embedkit.evaluation.kinds.no_answer import abstention, among, best_threshold
from embedkit.recipe.kinds import ConsistencyTask, NoAnswerTask
from embedkit.recipe.suite import Suite
from embedkit.types import TaskScore
from tests.evaluation.hashing import HashingEncoder


def measured(task: object, resamples: int = 0, dim: int = 256) -> TaskScore:
    (score,) = suites.evaluate_suite(HashingEncoder(dim=dim), Suite(tasks=(task,)), resamples=resamples).tasks
    return score


# Several languages --------------------------------------------------------------------------------------------


def test_mean_rank_variance_of_the_authors() -> None:
    """Of BUAADreamer/CCRK@06449d2 xFlickrCO.py; its function prints the second and calls it the first."""
    ranks = [[0, 1, 4, 0, 2], [0, 3, 4, 1, 2], [1, 1, 9, 0, 2], [0, 2, 4, 7, 2]]
    found = rank_spread(ranks)
    assert found["rank_variance"].mean() == pytest.approx(2.8125, rel=1e-12)
    assert found["rank_std"].mean() == pytest.approx(1.2685416712729634, rel=1e-12)
    assert rank_spread([[0, 0, 0], [0, 0, 0]])["rank_variance"].tolist() == [0, 0, 0]


ANSWERS = [f"{a} {b}" for a in ("red", "blue", "green") for b in ("house", "boat", "tree", "stone")]


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """In a language that says all of it, and in one that leaves the second word out."""
    lines = ["language\titem\tquery\tanswer"]
    for i, text in enumerate(ANSWERS):
        lines += [f"whole\t{i}\twhere is the {text}\t{text}", f"half\t{i}\twhere is the {text.split()[0]}\t{text}"]
    path = tmp_path / "questions.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_ranks_of_both_languages(questions: Path) -> None:
    score = measured(ConsistencyTask(name="t", files=(str(questions),)), resamples=100)
    assert score.details["languages"] == {"whole": 100.0, "half": 25.0}, "one of four equal ones stands first"
    assert score.metrics["recall@1"] == pytest.approx(62.5) and score.metrics["recall@10"] == 100
    # in `half` the four of a colour have ranks 1 to 4, in `whole` 1: variances 0, 1/4, 1, 9/4
    assert score.metrics["rank_variance"] == pytest.approx((0 + 0.25 + 1 + 2.25) / 4)
    assert score.metrics["rank_std"] == pytest.approx((0 + 0.5 + 1 + 1.5) / 4)
    assert score.metrics["rank_variance_median"] == pytest.approx(0.625)
    low, high = score.details["intervals"]["rank_variance"]
    assert 0 < low < 0.875 < high < 2.25
    assert score.interval is not None and score.interval.low < 62.5 < score.interval.high


def test_an_item_may_be_its_answer_and_have_several(tmp_path: Path) -> None:
    rows = [
        {"language": lang, "query": f"{lang} {a}", "answer": [a, f"{a} again"]}
        for lang in ("x", "y")
        for a in ("red house", "blue boat", "green tree")
    ]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    data = consistency.read(ConsistencyTask(name="t", files=(str(tmp_path / "q.jsonl"),), item=None))
    assert len(data.answers) == 6 and data.right == [[0, 1], [2, 3], [4, 5]]
    score = measured(ConsistencyTask(name="t", files=(str(tmp_path / "q.jsonl"),), item=None))
    assert score.metrics["recall@1"] == 100 and score.metrics["rank_variance"] == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: lines[:-1], ["1 items are not asked in 'half': 11", "q.tsv"]),
        (lambda lines: [*lines, lines[-1]], ["q.tsv:26", "item 11 is asked twice in 'half'"]),
        (lambda lines: [line for line in lines if "half" not in line], ["in one language, 'whole'"]),
        (lambda lines: [*lines[:-1], lines[-1].replace("green stone", "red house")], ["q.tsv:25", "other answers"]),
        (lambda lines: [line for line in lines if line.split("\t")[1] in ("item", "0")], ["every answer is right"]),
        (lambda lines: [lines[0].replace("item", "id"), *lines[1:]], ["no column 'item'", "q.tsv:1"]),
    ],
)
def test_questions_that_are_refused(questions: Path, tmp_path: Path, change: object, words: list[str]) -> None:
    lines = change(questions.read_text().splitlines())  # type: ignore[operator]
    (tmp_path / "q.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        consistency.read(ConsistencyTask(name="t", files=(str(tmp_path / "q.tsv"),)))
    assert all(word.replace("11", "'11'") in str(caught.value) or word in str(caught.value) for word in words)


# Nothing answers ----------------------------------------------------------------------------------------------


def test_rates_at_a_threshold() -> None:
    """Those of a search that answers where its best score reaches the threshold; equal to it is answered."""
    best, answered = np.array([0.9, 0.4, 0.7, 0.55, 0.3, 0.6]), np.array([True, True, True, False, False, False])
    found = {name: values.mean() for name, values in abstention(best, answered, 0.55).items()}
    assert found["hallucination_rate"] == pytest.approx(2 / 3)
    assert found["error_rate"] == pytest.approx(1 / 3) and found["coverage"] == pytest.approx(2 / 3)
    assert found["balanced_accuracy"] == pytest.approx(0.5)


def test_the_best_threshold_against_all_of_them() -> None:
    rng = np.random.default_rng(0)
    for _ in range(8):
        answered = np.array([True, False, *(rng.random(20) < 0.6)])
        best = np.round(rng.random(22) + 0.3 * answered, 1)
        chosen = best_threshold(best, answered)
        rates = [abstention(best, answered, cut)["balanced_accuracy"].mean() for cut in np.linspace(-0.5, 2, 501)]
        assert abstention(best, answered, chosen)["balanced_accuracy"].mean() == pytest.approx(max(rates))
    assert best_threshold(np.array([0.2, 0.8]), np.array([False, True])) == pytest.approx(0.5)
    assert best_threshold(np.array([0.8, 0.2]), np.array([False, True])) == 0.2, "as bad as each other: answer"


def test_means_over_some_are_means_over_all() -> None:
    rng = np.random.default_rng(1)
    values, members = rng.random(400), rng.random(400) < 0.3
    found = among(values, members)
    assert found.mean() == pytest.approx(values[members].mean())
    assert found.std() / 20 == pytest.approx(values[members].std() / members.sum() ** 0.5, rel=0.05)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Queries that share words with a document, and queries that share none; `dev` and `test`."""
    corpus = [{"_id": f"d{i}", "text": text} for i, text in enumerate(ANSWERS)]
    queries, lines = [], {"dev": ["query-id\tcorpus-id\tscore"], "test": ["query-id\tcorpus-id\tscore"]}
    for i in range(24):
        split = "dev" if i < 10 else "test"
        known = i % 2 == 0
        own = ANSWERS[i % 12] if known else "a word of no document"
        queries.append({"_id": f"q{i}", "text": f"{own} number {i}"})
        lines[split] += [f"q{i}\td{i % 12}\t{int(known)}", f"q{i}\td{(i + 5) % 12}\t0"]
    queries.append({"_id": "unjudged", "text": "red house"})
    (tmp_path / "qrels").mkdir()
    for split, own in lines.items():
        (tmp_path / "qrels" / f"{split}.tsv").write_text("\n".join(own) + "\n", encoding="utf-8")
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def test_what_is_not_there_is_seen(folder: Path) -> None:
    score = measured(NoAnswerTask(name="t", folder=str(folder)), resamples=100)
    assert score.metrics["balanced_accuracy"] == 100 and score.metrics["auc"] == 100
    assert (score.metrics["hallucination_rate"], score.metrics["error_rate"], score.metrics["coverage"]) == (0, 0, 50)
    assert score.details["items"] == 14 and score.details["without"] == 7 and score.details["unjudged"] == 1
    weak = measured(NoAnswerTask(name="t", folder=str(folder)), resamples=100, dim=3)
    assert weak.metrics["balanced_accuracy"] < 100 and weak.interval is not None
    assert weak.interval.low < weak.metrics["balanced_accuracy"] < weak.interval.high
    files = suites.digests(NoAnswerTask(name="t", folder=str(folder)))
    assert {name.split("/")[1] for name in files} == {"corpus.jsonl", "queries.jsonl", "dev.tsv", "test.tsv"}


def test_the_threshold_is_that_of_dev(folder: Path) -> None:
    """With labels of dev turned round, the threshold is a bad one for test."""
    path = folder / "qrels" / "dev.tsv"
    turned = {"1": "0", "0": "1"}
    lines = path.read_text().splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    path.write_text("\n".join([lines[0], *("\t".join([q, d, turned[s]]) for q, d, s in rows[::2])]) + "\n")
    score = measured(NoAnswerTask(name="t", folder=str(folder)))
    assert score.metrics["balanced_accuracy"] == pytest.approx(50) and score.metrics["auc"] == 100


def test_the_whole_corpus_may_be_searched(folder: Path) -> None:
    data = no_answer.read(NoAnswerTask(name="t", folder=str(folder), candidates="corpus"))
    assert len(data.documents) == 12 and data.whole
    assert data.digest != no_answer.read(NoAnswerTask(name="t", folder=str(folder))).digest
    assert measured(NoAnswerTask(name="t", folder=str(folder), candidates="corpus")).metrics["auc"] == 100


@pytest.mark.parametrize(
    ("split", "text", "words"),
    [
        ("dev", "q0\td0\t1\nq2\td1\t1\n", ["no query without a relevant document", "dev.tsv"]),
        ("test", "q11\td0\t0\n", ["no query with a relevant document", "test.tsv"]),
        ("dev", "q0\td0\t1\nq1\td1\t0\nq12\td1\t0\n", ["'q12' is in dev and test (1 are)"]),
        ("dev", "q0\td99\t1\n", ["judgement about 'd99'", "dev.tsv:2"]),
        ("dev", "q0\td0\tgood\n", ["expected a whole number", "dev.tsv:2"]),
        ("dev", "", ["no judgements", "dev.tsv"]),
    ],
)
def test_judgements_that_are_refused(folder: Path, split: str, text: str, words: list[str]) -> None:
    (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        no_answer.read(NoAnswerTask(name="t", folder=str(folder)))
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_the_threshold_is_not_chosen_on_the_test_queries() -> None:
    with pytest.raises(ValueError, match="dev and split are both 'test'"):
        NoAnswerTask(name="t", folder="f", dev="test")
