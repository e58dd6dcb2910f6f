from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from embedkit.errors import RecipeError
from embedkit.model.running.encoder import Encoder
from embedkit.types import Row
from tests.device import DEVICE
from tests.tiny import tiny_bert

Load = Callable[..., Encoder]


def states(encoder: Encoder, text: str) -> list[np.ndarray]:
    """Hidden states of one text alone, embeddings first, [t, d] each."""
    ids = torch.tensor([encoder.st.tokenizer(text)["input_ids"]], device=DEVICE)
    with torch.no_grad():
        out = encoder.st[0].auto_model(input_ids=ids, output_hidden_states=True)
    return [h[0].double().cpu().numpy() for h in out.hidden_states]


POOLINGS = {
    "cls": lambda h: h[-1][0],
    "mean": lambda h: h[-1].mean(0),
    "max": lambda h: h[-1].max(0),
    "lasttoken": lambda h: h[-1][-1],
    "weightedmean": lambda h: np.average(h[-1], axis=0, weights=np.arange(1, len(h[-1]) + 1)),
    "first_last_mean": lambda h: ((h[1] + h[-1]) / 2).mean(0),
}


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_is_what_its_name_says(load: Load, pooling: str, texts: list[str]) -> None:
    encoder = load(pooling=pooling)
    encoder.module.eval()
    expected = np.stack([POOLINGS[pooling](states(encoder, t)) for t in texts[:10]])
    np.testing.assert_allclose(encoder.encode(texts[:10]), expected, atol=5e-6)


def test_pooling_can_be_changed_back(load: Load, tmp_path: Path, texts: list[str]) -> None:
    load(pooling="first_last_mean").save(tmp_path / "saved")
    again = load(tmp_path / "saved", pooling="mean")
    np.testing.assert_allclose(again.encode(texts), load(pooling="mean").encode(texts), atol=5e-6)
    assert not again.st[0].auto_model.config.output_hidden_states


def test_layer_weights_of_first_last_do_not_train(load: Load) -> None:
    encoder = load(pooling="first_last_mean")
    weights = dict(encoder.module.named_parameters())["st.1.layer_weights"]
    assert not weights.requires_grad
    assert weights.tolist() == [1, 0, 1]


def test_one_layer_is_first_and_last(load: Load, tmp_path: Path, texts: list[str]) -> None:
    base = tiny_bert(tmp_path / "one", layers=1)
    np.testing.assert_allclose(
        load(base, pooling="first_last_mean").encode(texts), load(base, pooling="mean").encode(texts), atol=5e-6
    )


def test_normalize_can_be_added_removed_and_kept(load: Load, tmp_path: Path, texts: list[str]) -> None:
    with_norm = load(normalize=True)
    np.testing.assert_allclose(np.linalg.norm(with_norm.encode(texts), axis=1), 1, atol=1e-6)
    with_norm.save(tmp_path / "normalised")
    kept = load(tmp_path / "normalised").encode(texts)
    np.testing.assert_array_equal(kept, with_norm.encode(texts))
    removed = load(tmp_path / "normalised", normalize=False).encode(texts)
    np.testing.assert_array_equal(removed, load().encode(texts))
    assert len(load(tmp_path / "normalised", normalize=True).st) == len(with_norm.st)


def test_max_length_cuts(load: Load) -> None:
    encoder = load(max_length=5)
    ids, _ = encoder.tokenize([Row("bade defi goku lame nipo", 0, 0, "query")])
    assert len(ids[0]) == 5
    np.testing.assert_array_equal(encoder.encode(["bade defi goku lame"]), encoder.encode(["bade defi goku nipo"]))


def test_max_length_beyond_the_position_table(load: Load) -> None:
    with pytest.raises(RecipeError, match="64 positions"):
        load(max_length=65)


def test_a_length_the_table_does_not_hold_is_lowered(load: Load, tmp_path: Path) -> None:
    base = tiny_bert(tmp_path / "long", positions=64)
    settings = base / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace('"model_max_length": 64', '"model_max_length": 100000'))
    encoder = load(base)
    assert encoder.st.max_seq_length == 64
    assert encoder.encode(["bade " * 200]).shape == (1, 32)


def test_pooling_that_breaks_the_dense_layer(load: Load, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Dense, Pooling

    encoder = load()
    st = SentenceTransformer(modules=[encoder.st[0], Pooling(32, ("cls", "mean")), Dense(64, 8)], device=DEVICE)
    st.save(str(tmp_path / "two"), create_model_card=False)
    with pytest.raises(RecipeError, match="dense layer expects 64"):
        load(tmp_path / "two", pooling="mean")
    assert load(tmp_path / "two").encode(["bade"]).shape == (1, 8)


def test_the_pooler_that_nothing_reads_does_not_train(load: Load) -> None:
    encoder = load()
    assert not [n for n, p in encoder.module.named_parameters() if "pooler" in n and p.requires_grad]


@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_a_layer_is_pooled(load: Load, layer: int, texts: list[str], tmp_path: Path) -> None:
    encoder = load(pooling="mean", pooling_layer=layer)
    encoder.module.eval()
    expected = np.stack([states(encoder, t)[layer].mean(0) for t in texts[:10]])
    np.testing.assert_allclose(encoder.encode(texts[:10]), expected, atol=5e-6)
    encoder.save(tmp_path / "saved")
    np.testing.assert_allclose(load(tmp_path / "saved").encode(texts[:10]), expected, atol=5e-6)


def test_a_layer_that_is_not_there(load: Load) -> None:
    with pytest.raises(RecipeError, match="pooling_layer 4 is beyond the 3 layers"):
        load(pooling="mean", pooling_layer=4)
    with pytest.raises(RecipeError, match=r"model.pooling: mean"):
        load(pooling_layer=1)
