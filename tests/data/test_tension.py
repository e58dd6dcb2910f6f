"""Pairs of Contrastive Tension."""

from __future__ import annotations

import pytest

from embedkit.data.tension import tension_pairs
from embedkit.data.text import text_id
from embedkit.data.views import expand
from embedkit.errors import DataError
from embedkit.types import Example


def pairs(n: int = 16, own: slice = slice(None), k: int = 7, step: int = 2, seed: int = 0) -> list[Example]:
    texts = [Example(f"text {i}", origin=f"t:{i}") for i in range(n)]
    return tension_pairs(texts, own, negatives_per_positive=k, seed=seed, step=step)


def test_one_positive_for_k_negatives() -> None:
    for step in range(8):
        made = pairs(step=step)
        same = [e.positives == (e.query,) for e in made]
        assert [e.scores for e in made] == [(1.0,) if s else (0.0,) for s in same]
        assert sum(same) == 2
    uneven = [e.scores[0] for step in range(8) for e in pairs(n=10, step=step)]
    assert sum(uneven) == 10 and len(uneven) == 80  # exact over the run, though 8 does not divide 10


def test_negatives_are_not_tied_to_the_positives() -> None:
    """Nothing but chance decides with whom a text is paired: all others come up."""
    partners = {e.positives[0] for seed in range(200) for e in pairs(seed=seed)[1:2]}
    assert partners == {f"text {i}" for i in range(16) if i != 1}


def test_pairs_do_not_depend_on_the_number_of_processes() -> None:
    whole = pairs()
    assert pairs(own=slice(0, 8)) + pairs(own=slice(8, 16)) == whole
    assert pairs(step=3) != whole and pairs(seed=1) != whole


def test_equal_texts_are_not_negatives() -> None:
    texts = [Example("same  words")] * 6 + [Example("same words"), Example("other")]
    made = tension_pairs(texts, slice(None), negatives_per_positive=7, seed=0, step=0)
    assert all(e.positives == ("other",) for e in made[1:7])
    with pytest.raises(DataError, match="all the same"):
        tension_pairs(texts[:7], slice(None), negatives_per_positive=7, seed=0, step=0)


def test_rows_scores_and_ids() -> None:
    made = pairs()
    e = expand(made, unlabelled=True, views=2, per_query=0, one_positive="sample", seed=0, step=2, offset=0)
    assert e.score is not None and e.score[:, 0].tolist() == [x.scores[0] for x in made]
    assert [r.text for r in e.rows] == [t for x in made for t in (x.query, x.positives[0])]
    assert {r.role for r in e.rows} == {"query"}
    assert e.positive_id[:, 0].tolist() == [text_id(x.positives[0]) for x in made]
    assert e.known_id.tolist() == [[text_id(x.query)] for x in made], "a text paired by chance does not match"
