"""GRACE's reward: loops, invariances, and what its definition implies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from embedkit.objectives.rewards import UNFINISHED, Settings, advantage, supervised_reward, unsupervised_reward

GROUP = torch.tensor([7, 7, 7, 2, 2, 9, 9, 9, 9])
T = 0.1


def texts(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    q, d, n = (torch.randn(len(GROUP), 6, generator=rng, dtype=torch.float64) for _ in range(3))
    return q, d, n


def cos(a: Tensor, b: Tensor) -> float:
    return float(cosine_similarity(a, b, dim=0)) / T


def members(group: int) -> list[int]:
    return [i for i, g in enumerate(GROUP.tolist()) if g == group]


def test_supervised_equals_the_loops() -> None:
    q, d, n = texts()
    reward = supervised_reward(q, d, n, GROUP, settings=Settings(T, 0.3, 0.5))
    for i, g in enumerate(GROUP.tolist()):
        first, mates = members(g)[0], [j for j in members(g) if j != i]
        separate = -cos(q[first], n[first])
        cluster = sum(cos(d[i], d[j]) for j in mates) / len(mates)
        others = [max(cos(q[i], d[k]) for k in members(h)) for h in {7, 2, 9} - {g}]
        total = cos(q[i], d[i]) + separate + 0.3 * cluster - 0.5 * sum(others) / len(others)
        assert float(reward.total[i]) == pytest.approx(total, rel=1e-12)


def test_unsupervised_equals_the_loops() -> None:
    q, d, _ = texts(1)
    reward = unsupervised_reward(q, d, GROUP, settings=Settings(temperature=T))
    assert reward.negative is None
    for i, g in enumerate(GROUP.tolist()):
        mates = [j for j in members(g) if j != i]
        cluster = sum(cos(d[i], d[j]) for j in mates) / len(mates)
        others = [cos(d[i], q[members(h)[0]]) for h in {7, 2, 9} - {g}]
        total = cos(q[i], d[i]) + 0.2 * cluster - 0.2 * sum(others) / len(others)
        assert float(reward.total[i]) == pytest.approx(total, rel=1e-12)


def test_the_negative_cancels_in_the_advantage() -> None:
    q, d, n = texts()
    one, other = (supervised_reward(q, d, x, GROUP).total for x in (n, n.flip(0)))
    assert not torch.allclose(one, other)
    torch.testing.assert_close(advantage(one, GROUP), advantage(other, GROUP))


def test_an_advantage_has_mean_zero_in_each_group() -> None:
    q, d, n = texts()
    a = advantage(supervised_reward(q, d, n, GROUP).total, GROUP)
    for g in (7, 2, 9):
        assert float(a[members(g)].mean()) == pytest.approx(0, abs=1e-12)


def test_unfinished_rollouts_and_single_groups() -> None:
    q, d, n = texts()
    finished = torch.ones(len(GROUP), dtype=torch.bool)
    finished[4] = False
    reward = supervised_reward(q, d, n, GROUP, finished=finished)
    assert float(reward.total[4]) == UNFINISHED and bool((reward.total[finished] != UNFINISHED).all())
    alone = unsupervised_reward(q[:1], d[:1], GROUP[:1])
    torch.testing.assert_close(alone.total, alone.positive)
    together = supervised_reward(q, d, n, torch.zeros(len(GROUP), dtype=torch.int64))
    assert not together.cross_group.any()
