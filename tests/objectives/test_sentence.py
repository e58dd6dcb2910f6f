"""The objectives of sentence-embedding papers: what sets each apart, and what it refuses."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from embedkit.errors import DataError, RecipeError, TrainingError
from embedkit.objectives.dclr import ascend, binary_cross_entropies, draw_noise
from embedkit.objectives.logits import unit
from embedkit.objectives.spectrum import energy_rank, entropy, spectrum
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.examples import CLASSES, WEIGHT, batch, guided, infonce, scores, tangled
from tests.objectives.helpers import answer, assert_same_loss, gradients, leaves, loss_of, make

# --- guide ---


def same_texts(e: Embeddings) -> Embeddings:
    """As unlabelled text: every positive is its query's text, and the guide embeds both alike."""
    assert e.guide is not None
    ids = e.query_id[:, None].expand_as(e.positive_id)
    guide = replace(e.guide, positive=e.guide.query[:, None].expand_as(e.guide.positive))
    return replace(e, positive_id=ids, guide=guide)


@pytest.mark.parametrize("rule", ["absolute", "relative"])
def test_a_guide_that_sees_one_text_twice_masks_neither_the_positive_nor_keeps_the_text_itself(rule: str) -> None:
    """Query and positive are one text: the pair's cosine is 1 up to rounding, and nothing is more similar."""
    options: dict[str, Any] = {"directions": ("q-d", "q-q", "d-d"), "same_side": "positives"}
    e = same_texts(guided(batch()))
    assert_same_loss(lambda e: loss_of(infonce(guide=rule, **options), e), lambda e: loss_of(infonce(**options), e), e)


def test_the_guide_s_dimension_is_its_own_and_prefixes_keep_it_whole() -> None:
    e = guided(batch())
    nested = o.Matryoshka(objective=infonce(guide="absolute"), dims=(3,))
    assert_same_loss(
        lambda e: loss_of(nested, e),
        lambda e: loss_of(infonce(guide="absolute"), replace(e.truncate(3), guide=e.guide)),
        e,
    )


def test_a_guide_changes_the_candidates_and_gets_no_gradient() -> None:
    e = leaves(guided(batch()))
    assert e.guide is not None
    seen = replace(e.guide, query=e.guide.query.detach().requires_grad_())
    loss = loss_of(infonce(guide="threshold", guide_margin=0.5), replace(e, guide=seen))
    assert torch.autograd.grad(loss, seen.query, allow_unused=True) == (None,)
    out = answer(infonce(guide="threshold", guide_margin=0.5), e)
    assert float(out.metrics["masked"]) > 0


def test_an_absent_guide_is_named() -> None:
    for config in (infonce(guide="absolute"), o.DCLR()):
        assert config.needs_guide
        with pytest.raises(RecipeError, match="guide"):
            loss_of(config, batch())
    assert not infonce().needs_guide
    with pytest.raises(ValidationError, match="guide_margin has no effect"):
        infonce(guide_margin=0.1)


# --- soft targets ---


def test_a_score_of_one_is_the_hard_target() -> None:
    e = tangled(batch(m=1, score=torch.ones(12, 1).double()))
    for soft in ("positive", "all"):
        assert_same_loss(
            lambda e, soft=soft: loss_of(infonce(soft_targets=soft), e), lambda e: loss_of(infonce(), e), e
        )


def test_smooth_all_is_the_cross_entropy_against_the_smoothed_row() -> None:
    """CLHAIF: s on the own positive, (1 - s) / (2 N - 1) on every other column."""
    e = batch(m=1, score=scores(1))

    def plain(e: Embeddings) -> Tensor:
        assert e.score is not None
        documents = torch.cat([e.positive[:, 0], e.negative[:, 0]])
        log_p = (unit(e.query) @ unit(documents).T / 0.1).log_softmax(1)
        n, columns = log_p.shape
        target = ((1 - e.score) / (columns - 1)).expand(n, columns).clone()
        target[torch.arange(n), torch.arange(n)] = e.score[:, 0]
        return -(target * log_p).sum(1).mean()

    assert_same_loss(lambda e: loss_of(infonce(soft_targets="all"), e), plain, e)


def test_soft_targets_need_scores() -> None:
    assert infonce(soft_targets="all").roles() == {"query", "positive", "score"}
    assert infonce().roles() == {"query", "positive"}
    with pytest.raises(DataError, match="score"):
        loss_of(infonce(soft_targets="positive"), batch())


# --- DCLR ---


def test_the_noise_depends_on_the_step_alone() -> None:
    like = torch.zeros(1, 8).double()
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, again, later = draw_noise(6, like, 3), draw_noise(6, like, 3), draw_noise(6, like, 4)
    assert torch.equal(first, again) and not torch.equal(first, later)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(draw_noise(6, like.float(), 3).double(), first)


@pytest.mark.parametrize("with_documents", [True, False])
def test_the_ascent_is_that_of_autograd_whatever_the_blocks(
    with_documents: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    e = batch()
    query, documents = unit(e.query), unit(e.positive[:, 0])
    noise = draw_noise(7, query, 0)
    x = noise.clone().requires_grad_()
    logits = query @ torch.nn.functional.normalize(x, dim=1).T / 0.05
    parts = [query @ documents.T / 0.05, logits] if with_documents else [logits]
    (gradient,) = torch.autograd.grad(torch.logsumexp(torch.cat(parts, 1), 1).mean(), x)
    want = noise + 0.3 * gradient / gradient.norm(dim=1, keepdim=True)
    for size in (100, 5):
        monkeypatch.setattr("embedkit.objectives.dclr.rows_per_block", lambda *_, size=size: size)
        got = ascend(noise, query, documents if with_documents else None, temperature=0.05, steps=1, length=0.3)
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


def test_steps_make_the_noise_harder() -> None:
    e = guided(batch())
    losses = [float(loss_of(o.DCLR(noise_steps=n, step_length=0.2), e)) for n in (0, 5, 20)]
    assert losses == sorted(losses)


def test_binary_cross_entropies_do_not_overflow_where_a_negative_has_probability_one() -> None:
    logits = torch.tensor([[0.0, 60.0, -3.0]], requires_grad=True)
    target, exists = torch.tensor([[True, False, False]]), torch.ones(1, 3, dtype=torch.bool)
    values = binary_cross_entropies(logits, target, exists)
    exact = torch.tensor([[60.0, 60 - math.log1p(math.exp(-3)), 0.0]])
    torch.testing.assert_close(values, exact, rtol=1e-6, atol=1e-6)
    (gradient,) = torch.autograd.grad(values.sum(), logits)
    assert bool(gradient.isfinite().all()) and float(gradient[0, 1]) == pytest.approx(2.0, rel=1e-5)


def test_released_false_negatives_keep_a_place_and_the_paper_s_do_not() -> None:
    """With every other document a false negative and no noise: N - 1 logits of 0, or nothing at all."""
    e = guided(batch())
    all_false: dict[str, Any] = {"phi": -0.999, "noise_times": 0.0}
    n, out = len(e), answer(o.DCLR(**all_false), e)
    cosine = (unit(e.query) * unit(e.positive[:, 0])).sum(1) / 0.05
    p = cosine.exp() / (cosine.exp() + n - 1)
    torch.testing.assert_close(out.value, -(p.log() + (n - 1) * (1 - (1 - p) / (n - 1)).log()) / n)
    assert out.weight is not None and bool((out.weight == 1).all())
    weight = answer(o.DCLR(variant="paper", **all_false), e).weight
    assert weight is not None and not weight.any()


def test_dclr_takes_one_pair() -> None:
    with pytest.raises(DataError, match="exactly one positive"):
        loss_of(o.DCLR(), guided(batch(p=2)))
    with pytest.raises(ValidationError, match="noise_temperature belongs to variant: paper"):
        o.DCLR(noise_temperature=0.1)


# --- MACL ---


def test_macl_without_alpha_has_the_gradient_of_reweighted_infonce() -> None:
    e = leaves(batch())
    out = answer(o.MACL(tau0=0.1, alpha=0.0), e)
    plain = answer(infonce(temperature=0.1), e)
    p = (-plain.value.detach()).exp()
    torch.testing.assert_close(out.value, plain.value / (1 - p))
    got, want = gradients(out.value.sum(), e), gradients((plain.value / (1 - p)).sum(), e)
    torch.testing.assert_close(got["query"], want["query"], rtol=1e-9, atol=1e-11)


def test_macl_is_finite_where_the_positive_has_probability_one() -> None:
    """In float32, 1 - P rounds to 0 and 1 / (1 - P) would be infinite; the loss tends to 1, its gradient does not."""
    e = replace(batch(d=64), positive=batch(d=64).query[:, None] * 1.0)
    e = leaves(e, torch.float32)
    out = make(o.MACL(tau0=0.005, alpha=0.0)).float()(e, torch.arange(len(e)))
    torch.testing.assert_close(out.value.detach(), torch.ones(len(e)))
    got = gradients(out.value.sum(), e)
    assert bool(got["query"].isfinite().all()) and float(got["query"].norm()) > 1


def test_macl_measures_alignment_over_the_whole_batch() -> None:
    e, objective = batch(p=2), make(o.MACL(alpha=1.0))
    part, whole = objective(e, torch.arange(3)), objective(e, torch.arange(len(e)))
    torch.testing.assert_close(part.metrics["temperature"], whole.metrics["temperature"], rtol=0, atol=0)
    cosine = (unit(e.query)[:, None] * unit(e.positive)).sum(-1).mean()
    torch.testing.assert_close(whole.metrics["temperature"], 0.05 * (1 + cosine))


def test_macl_refuses_a_temperature_that_is_not_positive() -> None:
    e = batch()
    with pytest.raises(TrainingError, match="mean positive cosine of -1"):
        loss_of(o.MACL(alpha=1.0, a0=0.5), replace(e, positive=-e.query[:, None]))


# --- SupCon ---


def test_supcon_without_labels_is_infonce_over_all_views() -> None:
    e = batch()
    nt_xent = infonce(temperature=0.1, directions=("q-d", "q-q", "d-q", "d-d"), partition="per_direction")
    supcon = o.SupCon(temperature=0.1, base_temperature=None, labels=False)
    assert_same_loss(lambda e: loss_of(supcon, e), lambda e: loss_of(nt_xent, e), e)


def test_a_label_alone_in_the_batch_counts_nothing() -> None:
    out = answer(o.SupCon(), batch(p=0, label=torch.tensor([*range(10), 0, 1])))
    assert out.weight is not None and out.weight.tolist() == [1, 1, *[0] * 8, 1, 1]


def test_supcon_says_what_it_needs() -> None:
    assert o.SupCon().roles() == {"query", "label"} and o.SupCon(labels=False).roles() == {"query", "positive"}
    with pytest.raises(DataError, match="needs labels"):
        loss_of(o.SupCon(), batch())
    with pytest.raises(DataError, match="needs a positive"):
        loss_of(o.SupCon(labels=False), batch(p=0))
    with pytest.raises(DataError, match="no place for explicit negatives"):
        loss_of(o.SupCon(), batch(m=1, label=CLASSES))


# --- rank ---


def test_the_spectrum_is_the_same_from_either_side() -> None:
    x = batch(d=8).query
    wide = torch.cat([x, torch.zeros(12, 40).double()], 1)  # now the Gram matrix is the smaller one
    torch.testing.assert_close(spectrum(wide)[-8:], spectrum(x), rtol=1e-10, atol=1e-14)
    torch.testing.assert_close(entropy(spectrum(wide)), entropy(spectrum(x)), rtol=1e-10, atol=0)
    torch.testing.assert_close(spectrum(x).sum(), torch.ones(()).double())


def test_equal_and_zero_eigenvalues() -> None:
    """Four orthogonal directions, each three times: rank 4 of 8, all four eigenvalues equal."""
    x = torch.eye(8)[:4].repeat(3, 1).double().requires_grad_()
    h = entropy(spectrum(x))
    assert float(h.detach().exp()) == pytest.approx(4, rel=1e-12)
    (gradient,) = torch.autograd.grad(h, x)
    torch.testing.assert_close(gradient, torch.zeros_like(x), rtol=0, atol=1e-12)
    assert float(entropy(spectrum(torch.ones(5, 3).double()))) == pytest.approx(0, abs=1e-12)


def test_a_weight_of_two_is_a_row_twice() -> None:
    x = batch().query
    weight = torch.ones(12).double()
    weight[3] = 2
    torch.testing.assert_close(spectrum(x, weight), spectrum(torch.cat([x, x[3:4]])), rtol=1e-10, atol=1e-14)


def test_energy_rank_counts_leading_eigenvalues() -> None:
    values = torch.tensor([0.0, 0.05, 0.05, 0.3, 0.6])
    assert [int(energy_rank(values, share)) for share in (0.5, 0.7, 0.92, 1.0)] == [1, 2, 3, 4]


def test_a_positive_weight_lowers_the_rank() -> None:
    x = batch(n=32).query.clone().requires_grad_()
    before = float(entropy(spectrum(x)).exp().detach())
    for _ in range(20):
        (gradient,) = torch.autograd.grad(entropy(spectrum(x)), x)
        x = (x - 2.0 * gradient).detach().requires_grad_()
    assert float(entropy(spectrum(x)).exp().detach()) < before - 0.5


# --- hinge, tension, pairs of views ---


def test_the_hinge_is_zero_where_every_positive_wins_by_the_margin() -> None:
    e = replace(batch(d=8, n=4), query=torch.eye(8)[:4].double(), positive=torch.eye(8)[:4, None].double())
    assert float(loss_of(o.EnergyHinge(margin=0.9), e)) == 0
    assert float(loss_of(o.EnergyHinge(margin=1.25), e)) == pytest.approx(0.25)


def test_the_hinge_ignores_known_matches() -> None:
    e = batch(n=2)
    e = replace(e, positive_id=e.positive_id[:1].expand(2, 1))  # one text answers both: no negative is left
    weight = answer(o.EnergyHinge(), e).weight
    assert weight is not None and not weight.any()


def test_tension_refuses_scores_that_are_no_probabilities() -> None:
    with pytest.raises(DataError, match=r"0\.\.1, got 0 to 5"):
        loss_of(o.ContrastiveTension(), batch(score=torch.tensor([[0.0], [5.0]] * 6).double()))


def test_pairs_of_views_add_up() -> None:
    def sliced(e: Embeddings, k: int) -> Embeddings:
        return replace(e, positive=e.positive[:, k : k + 1], positive_id=e.positive_id[:, k : k + 1])

    first = o.ViewPairs(objective=infonce())
    assert_same_loss(
        lambda e: loss_of(first, e),
        lambda e: loss_of(infonce(), sliced(e, 0)) + loss_of(infonce(), sliced(e, 1)),
        batch(p=2, m=1, weight=WEIGHT),
    )
    everything = o.ViewPairs(objective=infonce(), pairs="all", reduction="mean")
    assert len(make(everything).terms(batch(p=3))) == 6
    assert o.leaves(everything) == [infonce()]
    with pytest.raises(DataError, match="no positives to pair"):
        loss_of(first, batch(p=0))


def test_texts_of_the_views_left_out_stay_known() -> None:
    """Row 1's second positive is row 0's first positive: no pair of row 1's may take it for a negative."""
    e = batch(p=2)
    positive_id = e.positive_id.clone()
    positive_id[1, 1] = positive_id[0, 0]
    masked = [
        answer(infonce(), term.embeddings).metrics["masked"]
        for term in make(o.ViewPairs(objective=infonce())).terms(replace(e, positive_id=positive_id))
    ]
    assert [float(m) * len(e) for m in masked] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("config", "width"),
    [
        (o.DCLR(noise_times=2.5), 12 * 2 + 30),
        (o.MACL(), 24),
        (o.EnergyHinge(), 24),
        (o.SupCon(), 2 * 12 * 2),
    ],
)
def test_the_plan_s_width_is_the_objective_s(config: o.ObjectiveConfig, width: int) -> None:
    assert config.columns(12, 1, 1) == make(config).columns(batch(m=1)) == width
