"""Neighbours, vectors on disk and the pool of candidates, against dense numpy."""

from __future__ import annotations

import numpy as np
import pytest

from embedkit.mining import pool as pool_module
from embedkit.mining import vectors as vectors_module
from embedkit.mining.pool import Pools
from embedkit.mining.surface import Words
from embedkit.mining.vectors import Neighbours, Vectors
from embedkit.recipe.debias import Debias
from embedkit.vectors.view import ArrayView
from tests.tiny import sentences


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts and chunks so small that everything crosses their borders."""
    monkeypatch.setattr(vectors_module, "PART", 64)
    monkeypatch.setattr(vectors_module, "_FLOATS", 500)
    monkeypatch.setattr(pool_module, "CHUNK", 50)


def embeddings(n: int, dim: int = 16, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(n, dim)) + 2).astype(np.float32)


@pytest.mark.usefixtures("small_parts")
class TestVectors:
    @pytest.mark.parametrize("center", [True, False])
    def test_centred_unit_rows_and_cosines(self, center: bool) -> None:
        array = embeddings(150)
        expected = array - array.mean(axis=0) if center else array
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        vectors = Vectors(ArrayView(array), center=center)
        which = np.array([149, 0, 64, 63, 64])
        assert vectors.rows(which) == pytest.approx(expected[which], abs=1e-6)
        candidates = np.random.default_rng(1).integers(0, 150, (150, 7))
        found = vectors.cosine(np.arange(150), candidates)
        assert found == pytest.approx(np.einsum("ad,akd->ak", expected, expected[candidates]), abs=1e-6)


@pytest.mark.usefixtures("small_parts")
class TestNeighbours:
    def test_exact_search(self) -> None:
        vectors = Vectors(ArrayView(embeddings(200)), center=True)
        rows = vectors.rows(np.arange(200))
        found = Neighbours(lambda a, b: rows[a:b], 200, 16, exact_below=200).of(30, 80, 5)
        expected = np.argsort(-(rows[30:80] @ rows.T), axis=1)[:, :6]
        assert np.array_equal(found, expected)

    def test_the_inverted_file_finds_most_of_them_and_the_same_again(self) -> None:
        rows = Vectors(ArrayView(embeddings(4000, seed=2)), center=True).rows(np.arange(4000))

        def search() -> np.ndarray:
            index = Neighbours(lambda a, b: rows[a:b], 4000, 16, exact_below=100)
            assert not index.exact
            return index.of(0, 500, 10)

        found = search()
        expected = np.argsort(-(rows[:500] @ rows.T), axis=1)[:, :11]
        recall = np.mean([len(set(a) & set(b)) / 11 for a, b in zip(found.tolist(), expected.tolist(), strict=True)])
        assert recall > 0.9
        assert np.array_equal(found, search())


@pytest.mark.usefixtures("small_parts")
class TestPools:
    @pytest.fixture
    def texts(self) -> list[str]:
        made = sentences(120, shortest=4, longest=9)
        made[7] = made[3]
        return made

    def pools(self, texts: list[str], **options: int | str) -> Pools:
        group = np.unique(texts, return_inverse=True)[1]
        made = Debias(**{"neighbours": 6, "lexical": 4, "random": 5, **options})
        return Pools(Vectors(ArrayView(embeddings(120)), center=True), Words.of(texts), group, made)

    def test_chunks_cover_all_sentences(self, texts: list[str]) -> None:
        pools = self.pools(texts)
        chunks = [pools.chunk(start) for start in pools.starts]
        assert np.concatenate([c.anchor for c in chunks]).tolist() == list(range(120))
        assert all(c.candidate.shape == (len(c.anchor), 7 + 5 + 5) and c.random == 5 for c in chunks)

    def test_no_sentence_is_its_own_candidate_and_none_comes_twice(self, texts: list[str]) -> None:
        chunk = self.pools(texts).chunk(0)
        for anchor, row in zip(chunk.anchor, chunk.candidate.tolist(), strict=True):
            held = [c for c in row if c >= 0]
            assert len(set(held)) == len(held) >= 6
            assert texts[anchor] not in {texts[c] for c in held}

    def test_measures_belong_to_their_pairs(self, texts: list[str]) -> None:
        for surface in ("overlap", "edit"):
            pools = self.pools(texts, surface=surface)
            chunk, table = pools.chunk(50), Words.of(texts)
            rows, slots = np.nonzero(chunk.valid)
            a, b = chunk.anchor[rows], chunk.candidate[rows, slots]
            assert chunk.surface[rows, slots] == pytest.approx(getattr(table, surface)(a, b), abs=1e-6)
            assert chunk.length[rows, slots] == pytest.approx(table.length_difference(a, b), abs=1e-6)

    def test_lexical_candidates_share_more_words_than_random_ones(self, texts: list[str]) -> None:
        chunk = self.pools(texts).chunk(0)
        lexical, random = chunk.surface[:, 7:12], chunk.surface[:, 12:]
        assert lexical[chunk.valid[:, 7:12]].mean() > 3 * random[chunk.valid[:, 12:]].mean()

    def test_parts_of_the_pool_can_be_left_out(self, texts: list[str]) -> None:
        assert self.pools(texts, neighbours=0).chunk(0).candidate.shape[1] == 5 + 5
        assert self.pools(texts, lexical=0).chunk(0).candidate.shape[1] == 7 + 5

    def test_few_sentences_have_few_candidates(self) -> None:
        texts = sentences(3)
        pools = Pools(Vectors(ArrayView(embeddings(3)), center=True), Words.of(texts), np.arange(3), Debias())
        chunk = pools.chunk(0)
        assert [sorted(c for c in row if c >= 0) for row in chunk.candidate.tolist()] == [[1, 2], [0, 2], [0, 1]]
