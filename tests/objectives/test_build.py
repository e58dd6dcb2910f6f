"""From options to objectives: wrappers, nesting, weighting, plug-ins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import pytest
import torch
from torch import Tensor

from embedkit.errors import RecipeError
from embedkit.objectives.base import Objective, build
from embedkit.objectives.contrastive import InfoNCE
from embedkit.objectives.wrappers import Matryoshka
from embedkit.recipe import registry
from embedkit.recipe.weighting import Focal
from embedkit.types import Embeddings, LossOut
from tests.objectives import options as o
from tests.objectives.batches import batch, graded, infonce
from tests.objectives.examples import EXAMPLES
from tests.objectives.helpers import assert_same_loss, loss_of, make


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_the_declared_scope_is_the_objective_s(name: str) -> None:
    config, _, weighting = EXAMPLES[name][:3]
    for leaf in o.leaves(config):
        pieces = weighting if leaf.reweightable else ()
        assert build(leaf, pieces).scope == leaf.scope
    assert {"query", "positive", "negative", "score", "label", "memory"} >= o.needs(config)


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_options_survive_a_round_trip_through_plain_data(name: str) -> None:
    config = EXAMPLES[name].config
    entry = registry.lookup("objective", config.name)
    assert registry.resolve(entry.config).model_validate(config.model_dump(mode="json")) == config


def test_matryoshka_is_the_weighted_sum_over_prefixes() -> None:
    config = o.Matryoshka(objective=infonce(), dims=(8, 4), weights=(1.0, 0.3))
    assert_same_loss(
        lambda e: loss_of(config, e),
        lambda e: loss_of(infonce(), e) + 0.3 * loss_of(infonce(), e.truncate(4)),
        batch(m=1),
    )


def test_a_sum_adds_its_weighted_terms() -> None:
    config = o.Sum(terms=(o.SumTerm(weight=0.4, objective=infonce()), o.SumTerm(weight=-2.0, objective=o.CoSENT())))
    assert_same_loss(
        lambda e: loss_of(config, e),
        lambda e: 0.4 * loss_of(infonce(), e) - 2.0 * loss_of(o.CoSENT(), e),
        batch(score=graded()),
    )


def test_wrappers_nest_into_a_flat_list() -> None:
    inner = o.Sum(terms=(o.SumTerm(weight=2.0, objective=infonce()), o.SumTerm(weight=3.0, objective=o.CoSENT())))
    terms = make(o.Matryoshka(objective=inner, dims=(8, 4), weights=(1.0, 0.5))).terms(batch(score=graded()))
    assert [t.coefficient for t in terms] == [2.0, 3.0, 1.0, 1.5]
    assert [t.embeddings.query.shape[1] for t in terms] == [8, 8, 4, 4]
    assert [t.objective.scope for t in terms] == ["row", "batch", "row", "batch"]


def test_a_prefix_longer_than_the_embedding_is_refused() -> None:
    with pytest.raises(RecipeError, match="dim 16 is larger than the embedding, which has 8"):
        make(o.Matryoshka(objective=infonce(), dims=(16, 8))).terms(batch())


def test_a_learned_temperature_is_shared_by_the_prefixes() -> None:
    objective = make(o.Matryoshka(objective=infonce(learn_temperature=True), dims=(8, 4)))
    assert len(list(objective.parameters())) == 1


def test_weighting_reaches_reweightable_objectives_inside_wrappers() -> None:
    terms = (o.SumTerm(objective=o.Matryoshka(objective=infonce(), dims=(8,))), o.SumTerm(objective=o.CoSENT()))
    objective = build(o.Sum(terms=terms), [Focal(), Focal(gamma=2.0)])
    inner = objective.objectives[0]
    assert isinstance(inner, Matryoshka)
    assert isinstance(inner.objective, InfoNCE)
    assert [piece.gamma for piece in inner.objective.weighting] == [0.5, 2.0]
    with pytest.raises(RecipeError, match=r"'focal'.*no effect on objective 'sum'"):
        build(o.Sum(terms=terms[1:]), [Focal()])


def test_a_wrapper_is_not_evaluated_itself() -> None:
    with pytest.raises(NotImplementedError, match="terms"):
        make(o.Matryoshka(objective=infonce(), dims=(8,)))(batch(), torch.arange(2))


class ShiftConfig(o.ObjectiveConfig):
    needs: ClassVar[frozenset[str]] = frozenset({"query"})
    name: Literal["shift"] = "shift"
    by: float = 1.0


@pytest.fixture
def plugin() -> Iterator[type[Objective]]:
    @registry.register("objective", "shift", config=ShiftConfig)
    class Shift(Objective):
        def __init__(self, by: float) -> None:
            super().__init__()
            self.by = by

        def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
            return LossOut(e.query[rows].sum(1) + self.by, torch.ones(len(rows), dtype=e.query.dtype))

    yield Shift
    del registry._PLUGINS["objective", "shift"]


def test_a_registered_objective_can_be_built_and_wrapped(plugin: type[Objective]) -> None:
    wrapped = o.Matryoshka.model_validate({"objective": {"name": "shift", "by": 2.5}, "dims": [3]})
    e = batch()
    torch.testing.assert_close(loss_of(wrapped, e), (e.query[:, :3].sum(1) + 2.5).mean())


@pytest.mark.parametrize("name", sorted(n for n in EXAMPLES if EXAMPLES[n].config.name == "infonce"))
def test_columns_is_the_widest_matrix_of_a_row(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from embedkit.objectives import logits

    config, e, weighting = EXAMPLES[name][:3]
    widths = []
    whole = logits.Pool.candidates

    def spy(pool: logits.Pool, direction: o.Direction) -> logits.Candidates:
        out = whole(pool, direction)
        widths.append(out.similarities.numel() / len(pool.rows))
        return out

    monkeypatch.setattr(logits.Pool, "candidates", spy)
    objective = make(config, weighting)
    objective(e, torch.arange(3))
    assert max(widths) == objective.columns(e)
