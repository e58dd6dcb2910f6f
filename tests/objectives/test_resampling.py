"""BECLR: neighbours from a clustered memory, when they come, and whose they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from embedkit.objectives.base import build, set_up
from embedkit.objectives.resampling import ClusteredMemory, guided_positives
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.batches import batch, followed
from tests.objectives.helpers import average, loss_of, remember


def grouped(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """[n, 4] unit vectors near one of three directions each, and which."""
    rng = torch.Generator().manual_seed(seed)
    group = torch.arange(n) % 3
    rows = torch.eye(4)[group] + 0.1 * torch.randn(n, 4, generator=rng)
    return torch.nn.functional.normalize(rows, dim=1), group


def test_neighbours_come_from_the_cluster_and_else_from_everywhere() -> None:
    memory, group = grouped(12)
    rows, own = grouped(5, seed=1)
    found, fell_back = guided_positives(rows, memory, torch.eye(4)[:3], group, 2)
    assert not fell_back.any() and bool((group[found] == own[:, None]).all())
    best = (rows @ memory.T).masked_fill(own[:, None] != group, -2).topk(2).indices
    assert torch.equal(found, best)
    found, fell_back = guided_positives(rows, memory, torch.eye(4)[:3], group, 4)
    assert fell_back.all() and torch.equal(found, (rows @ memory.T).topk(4).indices)


def test_what_is_not_allowed_is_no_neighbour() -> None:
    memory, group = grouped(12)
    allowed = torch.zeros(5, 12, dtype=torch.bool)
    allowed[0, 3] = True
    found, _ = guided_positives(grouped(5, seed=1)[0], memory, torch.eye(4)[:3], group, 2, allowed)
    assert found[0].tolist() == [3, -1] and found[1:].eq(-1).all()


def test_the_memory_finds_clusters_of_equal_size_when_it_is_full() -> None:
    memory = ClusteredMemory(12, 3)
    rows, group = grouped(12)
    memory.push(rows[:9], torch.arange(9))
    memory.arrange(0)
    assert not memory.ready
    memory.push(rows[9:], torch.arange(9, 12))
    memory.arrange(0)
    assert memory.ready and torch.bincount(memory.cluster).tolist() == [4, 4, 4]
    assert len({(int(a), int(b)) for a, b in zip(memory.cluster, group, strict=True)}) == 3
    new, _ = grouped(3, seed=5)
    memory.push(new, torch.arange(20, 23))
    assert memory.text.tolist() == [*range(3, 12), 20, 21, 22] and len(memory.cluster) == 12
    torch.testing.assert_close(memory.prototype.norm(dim=1), torch.ones(3))


def objective(**options: Any) -> Any:
    made = build(o.BECLR(memory=14, clusters=2, neighbours=2, batch_norm=False, **options))
    set_up(made, 8, seed=0)
    return made.double()


def earlier(seed: int, shift: int = 500) -> Embeddings:
    e = batch(seed=seed)
    return followed(replace(e, query_id=e.query_id + shift, positive_id=e.positive_id + shift, step=seed))


def test_neighbours_begin_with_a_full_memory_and_not_before_their_step() -> None:
    e = followed(batch())
    for start, want in ((0, 2.0), (9, 0.0)):
        made = objective(start=start)
        assert float(made(e, torch.arange(12)).metrics["neighbours"]) == 0
        plain = average(made, e)
        remember(made, [earlier(1)])
        assert torch.equal(average(made, e), plain)
        remember(made, [earlier(2, 900)])
        assert float(made(e, torch.arange(12)).metrics["neighbours"]) == want
        assert torch.equal(average(made, e), plain) == (want == 0)


def test_a_text_is_no_neighbour_of_itself() -> None:
    e = followed(batch())
    made = objective()
    remember(made, [earlier(1), replace(e, step=2)])  # the memory ends with the batch's own texts
    near = made.near(e, made._wanted(e))
    own = made.memory.vector[made.memory.text == e.query_id[3]].to(near)
    assert len(own) == 1 and not (near[3] == own).all(-1).any()
    assert not near.requires_grad


def test_without_spread_and_memory_it_is_half_of_byol() -> None:
    e = followed(batch(p=2))
    ours = loss_of(o.BECLR(momentum=0.996, weight=0.0, memory=0), e)
    torch.testing.assert_close(2 + 2 * ours, loss_of(o.BYOL(), e))


def test_the_memory_must_have_room() -> None:
    with pytest.raises(ValidationError, match="must be larger than neighbours"):
        o.BECLR(memory=10, clusters=2, neighbours=10)
