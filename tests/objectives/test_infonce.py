"""InfoNCE against sentence-transformers, and what its masks and options promise."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import nn

from embedkit.errors import DataError, RecipeError
from embedkit.recipe.weighting import Hardness
from embedkit.types import PAD_ID, Embeddings
from tests.objectives import options as o
from tests.objectives.batches import ALL, WEIGHT, N, batch, infonce, tangled
from tests.objectives.helpers import answer, assert_same_loss, gradients, leaves, loss_of, make

ST_NAMES = {"q-d": "query_to_doc", "q-q": "query_to_query", "d-q": "doc_to_query", "d-d": "doc_to_doc"}
JOINT = [("q-d",), ("q-d", "d-q"), ("q-d", "q-q"), ("q-d", "d-d"), ALL]
SPLIT = [("q-d", "d-q")]
CHOICES = [*product(JOINT, ["joint"]), *product(SPLIT, ["per_direction"])]
HARDNESS = {"own": "hard_negatives", "in_batch": "in_batch_negatives", "all": "all_negatives"}


def ranking_loss(e: Embeddings, **options: object) -> torch.Tensor:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    columns = [e.query, *e.positive.unbind(1), *e.negative.unbind(1)]
    loss = MultipleNegativesRankingLoss(nn.Identity(), scale=20.0, **options)
    return loss.compute_loss_from_embeddings(columns, None)


@pytest.mark.parametrize("m", [0, 1, 3])
@pytest.mark.parametrize(("directions", "partition"), CHOICES)
def test_equals_sentence_transformers(directions: tuple[o.Direction, ...], partition: str, m: int) -> None:
    config = o.InfoNCE(directions=directions, partition=partition)
    names = tuple(ST_NAMES[d] for d in directions)
    assert_same_loss(
        lambda e: loss_of(config, e),
        lambda e: ranking_loss(e, directions=names, partition_mode=partition),
        batch(m=m),
    )


@pytest.mark.parametrize("on", list(HARDNESS))
@pytest.mark.parametrize("m", [1, 2])
def test_hardness_equals_sentence_transformers(on: str, m: int) -> None:
    assert_same_loss(
        lambda e: loss_of(o.InfoNCE(), e, [Hardness(alpha=7.0, on=on)]),
        lambda e: ranking_loss(e, hardness_mode=HARDNESS[on], hardness_strength=7.0),
        batch(m=m),
    )


def test_nt_xent_is_all_directions_with_two_softmaxes() -> None:
    def nt_xent(e: Embeddings) -> torch.Tensor:
        z = nn.functional.normalize(torch.cat([e.query, e.positive[:, 0]]), dim=1)
        logits = (z @ z.T / 0.1).fill_diagonal_(-torch.inf)
        return nn.functional.cross_entropy(logits, torch.arange(2 * N).roll(N))

    assert_same_loss(lambda e: loss_of(infonce(directions=ALL, partition="per_direction"), e), nt_xent, batch())


@pytest.mark.parametrize(("m", "p"), [(0, 1), (2, 1), (1, 3)])
def test_collapse_costs_log_of_the_candidates(m: int, p: int) -> None:
    e = replace(batch(p, m), **{f: torch.ones_like(getattr(batch(p, m), f)) for f in ("query", "positive", "negative")})
    value = answer(infonce(), e).value
    candidates = 1 + (N - 1) * p + N * m
    torch.testing.assert_close(value, torch.full_like(value, math.log(candidates)))


def test_perfect_separation_costs_nothing() -> None:
    q = 10 * torch.eye(N, dtype=torch.float64)
    e = replace(batch(d=N), query=q, positive=q[:, None])
    assert float(loss_of(o.InfoNCE(temperature=0.02), e)) < 1e-15


def test_a_small_loss_keeps_its_digits_in_float32() -> None:
    q = torch.eye(N, dtype=torch.float64)
    e = replace(batch(d=N), query=q, positive=q[:, None] + 1e-3 * batch(d=N).positive)
    exact = loss_of(o.InfoNCE(), e)
    single = make(o.InfoNCE()).float()(leaves(e, torch.float32), torch.arange(N)).value.mean()
    assert 0 < float(exact) < 1e-6
    torch.testing.assert_close(single.double(), exact, rtol=1e-4, atol=0)


def negatives_of(config: o.InfoNCE, e: Embeddings) -> torch.Tensor:
    """[N, N * (P + M)] whether each document gets gradient from each row: who is whose negative or positive."""
    objective = make(config)
    rows = []
    for i in range(len(e)):
        fresh = leaves(e)
        found = gradients(objective(fresh, torch.tensor([i])).value.sum(), fresh)
        documents = torch.cat([found["positive"].flatten(0, 1), found["negative"].flatten(0, 1)])
        rows.append(documents.abs().sum(1) > 0)
    return torch.stack(rows)


def test_who_is_whose_negative() -> None:
    e = tangled(batch(m=1))
    seen = negatives_of(infonce(), e)
    want = torch.cat([torch.ones(N, N), torch.ones(N, N) * e.negative_mask[:, 0]], dim=1).bool()
    want[0, 3] = want[3, 0] = False  # answers of one query, asked twice
    want[5, 2] = want[2, 5] = False  # the same document
    want[6, 7] = False  # known to match
    want[9, 8] = False  # query 9 is the text of document 8
    want[1, N + 4] = False  # its positive, given to row 4 as a negative
    want[6, N + 6] = False  # its positive, given as its own negative
    assert torch.equal(seen, want)


def test_without_masks_only_the_own_slot_is_left_out() -> None:
    e = tangled(batch(m=1))
    seen = negatives_of(infonce(mask_duplicates=False), e)
    assert torch.equal(seen[:, :N], torch.ones(N, N, dtype=torch.bool))
    assert torch.equal(seen[:, N:], e.negative_mask[:, 0].expand(N, N))


@pytest.mark.parametrize("direction", ["q-q", "d-q", "d-d"])
def test_no_text_id_matches_nothing(direction: str) -> None:
    e = batch(m=1)
    blank = {f: torch.full_like(getattr(e, f), PAD_ID) for f in ("query_id", "positive_id", "negative_id")}
    config = infonce(directions=("q-d", direction))
    torch.testing.assert_close(loss_of(config, replace(e, **blank)), loss_of(config, e), rtol=0, atol=0)


def test_every_own_positive_is_pulled_to_the_query() -> None:
    e = leaves(batch(p=2))
    own = gradients(answer(infonce(), e).value[0], e)["positive"][0]
    pull = -(own @ e.query[0].detach())
    assert bool((pull > 0).all())


def test_masked_candidates_are_counted() -> None:
    plain, doubled = answer(infonce(), batch(m=1)).metrics, answer(infonce(), tangled(batch(m=1))).metrics
    assert float(plain["masked"]) == 0
    assert float(plain["negatives"]) == 2 * N - 1
    assert float(doubled["masked"]) == pytest.approx(8 / N)


def test_a_row_without_negatives_has_no_weight() -> None:
    out = answer(infonce(in_batch_negatives=False), tangled(batch(m=1)))
    alone = [0, 2, 6, 7, 11]
    assert [i for i, w in enumerate(out.weight.tolist()) if w == 0] == alone
    assert not out.value[alone].any()
    assert float(answer(infonce(), batch(n=1)).weight) == 0


def test_hard_negative_weight_is_a_log_weight_of_the_own_negative() -> None:
    e = batch(m=1)
    s = nn.functional.normalize(e.query, dim=1) @ nn.functional.normalize(e.negative[:, 0], dim=1).T
    p = nn.functional.normalize(e.query, dim=1) @ nn.functional.normalize(e.positive[:, 0], dim=1).T
    a, b = (p / 0.1).exp(), (s / 0.1).exp() * (1 + 2.0 * torch.eye(N))
    want = -(a.diagonal() / (a.sum(1) + b.sum(1))).log()
    torch.testing.assert_close(answer(infonce(hard_negative_weight=math.log(3.0)), e).value, want)


def test_a_learned_temperature_is_exact_and_stays_in_its_bounds() -> None:
    objective = make(infonce(learn_temperature=True, temperature_bounds=(0.05, 0.5)))
    torch.testing.assert_close(
        objective(batch(), torch.arange(N)).value, answer(infonce(), batch()).value, rtol=1e-6, atol=0
    )
    assert [n for n, _ in objective.named_parameters()] == ["log_scale"]
    assert list(objective.state_dict()) == ["log_scale"]
    for far, bound in ((20.0, 0.05), (-20.0, 0.5)):
        objective.log_scale.data.fill_(far)
        out = objective(batch(), torch.arange(N))
        assert float(out.metrics["temperature"]) == pytest.approx(bound)
        out.value.mean().backward()
        assert float(objective.log_scale.grad) != 0  # it can come back from the bound
        objective.log_scale.grad = None


def test_example_weights_multiply_the_row_weight() -> None:
    out = answer(infonce(), replace(batch(), weight=WEIGHT))
    torch.testing.assert_close(out.weight, WEIGHT)
    torch.testing.assert_close(out.value, answer(infonce(), batch()).value)


def test_metrics_describe_the_first_direction() -> None:
    e = batch(m=1)
    metrics = answer(infonce(), e).metrics
    q, d = (nn.functional.normalize(x, dim=-1) for x in (e.query, torch.cat([e.positive[:, 0], e.negative[:, 0]])))
    s = q @ d.T
    others = s.masked_fill(torch.cat([torch.eye(N), torch.zeros(N, N)], 1).bool(), -2).amax(1)
    assert float(metrics["positive_similarity"]) == pytest.approx(float(s.diagonal().mean()))
    assert float(metrics["hardest_negative"]) == pytest.approx(float(others.mean()))
    assert float(metrics["accuracy"]) == pytest.approx(float((s.diagonal() > others).double().mean()))


def test_a_batch_without_positives_is_refused() -> None:
    with pytest.raises(DataError, match="no positives"):
        answer(infonce(), batch(p=0, m=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"directions": ("q-d", "q-d")}, "given twice"),
        ({"directions": ("q-q",)}, "holds no positive"),
        ({"directions": ("q-d", "d-d"), "partition": "per_direction"}, "holds no positive"),
        ({"in_batch_negatives": False, "directions": ("q-d", "q-q")}, "must be .q-d."),
        ({"temperature_bounds": (1.0, 0.1)}, "low < high"),
        ({"learn_temperature": True, "temperature": 2.0}, "outside temperature_bounds"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        o.InfoNCE(**options)


def test_weighting_without_a_softmax_is_refused() -> None:
    with pytest.raises(RecipeError, match="no effect"):
        make(o.CoSENT(), [Hardness()])
