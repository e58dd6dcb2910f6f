from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.data.sources import load_source, text_id
from embedkit.data.stream import Stream, shuffled
from embedkit.errors import DataError
from embedkit.recipe.reading.settle import settle
from embedkit.recipe.schema import Source
from embedkit.types import Example


def numbers(rows):
    return lambda: iter([Example(str(i)) for i in range(rows)])


@settings(max_examples=60)
@given(rows=st.integers(1, 40), buffer=st.integers(1, 50), seed=st.integers(0, 99), data=st.data())
def test_a_position_names_the_same_example_wherever_reading_starts(rows, buffer, seed, data):
    make = lambda: Stream(numbers(rows), buffer, seed, "s")  # noqa: E731
    everything = make().get(range(3 * rows))
    stream = make()
    for _ in range(4):
        start = data.draw(st.integers(0, 3 * rows - 1))
        stop = data.draw(st.integers(start + 1, 3 * rows))
        assert stream.get(range(start, stop)) == everything[start:stop]


@settings(max_examples=40)
@given(rows=st.integers(1, 40), buffer=st.integers(1, 50), seed=st.integers(0, 99))
def test_each_pass_holds_every_row_once(rows, buffer, seed):
    stream = Stream(numbers(rows), buffer, seed, "s")
    for epoch in range(3):
        seen = [int(e.query) for e in stream.get(range(epoch * rows, (epoch + 1) * rows))]
        assert sorted(seen) == list(range(rows))


def test_passes_and_seeds_differ_and_the_buffer_mixes():
    first = Stream(numbers(500), 100, 0, "s")
    passes = [[int(e.query) for e in first.get(range(p * 500, (p + 1) * 500))] for p in range(2)]
    other = [int(e.query) for e in Stream(numbers(500), 100, 1, "s").get(range(500))]
    assert passes[0] != passes[1] and passes[0] != other
    assert max(passes[0][:50]) < 150  # a row can come early by at most the buffer
    assert list(shuffled(range(9), 1, random.Random(0))) == list(range(9))


def test_processes_that_read_their_slices_together_read_the_stream():
    whole = Stream(numbers(30), 8, 3, "s").get(range(24))
    ranks = [Stream(numbers(30), 8, 3, "s") for _ in range(2)]
    read = [
        e
        for batch in range(3)
        for rank, stream in enumerate(ranks)
        for e in stream.get(range(batch * 8 + rank * 4, batch * 8 + rank * 4 + 4))
    ]
    assert read == whole


def test_refusals():
    with pytest.raises(ValueError, match="must increase"):
        Stream(numbers(5), 2, 0, "s").get([3, 2])
    with pytest.raises(DataError, match="s: the stream gave no usable row"):
        Stream(numbers(0), 2, 0, "s").get([0])


def source(tmp_path, rows=300, **options):
    lines = [f"query {i}\tpositive {i}\t{'ab'[i % 2]}" for i in range(rows)]
    (tmp_path / "a.tsv").write_text("\n".join(["query\tpositive\tlabel", *lines]) + "\n")
    options = {"shuffle_buffer": 16, **options}
    return Source(path="a.tsv", streaming=True, **options)


def test_a_streamed_file(tmp_path):
    loaded = load_source(settle(source(tmp_path), tmp_path), seed=1)
    assert loaded.rows is None and loaded.streaming and loaded.roles == {"query", "positive", "label"}
    one = loaded.get(range(300))
    assert sorted(int(e.origin.removeprefix("a.tsv:")) for e in one) == list(range(2, 302))
    assert one[0].known == (text_id(one[0].positives[0]),)
    assert {e.label for e in one} == {text_id("a"), text_id("b")}
    again = load_source(settle(source(tmp_path), tmp_path), seed=1)
    assert again.get(range(150, 200)) == one[150:200] and again.digest == loaded.digest
    assert load_source(settle(source(tmp_path), tmp_path), seed=2).get(range(300)) != one
    assert load_source(settle(source(tmp_path, rows=299), tmp_path)).digest != loaded.digest


def test_a_limited_stream_repeats_its_first_rows(tmp_path):
    loaded = load_source(settle(source(tmp_path, limit=10), tmp_path))
    for epoch in range(2):
        queries = {e.query for e in loaded.get(range(epoch * 10, epoch * 10 + 10))}
        assert queries == {f"query {i}" for i in range(10)}


def test_a_bad_row_stops_a_stream_when_it_is_met(tmp_path):
    src = source(tmp_path, rows=3000)
    with (tmp_path / "a.tsv").open("a") as file:
        file.write("only one column\n")
    loaded = load_source(settle(src, tmp_path))
    loaded.get(range(1000))
    with pytest.raises(DataError, match=r"a\.tsv:3002: 1 columns where the header has 3"):
        loaded.get(range(1000, 3001))
