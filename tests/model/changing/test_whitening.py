"""Whitening: streaming moments, the algebra of PCA and ZCA, errors, and the exported module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embedkit.errors import DataError, RecipeError
from embedkit.model.changing.whitening import Moments, Whitening, fit, whiten
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from tests.device import DEVICE
from tests.tiny import sentences, tiny_bert


def rows(n: int = 60, d: int = 6, seed: int = 0, mean: float = 2.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + mean


def moments(x: np.ndarray, *cuts: int) -> Moments:
    found = Moments(x.shape[1])
    for block in np.split(x, cuts):
        found.add(block)
    return found


@pytest.mark.parametrize("cuts", [(), (1,), (1, 2, 3), (20, 20, 50), (0, 60)])
def test_moments_do_not_depend_on_the_blocks(cuts: tuple[int, ...]) -> None:
    x = rows()
    found = moments(x, *cuts)
    assert found.count == len(x)
    np.testing.assert_allclose(found.mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance, np.cov(x, rowvar=False), rtol=1e-10)


def test_a_large_mean_costs_no_digits() -> None:
    """Sums of squares would lose ten digits here."""
    x = rows(mean=0.0)
    np.testing.assert_allclose(moments(x + 1e5, 20, 40).covariance, np.cov(x, rowvar=False), rtol=1e-8)


@pytest.mark.parametrize("kind", ["pca", "zca"])
def test_whitened_rows_have_mean_zero_and_covariance_one(kind: str) -> None:
    x = rows()
    white = fit(moments(x), kind).apply(x)  # type: ignore[arg-type]
    np.testing.assert_allclose(white.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.cov(white, rowvar=False), np.eye(6), atol=1e-10)


def test_pca_keeps_the_directions_of_largest_variance() -> None:
    x = np.random.default_rng(0).standard_normal((500, 4)) * [1, 10, 0.1, 3] + 5
    found = fit(moments(x), dim=2)
    assert np.abs(found.kernel).argmax(axis=0).tolist() == [1, 3]
    assert found.explained == pytest.approx(np.sort(x.var(axis=0))[::-1][:2].sum() / x.var(axis=0).sum(), rel=1e-3)
    assert found.condition == pytest.approx(x[:, 1].var() / x[:, 3].var(), rel=1e-2)
    np.testing.assert_allclose(found.apply(x), fit(moments(x)).apply(x)[:, :2])


def test_zca_is_the_symmetric_root_and_has_the_cosines_of_pca() -> None:
    x = rows()
    pca, zca = fit(moments(x)), fit(moments(x), "zca")
    np.testing.assert_allclose(zca.kernel, zca.kernel.T, atol=1e-12)
    np.testing.assert_allclose(zca.kernel @ zca.kernel @ np.cov(x, rowvar=False), np.eye(6), atol=1e-9)
    a, b = pca.apply(x), zca.apply(x)
    np.testing.assert_allclose(a @ a.T, b @ b.T, atol=1e-9)


@pytest.mark.parametrize("kind", ["pca", "zca"])
def test_directions_without_variance_are_left_out(kind: str) -> None:
    x = np.hstack([rows(), np.ones((60, 1)), 2 * rows()[:, :1]])
    found = fit(moments(x), kind)  # type: ignore[arg-type]
    assert found.directions == 6 and found.dim == (6 if kind == "pca" else 8)
    spread = np.linalg.eigvalsh(np.cov(found.apply(x), rowvar=False))
    np.testing.assert_allclose(spread[-6:], 1, atol=1e-9)
    np.testing.assert_allclose(spread[:-6], 0, atol=1e-9)
    with pytest.raises(DataError, match="7 dimensions asked, and only 6 directions vary over these 60 texts"):
        fit(moments(x), dim=7)
    with pytest.raises(DataError, match="60 texts have one embedding"):
        fit(moments(np.ones((60, 3))))


def test_eps_keeps_flat_directions_small() -> None:
    x = np.hstack([rows(), np.ones((60, 1))])
    found = fit(moments(x), eps=0.01)
    assert found.dim == 7 and np.linalg.norm(found.kernel, axis=0).max() == pytest.approx(10)
    values = found.variances / (found.variances + 0.01)
    np.testing.assert_allclose(np.diag(np.cov(found.apply(x), rowvar=False)), values, atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "dim", "n", "error", "message"),
    [
        ("pca", None, 6, DataError, "6 texts cannot whiten 6 dimensions: they span 5 at most"),
        ("pca", 4, 3, DataError, "3 texts cannot whiten 4 dimensions"),
        ("pca", 7, 60, RecipeError, "7 dimensions asked of embeddings that have 6"),
        ("pca", 0, 60, RecipeError, "0 dimensions asked"),
        ("zca", 5, 60, RecipeError, "ZCA keeps all 6 dimensions"),
    ],
)
def test_what_cannot_be_fitted(kind: str, dim: int | None, n: int, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fit(moments(rows(n)), kind, dim)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base") / "tiny", hidden=16)


def load(tiny: Path, **options: object) -> Encoder:
    return Encoder.load(Model.model_validate({"base": str(tiny), **options}), device=DEVICE)


def blocks(count: int = 90, size: int = 40) -> Iterator[list[str]]:
    texts = sentences(count)
    for start in range(0, count, size):
        yield texts[start : start + size]


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize(("kind", "dim", "size"), [("pca", None, 15), ("pca", 5, 5), ("zca", None, 16)])
def test_the_model_gives_what_the_formula_gives(
    tiny: Path, tmp_path: Path, kind: str, dim: int | None, size: int, normalized: bool
) -> None:
    """Saved and loaded by plain sentence-transformers; a closing Normalize stays last and takes no part in the fit.

    15 of 16 directions vary, because the encoder ends in a LayerNorm.
    """
    from sentence_transformers import SentenceTransformer

    texts = sentences(90)
    before = load(tiny).encode(texts)
    encoder = load(tiny, normalize=normalized)
    seen: list[int] = []
    found = whiten(encoder, blocks(), kind=kind, dim=dim, seen=seen.append)  # type: ignore[arg-type]
    assert seen == [40, 40, 10] and found.count == 90 and found.directions == min(size, 15)
    want = found.apply(before)
    if not normalized:
        spread = np.linalg.eigvalsh(np.cov(want, rowvar=False))
        np.testing.assert_allclose(spread[-found.directions :], 1, atol=1e-4)
    else:
        want /= np.linalg.norm(want, axis=1, keepdims=True)
    encoder.save(tmp_path / "white")
    plain = SentenceTransformer(str(tmp_path / "white"), device=DEVICE)
    names = [type(module).__name__ for module in plain]
    assert names == ["Transformer", "Pooling", "Dense", *(["Normalize"] if normalized else [])]
    got = plain.encode(texts)
    assert got.shape == (90, size) and plain.get_embedding_dimension() == size == encoder.dim
    np.testing.assert_allclose(got, want, atol=1e-3)
    np.testing.assert_allclose(encoder.encode(texts), got, atol=1e-4)


def test_normalize_is_added_when_asked(tiny: Path) -> None:
    encoder = load(tiny)
    whiten(encoder, blocks(), normalize=True)
    assert type(encoder.st[-1]).__name__ == "Normalize"
    np.testing.assert_allclose(np.linalg.norm(encoder.encode(sentences(3)), axis=1), 1, rtol=1e-5)


def test_a_failed_fit_leaves_the_model_as_it_was(tiny: Path) -> None:
    encoder = load(tiny, normalize=True)
    print_before, names = encoder.fingerprint(), [type(m) for m in encoder.st]
    with pytest.raises(DataError, match="10 texts cannot whiten 16 dimensions"):
        whiten(encoder, blocks(10))
    assert [type(m) for m in encoder.st] == names and encoder.fingerprint() == print_before


def test_the_role_picks_the_prompt(tiny: Path) -> None:
    prompts = {"query": "ba de ", "document": "fi go ku "}
    queries, documents = (whiten(load(tiny, prompts=prompts), blocks(), role=role) for role in ("query", "document"))
    rows = load(tiny, prompts=prompts).encode(sentences(90), role="document")
    np.testing.assert_allclose(documents.mean, rows.mean(axis=0), atol=1e-6)
    assert np.abs(queries.mean - documents.mean).max() > 1e-3


def test_an_embedding_that_is_not_finite_is_named(tiny: Path) -> None:
    encoder = load(tiny)
    encoder.st[0].auto_model.embeddings.word_embeddings.weight.data[5] = np.nan
    with pytest.raises(DataError, match="is not finite"):
        whiten(encoder, blocks())


def test_the_module_is_the_map() -> None:
    import torch

    x = rows()
    found: Whitening = fit(moments(x), dim=4)
    with torch.no_grad():
        got = found.dense()({"sentence_embedding": torch.tensor(x, dtype=torch.float32)})["sentence_embedding"]
    np.testing.assert_allclose(got.numpy(), found.apply(x), atol=1e-4)
