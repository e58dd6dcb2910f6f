"""What the encoder does to single rows: cuts, positions, dropout rates; nothing of it stays."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embedkit.data.augment import Viewing
from embedkit.data.collate import collate
from embedkit.data.views import expand
from embedkit.errors import RecipeError
from embedkit.model.changing import adapters
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Views
from embedkit.recipe.views import Variant
from embedkit.types import Example, RowBatch
from tests.device import PACKS
from tests.model.architectures import build
from tests.tiny import sentences

Load = Callable[..., Encoder]
CUTS = [{"name": "token_cutoff", "rate": 0.4}, {"name": "feature_cutoff", "rate": 0.2}]


def prepared(encoder: Encoder, *transforms: list[dict[str, Any]], texts: list[str] | None = None) -> RowBatch:
    viewing = Viewing(Views.model_validate({"count": max(2, len(transforms)), "transforms": transforms}))
    width = encoder.prepare_views(viewing.variants, cuts=viewing.cuts, reorders=viewing.reorders)
    examples = [Example(t) for t in texts or sentences(6, seed=2, shortest=4)]
    options: dict[str, Any] = {"unlabelled": True, "per_query": 0, "one_positive": "first", "seed": 0, "step": 0}
    expanded = expand(
        examples, views=len(viewing.unlabelled), offset=0, transforms=viewing.unlabelled, pool=[], **options
    )
    return collate(expanded, encoder.tokenize, 4096, source=0, step=0, width=width)


def embed(encoder: Encoder, batch: RowBatch, rows: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return encoder.embed(encoder.features(batch, np.array(rows)))


@pytest.mark.parametrize("packs", PACKS)
def test_a_cut_is_zero_after_the_embedding_layer_and_nowhere_else(load: Load, packs: bool) -> None:
    encoder = load(dropout=0.0)
    encoder.module.packs = packs
    batch = prepared(encoder, CUTS)
    assert batch.cut is not None
    seen: list[torch.Tensor] = []
    layer = encoder.st[0].auto_model.encoder.layer[0]
    handle = layer.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    rows = list(range(0, 12, 2))
    embed(encoder, batch, rows)
    plain_batch = prepared(encoder)
    embed(encoder, plain_batch, rows)
    handle.remove()
    lengths = [len(batch.input_ids[r]) for r in rows]
    for i, row in enumerate(rows):
        start = sum(lengths[:i]) if packs else 0
        states, plain = (s[0, start:][: lengths[i]] if packs else s[i, : lengths[i]] for s in seen)
        cut = torch.from_numpy(np.broadcast_to(batch.cut[row], states.shape).copy())
        assert (states[cut] == 0).all() and torch.equal(states[~cut], plain[~cut]) and (plain != 0).all()
        assert int(cut.all(1).sum()) == int(lengths[i] * 0.4) and int(cut.all(0).sum()) == int(32 * 0.2)


@pytest.mark.parametrize("family", ["bert", "roberta", "modernbert", "distilbert"])
def test_packed_rows_are_what_padded_rows_are(load: Load, bert: Path, tmp_path: Path, family: str) -> None:
    encoder = load(bert if family == "bert" else build(family, tmp_path)).tower(0)
    encoder.module.eval()
    shuffles = family != "distilbert"  # it takes no positions
    batch = prepared(encoder, CUTS, [{"name": "shuffle"}] if shuffles else CUTS)
    everything = list(range(12))
    got = embed(encoder, batch, everything)
    alone = torch.cat([embed(encoder, batch, [row]) for row in everything])
    torch.testing.assert_close(got, alone, atol=2e-6, rtol=1e-4)
    encoder.module.packs = False
    torch.testing.assert_close(embed(encoder, batch, everything), got, atol=2e-6, rtol=1e-4)
    plain = prepared(encoder)
    apart = (embed(encoder, plain, everything) - got).abs().amax(1)
    assert (apart > 3e-6).all(), apart


def test_shuffled_positions_are_those_of_the_moved_words(load: Load) -> None:
    """BERT knows order from positions alone: a text with moved positions is the text with moved words."""
    encoder = load(dropout=0.0, pooling="mean")
    text = "ba de fi go"
    batch = prepared(encoder, [{"name": "shuffle"}], texts=[text])
    assert batch.order is not None and batch.order[0] is not None
    moved = prepared(encoder, texts=[text])
    order = np.argsort(batch.order[0])
    moved.input_ids[0] = [batch.input_ids[0][i] for i in order]
    torch.testing.assert_close(embed(encoder, batch, [0]), embed(encoder, moved, [0]))


def test_dropout_rates_hold_for_one_pass(load: Load) -> None:
    encoder = load(dropout=0.3)
    encoder.module.train()
    rates = [{"name": "dropout", "rate": r} for r in (0.0, 0.1)]
    batch = prepared(encoder, [], *([r] for r in rates))
    assert batch.variant is not None
    assert [v.dropout for v in encoder.variants] == [None, 0.0, 0.1]
    seen: list[set[float]] = []
    backbone = encoder.st[0].auto_model
    places = adapters.dropout_places(backbone)
    handle = backbone.encoder.register_forward_hook(lambda *_: seen.append({getattr(m, n) for m, n in places}))
    for view in range(3):
        embed(encoder, batch, [view, view + 3])
    assert seen == [{0.3}, {0.0}, {0.1}], "the view that asks for 0.1 runs at 0.1"
    assert {getattr(m, n) for m, n in places} == {0.3}
    assert torch.equal(embed(encoder, batch, [1]), embed(encoder, batch, [1]))
    assert not torch.equal(embed(encoder, batch, [2]), embed(encoder, batch, [2]))
    with pytest.raises(ValueError, match="micro-batch"):
        encoder.features(batch, np.array([0, 1]))
    handle.remove()
    handle = backbone.encoder.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        embed(encoder, batch, [1])
    handle.remove()
    assert {getattr(m, n) for m, n in places} == {0.3}, "put back after an error too"


def test_nothing_stays_in_the_model(load: Load) -> None:
    encoder = load()
    before, texts = encoder.fingerprint(), sentences(5)
    vectors = encoder.encode(texts)
    batch = prepared(encoder, CUTS, [{"name": "shuffle"}, {"name": "dropout", "rate": 0.4}])
    for rows in batch.micro_batches:
        embed(encoder, batch, rows.tolist())
    assert encoder.fingerprint() == before and np.array_equal(encoder.encode(texts), vectors)
    assert not encoder.st[0].auto_model.embeddings._forward_hooks


@pytest.mark.parametrize(
    ("family", "transform", "message"),
    [
        ("t5", {"name": "feature_cutoff", "rate": 0.2}, "no embedding layer"),
        ("qwen2", {"name": "token_cutoff", "rate": 0.2}, "no embedding layer"),
        ("t5", {"name": "shuffle"}, "takes no position ids"),
    ],
)
def test_models_that_cannot_are_refused(
    load: Load, tmp_path: Path, family: str, transform: dict[str, Any], message: str
) -> None:
    encoder = load(build(family, tmp_path))
    with pytest.raises(RecipeError, match=message) as caught:
        prepared(encoder, [transform])
    assert caught.value.cure


def test_a_rate_needs_dropout(load: Load) -> None:
    encoder = load()
    for module in list(encoder.st[0].auto_model.modules()):
        for name, child in module.named_children():
            if isinstance(child, torch.nn.Dropout):
                setattr(module, name, torch.nn.Identity())
    with pytest.raises(RecipeError, match="has no dropout"):
        encoder.prepare_views([Variant(), Variant(0.1)], cuts=False, reorders=False)
