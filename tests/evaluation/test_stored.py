"""Embeddings in fewer bytes: what is stored, what is read again, how a binary search orders, what is told of it."""

from __future__ import annotations

import numpy as np
import pytest
from sentence_transformers.util.quantization import quantize_embeddings, semantic_search_faiss

from embedkit.errors import RecipeError
from embedkit.evaluation import similarity, stored_table
from embedkit.evaluation import suite as suites
from embedkit.evaluation.stored import FACTOR, Form, Stored, forms, signs
from embedkit.evaluation.stored_table import Lost
from embedkit.recipe.suite import Suite
from embedkit.types import Scores
from embedkit.vectors.view import unit
from tests.evaluation.hashing import HashingEncoder


def drawn(count: int, dim: int, seed: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32))


def as_stored(form: str, *, asks: bool = False, compared: str = "cosine") -> Stored:
    (found,) = forms(form)
    return Stored(found, compared, asks)


def test_bytes() -> None:
    found = {form.name: form.bytes(384) for form in forms("int8, binary,truncate=128,truncate=100+binary,int8")}
    assert found == {"int8": 384, "binary": 48, "truncate=128": 512, "truncate=100+binary": 13}
    assert Form("x").bytes(384) == 1536


@pytest.mark.parametrize("asked", ["int4", "", "int8,,binary", "truncate", "truncate=0", "truncate=-1", "int8+binary"])
def test_other_forms_are_refused(asked: str) -> None:
    with pytest.raises(RecipeError, match="not stored as"):
        forms(asked)


def test_int8_is_read_within_half_a_step() -> None:
    rows = drawn(500, 24, 0)
    rows[:, 3] = 0.25  # a dimension that says nothing
    store = as_stored("int8", compared="dot")
    read = store.read(rows, "query")
    step = (rows.max(axis=0) - rows.min(axis=0)) / 255
    assert np.all(np.abs(read - rows) <= step * 0.501 + 1e-7)
    assert np.array_equal(read[:, 3], rows[:, 3])
    assert store.details() == {"form": "int8", "width": 24, "bytes": 24, "calibrated": 500}
    ranges = np.stack([rows.min(axis=0), rows.max(axis=0)])
    codes = quantize_embeddings(rows, "int8", ranges=ranges).astype(int)
    assert np.allclose(read[:, :3], (ranges[0] + (codes + 128.5) * step)[:, :3], atol=1e-6)
    far = store.read(rows * 10, "query")  # by the ranges of the first texts
    assert np.all(far <= ranges[1] + step) and np.all(far >= ranges[0])


def test_binary_is_the_sign() -> None:
    rows = drawn(30, 20, 1)
    read = as_stored("binary").read(rows, "query")
    assert np.array_equal(read, np.where(rows > 0, 1.0, -1.0))
    hamming = (read[0] != read[1]).sum()
    assert unit(read)[0] @ unit(read)[1] == pytest.approx(1 - 2 * hamming / 20)


def test_queries_are_cut_and_not_stored() -> None:
    rows = drawn(9, 16, 2)
    for name in ("truncate=5", "truncate=5+int8", "truncate=5+binary"):
        assert np.allclose(as_stored(name, asks=True).read(rows, "query"), unit(rows[:, :5]), atol=1e-7), name
        assert as_stored(name, asks=True).read(rows, "document").shape == (9, 5)
    with pytest.raises(RecipeError, match="have no first 17"):
        as_stored("truncate=17").read(rows, "query")


def test_a_binary_search_is_that_of_sentence_transformers() -> None:
    """Candidates by Hamming distance, put in order by the float query; the others follow by Hamming distance."""
    queries, texts = drawn(6, 64, 3), drawn(300, 64, 4)
    store = as_stored("binary", asks=True)
    asked = similarity.prepared("cosine", store.read(queries, "query"))
    kept = similarity.prepared("cosine", store.read(texts, "document"))
    scores = store.search(similarity.between("cosine"), 10)(asked, kept)
    codes = quantize_embeddings(texts, "ubinary")
    hits = semantic_search_faiss(
        queries, corpus_embeddings=codes, corpus_precision="ubinary", top_k=10, rescore_multiplier=FACTOR
    )[0]
    order = np.argsort(-scores, axis=1, kind="stable")
    assert [[hit["corpus_id"] for hit in found] for found in hits] == order[:, :10].tolist()
    hamming = (signs(queries)[:, None] != signs(texts)[None]).sum(axis=-1)
    for row, places in enumerate(order):
        first, rest = places[: 10 * FACTOR], places[10 * FACTOR :]
        assert hamming[row, first].max() <= hamming[row, rest].min()
        assert np.all(np.diff(hamming[row, rest]) >= 0)
        exact = queries[row] @ kept.T
        assert np.all(np.diff(exact[first]) <= 0)
    assert store.details()["candidates"] == 40


# A suite ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mini() -> Suite:
    return suites.load_suite("mini")


@pytest.fixture(scope="module")
def whole(mini: Suite) -> Scores:
    return suites.evaluate_suite(HashingEncoder(), mini, resamples=50, model_name="hashing")


def lost(mini: Suite, whole: Scores, name: str) -> Lost:
    (form,) = forms(name)
    found = suites.evaluate_suite(HashingEncoder(), mini, resamples=50, stored=form)
    return Lost(found, suites.compare(whole, found, resamples=50))


def test_all_numbers_lose_nothing(mini: Suite, whole: Scores) -> None:
    found = lost(mini, whole, "truncate=256")
    for own, before in zip(found.scores.tasks, whole.tasks, strict=True):
        assert own.metrics == pytest.approx(before.metrics, abs=1e-4)
    assert all(abs(one.difference.value) < 1e-9 for one in found.comparison)


def test_fewer_bytes(mini: Suite, whole: Scores) -> None:
    """Truncated scores are those of the first numbers alone; of few numbers, few bits lose more than eight each."""

    class First(HashingEncoder):
        def encode(self, *args: object, **options: object) -> np.ndarray:
            return super().encode(*args, **options)[:, :16]  # type: ignore[arg-type]

    want = suites.evaluate_suite(First(), mini, resamples=0)
    found = {name: lost(mini, whole, name) for name in ("truncate=16", "truncate=16+int8", "truncate=16+binary")}
    for own, first in zip(found["truncate=16"].scores.tasks, want.tasks, strict=True):
        assert own.metrics == pytest.approx(first.metrics, abs=1e-4)
    averages = {name: one.scores.average for name, one in found.items()}
    assert abs(averages["truncate=16+int8"] - averages["truncate=16"]) < 2
    assert averages["truncate=16+binary"] < averages["truncate=16"] < whole.average
    sts, retrieval = found["truncate=16+int8"].scores.tasks
    assert sts.details["stored"]["bytes"] == retrieval.details["stored"]["bytes"] == 16
    assert retrieval.details["stored"]["calibrated"] == len(set(_corpus(mini)))
    text = str(stored_table.table(list(found.values())))
    assert "float32" in text and "1,024" in text and "truncate=16+int8" in text and "candidates by Hamming" in text
    plain = found["truncate=16+binary"].plain()
    assert plain["bytes"] == 2 and set(plain["tasks"]) == {t.task for t in whole.tasks}
    assert plain["tasks"][retrieval.task]["candidates"] == 40


def _corpus(mini: Suite) -> list[str]:
    data = suites.load_data(mini)[1]
    return list(data.corpus.values())  # type: ignore[union-attr]
