"""The rescaler of row losses: sums, what trains what, and that it learns which rows are noise."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from embedkit.errors import RecipeError
from embedkit.objectives.storm import STORM
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.batches import WEIGHT, batch, infonce
from tests.objectives.helpers import average, gradients, leaves, loss_of, make


def storm(**options: object) -> STORM:
    objective = make(o.STORM(objective=infonce(), **options))
    assert isinstance(objective, STORM)
    return objective


def unequal(objective: STORM) -> STORM:
    with torch.no_grad():
        objective.second.weight.normal_(generator=torch.Generator().manual_seed(1))
    return objective


def test_it_begins_as_the_plain_loss() -> None:
    e = leaves(batch(m=1, weight=WEIGHT))
    ours, plain = average(storm(), e), loss_of(infonce(), e)
    torch.testing.assert_close(ours, plain, rtol=1e-12, atol=0)
    a, b = gradients(ours, e), gradients(plain, e)
    for name in ("query", "positive", "negative"):
        torch.testing.assert_close(a[name], b[name], rtol=1e-9, atol=1e-13)


def test_weights_keep_the_sum_of_the_losses() -> None:
    objective = unequal(storm())
    loss = torch.linspace(0.1, 4, 12, dtype=torch.float64)
    counts = torch.where(torch.arange(12) == 5, 0.0, WEIGHT)
    weight = objective.weights(loss, counts)
    assert float((weight.detach() * loss * counts).sum()) == pytest.approx(float((loss * counts).sum()))
    assert float(weight.detach().std()) > 0.01
    e = batch(m=1, weight=WEIGHT)
    torch.testing.assert_close(average(objective, e).detach(), loss_of(infonce(), e), rtol=1e-10, atol=0)


def test_the_judge_trains_the_rescaler_and_nothing_else() -> None:
    objective = unequal(storm(rate=0.5))
    e = leaves(batch())
    with torch.no_grad():
        weight = objective.weights(objective._row_losses(e).value, torch.ones(12).double())
    found = gradients(average(objective, e), e, tuple(objective.parameters()))
    plain = objective.objective(e, torch.arange(12))
    alone = gradients((weight * plain.value).mean(), e)
    torch.testing.assert_close(found["query"], alone["query"], rtol=1e-10, atol=1e-14)
    assert all(bool(found[f"parameter {k}"].any()) for k in range(4))
    with torch.no_grad():
        assert float(average(objective, e)) == pytest.approx(float(loss_of(infonce(), e).detach()))


def noisy(seed: int, n: int = 24, d: int = 8) -> Embeddings:
    """Half of the rows, in both halves of the batch, have another's text as positive: no step should follow them."""
    e = batch(n=n, d=d, seed=seed)
    wrong = torch.arange(n) % 4 < 2
    moved = torch.where(wrong[:, None], e.positive[:, 0].roll(7, 0), e.query + 0.3 * (e.positive[:, 0] - e.query))
    return replace(e, positive=moved[:, None])


def test_rows_that_mislead_come_to_weigh_less() -> None:
    torch.manual_seed(0)
    objective = storm(rate=1.0)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.02)
    for step in range(40):
        optimizer.zero_grad()
        objective.judged(noisy(step)).backward()
        optimizer.step()
    e = noisy(1000)
    with torch.no_grad():
        loss = objective._row_losses(e).value
        weight = objective.weights(loss, torch.ones_like(loss))
    wrong = torch.arange(len(e)) % 4 < 2
    assert float(loss[wrong].mean()) > float(loss[~wrong].mean())
    assert float(weight[wrong].mean()) < 0.9 * float(weight[~wrong].mean())


def test_it_says_what_it_cannot_weigh() -> None:
    for inner in (o.VICReg(), o.Sum(terms=(o.SumTerm(objective=infonce()),))):
        with pytest.raises(RecipeError, match="has no loss per row"):
            loss_of(o.STORM(objective=inner), batch())
    assert o.STORM(objective=o.Triplet()).roles() == {"query", "positive", "negative"}
    assert float(storm().judged(batch(n=3))) == 0  # no halves
