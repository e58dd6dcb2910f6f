"""The counts of the plan against the objective and the sampler that do the work."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.data.sampler import StepSampler
from embedkit.objectives.base import build
from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.objectives.contrastive import InfoNCE, columns
from embedkit.recipe.objectives.cwcl import CWCL
from embedkit.recipe.objectives.dclr import DCLR
from embedkit.recipe.objectives.debiased import Debiased
from embedkit.recipe.objectives.hinge import EnergyHinge
from embedkit.recipe.objectives.macl import MACL
from embedkit.recipe.objectives.mixing import MixedNegatives, MoCHi
from embedkit.recipe.objectives.multi_view import MVDHEL
from embedkit.recipe.objectives.spectrum import Rank
from embedkit.recipe.objectives.supcon import SupCon
from embedkit.recipe.objectives.uniformity import KCL, AlignUniform, DecoupledUniformity
from embedkit.recipe.objectives.wrappers import Sum, SumTerm, ViewPairs
from embedkit.recipe.plan import plan
from embedkit.recipe.pool import contrasts, negatives_per_query, seen
from embedkit.recipe.schema import Recipe
from embedkit.types import Embeddings

DIRECTIONS = [("q-d",), ("d-q",), ("q-d", "q-q"), ("q-d", "d-q"), ("q-d", "d-q", "q-q", "d-d"), ("q-d", "d-d")]


def embeddings(n: int, p: int, m: int) -> Embeddings:
    """A batch in which no text appears twice, so that nothing is masked."""
    ids = iter(range(1, 10_000))

    def draw(*shape: int) -> torch.Tensor:
        return torch.tensor([next(ids) for _ in range(torch.Size(shape).numel())], dtype=torch.int64).view(shape)

    query_id, positive_id, negative_id = draw(n), draw(n, p), draw(n, m)
    return Embeddings(
        query=torch.randn(n, 4),
        positive=torch.randn(n, p, 4),
        negative=torch.randn(n, m, 4),
        negative_mask=torch.ones(n, m, dtype=torch.bool),
        query_id=query_id,
        positive_id=positive_id,
        negative_id=negative_id,
        known_id=torch.cat([query_id[:, None], positive_id], 1),
    )


def test_widest_row_is_that_of_the_objective() -> None:
    for directions, n, p, m in itertools.product(DIRECTIONS, (1, 3), (1, 2), (0, 2)):
        config = InfoNCE(directions=directions)
        assert config.columns(n, p, m) == build(config).columns(embeddings(n, p, m))


@pytest.mark.parametrize(("directions", "expected"), [
    (("q-d",), [(2, 3, 6)]),
    (("q-d", "q-q"), [(2, 6, 6)]),
    (("d-q",), [(0, 3, 0)]),
    (("q-d", "d-q", "q-q", "d-d"), [(2, 12, 12)]),
])  # fmt: skip
def test_counts_by_hand(directions: tuple[str, ...], expected: list[tuple[int, int, int]]) -> None:
    found = seen(InfoNCE(directions=directions), 4, 1, 2)
    assert [(s.own, s.others, s.others_explicit) for s in found] == expected


def test_equal_candidates_count_the_negatives() -> None:
    """With all similarities equal, InfoNCE is log(1 + negatives): an independent count for every setting."""
    for directions, partition in itertools.product(DIRECTIONS, ("joint", "per_direction")):
        if partition == "per_direction" and directions == ("q-d", "d-d"):
            continue
        for same_side, others in itertools.product(("others", "positives", "all"), (True, False)):
            config = InfoNCE(
                directions=directions, partition=partition, same_side=same_side, other_negatives=others,
                positive_in_denominator="once",
            )  # fmt: skip
            e = embeddings(4, 1, 2)
            for tensor in (e.query, e.positive, e.negative):
                tensor.fill_(1.0)
            groups = seen(config, 4, 1, 2)
            expected = sum(torch.tensor(1.0 + g.total).log() for g in groups) / len(groups)
            got = build(config)(e, torch.tensor([0])).value
            torch.testing.assert_close(got, expected.view(1), rtol=1e-5, atol=1e-5)


def test_own_negatives_only() -> None:
    found = seen(InfoNCE(in_batch_negatives=False), 64, 1, 3)
    assert [(s.own, s.others, s.others_explicit, s.total) for s in found] == [(3, 0, 0, 3)]


@pytest.mark.parametrize(
    "config", [MACL(), Debiased(), EnergyHinge(), DCLR(phi=1.0, noise_times=2.5)], ids=lambda c: c.name
)
def test_other_objectives_with_a_pool_see_what_they_count(config: ObjectiveConfig) -> None:
    e = embeddings(4, 1, 2)
    (found,) = contrasts(config, 4, 1, 2)
    counted = build(config)(replace(e, guide=e), torch.arange(4)).metrics["negatives"]
    assert float(counted) == found.total - found.noise == 11
    assert found.noise == (10 if isinstance(config, DCLR) else 0)
    assert ("guide" in found.less) == config.needs_guide


def test_mixed_negatives_are_counted() -> None:
    (found,) = contrasts(MixedNegatives(count=3), 4, 1, 2)
    assert (found.own, found.others, found.others_explicit) == (5, 3, 15)
    made = MoCHi(pairs=2, with_query=3, directions=("d-q", "q-d"), partition="per_direction")
    assert [(s.anchor, s.noise) for s in contrasts(made, 4, 1, 0)] == [("query", 5), ("document", 0)]
    assert MixedNegatives(count=3).columns(4, 1, 2) == 4 * (1 + 5) and made.columns(4, 1, 0) == 4 + 5


def test_wrappers_see_what_is_inside() -> None:
    inner = InfoNCE(guide="absolute")
    alone = contrasts(inner, 4, 1, 0)
    assert "guide" in alone[0].less
    assert contrasts(ViewPairs(objective=inner), 4, 3, 0) == alone  # one pair of views at a time
    assert ViewPairs(objective=inner).columns(4, 3, 0) == 4 and inner.columns(4, 3, 0) == 12
    both = Sum(terms=(SumTerm(objective=inner), SumTerm(objective=Rank()), SumTerm(objective=SupCon())))
    assert [s.total for s in contrasts(both, 4, 2, 0)] == [6, 9]
    assert both.columns(4, 2, 0) == 3 * 3 * 4
    assert [s.total for s in contrasts(MVDHEL(), 4, 2, 0)] == [3]


def test_width_of_each_direction() -> None:
    assert [columns(d, 8, 2, 3) for d in ("q-d", "q-q", "d-q", "d-d")] == [40, 8, 16, 80]


def test_negatives_per_query() -> None:
    assert negatives_per_query(None, needed=False, given=False) == 0
    assert negatives_per_query(None, needed=False, given=True) == 1
    assert negatives_per_query(None, needed=True, given=False) == 1
    assert negatives_per_query(0, needed=False, given=True) == 0
    assert negatives_per_query(4, needed=False, given=True) == 4


@settings(max_examples=60)
@given(
    rows=st.lists(st.integers(8, 500), min_size=1, max_size=3),
    batch=st.integers(1, 8),
    accumulation=st.integers(1, 4),
    epochs=st.sampled_from([0.5, 1.0, 1.7, 3.0]),
)
def test_updates_are_those_of_the_sampler(rows: list[int], batch: int, accumulation: int, epochs: float) -> None:
    recipe = Recipe(
        data={"sources": [{"hub": f"h{i}"} for i in range(len(rows))]},
        train={"batch_size": batch, "accumulation": accumulation, "epochs": epochs},
    )
    planned = plan(recipe, rows=rows).updates
    if planned:
        assert planned == StepSampler(rows, [None] * len(rows), batch, accumulation, epochs, None, 0).steps


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (AlignUniform(), "its pair and 3 others of its side; no softmax"),
        (AlignUniform(uniform_weight=0), "its pair; no negatives"),
        (DecoupledUniformity(), "the centre of its 3 views and those of 3 others; no softmax"),
        (KCL(), "its pair and 3 others of its side; no softmax"),
        (CWCL(reverse=0), "8 documents, each a positive by the guide's similarity"),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_what_is_seen_without_counted_negatives(config: ObjectiveConfig, words: str) -> None:
    assert config.sees(4, 2, 1) == words and contrasts(config, 4, 2, 1) == []
