"""Suites of every kind: measured, compared, shown, and refused where the files are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from rich.console import Console

from embedkit.errors import DataError, RecipeError
from embedkit.evaluation import suite as suites
from embedkit.evaluation import verdict as verdicts
from embedkit.evaluation.cost import estimate
from embedkit.evaluation.forecast import forecast
from embedkit.recipe.kinds import OWN, ClassificationTask, FewShotTask
from embedkit.recipe.suite import Suite
from embedkit.recipe.templates import TemplateRange
from embedkit.types import Scores
from tests.evaluation.hashing import HashingEncoder
from tests.evaluation.kinds.sets import labelled, write_labels


class Constant(HashingEncoder):
    """The same embedding for every text."""

    def encode(self, texts: list[str], **options: object) -> np.ndarray:  # type: ignore[override]
        return np.ones((len(texts), self.dim), np.float32)


@pytest.fixture(scope="module")
def suite(suite_file: Path) -> Suite:
    found = suites.load_suite(str(suite_file))
    few = FewShotTask(
        name="Few",
        train=(str(suite_file.parent / "train.tsv"),),
        files=(str(suite_file.parent / "test.tsv"),),
        shots=(1, 4),
        draws=5,
    )
    return found.model_copy(update={"tasks": (*found.tasks, few)})


@pytest.fixture(scope="module")
def scores(suite: Suite) -> Scores:
    return suites.evaluate_suite(HashingEncoder(), suite, resamples=200, model_name="good")


@pytest.fixture(scope="module")
def weaker(suite: Suite) -> Scores:
    return suites.evaluate_suite(HashingEncoder(dim=6), suite, resamples=200, model_name="weak")


def test_every_kind_is_better_with_the_better_model(scores: Scores, weaker: Scores) -> None:
    assert [task.type for task in scores.tasks] == [block.model_fields["type"].default for block in _blocks(scores)]
    found = suites.compare(weaker, scores, 200, permutations=200)
    assert [c.verdict for c in found] == ["win"] * (len(scores.tasks) + 1)
    assert all(c.permutation is not None and c.permutation < 0.05 for c in found)
    assert verdicts.verdict(verdicts.headline(found)) == verdicts.BETTER
    back = suites.compare(scores, weaker, 200, permutations=200)
    assert [(c.verdict, c.difference.value) for c in back] == [
        ("loss", pytest.approx(-c.difference.value)) for c in found
    ]


def _blocks(scores: Scores) -> list[type]:
    by_type = {block.model_fields["type"].default: block for block in OWN}
    return [by_type[task.type] for task in scores.tasks]


def test_intervals_are_around_the_values(scores: Scores, suite: Suite) -> None:
    for score, task in zip(scores.tasks, suite.tasks, strict=True):
        assert score.interval is not None and score.main == task.main, score.task
        assert score.interval.value == score.metrics[score.main]
        assert score.interval.low < score.interval.value < score.interval.high, score.task
        assert set(score.metrics) == set(task.metrics), score.task


def test_the_same_model_is_unclear(scores: Scores) -> None:
    for c in suites.compare(scores, scores, 50, permutations=50):
        assert c.verdict == "tie" and c.permutation == 1.0


def test_scores_survive_the_disk(scores: Scores, weaker: Scores, tmp_path: Path) -> None:
    suites.write_scores(scores, tmp_path)
    read = suites.load_scores(tmp_path)
    assert [c.difference for c in suites.compare(weaker, read, 50)] == [
        c.difference for c in suites.compare(weaker, scores, 50)
    ]


def test_few_shots_with_as_many_texts_are_the_classification(scores: Scores) -> None:
    classified, few = scores.tasks[0], scores.tasks[-1]
    assert few.metrics["accuracy@4"] == classified.metrics["accuracy"]
    assert few.metrics["f1@4"] == classified.metrics["f1"]
    draws = few.details["draws"]["accuracy@4"]
    assert draws["mean"] == pytest.approx(few.metrics["accuracy@4"]) and len(draws["values"]) == 5
    assert few.metrics["accuracy@1"] < few.metrics["accuracy@4"]
    assert draws["interval"][0] < draws["mean"] < draws["interval"][1]


def test_few_shots_in_held_out_templates(suite_file: Path) -> None:
    """Learnt in the seen templates, judged in each; the main number is the mean over the held-out ones."""
    prompts = TemplateRange(seen=("{text}", "say {text}"), unseen=("hear {text} now", "{text} or not"))
    task = FewShotTask(
        name="Few",
        train=(str(suite_file.parent / "train.tsv"),),
        files=(str(suite_file.parent / "test.tsv"),),
        shots=(1, 4),
        draws=3,
        prompts=prompts,
    )
    (score,) = suites.evaluate_suite(HashingEncoder(), Suite(tasks=(task,)), resamples=50).tasks
    assert score.units["accuracy@4"].shape == (45, 6)
    unseen = [found["accuracy@4"] for found in score.details["templates"]["unseen"].values()]
    seen = [found["accuracy@4"] for found in score.details["templates"]["seen"].values()]
    assert score.metrics["accuracy@4"] == pytest.approx(np.mean(unseen))
    assert score.metrics["accuracy_worst@4"] == pytest.approx(min(unseen))
    assert score.metrics["accuracy_seen@4"] == pytest.approx(np.mean(seen))
    assert list(score.details["templates"]["unseen"]) == list(prompts.unseen)
    over = score.details["draws"]["accuracy@4"]["over_templates"]
    assert over["sd"] == pytest.approx(np.std(unseen, ddof=1)) and set(task.metrics) <= set(score.metrics)


def test_one_wording_says_what_the_bare_texts_say(suite_file: Path) -> None:
    """A template without words of its own, seen and held out but for spaces, changes nothing."""
    files = {"train": (str(suite_file.parent / "train.tsv"),), "files": (str(suite_file.parent / "test.tsv"),)}
    bare = FewShotTask(name="bare", shots=(2,), draws=3, **files)
    worded = bare.model_copy(update={"prompts": TemplateRange(seen=("{text}",), unseen=("{text} ?",)), "name": "asked"})
    one, two = suites.evaluate_suite(HashingEncoder(), Suite(tasks=(bare, worded)), resamples=50).tasks
    assert two.metrics["accuracy_seen@2"] == pytest.approx(one.metrics["accuracy@2"])


@pytest.mark.parametrize(
    ("seen", "unseen", "part"),
    [
        (["a {text}"], ["a  {text}"], "is there twice"),
        (["a {text}"], ["b"], "0 places for the text"),
        (["a {text} {label}"], ["b {text}"], "nothing is put there"),
    ],
)
def test_templates_are_templates_and_differ(seen: list[str], unseen: list[str], part: str) -> None:
    with pytest.raises(ValidationError, match=part):
        TemplateRange.model_validate({"seen": seen, "unseen": unseen})


def test_pairs_say_what_a_similarity_means(scores: Scores) -> None:
    found = next(task for task in scores.tasks if task.type == "pair_classification").details
    rows = found["calibration"]
    assert sum(row["pairs"] for row in rows) == found["items"] and len(rows) > 5
    matching = sum(row["matching"] * row["pairs"] for row in rows)
    assert matching == pytest.approx(found["matching"])
    assert rows[0]["matching"] < rows[-1]["matching"] and rows[0]["to"] < rows[-1]["from"]


def test_all_of_the_training_texts_are_one_fit(suite_file: Path) -> None:
    whole = ClassificationTask(
        name="whole",
        train=(str(suite_file.parent / "train.tsv"),),
        files=(str(suite_file.parent / "test.tsv"),),
        samples_per_label=None,
    )
    encoder = HashingEncoder()
    (score,) = suites.evaluate_suite(encoder, Suite(tasks=(whole,)), resamples=50).tasks
    assert score.units["accuracy"].shape == (45,) and score.details["texts"] == 105
    rows = {text: encoder.encode([text])[0] for text, _ in [*labelled(60, 1), *labelled(45, 2)]}
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=100).fit(
        [rows[t] for t, _ in labelled(60, 1)], [label for _, label in labelled(60, 1)]
    )
    said = model.predict([rows[t] for t, _ in labelled(45, 2)])
    assert score.metrics["accuracy"] == pytest.approx(
        100 * np.mean([a == b for a, (_, b) in zip(said, labelled(45, 2), strict=True)])
    )


def test_only_texts_that_are_used_are_encoded(suite_file: Path) -> None:
    task = suites.load_suite(f"{suite_file}:Own-topics").tasks[0].model_copy(update={"experiments": 2})
    encoder = HashingEncoder()
    suites.evaluate_suite(encoder, Suite(tasks=(task,)), resamples=0)
    assert sum(len(texts) for _, _, texts in encoder.calls) <= 45 + 2 * 12
    assert {role for role, _, _ in encoder.calls} == {"query"}


def test_a_collapsed_model_is_at_chance_and_it_is_said(suite: Suite) -> None:
    found = {task.type: task for task in suites.evaluate_suite(Constant(), suite, resamples=0).tasks}
    assert all("all embeddings are equal" in task.details["note"] for task in found.values())
    assert found["classification"].metrics["accuracy"] == pytest.approx(100 / 3, abs=1)
    assert found["clustering"].metrics["v_measure"] == pytest.approx(0, abs=1e-9)
    assert found["pair_classification"].metrics["auc"] == 50
    assert found["bitext"].metrics["f1"] == pytest.approx(100 * 2 / 46 / 45)
    assert found["reranking"].metrics["auc"] == 50


def test_what_is_measured_is_shown(scores: Scores, weaker: Scores) -> None:
    console = Console(width=200, color_system=None)
    with console.capture() as captured:
        console.print(suites.table(scores, weaker, suites.compare(weaker, scores, 50)))
    text = captured.get()
    for task in scores.tasks:
        assert task.task in text and f"{task.metrics[task.main]:.2f}" in text, task.task
    for words in ("v-measure", "average precision", "MAP", "per class", "Few-shot", "AMI", "MRR"):
        assert words in text


def test_costs_and_forecasts_count_the_texts(suite: Suite) -> None:
    counts = {cost.task: cost.texts for cost in estimate(suite)}
    assert counts["Own-pairs"] == 90 and counts["Own-clusters"] == 45 and counts["Own-topics"] <= 105
    data = suites.load_data(suite)
    ahead = forecast(HashingEncoder(), suite, data)
    scores = suites.evaluate_suite(HashingEncoder(), suite, data=data, resamples=0)
    assert ahead.texts == sum(task.details["texts"] for task in scores.tasks)


def test_test_texts_that_are_learnt_from_are_told(tmp_path: Path) -> None:
    rows = labelled(30, 1)
    write_labels(tmp_path / "train.tsv", rows)
    write_labels(tmp_path / "test.tsv", [(rows[4][0].upper(), rows[4][1]), *labelled(6, 9)])
    task = ClassificationTask(
        name="t", train=(str(tmp_path / "train.tsv"),), files=(str(tmp_path / "test.tsv"),), samples_per_label=2
    )
    (score,) = suites.evaluate_suite(HashingEncoder(), Suite(tasks=(task,)), resamples=0).tasks
    assert score.details["note"].startswith("1 of 7 test texts are among the training texts too, first ")


# What is wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "error", "words"),
    [
        ("samples_per_label", 50, DataError, ["class 'fruit' has 20 texts to learn from, 50", "ask for at most 20"]),
        ("label", "topic", DataError, ["no column 'topic'", "test.tsv:1"]),
        ("train", "one", DataError, ["all texts have one label"]),
        ("files", "other", DataError, ["labels that the training files lack: birds"]),
        ("files", "gap", DataError, ["gap.tsv:3", "text is empty"]),
        ("samples_per_label", 0, RecipeError, ["samples_per_label"]),
        ("shots", [1], RecipeError, ["unknown key", "shots"]),
    ],
)
def test_classification_refuses(
    tmp_path: Path, key: str, value: object, error: type[Exception], words: list[str]
) -> None:
    write_labels(tmp_path / "train.tsv", labelled(60, 1))
    write_labels(tmp_path / "test.tsv", labelled(9, 2))
    write_labels(tmp_path / "one.tsv", [("a b", "fruit"), ("c d", "fruit")])
    write_labels(tmp_path / "other.tsv", [("a b", "birds"), ("c d", "fruit")])
    write_labels(tmp_path / "gap.tsv", [("a b", "fruit"), (" ", "fruit")])
    task: dict[str, object] = {"type": "classification", "name": "t", "train": ["train.tsv"], "files": ["test.tsv"]}
    task[key] = [f"{value}.tsv"] if isinstance(value, str) and key in ("train", "files") else value
    (tmp_path / "s.yaml").write_text(json.dumps({"name": "s", "tasks": [task]}), encoding="utf-8")
    with pytest.raises(error) as caught:
        suites.load_data(suites.load_suite(str(tmp_path / "s.yaml")))
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize("shots", [(4, 2), (2, 2), (0, 1), ()])
def test_shots_rise(shots: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shots"):
        FewShotTask(name="t", train=("a",), files=("b",), shots=shots)


# Through mteb -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "{type: few_shot, name: t, train: [train.tsv], files: [test.tsv]}",
            ["no tasks of type few_shot", "mteb:FILE"],
        ),
        ("{type: sts, name: t, files: [p.tsv], aggregate: mean}", ["aggregate: all, the task says mean"]),
        ("{type: bitext, name: t, files: [p.tsv], similarity: dot}", ["similarity"]),
        (
            "{type: classification, name: t, train: [a.tsv], files: [p.tsv], samples_per_label: null}",
            ["asks for all of them"],
        ),
    ],
)
def test_what_mteb_cannot_measure_is_refused(tmp_path: Path, line: str, words: list[str]) -> None:
    (tmp_path / "s.yaml").write_text(f"name: s\ntasks:\n  - {line}\n", encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        suites.load_suite(f"mteb:{tmp_path / 's.yaml'}")
    assert all(word in str(caught.value) for word in words) and "task t" in str(caught.value)


def test_a_suite_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such suite"):
        suites.load_suite(f"mteb:{tmp_path / 'none.yaml'}:a")


@pytest.fixture
def through(suite_file: Path) -> Callable[[], Suite]:
    return lambda: suites.load_suite(f"mteb:{suite_file}")


def test_the_tasks_of_a_file_become_tasks_of_mteb(suite_file: Path, through: Callable[[], Suite]) -> None:
    own, theirs = suites.load_suite(str(suite_file)), through()
    assert [task.name for task in own.tasks] == [task.name for task in theirs.tasks]
    assert {task.type for task in theirs.tasks} == {"mteb"}
    chosen = suites.load_suite(f"mteb:{suite_file}:Own-pairs")
    assert [task.name for task in chosen.tasks] == ["Own-pairs"]


def test_the_same_file_gives_the_same_figures_through_mteb(suite_file: Path, through: Callable[[], Suite]) -> None:
    pytest.importorskip("mteb", reason="needs the extra mteb")
    names = {
        "Own-topics": {name: name for name in ("accuracy", "f1", "f1_weighted", "precision", "recall")},
        "Own-clusters": {"v_measure": "v_measure", "ami": "ami"},
        "Own-pairs": {"similarity_ap": "ap", "similarity_f1": "f1", "similarity_accuracy": "accuracy"},
        "Own-order": {
            "map_at_1000": "map",
            "mrr_at_10": "mrr@10",
            "ndcg_at_10": "ndcg@10",
            "recall_at_10": "recall@10",
        },
        "Own-bitext": {"f1": "f1", "accuracy": "accuracy", "precision": "precision"},
    }
    for encoder in (HashingEncoder(), HashingEncoder(dim=12)):
        own = suites.evaluate_suite(encoder, suites.load_suite(str(suite_file)), resamples=0)
        theirs = suites.evaluate_suite(encoder, through(), resamples=0)
        assert not theirs.failed
        for ours, other in zip(own.tasks, theirs.tasks, strict=True):
            rounded = 1e-3 if ours.type == "reranking" else 1e-6  # mteb rounds these to five digits of a fraction
            assert other.metrics["main_score"] == pytest.approx(ours.metrics[ours.main], abs=rounded), ours.task
            for their_name, our_name in names[ours.task].items():
                assert other.metrics[their_name] == pytest.approx(ours.metrics[our_name], abs=rounded), their_name
