from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.data.augment import Viewing
from embedkit.data.collate import LAUNCH_SHARE, collate, micro_batches
from embedkit.data.views import expand
from embedkit.recipe.views import Views
from embedkit.types import Example


def cost(runs, lengths, budget):
    return sum(len(r) * lengths[r].max() + LAUNCH_SHARE * budget for r in runs)


@settings(max_examples=80)
@given(
    lengths=st.lists(st.integers(1, 70), max_size=60),
    budget=st.integers(16, 300),
    multiple=st.sampled_from([1, 8]),
)
def test_every_row_once_within_the_budget_longest_first(lengths, budget, multiple):
    runs = micro_batches(lengths, budget, multiple)
    lengths = np.array(lengths, dtype=int)
    flat = np.concatenate(runs) if runs else np.array([], dtype=int)
    assert sorted(flat.tolist()) == list(range(len(lengths)))
    assert flat.tolist() == np.argsort(-lengths, kind="stable").tolist()
    for run in runs:
        padded = -(-lengths[run].max() // multiple) * multiple
        assert len(run) == 1 or len(run) * padded <= budget


@settings(max_examples=40)
@given(lengths=st.lists(st.integers(1, 30), min_size=1, max_size=9), budget=st.integers(20, 120))
def test_no_cut_is_cheaper(lengths, budget):
    lengths = np.sort(np.array(lengths))[::-1]
    found = cost(micro_batches(lengths, budget), lengths, budget)
    inner = range(1, len(lengths))
    for count in range(len(lengths)):
        for cuts in combinations(inner, count):
            runs = np.split(np.arange(len(lengths)), cuts)
            if all(len(r) == 1 or len(r) * lengths[r].max() <= budget for r in runs):
                assert found <= cost(runs, lengths, budget) + 1e-9


def test_natural_lengths_leave_little_padding_in_few_micro_batches():
    lengths = np.clip(np.random.default_rng(0).lognormal(3.2, 0.5, 128).astype(int), 4, 64)
    runs = micro_batches(lengths, 2048)
    padded = sum(len(r) * lengths[r].max() for r in runs)
    assert 1 - lengths.sum() / padded < 0.10
    assert len(runs) <= 8
    assert 1 - lengths.sum() / (128 * lengths.max()) > 0.4  # what one padded block would waste


def tokenize(rows):
    ids = [[101, *(len(w) for w in r.text.split()), 102] for r in rows]
    return ids, {"token_type_ids": [[0] * len(i) for i in ids]}


def test_collate_places_every_row_and_keeps_what_is_known():
    examples = [
        Example("a", ("b c d",), ("e f", "g"), label=2, origin="x:1"),
        Example("h i j k", ("l",), ("m",), label=0, origin="x:2"),
    ]
    e = expand(examples, unlabelled=False, views=2, per_query=2, one_positive="first", seed=0, step=3, offset=0)
    batch = collate(e, tokenize, 16, source=1, step=3)
    assert (batch.n, batch.positives, batch.negatives, batch.slots) == (2, 1, 2, 4)
    block = np.full(batch.n * batch.slots, "", dtype=object)
    block[batch.position] = batch.texts
    assert block[[0, 1, 4, 5, 6, 7]].tolist() == ["a", "b c d", "h i j k", "l", "m", ""]
    assert batch.negative_id[1, 1] == 0 and batch.negative_id.dtype == torch.int64
    assert sorted(np.concatenate(batch.micro_batches).tolist()) == list(range(7))
    assert batch.tokens == sum(len(ids) for ids in batch.input_ids)
    assert len(batch.features["token_type_ids"]) == 7
    assert batch.label.tolist() == [2, 0] and batch.score is None
    assert (batch.source, batch.step, batch.origins) == (1, 3, ["x:1", "x:2"])


def test_a_row_longer_than_the_budget_stands_alone():
    runs = micro_batches([100, 3, 3], 16)
    assert runs[0].tolist() == [0]
    assert [r.tolist() for r in runs[1:]] == [[1, 2]]
    assert pytest.approx(cost(runs, np.array([100, 3, 3]), 16)) == 106 + 2 * LAUNCH_SHARE * 16


@pytest.mark.parametrize("budget", [40, 100, 2048])
def test_rows_that_are_not_padded_are_cut_as_seldom_as_the_budget_allows(budget: int) -> None:
    lengths = np.random.default_rng(0).integers(3, 40, size=60)
    cuts = micro_batches(lengths, budget, padded=False)
    assert sorted(np.concatenate(cuts).tolist()) == list(range(60))
    tokens = [int(lengths[cut].sum()) for cut in cuts]
    assert max(tokens) <= budget
    assert len(cuts) <= 2 * -(-int(lengths.sum()) // budget)
    ordered = lengths[np.concatenate(cuts)]
    assert (np.diff(ordered) <= 0).all(), "rows of one length are neighbours: each run is one batched attention"


def test_equal_texts_of_different_examples_are_one_row():
    examples = [
        Example("a", ("b c",), ("e f", "g")),
        Example("b c", ("a",), ("g",)),  # both stand above, on the other sides
        Example("a", ("a",), ("g", "g")),  # and here twice, which are two passes
    ]
    e = expand(examples, unlabelled=False, views=2, per_query=2, one_positive="first", seed=0, step=0, offset=0)
    batch = collate(e, tokenize, 64, source=0, step=0, once=True)
    assert sorted(batch.texts) == ["a", "a", "b c", "e f", "g", "g"]
    assert sorted(np.concatenate(batch.micro_batches).tolist()) == list(range(6))
    assert len(batch.input_ids) == len(batch.features["token_type_ids"]) == 6
    rows = torch.zeros(batch.n * batch.slots, 1)
    rows[batch.position] = 1.0 + torch.arange(6.0)[:, None]
    block = batch.spread(rows).view(3, 4).tolist()
    told = [[batch.texts[int(row) - 1] if row else "" for row in line] for line in block]
    assert told[0][:2] == ["a", "b c"] and sorted(told[0][2:]) == ["e f", "g"]
    assert told[1:] == [["b c", "a", "g", ""], ["a", "a", "g", "g"]]
    assert block[2][0] == block[0][0] == block[1][1] and block[2][1] not in (0.0, block[0][0])
    assert block[2][2] != block[2][3] and block[1][2] in block[0]
    gradient = torch.arange(12.0)[:, None]
    assert torch.equal((batch.fold(gradient) * rows).sum(), (gradient * batch.spread(rows)).sum())  # its transpose
    places, owners = batch.filled()
    assert [batch.texts[row] for row in owners.tolist()] == [told[p // 4][p % 4] for p in places.tolist()]
    apart = collate(e, tokenize, 64, source=0, step=0)
    assert len(apart.texts) == 11 and apart.shared is None and apart.fold(gradient) is gradient


def test_rows_that_a_view_changes_at_random_are_all_encoded():
    view = Views(count=2, transforms=[[], [{"name": "token_cutoff", "rate": 0.5}]])
    texts = [Example("a b c d")] * 3
    options = {"unlabelled": True, "views": 2, "per_query": 0, "one_positive": "first", "seed": 0, "step": 0}
    e = expand(texts, offset=0, transforms=Viewing(view).unlabelled, **options)
    batch = collate(e, tokenize, 64, source=0, step=0, width=8, once=True)
    assert len(batch.texts) == 4  # the first views are one row, every second is another
