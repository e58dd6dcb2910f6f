"""Transforms of views: what each draws, and that draws depend on nothing but (seed, step, place, view)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.data.augment import ElementDropout, FeatureCutoff, RowTransform, Shuffle, TokenCutoff, Viewing
from embedkit.data.augment_text import (
    DeleteSpan,
    DeleteWords,
    ReorderWords,
    RepeatWords,
    SubstituteWords,
    TextTransform,
    read_synonyms,
)
from embedkit.data.collate import collate
from embedkit.data.text import text_id
from embedkit.data.views import Expanded, expand
from embedkit.errors import DataError
from embedkit.recipe import registry
from embedkit.recipe.schema import Views
from embedkit.types import Example, RowBatch
from tests.tiny import sentences

WIDTH = 20
words = st.lists(st.sampled_from(["ba", "de", "fi", "go", "ku"]), min_size=1, max_size=30)
seeds = st.integers(0, 2**32)
rates = st.floats(0.01, 0.99)


def numbered(n: int) -> list[str]:
    return [f"w{i}" for i in range(n)]


def apply(transform: TextTransform, given: list[str], seed: int = 0, pool: tuple[str, ...] = ()) -> list[str]:
    return transform(given, np.random.default_rng(seed), pool)


# Words ----------------------------------------------------------------------------------------------------------------


@given(n=st.integers(1, 40), rate=rates, seed=seeds)
def test_deleting_words_leaves_the_others_in_order(n: int, rate: float, seed: int) -> None:
    left = apply(DeleteWords(rate), numbered(n), seed)
    assert len(left) == n - int(n * rate) >= 1
    assert left == sorted(left, key=lambda w: int(w[1:]))


@given(n=st.integers(1, 40), rate=rates, seed=seeds)
def test_deleting_a_span_takes_neighbours(n: int, rate: float, seed: int) -> None:
    before = numbered(n)
    left = apply(DeleteSpan(rate), before, seed)
    gone = [i for i, w in enumerate(before) if w not in left]
    assert len(gone) == int(n * rate) < n
    assert gone == list(range(gone[0], gone[0] + len(gone))) if gone else left == before


@given(n=st.integers(1, 40), rate=st.floats(0.01, 1.0), span=st.integers(1, 5), seed=seeds)
def test_reordering_moves_whole_spans(n: int, rate: float, span: int, seed: int) -> None:
    before = numbered(n)
    after = apply(ReorderWords(rate, span), before, seed)
    assert Counter(after) == Counter(before)
    moved = [i for i in range(n) if after[i] != before[i]]
    assert len(moved) == 2 * span * int(n * rate / (2 * span))


@given(given_=words, rate=st.floats(0.01, 1.0), seed=seeds)
def test_substitutes_come_from_the_batch(given_: list[str], rate: float, seed: int) -> None:
    pool = ("ba", "de", "new")
    after = apply(SubstituteWords(rate), given_, seed, pool)
    changed = [(a, b) for a, b in zip(given_, after, strict=True) if a != b]
    assert all(b in pool for _, b in changed)
    assert len(changed) <= int(len(given_) * rate)


def test_substitutes_are_as_frequent_as_in_the_batch() -> None:
    pool = ("often", "often", "often", "rare")
    counts = Counter(w for seed in range(400) for w in apply(SubstituteWords(1.0), ["a", "b", "c", "d"], seed, pool))
    assert set(counts) == {"often", "rare"} and 2.5 < counts["often"] / counts["rare"] < 3.6


def test_synonyms_keep_punctuation_and_skip_unknown_words(tmp_path: Path) -> None:
    file = tmp_path / "synonyms.tsv"
    file.write_text("big\tlarge\n\nBIG\thuge\nend\tfinal stop\n", encoding="utf-8")
    assert read_synonyms(file) == {"big": ["large", "huge"], "end": ["final stop"]}
    transform = SubstituteWords(1.0, "synonyms", str(file))
    after = {" ".join(apply(transform, ["A", "(Big)", "dog", "end."], seed)) for seed in range(20)}
    assert after == {"A (large) dog final stop.", "A (huge) dog final stop."}


@pytest.mark.parametrize(
    ("content", "message"), [("big\n", ":1: expected a word and its synonyms"), ("\n", "is empty"), (None, "no such")]
)
def test_a_bad_synonym_file_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    file = tmp_path / "s.tsv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(DataError, match=message):
        SubstituteWords(0.5, "synonyms", str(file))


@given(n=st.integers(1, 40), rate=rates, seed=seeds)
def test_repeated_words_stand_beside_themselves(n: int, rate: float, seed: int) -> None:
    after = apply(RepeatWords(rate), numbered(n), seed)
    assert list(dict.fromkeys(after)) == numbered(n)
    assert after == sorted(after, key=lambda w: int(w[1:]))
    assert n <= len(after) <= n + min(n, max(2, int(n * rate))) and max(Counter(after).values()) <= 2


# Rows -----------------------------------------------------------------------------------------------------------------


@given(tokens=st.integers(1, 30), rate=rates, seed=seeds)
def test_counts_are_those_of_consert(tokens: int, rate: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for transform, shape, count in [
        (FeatureCutoff(rate), (1, WIDTH), int(WIDTH * rate)),
        (TokenCutoff(rate), (tokens, 1), int(tokens * rate)),
        (ElementDropout(rate), (tokens, WIDTH), int(tokens * WIDTH * rate)),
    ]:
        change = transform.draw(tokens, WIDTH, rng)
        assert change.cut is not None and change.order is None
        assert change.cut.shape == shape and change.cut.sum() == count
    change = Shuffle().draw(tokens, WIDTH, rng)
    assert change.cut is None and sorted(change.order) == list(range(tokens))


def test_several_transforms_add_up() -> None:
    class Fixed(RowTransform):
        def draw(self, tokens, width, rng):  # type: ignore[no-untyped-def]
            return Shuffle().draw(tokens, width, np.random.default_rng(1))

    rng = np.random.default_rng(0)
    both = FeatureCutoff(0.2).draw(5, WIDTH, rng).then(TokenCutoff(0.4).draw(5, WIDTH, rng))
    assert both.cut is not None and both.cut.sum() == 5 * WIDTH - 3 * (WIDTH - 4)
    once = Fixed().draw(5, WIDTH, rng)
    assert once.order is not None
    twice = once.then(Fixed().draw(5, WIDTH, rng))
    assert np.array_equal(twice.order, once.order[once.order])  # type: ignore[arg-type]


# Views of a batch -----------------------------------------------------------------------------------------------------

TRANSFORMS = (
    ({"name": "delete_words", "rate": 0.3}, {"name": "feature_cutoff", "rate": 0.2}),
    ({"name": "substitute_words", "rate": 0.5}, {"name": "shuffle"}, {"name": "dropout", "rate": 0.2}),
)


def tokenize(rows):  # type: ignore[no-untyped-def]
    return [[1, *range(5, 5 + len(r.text.split())), 2] for r in rows], {}


def batch(texts: list[str], own: slice, seed: int = 0, step: int = 3) -> tuple[Expanded, RowBatch]:
    viewing = Viewing(Views.model_validate({"count": 3, "transforms": TRANSFORMS}))
    expanded = expand(
        [Example(t) for t in texts[own]],
        unlabelled=True,
        views=3,
        per_query=0,
        one_positive="sample",
        seed=seed,
        step=step,
        offset=own.start or 0,
        transforms=viewing.unlabelled,
        pool=[w for t in texts for w in t.split()],
    )
    return expanded, collate(expanded, tokenize, 60, source=0, step=step, width=WIDTH)


def rows_of(b: RowBatch) -> list[tuple]:
    assert b.cut is not None and b.order is not None and b.variant is not None
    lists = ([None if a is None else a.tolist() for a in values] for values in (b.cut, b.order))
    return list(zip(b.texts, b.input_ids, *lists, b.variant.tolist(), strict=True))


def test_draws_do_not_depend_on_the_number_of_processes() -> None:
    texts = sentences(12, seed=3, shortest=5)
    whole = rows_of(batch(texts, slice(0, 12))[1])
    for world in (2, 3):
        share = 12 // world
        parts = [rows_of(batch(texts, slice(r * share, (r + 1) * share))[1]) for r in range(world)]
        assert [row for part in parts for row in part] == whole
    assert rows_of(batch(texts, slice(0, 12), seed=1)[1]) != whole
    assert rows_of(batch(texts, slice(0, 12), step=4)[1]) != whole


def test_each_view_has_its_own_transforms_and_the_text_keeps_its_id() -> None:
    texts = sentences(8, seed=5, shortest=6)
    expanded, made = batch(texts, slice(0, 8))
    assert expanded.query_id.tolist() == [text_id(t) for t in texts]
    assert (expanded.positive_id == expanded.query_id[:, None]).all()
    assert made.originals == [t for t in texts for _ in range(3)]
    assert made.cut is not None and made.order is not None and made.variant is not None
    for i, text in enumerate(texts):
        first, second, third = (3 * i + k for k in range(3))
        assert len(made.texts[first].split()) == len(text.split()) - int(len(text.split()) * 0.3)
        assert made.cut[first] is not None and made.order[first] is None
        assert made.texts[second] != text and made.cut[second] is None
        assert sorted(made.order[second]) == list(range(len(made.input_ids[second])))  # type: ignore[arg-type]
        assert made.texts[third] == text and made.cut[third] is None and made.order[third] is None
    assert made.variant.reshape(8, 3).tolist() == [[0, 1, 0]] * 8
    distinct = {tuple(np.flatnonzero(c)) for c in made.cut if c is not None}
    assert len(distinct) > 4, "each text draws its own columns"


def test_a_micro_batch_holds_one_variant() -> None:
    made = batch(sentences(12, seed=3), slice(0, 12))[1]
    assert made.variant is not None
    assert sorted(np.concatenate(made.micro_batches).tolist()) == list(range(36))
    assert all(len(set(made.variant[rows])) == 1 for rows in made.micro_batches)
    longest = [max(len(made.input_ids[r]) for r in rows) for rows in made.micro_batches]
    assert longest == sorted(longest, reverse=True)
    assert len({made.variant[rows[0]] for rows in made.micro_batches}) == 2


def test_plain_views_leave_the_batch_as_it_was() -> None:
    expanded = expand(
        [Example("a b")], unlabelled=True, views=2, per_query=0, one_positive="sample", seed=0, step=0, offset=0
    )
    made = collate(expanded, tokenize, 60, source=0, step=0)
    assert made.variant is None and made.cut is None and made.order is None
    assert made.texts == made.originals == ["a b", "a b"]


def test_the_transform_of_the_docs_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python block of docs/views.md, as written there."""
    monkeypatch.setattr(registry, "_PLUGINS", dict(registry._PLUGINS))
    page = (Path(__file__).parents[2] / "docs" / "views.md").read_text(encoding="utf-8")
    block = page.split("```python\n")[1].split("```")[0]
    exec(compile(block.replace("from __future__ import annotations", ""), "docs/views.md", "exec"), {"__name__": "own"})
    views = Views.model_validate({"transforms": [[{"name": "lower_words", "rate": 1.0}]]})
    view = Viewing(views).unlabelled[0]
    assert view.text("Ba DE fi", (0, 0, 0, 0), ()) == "ba de fi"


def test_a_synonym_file_in_latin_1_says_how_it_becomes_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "synonyms.tsv"
    path.write_bytes("gross\tgroß\n".encode("latin-1"))
    with pytest.raises(DataError, match="iconv -f latin-1 -t utf-8") as caught:
        read_synonyms(path)
    assert f"{path}:1: broken encoding" in str(caught.value)
