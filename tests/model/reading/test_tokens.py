from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embedkit.model.reading import tokens
from embedkit.model.running.encoder import Encoder
from embedkit.types import Row, RowBatch
from tests.device import DEVICE, preprocessed
from tests.tiny import tiny_bert

Load = Callable[..., Encoder]
PROMPTS = {"query": "bade: ", "document": "Defi "}


def rows_of(texts: list[str], roles: tuple[str, ...] = ("query", "document")) -> list[Row]:
    return [Row(text, i, 0, roles[i % len(roles)]) for i, text in enumerate(texts)]


def batch_of(encoder: Encoder, rows: list[Row]) -> RowBatch:
    """A row batch with nothing in it but tokens."""
    ids, features = encoder.tokenize(rows)
    n, none = len(rows), torch.zeros(0, dtype=torch.int64)
    return RowBatch(ids, features, np.arange(n), [np.arange(n)], n, 0, 0, none, none, none, none)


def stock(encoder: Encoder, row: Row) -> dict[str, Any]:
    """What sentence-transformers itself makes of one row."""
    out = encoder.st.preprocess([row.text], prompt=encoder.st.prompts[row.role] or None)
    return {name: value[0].tolist() if isinstance(value, torch.Tensor) else value for name, value in out.items()}


@pytest.mark.parametrize(
    "options",
    [{}, {"max_length": 6}, {"prompts": PROMPTS}, {"prompts": PROMPTS, "include_prompt_in_pooling": False}],
    ids=["plain", "cut", "prompts", "prompts-excluded"],
)
def test_tokens_are_those_of_sentence_transformers(load: Load, options: dict[str, Any], texts: list[str]) -> None:
    encoder = load(**options)
    rows = rows_of(texts)
    ids, features = encoder.tokenize(rows)
    for i, row in enumerate(rows):
        expected = stock(encoder, row)
        assert ids[i] == expected["input_ids"]
        assert features["token_type_ids"][i] == expected["token_type_ids"]
        if "include_prompt_in_pooling" in options:
            assert features["prompt_length"][i] == expected["prompt_length"]
        else:
            assert "prompt_length" not in features


def test_a_model_that_lowercases_itself(load: Load, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    base = tiny_bert(tmp_path / "cased")
    settings = base / "tokenizer.json"
    settings.write_text(settings.read_text().replace('"lowercase": true', '"lowercase": false'))
    transformer = Transformer(str(base), do_lower_case=True)
    st = SentenceTransformer(modules=[transformer, Pooling(32)], device=DEVICE)
    encoder = Encoder(st)
    ids, _ = encoder.tokenize([Row("BADE Defi", 0, 0, "query")])
    assert ids[0] == stock(encoder, Row("BADE Defi", 0, 0, "query"))["input_ids"]
    assert ids[0] == encoder.tokenize([Row("bade defi", 0, 0, "query")])[0][0]


def test_padding_gives_the_tensors_of_the_tokenizer(load: Load, texts: list[str]) -> None:
    encoder = load()
    for side in ("right", "left"):
        encoder.st.tokenizer.padding_side = side
        ids, extra = tokens.tokenize(encoder.st, texts, "")
        ours, stock_batch = tokens.pad(encoder.st, ids, extra, encoder.device), preprocessed(encoder.st, texts)
        for name in ("input_ids", "token_type_ids", "attention_mask"):
            assert torch.equal(ours[name], stock_batch[name]), (side, name)


def test_a_mask_of_ones_is_left_out_and_changes_nothing(load: Load) -> None:
    encoder = load()
    encoder.module.packs = False
    encoder.module.eval()
    features = encoder.features(batch_of(encoder, rows_of(["bade defi", "goku lame"])), np.arange(2))
    assert "attention_mask" not in features
    with torch.no_grad():
        bare = encoder.embed(features)
        masked = encoder.embed({**features, "attention_mask": torch.ones_like(features["input_ids"])})
    torch.testing.assert_close(bare, masked, atol=1e-6, rtol=0)


def test_features_take_the_rows_asked_for(load: Load, texts: list[str]) -> None:
    encoder = load(prompts=PROMPTS)
    encoder.module.eval()
    rows = rows_of(texts)
    batch = batch_of(encoder, rows)
    chosen = np.array([7, 3, 40, 0])
    with torch.no_grad():
        some = encoder.embed(encoder.features(batch, chosen)).cpu().numpy()
    for i, vector in zip(chosen, some, strict=True):
        np.testing.assert_allclose(vector, encoder.encode([rows[i].text], role=rows[i].role)[0], atol=5e-6)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "weightedmean", "lasttoken", "first_last_mean"])
def test_prompts_left_out_of_pooling_may_differ_between_rows(load: Load, pooling: str, texts: list[str]) -> None:
    """Queries and documents share micro-batches; sentence-transformers pools one prompt length per batch."""
    prompts = {"query": "bade: ", "document": ""}
    encoder = load(pooling=pooling, prompts=prompts, include_prompt_in_pooling=False)
    encoder.module.eval()
    rows = rows_of([t for t in texts if t])
    with torch.no_grad():
        mixed = encoder.embed(encoder.features(batch_of(encoder, rows), np.arange(len(rows)))).cpu().numpy()
    for role in ("query", "document"):
        where = [i for i, row in enumerate(rows) if row.role == role]
        expected = encoder.st.encode([rows[i].text for i in where], prompt_name=role)
        np.testing.assert_allclose(mixed[where], expected, atol=5e-6)
