"""Mixed negatives: where they lie, who sees them, what they are made of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from embedkit.errors import DataError
from embedkit.objectives.mixing import MixedNegatives, MoCHi
from tests.objectives import options as o
from tests.objectives.batches import batch, infonce, tangled
from tests.objectives.helpers import answer, assert_same_loss, gradients, leaves, loss_of, make


def mixer(**options: object) -> MixedNegatives:
    objective = make(o.MixedNegatives(**options))
    assert isinstance(objective, MixedNegatives)
    return objective


def test_a_pair_lies_between_its_two_hard_negatives() -> None:
    e = batch(m=2)
    made = normalize(mixer(count=20).mixed(e).negative[:, 2:], dim=2)
    a, b = normalize(e.negative, dim=2).unbind(1)
    between = (a * b).sum(1)[:, None] - 1e-12
    assert bool(((made * a[:, None]).sum(2) >= between).all() and ((made * b[:, None]).sum(2) >= between).all())


def test_pairs_are_two_different_ones_and_all_occur() -> None:
    e = replace(batch(m=4, d=4), negative=torch.eye(4).double().expand(12, 4, 4))
    made = mixer(count=50).mixed(e).negative[:, 4:]
    parts = made > 0
    assert bool((parts.sum(2) == 2).all())
    assert len({tuple(row) for row in parts.flatten(0, 1).tolist()}) == 6


def test_shares_are_those_of_the_beta_distribution() -> None:
    e = replace(batch(m=2, d=2), negative=torch.eye(2).double().expand(12, 2, 2))
    for alpha, spread in ((0.5, 0.125), (2.0, 0.05), (50.0, 0.0025)):  # variance 1 / (4 (2 alpha + 1))
        made = mixer(count=64, alpha=alpha).mixed(e).negative[:, 2:, 0]
        assert float(made.mean()) == pytest.approx(0.5, abs=0.03)
        assert float(made.var()) == pytest.approx(spread, rel=0.15)


def test_the_list_leans_to_the_hardest() -> None:
    e = batch(m=3)
    cosine = (normalize(e.query, dim=1)[:, None] * normalize(e.negative, dim=2)).sum(2)
    sharp = normalize(mixer(mix="list", temperature=0.01).mixed(e).negative[:, 3], dim=1)
    hardest = normalize(e.negative, dim=2)[torch.arange(12), cosine.argmax(1)]
    assert float((sharp * hardest).sum(1).median()) > 0.99
    flat = mixer(mix="list", temperature=10.0).mixed(e).negative[:, 3]
    torch.testing.assert_close(flat, normalize(e.negative, dim=2).mean(1), atol=0.05, rtol=0)


def test_what_matches_the_query_is_not_mixed() -> None:
    e = batch(m=3)
    known = replace(e, negative_id=torch.cat([e.negative_id[:, :2], e.positive_id], 1))
    made = mixer(count=30).mixed(known)
    assert bool(made.negative_mask.all())
    plane = torch.linalg.qr(known.negative[:, :2].mT)[0]
    inside = made.negative[:, 3:] @ plane @ plane.mT
    torch.testing.assert_close(inside, made.negative[:, 3:])


def test_a_row_with_fewer_than_two_adds_none() -> None:
    e = batch(m=2)
    e = replace(e, negative_mask=torch.tensor([[True, False]]).expand(12, 2))
    assert_same_loss(lambda x: loss_of(o.MixedNegatives(temperature=0.1), x), lambda x: loss_of(infonce(), x), e)
    with pytest.raises(DataError, match="has 1"):
        answer(o.MixedNegatives(), batch(m=1))


def test_other_rows_see_it_and_gradient_flows_into_what_it_is_made_of() -> None:
    e = leaves(batch(m=2, n=3))
    config = o.MixedNegatives(temperature=0.1, in_batch_negatives=True)
    alone = answer(infonce(), e)
    out = answer(config, e)
    assert bool((out.value > alone.value).all())
    assert float(out.metrics["negatives"]) == float(alone.metrics["negatives"]) + 3
    assert bool(gradients(out.value[0], e)["negative"][2].any())


def test_draws_change_with_the_step_alone() -> None:
    e = tangled(batch(m=3))
    for config in (o.MixedNegatives(), o.MoCHi()):
        assert float(loss_of(config, e)) == float(loss_of(config, e))
        assert float(loss_of(config, replace(e, step=1))) != float(loss_of(config, e))


def test_mochi_adds_constants_that_are_harder_than_what_they_are_made_of() -> None:
    e = leaves(batch(m=1))
    plain, mixed = infonce(), o.MoCHi(temperature=0.1, hardest=1, pairs=0, with_query=4)
    assert bool((answer(mixed, e).value > answer(plain, e).value).all())
    own = gradients(answer(mixed, e).value[0], e)
    assert bool(own["query"][0].any())
    # the documents feel the larger denominator and nothing else: their pull shrinks by one factor
    a, b = gradients(answer(plain, e).value[0], e)["negative"], own["negative"]
    ratio = (b / a)[a.abs() > 1e-12]
    torch.testing.assert_close(ratio, ratio[:1].expand_as(ratio))
    assert 0 < float(ratio[0]) < 1


def test_mochi_does_not_mix_what_is_masked() -> None:
    """Two examples of one query: nothing is left to mix, and the row counts nothing."""
    e = batch(n=2)
    e = replace(e, query_id=e.query_id[:1].expand(2))
    out = answer(o.MoCHi(), e)
    assert out.weight is not None and not out.weight.any() and not out.value.any()


def test_fewer_negatives_than_the_hardest() -> None:
    e = tangled(batch(n=12))
    assert bool(loss_of(o.MoCHi(hardest=4096), e).isfinite())
    objective = make(o.MoCHi(hardest=4096))
    assert isinstance(objective, MoCHi) and objective.columns(e) > 4096


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (o.MoCHi, {"similarity": "dot"}, "unit vectors"),
        (o.MoCHi, {"directions": ("d-q",)}, "q-d"),
        (o.MoCHi, {"pairs": 0, "with_query": 0}, "mixes nothing"),
        (o.MoCHi, {"soft_targets": "all"}, "soft_targets"),
        (o.MixedNegatives, {"mix": "list", "count": 2}, "one negative"),
        (o.MixedNegatives, {"soft_targets": "positive"}, "soft_targets"),
    ],
)
def test_what_cannot_be_mixed(kind: type, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**options)
