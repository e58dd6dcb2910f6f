"""The weights undo what meaning alone prefers: on pools with a known bias, surface stops telling the roles apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedkit.mining import diagnostics
from embedkit.mining.draws import draw
from embedkit.mining.pool import Pool
from embedkit.mining.propensity import ROLES, Propensity, Role, Side, cells, fit, log_preference
from embedkit.recipe.debias import Debias
from tests.mining.pools import biased_pool

OPTIONS = Debias()


def fitted(pools: list[Pool], options: Debias = OPTIONS) -> tuple[dict[Role, Side], Propensity]:
    sides = {role: Side.of(pools, role, options) for role in ROLES}
    return sides, fit(sides, options)


def drawn(pool: Pool, propensity: Propensity, options: Debias, count: int = 1) -> dict[Role, dict[str, np.ndarray]]:
    """Surface and length of the pairs that were drawn."""
    found: dict[Role, dict[str, np.ndarray]] = {}
    for role in ROLES:
        slots = draw(pool, role, count, propensity, options)
        rows, columns = np.nonzero(slots >= 0)
        found[role] = {
            name: getattr(pool, name)[pool.anchor[rows] - pool.anchor[0], slots[rows, columns]]
            for name in diagnostics.FEATURES
        }
    return found


def label_correlation(pairs: dict[Role, dict[str, np.ndarray]], feature: str) -> float:
    """Pearson's correlation with the label, by numpy; the roles are as frequent as they were drawn."""
    values = np.concatenate([pairs[role][feature] for role in ROLES])
    label = np.concatenate([np.full(len(pairs[role][feature]), role == "positive") for role in ROLES])
    return float(np.corrcoef(values, label)[0, 1])


@settings(max_examples=12)
@given(bias=st.floats(0.1, 0.35), share=st.floats(0.5, 1), seed=st.integers(0, 10**6))
def test_drawn_labels_are_uncorrelated_with_surface_and_length(bias: float, share: float, seed: int) -> None:
    pool = biased_pool(bias=bias, noise=bias * share, seed=seed)
    plain = drawn(pool, fitted([pool], replace_options(strength=0.0))[1], OPTIONS)
    balanced = drawn(pool, fitted([pool])[1], OPTIONS)
    for feature in ("surface", "length"):
        before, after = label_correlation(plain, feature), label_correlation(balanced, feature)
        assert abs(before) > 0.25, "the pool is not biased, so the test shows nothing"
        # A correlation over 6000 pairs has a sampling error of 0.013; classes of finite width leave a little more.
        assert abs(after) < 0.07 and abs(after) < abs(before) / 4, (feature, before, after)
        assert before * (1 if feature == "surface" else -1) > 0


def test_balance_holds_jointly_and_not_only_on_average() -> None:
    """Within every class of length the roles agree in surface too: the cells are joint."""
    pool = biased_pool(anchors=6000)
    sides, propensity = fitted([pool])
    after = {r: s.chances(propensity.factors(r, s.surface, s.length)) for r, s in sides.items()}
    tables = {r: np.bincount(propensity.cells.of(s.surface, s.length), after[r]) for r, s in sides.items()}
    width = max(map(len, tables.values()))
    positive, negative = (np.pad(tables[r], (0, width - len(tables[r]))) for r in ROLES)
    assert np.abs(positive - negative).sum() / 2 < 0.05
    assert propensity.distance[0] > 0.5 > 0.05 > propensity.distance[1]


def test_one_division_by_the_propensity_is_not_enough() -> None:
    """Why the propensity is measured again: an anchor draws from its own candidates; weights compete within it."""
    pool = biased_pool()
    sides, propensity = fitted([pool])
    q = np.sqrt(propensity.first["positive"] * propensity.first["negative"])
    tables = {}
    for role, side in sides.items():
        cell = propensity.cells.of(side.surface, side.length)
        once = side.chances((q / propensity.first[role])[cell])
        tables[role] = np.bincount(cell, once, minlength=propensity.cells.count)
    after_one = np.abs(tables["positive"] - tables["negative"]).sum() / 2
    assert propensity.rounds > 2 and propensity.distance[1] < after_one / 2


def test_without_bias_the_weights_change_little() -> None:
    pool = biased_pool(bias=0.0, anchors=6000)
    _, propensity = fitted([pool])
    for role in ROLES:
        heavy = propensity.first[role] > 1 / 200
        assert np.allclose(propensity.factor[role][heavy], 1, atol=0.35)
    assert label_correlation(drawn(pool, propensity, OPTIONS), "surface") == pytest.approx(0, abs=0.05)


def test_strength_goes_from_meaning_alone_to_balance() -> None:
    pool = biased_pool()
    found = [fitted([pool], replace_options(strength=s))[1].distance[1] for s in (0.0, 0.5, 1.0)]
    assert found[0] == pytest.approx(fitted([pool])[1].distance[0])
    assert found[0] > found[1] > found[2]


def test_first_propensity_is_the_chance_of_the_cell_by_meaning_alone() -> None:
    """Against a naive loop over anchors and candidates."""
    pool = biased_pool(anchors=40, candidates=8)
    sides, propensity = fitted([pool])
    for role in ROLES:
        expected = np.zeros(propensity.cells.count)
        anchors = 0
        for i in range(40):
            c = pool.meaning[i].astype(float)
            inside = c >= 0.6 if role == "positive" else c <= 0.3
            if not inside.any():
                continue
            anchors += 1
            g = np.exp((5.0 if role == "positive" else -5.0) * c) * inside
            for j in np.flatnonzero(inside):
                cell = propensity.cells.of(pool.surface[i, j : j + 1], pool.length[i, j : j + 1])[0]
                expected[cell] += g[j] / g.sum()
        smoothed = (expected + 1 / len(expected)) / (anchors + 1)
        assert sides[role].anchors == anchors
        assert propensity.first[role] == pytest.approx(smoothed, rel=1e-5)
        assert smoothed.sum() == pytest.approx(1)


def test_weights_stay_in_their_bounds() -> None:
    """Roles that hardly overlap: no factor beyond `max_weight`, and the remaining distance is told."""
    pool = biased_pool(bias=0.8, noise=0.02)
    options = replace_options(max_weight=4.0)
    _, propensity = fitted([pool], options)
    for role in ROLES:
        assert propensity.factor[role].max() <= 4.0 + 1e-9 and propensity.factor[role].min() >= 0.25 - 1e-9
    assert propensity.distance[1] > 0.3


def test_a_role_without_candidates_leaves_the_other_as_it_is() -> None:
    pool = biased_pool()
    far = replace(pool, meaning=np.minimum(pool.meaning, 0.5))
    sides, propensity = fitted([far])
    assert sides["positive"].anchors == 0
    assert np.all(propensity.factor["negative"] == 1)
    assert (draw(far, "positive", 1, propensity, OPTIONS) == -1).all()
    report = diagnostics.describe(sides, propensity)
    assert report["before"]["surface"]["auc"] is None


def test_classes_are_quantiles_and_equal_edges_fall_together() -> None:
    pool = biased_pool()
    sides, _ = fitted([pool])
    made = cells(sides["positive"], sides["negative"], 12)
    assert len(made.surface) == len(made.length) == 11
    atom = replace(pool, surface=np.where(pool.surface < 0.6, 0, pool.surface).astype(np.float32))
    made = cells(*(Side.of([atom], role, OPTIONS) for role in ROLES), 12)
    assert len(made.surface) < 11 and made.surface.min() > 0
    assert set(made.of(np.zeros(3), np.array([0.0, 0.5, 1.0])) // (len(made.length) + 1)) == {0}


def test_bands_and_preference() -> None:
    c = np.array([-0.5, 0.3, 0.4, 0.6, 0.9])
    assert np.isfinite(log_preference(c, "positive", OPTIONS)).tolist() == [False, False, False, True, True]
    assert np.isfinite(log_preference(c, "negative", OPTIONS)).tolist() == [True, True, False, False, False]
    assert np.diff(log_preference(c[3:], "positive", OPTIONS)) == pytest.approx([1.5])
    assert np.diff(log_preference(c[:2], "negative", OPTIONS)) == pytest.approx([-4.0])


def replace_options(**changes: object) -> Debias:
    return Debias.model_validate({**OPTIONS.model_dump(), **changes})
