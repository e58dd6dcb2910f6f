"""Concatenated embeddings are numpy's concatenation of what sentence-transformers gives for each model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from embedkit.errors import RecipeError
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from embedkit.vectors import concatenated
from embedkit.vectors.concatenated import Concatenated, parts
from embedkit.vectors.remaking import remade
from embedkit.vectors.space import Embedder
from tests.device import DEVICE
from tests.tiny import sentences, tiny_bert, tiny_static

TEXTS = [*sentences(9), "", "bade"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT, a BERT of another size and length, and a static model with a prompt."""
    folder = tmp_path_factory.mktemp("several")
    tiny_bert(folder / "a")
    tiny_bert(folder / "b+c", hidden=48, positions=40, seed=1)
    tiny_static(folder / "s", prompts={"query": "golu "})
    return folder


def load(*names: str) -> Concatenated:
    found = concatenated.load(Model(base="+".join(names)), device=DEVICE)
    assert isinstance(found, Concatenated)
    return found


def plain(folder: Path, texts: list[str], prompt: str = "") -> np.ndarray:
    st = SentenceTransformer(str(folder), device=DEVICE)
    found: np.ndarray = st.encode(texts, prompt=prompt, normalize_embeddings=True)
    return found


def test_it_is_the_concatenation_of_unit_embeddings(folder: Path) -> None:
    model = load(f"{folder}/a", f"{folder}/b+c", f" {folder}/s ")
    each = [plain(folder / "a", TEXTS), plain(folder / "b+c", TEXTS), plain(folder / "s", TEXTS, "golu ")]
    found = model.encode(TEXTS)
    assert found.dtype == np.float32 and found.shape == (len(TEXTS), model.dim) == (len(TEXTS), 32 + 48 + 12)
    np.testing.assert_allclose(found, np.concatenate(each, axis=1) / np.sqrt(3), atol=1e-5)
    np.testing.assert_allclose(found @ found.T, np.mean([e @ e.T for e in each], axis=0), atol=1e-5)
    assert model.longest == 40 and model.prompt("document") == "" and "golu " in model.prompt("query")
    document = model.encode(iter(TEXTS), role="document", max_length=30)
    np.testing.assert_allclose(document[:, -12:] * np.sqrt(3), plain(folder / "s", TEXTS), atol=1e-5)
    with pytest.raises(RecipeError, match="positions"):
        model.encode(TEXTS, max_length=50)  # of which the first has room for


def test_shares_weigh_the_cosines(folder: Path) -> None:
    model = load(f"3 * {folder}/a", f"{folder}/s")
    a, s = plain(folder / "a", TEXTS), plain(folder / "s", TEXTS, "golu ")
    found = model.encode(TEXTS)
    np.testing.assert_allclose(found @ found.T, 0.75 * a @ a.T + 0.25 * s @ s.T, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    prints = {load(f"{x}*{folder}/a", f"{y}*{folder}/s").fingerprint() for x, y in ((1, 1), (2, 2), (3, 1))}
    other = load(f"{folder}/s", f"{folder}/a").fingerprint()
    assert len(prints) == 2 and other not in prints and model.fingerprint() in prints


def test_dot_products_keep_their_lengths_and_do_not_mix_with_cosines(folder: Path) -> None:
    encoders = [Encoder.load(Model(base=str(folder / name)), device=DEVICE) for name in ("a", "b+c")]
    encoders[0].st.similarity_fn_name = "dot"
    with pytest.raises(RecipeError, match="compare by cosine and dot"):
        Concatenated(encoders, [1, 1])
    encoders[1].st.similarity_fn_name = "dot"
    want = np.concatenate([encoder.encode(TEXTS) for encoder in encoders], axis=1) / np.sqrt(2)
    model = Concatenated(encoders, [1, 1])
    np.testing.assert_allclose(model.encode(TEXTS), want, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(model.encode(TEXTS, normalize=True), axis=1), 1, atol=1e-5)
    for encoder in encoders:
        encoder.st.similarity_fn_name = "euclidean"
    with pytest.raises(RecipeError, match="euclidean"):
        Concatenated(encoders, [1, 1])


def test_another_process_makes_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    config = Model(base="a + 2*b+c")
    model = concatenated.load(config, device=DEVICE)
    made = remade(Embedder.of(model, role="document"), config, device=DEVICE, tower=1, role="document")
    monkeypatch.chdir("/")
    assert made.remake is not None
    np.testing.assert_array_equal(made.remake()(TEXTS), model.encode(TEXTS, role="document"))


def test_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert parts("b+c") == [("b+c", 1.0)] and not concatenated.is_concatenated("b+c")
    assert parts("a+b+c+0.5*user/name") == [("a", 1.0), ("b+c", 1.0), ("user/name", 0.5)]
    assert parts("2*b+c + a") == [("b+c", 2.0), ("a", 1.0)]
    assert parts("x*y + a") == [("x*y", 1.0), ("a", 1.0)], "refused as a name, by what looks for it"
    assert isinstance(concatenated.load(Model(base="b+c"), device=DEVICE), Encoder)
    for wrong, words in (("a+", "missing"), ("+a", "missing"), ("a++a", "missing"), ("0*a+a", "0"), ("nan*a+a", "nan")):
        with pytest.raises(RecipeError, match=words):
            parts(wrong)
    with pytest.raises(RecipeError, match="nowhere"):
        concatenated.load(Model(base="a+./nowhere"), device=DEVICE)
