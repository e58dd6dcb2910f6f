from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.data.sampler import StepSampler
from embedkit.errors import DataError, RecipeError


def sampler(rows, *, weights=None, batch_size=4, accumulation=1, epochs=1.0, steps=None, seed=0):
    return StepSampler(rows, weights or [None] * len(rows), batch_size, accumulation, epochs, steps, seed)


def walk(s):
    return [s.batch(step, k) for step in range(s.steps) for k in range(s.accumulation)]


@settings(max_examples=60)
@given(rows=st.integers(1, 80), batch=st.integers(1, 16), epochs=st.integers(1, 4), seed=st.integers(0, 2**40))
def test_each_epoch_is_a_subset_of_a_permutation_without_the_remainder(rows, batch, epochs, seed):
    if rows < batch:
        with pytest.raises(DataError, match="do not fill one batch"):
            sampler([rows], batch_size=batch)
        return
    s = sampler([rows], batch_size=batch, epochs=float(epochs), seed=seed)
    full = rows // batch
    batches = walk(s)
    assert len(batches) == full * epochs
    for e in range(epochs):
        seen = [p for b in batches[e * full : (e + 1) * full] for p in b.positions]
        assert len(set(seen)) == len(seen) == full * batch
        assert set(seen) <= set(range(rows))


@settings(max_examples=40)
@given(
    rows=st.lists(st.integers(8, 60), min_size=1, max_size=4),
    accumulation=st.integers(1, 3),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_a_batch_depends_on_nothing_but_its_number(rows, accumulation, seed, data):
    make = lambda: sampler(rows, accumulation=accumulation, steps=12, seed=seed)  # noqa: E731
    expected = [(b.source, b.positions) for b in walk(make())]
    fresh = make()
    for number in data.draw(st.permutations(range(12 * accumulation))):
        batch = fresh.batch(*divmod(number, accumulation))
        assert (batch.source, batch.positions) == expected[number]


@settings(max_examples=40)
@given(
    weights=st.lists(st.floats(0.1, 20), min_size=1, max_size=5),
    steps=st.integers(1, 300),
    seed=st.integers(0, 1000),
)
def test_shares_are_exact_over_the_run_and_even_within_it(weights, steps, seed):
    s = sampler([40] * len(weights), weights=weights, steps=steps, seed=seed)
    sources = [b.source for b in walk(s)]
    counts = Counter(sources)
    assert [counts[i] for i in range(len(weights))] == s.counts
    assert sum(s.counts) == steps
    for count, weight in zip(s.counts, weights, strict=True):
        assert abs(count - steps * weight / sum(weights)) < 1
    for i, count in enumerate(s.counts):
        share, seen = count / steps, 0
        for b, source in enumerate(sources, 1):
            seen += source == i
            assert abs(seen - b * share) < 1 + len(weights) * share


@settings(max_examples=40)
@given(world=st.sampled_from([1, 2, 3, 4, 6, 12]), seed=st.integers(0, 1000))
def test_the_slices_of_the_processes_make_the_batch(world, seed):
    s = sampler([50, 30], batch_size=12, epochs=2.0, seed=seed)
    for batch in walk(s):
        slices = [s.own(batch, rank, world) for rank in range(world)]
        assert [p for part in slices for p in part] == batch.positions
        assert {len(part) for part in slices} == {12 // world}


def test_without_weights_an_epoch_reads_every_source_once():
    s = sampler([103, 8, 41], batch_size=4, epochs=2.0)
    assert s.counts == [50, 4, 20]
    assert s.passes == [2.0, 2.0, 2.0]
    small = [b.positions for b in walk(s) if b.source == 1]
    assert sorted(small[0] + small[1]) == sorted(small[2] + small[3]) == list(range(8))


def test_epochs_differ_and_so_do_seeds_and_sources():
    s = sampler([400, 400], batch_size=400, epochs=2.0)
    orders = {(b.source, tuple(b.positions)) for b in walk(s)}
    assert len({positions for _, positions in orders}) == 4
    assert walk(sampler([400], batch_size=400, seed=1)) != walk(sampler([400], batch_size=400, seed=2))


def test_weights_change_the_share_and_a_small_source_is_read_again():
    s = sampler([400, 8], weights=[1.0, 1.0], batch_size=4)
    assert s.steps == 102
    assert s.counts == [51, 51]
    assert s.passes == [0.51, 25.5]


def test_steps_override_epochs_and_fractions_are_exact():
    assert sampler([400], steps=7, epochs=3.0).steps == 7
    assert sampler([400], epochs=0.29).steps == 29
    assert sampler([400], epochs=0.29, accumulation=3).steps == 9


def test_a_stream_gives_consecutive_positions():
    s = sampler([None, 40], weights=[1.0, 1.0], steps=10)
    assert [p for b in walk(s) if b.source == 0 for p in b.positions] == list(range(20))
    assert s.passes == [None, 0.5]


def test_refusals_say_what_to_do():
    with pytest.raises(RecipeError, match=r"set train\.steps"):
        sampler([None])
    with pytest.raises(RecipeError, match="give every source a weight"):
        sampler([None, 40], steps=5)
    with pytest.raises(RecipeError, match="some sources have a weight"):
        sampler([40, 40], weights=[1.0, None])
    with pytest.raises(DataError, match=r"set train\.batch_size to 3 or less"):
        sampler([3])
    with pytest.raises(DataError, match="less than one update"):
        sampler([8], accumulation=3)
    s = sampler([40], batch_size=4)
    with pytest.raises(RecipeError, match="does not divide by 3"):
        s.own(s.batch(0), 0, 3)
    with pytest.raises(IndexError):
        s.batch(10, 0)
