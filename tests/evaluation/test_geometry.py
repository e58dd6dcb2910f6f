"""Alignment, uniformity and ranks against loops and closed forms; in the STS evaluation and on the command line."""

from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from embedkit.errors import DataError, RecipeError
from embedkit.evaluation import geometry as shape
from embedkit.evaluation.suite import evaluate_suite, load_suite, table, write_scores
from embedkit.recipe.reading.settle import settle
from embedkit.recipe.suite import RetrievalTask, StsTask, Suite
from tests.evaluation.hashing import HashingEncoder


def draw(n: int, d: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + 0.5).astype(np.float32)


def unit(x: np.ndarray) -> np.ndarray:
    rows = x.astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_alignment_is_the_loop() -> None:
    a, b = draw(7, 5), draw(7, 5, seed=1)
    want = np.mean([((u - v) ** 2).sum() for u, v in zip(unit(a), unit(b), strict=True)])
    assert shape.alignment(a, b) == pytest.approx(want, rel=1e-6)
    assert shape.alignment(a, 3 * a) == pytest.approx(0, abs=1e-12)
    assert shape.alignment(a, -a) == pytest.approx(4, rel=1e-6)


@pytest.mark.parametrize(("n", "block"), [(9, 2048), (9, 4), (9, 1), (8, 4)])
def test_uniformity_is_that_of_the_paper_in_any_block_size(n: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """``torch.pdist(x).pow(2).mul(-2).exp().mean().log()``, as Wang and Isola give it."""
    monkeypatch.setattr(shape, "BLOCK", block)
    x = draw(n, 6)
    want = float(torch.pdist(torch.from_numpy(unit(x))).pow(2).mul(-2).exp().mean().log())
    assert shape.uniformity(x) == pytest.approx(want, rel=1e-6)


def test_uniformity_of_known_sets() -> None:
    assert shape.uniformity(np.tile(draw(1, 4), (6, 1))) == pytest.approx(0, abs=1e-6)
    assert shape.uniformity(np.eye(5)) == pytest.approx(-4)  # all squared distances are 2
    assert shape.uniformity(np.array([[1.0, 0], [-1, 0]])) == pytest.approx(-8)
    assert shape.uniformity(np.array([[0.0, 0], [2, 0]])) == pytest.approx(-2)  # a zero row stays zero


def test_uniformity_of_many_rows_on_a_sphere() -> None:
    """20,000 rows against 300 of them: the same distribution, and no n x n matrix (1.6 GB) in memory."""
    x = np.random.default_rng(0).standard_normal((20_000, 8)).astype(np.float32)
    assert shape.uniformity(x) == pytest.approx(shape.uniformity(x[:300]), abs=0.03)


def test_rows_in_double_precision_are_measured_in_it() -> None:
    x = np.random.default_rng(5).standard_normal((30, 4))
    u = x / np.linalg.norm(x, axis=1, keepdims=True)
    want = math.log(np.mean([math.exp(-2 * ((a - b) ** 2).sum()) for a, b in combinations(u, 2)]))
    assert shape.uniformity(x) == pytest.approx(want, rel=1e-12)
    assert shape.uniformity(x.astype(np.float32)) == pytest.approx(want, rel=1e-5)


def test_mean_cosine_is_the_loop() -> None:
    x = draw(8, 5)
    assert shape.mean_cosine(x) == pytest.approx(np.mean([u @ v for u, v in combinations(unit(x), 2)]), rel=1e-5)


def test_spectrum_is_that_of_the_singular_values() -> None:
    x = draw(40, 6)
    for centred in (True, False):
        rows = unit(x) - (unit(x).mean(axis=0) if centred else 0)
        squares = np.linalg.svd(rows, compute_uv=False) ** 2
        assert shape.spectrum(x, centred=centred) == pytest.approx(squares / squares.sum(), abs=1e-6)


@pytest.mark.parametrize(("n", "d"), [(40, 6), (6, 40), (20, 20)])
def test_singular_values_keep_their_digits(n: int, d: int) -> None:
    """Also where most are zero: of rank 3, by the product of eigenvalues they would be about 1e-8."""
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, 3)) @ rng.standard_normal((3, d))
    values = shape.singular_values(x, centred=False, normalised=False)
    assert values == pytest.approx(np.linalg.svd(x, compute_uv=False), rel=1e-12, abs=1e-12)
    assert len(values) == min(n, d) and values[3:].max() < 1e-12 * values[0]
    assert shape.spectrum(x, centred=False).sum() == pytest.approx(1)


def test_ranks_of_known_spectra() -> None:
    two = np.array([0.9, 0.1, 0])  # singular values 3 : 1
    want = math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))
    assert shape.singular_rank(two) == pytest.approx(want, rel=1e-12)
    assert shape.singular_rank(two) > shape.entropy_rank(two)
    assert shape.singular_rank(np.zeros(3)) == 0
    assert shape.rankme(two, rescaled=True) == pytest.approx(shape.rankme(two), rel=1e-5)
    assert shape.rankme(two, rescaled=True) != shape.rankme(two)
    assert shape.entropy_rank(np.full(7, 1 / 7)) == pytest.approx(7)
    assert shape.entropy_rank(np.array([1.0, 0, 0])) == pytest.approx(1)
    assert shape.entropy_rank(np.array([0.5, 0.5, 0])) == pytest.approx(2)
    assert shape.entropy_rank(np.array([0.5, 0.25, 0.25])) == pytest.approx(math.exp(1.5 * math.log(2)))
    assert [shape.energy_rank(np.array([0.6, 0.3, 0.1]), s) for s in (0.5, 0.6, 0.61, 0.9, 1.0)] == [1, 1, 2, 2, 3]
    assert shape.energy_rank(np.zeros(3)) == 0 and shape.entropy_rank(np.zeros(3)) == 0


def test_the_raw_rank_sees_a_common_direction_and_the_centred_one_does_not() -> None:
    x = np.random.default_rng(0).standard_normal((400, 10)) + 30 * np.eye(10)[0]
    nothing = np.array([], np.int64)
    found = shape.measure(x, nothing, nothing)
    assert found.effective_rank_raw < 1.5 and found.effective_rank > 8 and found.mean_cosine > 0.9
    assert found.alignment is None and (found.positives, found.texts, found.dim) == (0, 400, 10)


def test_scale_does_not_matter() -> None:
    x = draw(30, 5)
    pair = np.array([0, 1]), np.array([2, 3])
    first, second = shape.measure(x, *pair), shape.measure(100 * x, *pair)
    for name in ("alignment", "uniformity", "mean_cosine", "effective_rank", "effective_rank_raw"):
        assert getattr(first, name) == pytest.approx(getattr(second, name), rel=1e-5), name


def test_pairs_from_four_of_five_on_are_positive() -> None:
    assert shape.positives(np.array([0.0, 3.9, 4.0, 5.0])).tolist() == [2, 3]
    assert shape.positives(np.array([0.0, 0.79, 0.8, 1.0])).tolist() == [2, 3]
    assert shape.positives(np.array([-1.0, 0.0])).tolist() == []


def test_a_model_is_measured_on_pairs() -> None:
    pairs = [("a man sings", "a man is singing"), ("a man sings", "a cat")]
    encoder = HashingEncoder()
    found = shape.geometry(encoder, pairs, texts=["rain", "a cat"])
    rows = encoder.encode(["a man sings", "a man is singing", "a cat", "rain"])
    assert found == shape.measure(rows, np.array([0, 0]), np.array([1, 2]))
    assert found.texts == 4
    with pytest.raises(DataError, match="1 distinct texts have no geometry"):
        shape.geometry(encoder, [("a", "a")])


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    rows = ["a b\ta b c\t5", "a b\td e\t0", "f g\tf\t4", "h\ti\t1.5"]
    (tmp_path / "a.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *rows]) + "\n")
    return load_suite(settle(Suite(name="s", tasks=(StsTask(name="A", files=("a.tsv",)),)), tmp_path))


def test_sts_uses_positives_for_alignment_and_all_sentences_for_the_rest(suite: Suite, tmp_path: Path) -> None:
    encoder = HashingEncoder()
    scores = evaluate_suite(encoder, suite, resamples=0, geometry=True)
    found = scores.tasks[0].details["geometry"]
    texts = ["a b", "f g", "h", "a b c", "d e", "f", "i"]
    rows = encoder.encode(texts)
    assert found["texts"] == 7 and found["positives"] == 2
    assert found["alignment"] == pytest.approx(shape.alignment(rows[[0, 1]], rows[[3, 5]]))
    assert found["uniformity"] == pytest.approx(shape.uniformity(rows))
    written = json.loads(write_scores(scores, tmp_path / "out").read_text())
    assert written["tasks"][0]["details"]["geometry"] == found
    console = Console(width=200)
    with console.capture() as shown:
        console.print(table(scores))
    assert "uniformity" in shown.get() and f"{found['uniformity']:.3f}" in shown.get()


def test_without_the_option_nothing_is_measured(suite: Suite) -> None:
    scores = evaluate_suite(HashingEncoder(), suite, resamples=0)
    assert "geometry" not in scores.tasks[0].details
    console = Console(width=200)
    with console.capture() as shown:
        console.print(table(scores))
    assert "uniformity" not in shown.get()


def test_a_suite_without_sts_is_refused() -> None:
    suite = Suite(name="r", tasks=(RetrievalTask(name="R", folder="nowhere"),))
    with pytest.raises(RecipeError, match="has no STS task"):
        evaluate_suite(HashingEncoder(), suite, geometry=True)


def test_effective_rank_is_exp_of_the_authors_von_neumann_entropy() -> None:
    """Golden vne_0 (tests/golden/sentence.json), from the repository of arXiv 2304.01434."""
    x = np.random.default_rng(2100).standard_normal((8, 16)) + 0.5
    assert np.linalg.norm(x) == pytest.approx(12.568486019060778, rel=1e-12)
    assert shape.entropy_rank(shape.spectrum(x, centred=False)) == pytest.approx(5.5854930039586295, rel=1e-6)


def test_rankme_is_the_entropy_of_the_singular_values() -> None:
    x = draw(40, 6)
    sizes = np.linalg.svd(unit(x), compute_uv=False)
    shares = sizes / sizes.sum() + 1e-7
    want = math.exp(-(shares * np.log(shares)).sum())
    assert shape.rankme(shape.spectrum(x, centred=False)) == pytest.approx(want, rel=1e-6)
    assert shape.rankme(np.full(7, 1 / 7)) == pytest.approx(7, rel=1e-5)
    assert shape.rankme(np.array([1.0, 0, 0])) == pytest.approx(1, rel=1e-5)
    two_directions = np.array([0.9, 0.1])  # singular values 3 : 1
    assert shape.rankme(two_directions) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)), 1e-5)


def test_tolerance_is_the_mean_cosine_within_what_pairs_connect() -> None:
    x = draw(7, 5)
    first, second = np.array([0, 1, 4]), np.array([1, 2, 5])  # classes 012, 45, and 3 and 6 alone
    u = unit(x)
    want = np.mean([u[0] @ u[1], u[0] @ u[2], u[1] @ u[2], u[4] @ u[5]])
    assert shape.tolerance(x, first, second) == pytest.approx(want, rel=1e-6)
    alike = sum([u[0] @ u[1], u[0] @ u[2], u[1] @ u[2], u[4] @ u[5]])
    assert shape.tolerance(x, first, second, over="different") == pytest.approx(2 * alike / 42)
    assert shape.tolerance(x, first, second, over="all") == pytest.approx((2 * alike + 7) / 49)
    apart = np.array([0, 2]), np.array([1, 3])
    assert shape.tolerance(x, *apart) == pytest.approx(1 - shape.alignment(x[apart[0]], x[apart[1]]) / 2, rel=1e-6)


@pytest.mark.parametrize("block", [2048, 8])
def test_hubness_is_the_skewness_of_the_k_occurrences(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy.stats import skew

    monkeypatch.setattr(shape, "BLOCK", block)
    x = draw(30, 5)
    cosines = unit(x) @ unit(x).T
    np.fill_diagonal(cosines, -2)
    counts = np.bincount(np.argsort(-cosines, axis=1)[:, :4].ravel(), minlength=30)
    assert shape.hubness(x, 4) == pytest.approx(skew(counts), rel=1e-9)
    hub = np.eye(6)[0] + np.diag([0, 1.2, 1.3, 1.4, 1.5, 1.6])
    assert shape.hubness(hub, 1) > 1  # the middle one is nearest to most
    assert shape.hubness(np.eye(2)) == 0


def test_an_embedding_of_many_texts_is_measured_over_the_rows_it_is_told() -> None:
    x = draw(30, 5)
    pair = np.array([0, 1]), np.array([2, 3])
    found, whole = shape.measure(x, *pair, over=x[10:]), shape.measure(x, *pair)
    assert (found.alignment, found.tolerance) == (whole.alignment, whole.tolerance)
    assert found.texts == 20 and found.uniformity == pytest.approx(shape.uniformity(x[10:]), abs=1e-6)
    assert found.rankme != whole.rankme
