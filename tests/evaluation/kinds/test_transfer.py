"""Transfer in folds, and labels by their own texts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embedkit.errors import DataError
from embedkit.evaluation import suite as suites
from embedkit.evaluation.kinds import label_prompts, transfer
from embedkit.recipe.kinds import LabelPromptTask, TransferTask
from embedkit.recipe.suite import Suite
from embedkit.types import TaskScore
from tests.evaluation.hashing import HashingEncoder
from tests.evaluation.kinds.sets import TOPICS, labelled, write_labels


def measured(task: object, encoder: HashingEncoder | None = None, resamples: int = 0) -> TaskScore:
    (score,) = suites.evaluate_suite(encoder or HashingEncoder(), Suite(tasks=(task,)), resamples=resamples).tasks
    return score


# Transfer -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transfer")
    write_labels(folder / "train.tsv", labelled(60, 1))
    write_labels(folder / "test.tsv", labelled(45, 2))
    return folder


def task(folder: Path, **more: object) -> TransferTask:
    return TransferTask(name="t", files=(str(folder / "test.tsv"),), folds=3, strengths=(0.01, 4.0), **more)


def test_every_text_is_judged_by_what_other_folds_teach(files: Path) -> None:
    """Against plain loops: outer folds, inner folds for the strength, a fit on all that may be learnt from."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold

    score = measured(task(files), HashingEncoder(dim=32))
    rows = HashingEncoder(dim=32).encode([text for text, _ in labelled(45, 2)])
    gold = np.array([sorted(TOPICS).index(label) for _, label in labelled(45, 2)])

    def folds() -> StratifiedKFold:
        return StratifiedKFold(3, shuffle=True, random_state=1111)

    right, chosen = np.zeros(45, bool), []
    for learnt, judged in folds().split(rows, gold):
        x, y = rows[learnt], gold[learnt]
        means = []
        for strength in (0.01, 4.0):
            model = LogisticRegression(C=strength, max_iter=1000)
            means.append(np.mean([model.fit(x[a], y[a]).score(x[b], y[b]) for a, b in folds().split(x, y)]))
        chosen.append((0.01, 4.0)[int(np.argmax(means))])
        model = LogisticRegression(C=chosen[-1], max_iter=1000).fit(x, y)
        right[judged] = model.predict(rows[judged]) == gold[judged]
    assert score.details["folds"]["strengths"] == chosen and set(chosen) == {4.0}
    assert score.units["accuracy"].tolist() == right.tolist()
    assert score.metrics["accuracy"] == pytest.approx(100 * right.mean())
    assert np.mean(score.details["folds"]["accuracies"]) == pytest.approx(score.metrics["accuracy"], abs=0.5)
    assert score.details["texts"] == 45


def test_training_files_are_learnt_from_whole(files: Path) -> None:
    score = measured(task(files, train=(str(files / "train.tsv"),)), resamples=50)
    assert score.details["texts"] == 105 and len(score.details["folds"]["strengths"]) == 1
    assert score.metrics["accuracy"] > 60
    assert score.interval is not None and score.interval.low < score.metrics["accuracy"] < score.interval.high


def test_folds_need_texts_of_every_class(files: Path) -> None:
    with pytest.raises(DataError, match="class 'fruit' has 15 texts, 10 folds need 20") as caught:
        transfer.read(task(files).model_copy(update={"folds": 10}))
    assert caught.value.cure == "folds: 7, or add texts of the class" and "test.tsv" in caught.value.where
    transfer.read(task(files).model_copy(update={"folds": 7}))


@pytest.mark.parametrize("strengths", [(), (0.0, 1.0), (1.0, 1.0), (-1.0,)])
def test_strengths_are_different_and_positive(files: Path, strengths: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="strengths"):
        TransferTask(name="t", files=("a",), strengths=strengths)


# Labels by their texts ----------------------------------------------------------------------------------------


class Topical(HashingEncoder):
    """Counts the words of each topic; the label `fruit_things` says so by its own words."""

    def encode(self, texts: list[str], *, role: str = "query", **options: object) -> np.ndarray:  # type: ignore[override]
        self.calls.append((role, None, list(texts)))
        words = {**TOPICS, "music": [*TOPICS["music"], "music"], "fruit": [*TOPICS["fruit"], "fruit"]}
        words["tools"] = [*TOPICS["tools"], "tools"]
        rows = [[sum(w in text.split() for w in own) for own in words.values()] for text in texts]
        return np.array(rows, np.float32) + np.float32(0.01)


def prompts(folder: Path, **more: object) -> LabelPromptTask:
    return LabelPromptTask(name="t", files=(str(folder / "test.tsv"),), **more)


def test_the_nearest_label_is_taken(files: Path) -> None:
    encoder = Topical()
    score = measured(prompts(files), encoder, resamples=50)
    counts = encoder.encode([text for text, _ in labelled(45, 2)])
    gold = np.array([sorted(TOPICS).index(label) for _, label in labelled(45, 2)])
    right = counts[:, [0, 2, 1]].argmax(axis=1) == gold  # of equal ones the first by name
    assert score.metrics["accuracy"] == pytest.approx(100 * right.mean()) and 80 < score.metrics["accuracy"] < 100
    assert score.metrics["accuracy_worst"] == score.metrics["accuracy"]
    assert score.units["accuracy"].shape == (45,)
    assert [(role, sorted(texts)) for role, _, texts in encoder.calls if role == "document"] == [
        ("document", ["fruit", "music", "tools"])
    ]


def test_templates_are_averaged_and_the_worst_is_told(files: Path) -> None:
    score = measured(prompts(files, templates=("{}", "{}s")), Topical(), resamples=50)
    each = score.details["templates"]
    assert list(each) == ["{}", "{}s"] and each["{}"] > each["{}s"]
    assert score.metrics["accuracy"] == pytest.approx(np.mean(list(each.values())))
    assert score.metrics["accuracy_worst"] == each["{}s"]
    assert score.units["accuracy"].shape == (45, 2)


def test_labels_may_say_what_they_mean(files: Path, tmp_path: Path) -> None:
    rows = [(text, str(list(TOPICS).index(label))) for text, label in labelled(45, 2)]
    write_labels(tmp_path / "test.tsv", rows)
    said = {"0": "fruit", "2": "music", "1": "tools"}
    (tmp_path / "s.yaml").write_text(
        f"name: s\ntasks:\n  - {{type: label_prompts, name: t, files: [test.tsv], labels: {said}}}\n",
        encoding="utf-8",
    )
    suite = suites.load_suite(str(tmp_path / "s.yaml"))
    (score,) = suites.evaluate_suite(Topical(), suite, resamples=0).tasks
    assert score.metrics["accuracy"] == measured(prompts(files), Topical()).metrics["accuracy"]
    assert score.details["classes"] == 3


def test_a_label_that_no_text_has_can_be_taken(files: Path) -> None:
    said = {"fruit": "fruit", "tools": "tools", "music": "music", "mixed": "fruit music tools"}
    score = measured(prompts(files, labels=said), Topical())
    assert score.details["classes"] == 4
    assert score.metrics["accuracy"] < measured(prompts(files), Topical()).metrics["accuracy"]


def test_other_prompts_are_other_data(files: Path) -> None:
    plain, other = (label_prompts.read(prompts(files, templates=(t,))).digest for t in ("{}", "about {}"))
    assert plain != other


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"fruit": "a", "tools": "b"}, "says nothing of: music"),
        ({"fruit": "a", "tools": "b", "musik": "c"}, "says nothing of: music"),
    ],
)
def test_labels_without_a_text(files: Path, labels: dict[str, str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        label_prompts.read(prompts(files, labels=labels))


def test_labels_that_read_alike(tmp_path: Path) -> None:
    write_labels(tmp_path / "test.tsv", [("a", "lost_card"), ("b", "lost card"), ("c", "other")])
    with pytest.raises(DataError, match="have one text, 'lost card'"):
        label_prompts.read(prompts(tmp_path))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"templates": ("about",)}, "0 places"),
        ({"templates": ("{} {}",)}, "2 places"),
        ({"templates": ("a {}", "a  {}")}, "given twice"),
        ({"labels": {"a": "x", "b": "x "}}, "two labels have the text 'x'"),
        ({"labels": {"a": "x"}}, "has 1 of them"),
        ({"labels": {"a": " ", "b": "x"}}, "empty text"),
    ],
)
def test_prompts_that_are_refused(more: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        LabelPromptTask(name="t", files=("a",), **more)
