"""What a group suffers from being rare: against plain loops; the authors' numbers are in the golden values."""

from __future__ import annotations

import numpy as np
import pytest

from embedkit.errors import EmbedkitError
from embedkit.evaluation.harm import group_cosines, representation_harm
from embedkit.evaluation.robustness import relative_drop


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cosines_of_groups_against_a_plain_loop(dtype: type) -> None:
    rng = np.random.default_rng(0)
    rows, groups = rng.normal(size=(12, 5)).astype(dtype), np.array([0] * 5 + [1] * 4 + [2] * 3)
    found = group_cosines(rows, groups)
    for i in range(3):
        for j in range(3):
            cosines = [
                a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a in rows[groups == i] for b in rows[groups == j]
            ]
            assert found[i, j] == pytest.approx(np.mean(cosines), rel=1e-5)


def test_groups_that_moved_together() -> None:
    groups = np.array([0, 0, 1, 1])
    apart = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    nearer = np.array([[1.0, 0], [1, 0], [1, 1], [1, 1]])
    found = representation_harm(apart, nearer, groups)
    assert found[0, 1] == found[1, 0] == pytest.approx(1 - 0.5**0.5)
    assert np.isnan(found[0, 0]), "within a group that has one embedding nothing can be lost"
    with pytest.raises(EmbedkitError, match="two groups have one embedding"):
        representation_harm(np.ones((4, 2)), nearer, groups)


def test_a_share_of_nothing_is_not_defined() -> None:
    assert relative_drop(80.0, 60.0) == pytest.approx(0.25) and relative_drop(50.0, 60.0) == pytest.approx(-0.2)
    assert relative_drop(0.0, 60.0) is None and relative_drop(-3.0, 1.0) is None
