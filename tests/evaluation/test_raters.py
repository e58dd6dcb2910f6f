"""Graded labels of several raters."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from embedkit.cli import app
from embedkit.errors import DataError, RecipeError
from embedkit.evaluation import rasch
from embedkit.evaluation.rasch import Ratings, estimate, misfit, moments, probabilities
from embedkit.evaluation.raters import corrected, read


def drawn(texts: int, severity: list[float], seed: int = 0, per_text: int = 3) -> tuple[Ratings, np.ndarray]:
    """Grades 0..3 as the model has them, each text by some of the raters."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(0, 1.5, texts)
    text = np.repeat(np.arange(texts), per_text)
    rater = np.concatenate([rng.permutation(len(severity))[:per_text] for _ in range(texts)])
    chances = probabilities(levels[text] - np.array(severity)[rater], np.array([-1.0, 0.2, 0.8]))
    rating = (chances.cumsum(axis=1) < rng.random((len(text), 1))).sum(axis=1)
    return Ratings(text, np.zeros_like(text), rater, rating), levels


def test_severity_is_found() -> None:
    severity = [1.0, -1.2, 0.2, 0.0]
    ratings, levels = drawn(400, severity)
    found = estimate(ratings)
    assert found.rater == pytest.approx(severity, abs=0.25) and found.rater.mean() == pytest.approx(0, abs=1e-9)
    assert found.steps == pytest.approx([-1.0, 0.2, 0.8], abs=0.35)
    plain = np.bincount(ratings.text, ratings.rating)
    assert np.corrcoef(found.text, levels)[0, 1] > np.corrcoef(plain, levels)[0, 1] + 0.01
    infit, outfit = misfit(ratings, *moments(probabilities(found.levels(ratings), found.steps)))
    assert (np.abs(infit - 1) < 0.35).all() and (np.abs(outfit - 1) < 0.5).all()


def test_the_estimate_is_where_the_gradient_is_zero() -> None:
    """Of the log-posterior by differences, in directions that keep the means at zero."""
    ratings, _ = drawn(8, [0.5, -0.5, 0.0], seed=3)
    found = estimate(ratings, spread=2.0)

    def posterior(text: np.ndarray, rater: np.ndarray, steps: np.ndarray) -> float:
        chances = probabilities(text[ratings.text] - rater[ratings.rater], steps)
        total = np.log(chances[np.arange(len(chances)), ratings.rating]).sum()
        return float(total - (text @ text + rater @ rater) / 8)

    here = [found.text, found.rater, found.steps]
    for which, size in ((0, 8), (1, 3), (2, 3)):
        for k in range(size):
            step = np.eye(size)[k] - (1 / size if which else 0)
            up, down = (
                posterior(*[v + s * 1e-4 * step if i == which else v for i, v in enumerate(here)]) for s in (1, -1)
            )
            assert (up - down) / 2e-4 == pytest.approx(0, abs=1e-3)


def test_a_rater_who_answers_at_random_is_erratic() -> None:
    ratings, _ = drawn(300, [0.3, -0.3, 0.0, 0.0], per_text=4)
    random = np.random.default_rng(1).integers(0, 4, len(ratings.rating))
    noisy = Ratings(ratings.text, ratings.item, ratings.rater, np.where(ratings.rater == 3, random, ratings.rating))
    found = estimate(noisy)
    infit, _ = misfit(noisy, *moments(probabilities(found.levels(noisy), found.steps)))
    assert infit[3] > 1.5 > infit[:3].max()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    ratings, _ = drawn(60, [1.0, -1.0, 0.0], per_text=2)
    lines = ["sentence1\tsentence2\trater\trating"]
    lines += [
        f"a {t}\tb {t}\tr{r}\t{x + 1}" for t, r, x in zip(ratings.text, ratings.rater, ratings.rating, strict=True)
    ]
    path = tmp_path / "grades.tsv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_table_becomes_scores(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.jsonl"
    told = CliRunner().invoke(
        app,
        ["raters", "--ratings", str(table), "--text", "sentence1", "--text", "sentence2", "--out", str(out)],
        catch_exceptions=False,
    )
    assert told.exit_code == 0 and "60 rows" in told.output and "r0" in told.output
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == 60 and all(1 <= row["score"] <= 4 and row["ratings"] == 2 for row in rows)
    assert np.mean([row["weight"] for row in rows]) == pytest.approx(1, abs=1e-5)
    report = json.loads((tmp_path / "scores.json").read_text())
    severity = {row["rater"]: row["severity"] for row in report["raters"]}
    assert severity["r0"] > severity["r2"] > severity["r1"]
    assert report["apart"]["corrected"] < report["apart"]["given"]


def test_extreme_grades_are_bounded_and_told(tmp_path: Path) -> None:
    path = write(tmp_path, [("a", "x", 1), ("a", "y", 1), ("b", "x", 2), ("b", "y", 3), ("c", "x", 3), ("c", "y", 3)])
    found = corrected(read(path, ["text"], "rater", "rating", None))
    assert found.extreme == (2, 0) and np.isfinite(found.estimate.text).all()
    assert [row["score"] for row in found.rows(["text"])] == sorted(row["score"] for row in found.rows(["text"]))


def write(folder: Path, rows: list[tuple[str, str, object]]) -> Path:
    path = folder / "g.tsv"
    path.write_text("text\trater\trating\n" + "".join(f"{t}\t{r}\t{x}\n" for t, r, x in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [("a", "x", 1), ("a", "y", 2), ("b", "z", 1), ("b", "w", 2)],
            ["2 groups of raters share no texts", "x, y; z, w"],
        ),
        ([("a", "x", 1), ("a", "y", 3)], ["no grade is 2", "between 1 and 3"]),
        ([("a", "x", 1), ("a", "y", 1)], ["all grades are 1"]),
        ([("a", "x", 1), ("a", "y", 1.5)], ["expected a whole number", "g.tsv:3"]),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, rows: list[tuple[str, str, object]], words: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        read(write(tmp_path, rows), ["text"], "rater", "rating", None)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_one_rater_has_no_severity(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="of one rater, 'x'"):
        read(write(tmp_path, [("a", "x", 1), ("b", "x", 2)]), ["text"], "rater", "rating", None)


def test_items_that_one_rater_alone_was_asked_are_refused(tmp_path: Path) -> None:
    """Severity and difficulty would be one number, though all texts connect them."""
    path = tmp_path / "i.tsv"
    rows = [(t, i, r, x) for t, x in (("a", 1), ("b", 2)) for i, r in (("q1", "x"), ("q2", "y"))]
    path.write_text(
        "text\titem\trater\trating\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows), encoding="utf-8"
    )
    with pytest.raises(DataError, match="groups of raters share no items"):
        read(path, ["text"], "rater", "rating", "item")


def test_categories_are_those_of_the_formula() -> None:
    """log(P_k / P_k-1) = level - step_k."""
    levels, steps = np.array([0.3, -2.0]), np.array([-0.5, 0.1, 0.4])
    chances = probabilities(levels, steps)
    assert chances.sum(axis=1) == pytest.approx(1)
    assert np.log(chances[:, 1:] / chances[:, :-1]) == pytest.approx(levels[:, None] - steps)
    assert rasch.moments(chances)[0] == pytest.approx([sum(k * p for k, p in enumerate(row)) for row in chances])
