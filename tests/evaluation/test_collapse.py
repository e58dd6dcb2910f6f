"""What classes keep of their subclasses: the split of the variance, in a suite and on the screen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from embedkit.errors import DataError
from embedkit.evaluation import suite as suites
from embedkit.evaluation.collapse import check_nested, class_collapse
from embedkit.recipe.kinds import ClusteringTask
from embedkit.recipe.suite import Suite
from tests.evaluation.hashing import HashingEncoder

LABELS, FINE = np.array([0, 0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 2, 2, 3])
ROWS = np.random.default_rng(0).standard_normal((7, 4))


def squares(rows: np.ndarray) -> float:
    return float(((rows - rows.mean(0)) ** 2).sum())


def test_it_is_the_loop() -> None:
    within = sum(squares(ROWS[c == LABELS]) for c in range(2))
    inner = sum(squares(ROWS[c == FINE]) for c in range(4))
    found = class_collapse(ROWS, LABELS, FINE)
    assert found.within_class_share == pytest.approx(within / squares(ROWS))
    assert found.subclass_share_of_within == pytest.approx((within - inner) / within)
    assert found.within_over_between == pytest.approx(within / (squares(ROWS) - within))
    assert found.lone == 0


def test_the_ends_are_known() -> None:
    classes = np.eye(2)[LABELS]
    assert class_collapse(classes, LABELS, FINE).within_class_share == pytest.approx(0)
    assert class_collapse(classes, LABELS, FINE).subclass_share_of_within is None
    assert class_collapse(np.eye(4)[FINE], LABELS, FINE).subclass_share_of_within == pytest.approx(1)
    swapped = class_collapse(np.eye(2)[[0, 1, 0, 1, 0, 1, 1]], LABELS, FINE)
    assert swapped.subclass_share_of_within is not None and swapped.subclass_share_of_within < 0.2
    assert class_collapse(np.ones((7, 2)), LABELS, FINE).within_over_between is None
    assert class_collapse(ROWS, LABELS, np.array([0, 0, 1, 1, 2, 2, 2])).lone == 1


def write(path: Path, fine: list[str]) -> ClusteringTask:
    labels = ["pets", "pets", "pets", "food", "food", "food"]
    texts = ["my cat sleeps", "a cat eats", "the dog barks", "bread and butter", "fresh bread", "a cup of tea"]
    rows = ["text\tlabel\tfine", *("\t".join(row) for row in zip(texts, labels, fine, strict=True))]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return ClusteringTask(name="Topics", files=(str(path),), subclass="fine")


def test_a_suite_measures_and_shows_it(tmp_path: Path) -> None:
    task = write(tmp_path / "t.tsv", ["cat", "cat", "dog", "bread", "bread", "tea"])
    scores = suites.evaluate_suite(HashingEncoder(), Suite(tasks=(task,)), resamples=0)
    found = scores.tasks[0].details["class_collapse"]
    assert 0 < found["subclass_share_of_within"] < 1 and found["lone"] == 0
    console = Console(width=160, color_system=None)
    with console.capture() as captured:
        console.print(suites.table(scores))
    text = captured.get()
    assert "Class collapse" in text and f"{found['subclass_share_of_within']:.3f}" in text
    plain = suites.evaluate_suite(
        HashingEncoder(), Suite(tasks=(task.model_copy(update={"subclass": None}),)), resamples=0
    )
    assert "class_collapse" not in plain.tasks[0].details and plain.tasks[0].metrics == scores.tasks[0].metrics


@pytest.mark.parametrize(
    ("fine", "words"),
    [
        (["cat", "cat", "dog", "bread", "dog", "tea"], "subclass 'dog' has texts of the classes 'pets' and 'food'"),
        (["pets", "pets", "pets", "x", "x", "x"], "every class has one subclass"),
    ],
)
def test_subclasses_lie_inside_classes(tmp_path: Path, fine: list[str], words: str) -> None:
    task = write(tmp_path / "t.tsv", fine)
    with pytest.raises(DataError, match=words):
        suites.evaluate_suite(HashingEncoder(), Suite(tasks=(task,)), resamples=0)
    with pytest.raises(DataError):
        check_nested(["a", "b"], ["x", "x"], "t.tsv")
