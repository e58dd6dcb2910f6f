"""A real cross-encoder: probabilities whatever it was saved with, and no plain encoder in its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from embedkit.errors import DataError, RecipeError
from embedkit.mining.filters.cross_encoder import probabilities
from embedkit.mining.filters.named import Setting, build
from embedkit.mining.filters.pairs import Scorer
from embedkit.mining.miner import Miner
from embedkit.model.reading.loading import load_cross_encoder
from embedkit.model.reading.resolve import Origin
from embedkit.recipe.filters import parse
from embedkit.recipe.mining import Search
from embedkit.vectors.store import VectorStore
from tests.mining.worlds import World, problem
from tests.tiny import tiny_bert


def reranker(folder: Path, labels: int = 1) -> Path:
    """A tiny BERT with a head for pairs, weights by seed."""
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    base = tiny_bert(folder / "base")
    config = BertConfig.from_pretrained(base)
    config.num_labels = labels
    with torch.random.fork_rng():
        torch.manual_seed(3)
        BertForSequenceClassification(config).save_pretrained(folder / "reranker")
    AutoTokenizer.from_pretrained(base).save_pretrained(folder / "reranker")
    return folder / "reranker"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reranker(tmp_path_factory.mktemp("one"))


def test_scores_are_sigmoids_of_the_logits(folder: Path) -> None:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(folder), device="cpu", activation_fn=torch.nn.Identity())
    pairs = [("bade fi", "gola"), ("ku", "la me ni po"), ("ru", "sa")]
    logits = model.predict([list(pair) for pair in pairs])
    found = probabilities(model, batch_size=2)(pairs)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), rtol=1e-5)
    assert len(set(found.tolist())) == 3


def test_a_named_one_filters_by_its_scores(folder: Path, tmp_path: Path) -> None:
    given = problem()
    store = VectorStore(tmp_path)
    origin = Origin("folder", str(folder))
    score = probabilities(load_cross_encoder(origin, torch.device("cpu")))
    every = Miner(given, Search(depth=20, keep=20), store).mine(World().by)
    pairs = [(given.queries[i], given.documents[row]) for i in range(len(every)) for row in every.negatives(i)]
    scores = score(pairs)
    limit = float(np.median(scores))
    named = parse(f"cross-encoder={folder},below={limit}", "--filter")
    filters = build([named], Setting(given, store, device="cpu", where="--filter"))
    table = Miner(given, Search(depth=20, keep=20), store, filters=filters).mine(World().by)
    kept = [(given.queries[i], given.documents[row]) for i in range(len(table)) for row in table.negatives(i)]
    clear = [pair for pair, s in zip(pairs, scores, strict=True) if s < limit - 1e-5]
    near = [pair for pair, s in zip(pairs, scores, strict=True) if abs(s - limit) <= 1e-5]
    assert [pair for pair in kept if pair not in near] == clear and 0 < len(clear) < len(pairs)


def test_a_model_of_several_labels_is_refused(tmp_path: Path) -> None:
    model = load_cross_encoder(Origin("folder", str(reranker(tmp_path, labels=3))), torch.device("cpu"))
    with pytest.raises(DataError, match="one label"):
        Scorer(problem(), probabilities(model)).of(np.array([0, 1]), np.array([0, 1]))


def test_a_plain_encoder_is_refused(tmp_path: Path) -> None:
    """Its head would be drawn at random."""
    base = tiny_bert(tmp_path / "plain")
    with pytest.raises(RecipeError) as error:
        build([parse(f"cross-encoder={base}", "--filter")], Setting(problem(), VectorStore(tmp_path), where="--filter"))
    assert "classifier" in str(error.value) and error.value.where == "--filter"


def test_what_is_not_there_is_refused_where_it_was_named(tmp_path: Path) -> None:
    for name in ("cross-encoder", "guide"):
        with pytest.raises(RecipeError) as error:
            build([parse(f"{name}=./absent", "--filter")], Setting(problem(), VectorStore(tmp_path), where="--filter"))
        assert error.value.where == "--filter"
