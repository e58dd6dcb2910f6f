"""Batches by clusters: of one cluster, or without two rows of one, in every batch of every epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from embedkit.data.clusters import ClusterOrder
from embedkit.data.roles import BadRow, RowParser, resolve_roles
from embedkit.data.sampler import StepSampler
from embedkit.data.sources import load_source
from embedkit.errors import DataError, RecipeError
from embedkit.recipe.clusters import Clusters
from embedkit.recipe.load import recipe_hash
from embedkit.recipe.plan import plan
from embedkit.recipe.schema import Recipe, Source

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=12)


def clusters_of(sizes: list[int], seed: int = 0) -> np.ndarray:
    """Rows of clusters of these sizes, shuffled, with numbers that have gaps."""
    return np.random.default_rng(seed).permutation(np.repeat([7 * i - 3 for i in range(len(sizes))], sizes))


def epochs(order: ClusterOrder, size: int, count: int = 3) -> list[np.ndarray]:
    return [order.epoch(size, np.random.default_rng(e)).reshape(-1, size) for e in range(count)]


@settings(max_examples=150, deadline=None)
@given(sizes=SIZES, size=st.integers(1, 9))
def test_apart_holds_for_every_batch_the_last_included(sizes: list[int], size: int) -> None:
    clusters = clusters_of(sizes)
    order = ClusterOrder(clusters, "apart")
    for batches in epochs(order, size):
        assert len(batches) == order.full(size)
        assert len(np.unique(batches)) == batches.size
        for batch in batches:
            assert len(set(clusters[batch].tolist())) == size


@settings(max_examples=80, deadline=None)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5), size=st.integers(1, 3))
def test_apart_makes_as_many_batches_as_there_can_be(sizes: list[int], size: int) -> None:
    """Against the greedy rule that always takes the clusters with most rows left, which is optimal."""
    left, most = sorted(sizes, reverse=True), 0
    while len([n for n in left if n]) >= size:
        left = sorted([n - (i < size) for i, n in enumerate(left)], reverse=True)
        most += 1
    assert ClusterOrder(clusters_of(sizes), "apart").full(size) == most


@settings(max_examples=150, deadline=None)
@given(sizes=SIZES, size=st.integers(1, 9), rest=st.sampled_from(["mix", "drop"]))
def test_together_batches_are_of_one_cluster(sizes: list[int], size: int, rest: Literal["mix", "drop"]) -> None:
    clusters = clusters_of(sizes)
    order = ClusterOrder(clusters, "together", rest)
    pure = sum(n // size for n in sizes)
    assert order.full(size) == (pure if rest == "drop" else sum(sizes) // size)
    for batches in epochs(order, size):
        assert len(batches) == order.full(size)
        assert len(np.unique(batches)) == batches.size
        of = [len(set(clusters[batch].tolist())) for batch in batches]
        assert of.count(1) >= pure and (rest == "mix" or set(of) <= {1})


def test_mixed_batches_span_few_clusters() -> None:
    """Rows that are left lie cluster by cluster: a batch of 8 of clusters with 5 rows left meets at most 3 of them."""
    order = ClusterOrder(clusters_of([13] * 10), "together")
    of = [len(set(order.clusters[batch].tolist())) for batches in epochs(order, 8) for batch in batches]
    assert max(of) <= 3 and of.count(1) >= 30


@pytest.mark.parametrize("batches", ["together", "apart"])
def test_epochs_differ_and_every_row_comes_up(batches: Literal["together", "apart"]) -> None:
    order = ClusterOrder(clusters_of([9, 5, 4, 4, 3, 11]), batches, "mix")
    seen = [frozenset(map(frozenset, found.tolist())) for found in epochs(order, 4, 60)]
    assert len(set(seen)) > 50
    rows = {row for found in seen for batch in found for row in batch}
    assert rows == set(range(36))


def sampler(order: ClusterOrder, **changes: Any) -> StepSampler:
    options: dict[str, Any] = {"batch_size": 4, "accumulation": 1, "epochs": 2.0, "steps": None, "seed": 3} | changes
    return StepSampler([len(order.clusters)], [None], **options, orders=[order])


@pytest.mark.parametrize("batches", ["together", "apart"])
def test_a_batch_is_a_function_of_seed_and_number(batches: Literal["together", "apart"]) -> None:
    order = ClusterOrder(clusters_of([9, 5, 4, 4, 3, 11]), batches, "mix")
    whole = sampler(order)
    walked = [whole.batch(step).positions for step in range(whole.steps)]
    assert whole.steps == 2 * order.full(4) and len(set(map(tuple, walked))) == whole.steps
    for step in reversed(range(whole.steps)):
        assert sampler(order).batch(step).positions == walked[step]
    assert [sampler(order, seed=4).batch(step).positions for step in range(whole.steps)] != walked


def test_a_batch_is_one_batch_over_all_processes() -> None:
    order = ClusterOrder(clusters_of([3] * 8), "apart")
    found = sampler(order)
    batch = found.batch(0)
    assert found.own(batch, 0, 2) + found.own(batch, 1, 2) == batch.positions
    assert len(set(order.clusters[batch.positions].tolist())) == 4


def test_what_cannot_fill_a_batch_is_said() -> None:
    with pytest.raises(DataError, match=r"3 clusters cannot fill one batch of 4"):
        sampler(ClusterOrder(clusters_of([9, 9, 9]), "apart"))
    with pytest.raises(DataError, match=r"no cluster fills one batch of 4: the largest has 3 rows"):
        sampler(ClusterOrder(clusters_of([3, 3, 2]), "together", "drop"))


def test_sources_without_clusters_are_laid_out_as_they_were() -> None:
    plain = StepSampler([20, 20], [None, None], 4, 1, 1.0, None, 5)
    with_orders = StepSampler([20, 20], [None, None], 4, 1, 1.0, None, 5, (), [None, None])
    assert [plain.batch(i) for i in range(plain.steps)] == [with_orders.batch(i) for i in range(plain.steps)]


def rows(count: int = 24) -> list[dict[str, Any]]:
    return [{"query": f"question {i}", "positive": f"answer {i}", "topic": f"t{i % 6}"} for i in range(count)]


def recipe(**source: Any) -> Recipe:
    given = {"rows": rows(), **source}
    return Recipe.model_validate({"data": {"sources": [given]}, "train": {"batch_size": 4}})


def test_a_column_gives_the_clusters() -> None:
    source = Source.model_validate({"rows": rows(), "roles": {"cluster": "topic"}})
    loaded = load_source(source)
    assert loaded.clusters is not None and loaded.clusters.tolist() == [i % 6 for i in range(24)]
    assert loaded.get([0])[0].cluster is None and load_source(Source.model_validate({"rows": rows()})).clusters is None


def test_clusters_are_classes_as_written() -> None:
    parse = RowParser(resolve_roles(["query", "positive", "c"], {"cluster": "c"}, "f"), len, textual=False)
    base = {"query": "q", "positive": "p"}
    found = [parse({**base, "c": c}, "").cluster for c in ("a", " a ", 7, "7", 7.0, "b")]
    assert found == [0, 0, 1, 1, 1, 2]
    for bad, reason in ((None, "null where a cluster"), (0.5, "a fraction where a cluster"), ("", "empty text")):
        with pytest.raises(BadRow, match=reason):
            parse({**base, "c": bad}, "")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"clusters": {"batches": "apart"}}, "no column of clusters"),
        (
            {"clusters": {"batches": "apart", "kmeans": 3}, "rows": None, "path": "x.jsonl", "streaming": True},
            "a stream never has them",
        ),
    ],
)
def test_refusals(source: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        plan(recipe(**source)).refuse()


@pytest.mark.parametrize(
    "block",
    [
        {"batches": "apart", "rest": "drop"},
        {"batches": "together", "of": "positive"},
        {"batches": "together", "model": "x"},
        {"batches": "near"},
        {},
    ],
)
def test_blocks_that_contradict_themselves(block: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Clusters.model_validate(block)


def test_a_recipe_without_them_keeps_its_hash() -> None:
    plain, with_ = recipe(), recipe(roles={"cluster": "topic"}, clusters={"batches": "apart"})
    assert recipe_hash(plain) != recipe_hash(with_)
    assert "clusters" not in json.dumps(plain.model_dump(mode="json", exclude_none=True))


def test_the_plan_counts_what_the_sampler_will(tmp_path: Path) -> None:
    clusters = {"batches": "together", "rest": "drop"}
    asked = recipe(rows=rows(22), roles={"cluster": "topic"}, clusters=clusters)
    assert plan(asked).updates is None  # 22 rows of six topics: 3 or 4 each
    assert plan(asked, batches=[4]).updates == 4
    mixed = recipe(rows=rows(22), roles={"cluster": "topic"}, clusters={"batches": "together"})
    assert plan(mixed).updates == 5
