"""One case or more for every registered objective: its options, a global batch it can answer for, the weighting.

Also read by the contract test, so that an objective without a case here fails the suite.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from embedkit.recipe import weighting as w
from embedkit.recipe.objectives.guided import GuidePair
from tests.objectives import options as o
from tests.objectives.batches import (
    ALL,
    CLASSES,
    WEIGHT,
    Case,
    N,
    batch,
    followed,
    graded,
    guided,
    infonce,
    relevance,
    scores,
    st,
    tangled,
    third,
)
from tests.objectives.examples_labels import LABELS, TOGETHER_LABELS
from tests.objectives.examples_views import TOGETHER_VIEWS, VIEWS

TOGETHER_OTHERS = {
    "sbcl-and-single-texts": Case(
        o.Sum(
            terms=(
                o.SumTerm(weight=0.5, objective=o.ConR(window=0.1, weight=1.0, error="squared")),
                o.SumTerm(objective=o.SupReMix(mix=False, distance="squared", bins=0.3)),
                o.SumTerm(weight=2.0, objective=o.GML(learn_temperature=False, prior=(3.0, 2.0, 1.0))),
                o.SumTerm(objective=o.SBCL(variant="ccl", smallest=2, every=33, temperature=0.3)),
            )
        ),
        batch(p=0, label=CLASSES, score=scores(1), weight=WEIGHT),
    ),
    "sum-decorrelated": Case(
        o.Sum(
            terms=(
                o.SumTerm(objective=o.VICReg(variance=10.0, scaling="paper")),
                o.SumTerm(weight=3.0, objective=o.BarlowTwins(off_diagonal=0.3)),
            )
        ),
        batch(),
    ),
    "sum-views-without-negatives": Case(
        o.Sum(
            terms=(
                o.SumTerm(objective=o.SwAV(prototypes=4, queue=0, freeze=1, temperature=0.5)),
                o.SumTerm(weight=0.5, objective=o.BYOL(momentum=None, batch_norm=False)),
                o.SumTerm(objective=o.NonNegative(objective=o.SupCon(temperature=0.2, labels=False))),
                o.SumTerm(objective=o.CosinePull(weight=0.7)),
            )
        ),
        batch(p=2),
    ),
}
TOGETHER = TOGETHER_VIEWS | TOGETHER_LABELS | TOGETHER_OTHERS
"""For the contract test, the cases that do not stand alone there."""

EXAMPLES: dict[str, Case] = {
    **LABELS,
    **VIEWS,
    "infonce": Case(infonce(), batch()),
    "infonce-dot": Case(infonce(similarity="dot", temperature=2.0), batch(m=1)),
    "infonce-learned": Case(infonce(learn_temperature=True), tangled(batch(m=1))),
    "infonce-joint": Case(infonce(directions=ALL), tangled(batch(m=2))),
    "infonce-once": Case(infonce(directions=ALL, positive_in_denominator="once"), tangled(batch(m=1))),
    "infonce-per-direction": Case(infonce(directions=("q-d", "d-q"), partition="per_direction"), tangled(batch(m=1))),
    "infonce-decoupled": Case(
        infonce(directions=ALL, partition="per_direction", positive_in_denominator="never"), tangled(batch())
    ),
    "infonce-own-negatives": Case(infonce(in_batch_negatives=False), tangled(batch(m=2))),
    "infonce-own-decoupled": Case(
        infonce(in_batch_negatives=False, positive_in_denominator="never"), tangled(batch(m=2))
    ),
    "infonce-not-others": Case(infonce(other_negatives=False, directions=ALL), tangled(batch(m=2))),
    "infonce-hard": Case(infonce(hard_negative_weight=0.7), tangled(batch(m=2, weight=WEIGHT))),
    "infonce-half-without-weight": Case(infonce(), tangled(batch(m=1, weight=WEIGHT * (torch.arange(N) >= N // 2)))),
    "infonce-views": Case(infonce(directions=ALL), tangled(batch(p=2, m=1))),
    "infonce-views-learned": Case(
        infonce(directions=("d-q", "q-d", "d-d"), partition="per_direction", learn_temperature=True),
        tangled(batch(p=3)),
    ),
    "infonce-margin": Case(
        infonce(directions=ALL, false_negative_margin=0.05, same_side="all"), tangled(batch(p=2, m=1))
    ),
    "infonce-same-side": Case(infonce(directions=("q-d", "d-d"), same_side="positives"), tangled(batch(m=1))),
    "infonce-no-masks": Case(infonce(mask_duplicates=False, directions=ALL), tangled(batch(m=1))),
    "infonce-focal": Case(infonce(), tangled(batch(m=1)), (w.Focal(gamma=0.5),)),
    "infonce-focal-attached": Case(infonce(), tangled(batch(p=2)), (w.Focal(gamma=2.0, detach=False),)),
    "infonce-focal-weight": Case(
        infonce(directions=("q-d", "d-q"), partition="per_direction"),
        tangled(batch(p=2, weight=WEIGHT)),
        (w.Focal(gamma=1.5, normalize="weight"),),
    ),
    "infonce-hardness": Case(infonce(), tangled(batch(m=2)), (w.Hardness(alpha=5.0),)),
    "infonce-hardness-in-batch": Case(infonce(directions=ALL), tangled(batch(m=1)), (w.Hardness(on="in_batch"),)),
    "infonce-all-pieces": Case(
        infonce(hard_negative_weight=-0.5, learn_temperature=True),
        tangled(batch(m=2, weight=WEIGHT)),
        (w.Hardness(alpha=2.0, on="all"), w.Focal(gamma=0.5, normalize="weight"), w.Focal(gamma=1.0)),
    ),
    "infonce-guide": Case(
        infonce(directions=("q-d", "q-q", "d-d"), same_side="positives", guide="absolute", guide_margin=0.05),
        guided(tangled(batch(m=1, weight=WEIGHT))),
    ),
    "infonce-guide-relative": Case(
        infonce(directions=ALL, partition="per_direction", guide="relative", guide_margin=0.1),
        guided(tangled(batch(p=2, m=2))),
    ),
    "infonce-guide-threshold": Case(
        infonce(guide="threshold", guide_margin=0.3, false_negative_margin=0.2), guided(batch(p=2))
    ),
    "infonce-soft-positive": Case(
        infonce(soft_targets="positive", hard_negative_weight=0.5), tangled(batch(m=1, score=scores(1)))
    ),
    "infonce-soft-all": Case(
        infonce(soft_targets="all", directions=ALL, partition="per_direction"),
        tangled(batch(p=2, m=1, score=scores(2), weight=WEIGHT)),
        (w.Focal(gamma=0.5), w.Hardness(alpha=2.0, on="all")),
    ),
    "infonce-soft-own": Case(
        infonce(soft_targets="all", in_batch_negatives=False, positive_in_denominator="never"),
        tangled(batch(m=2, score=scores(1))),
    ),
    "infonce-dynamic": Case(infonce(), tangled(batch(m=1, weight=WEIGHT)), (w.Dynamic(r=0.5),)),
    "infonce-dynamic-focal": Case(
        infonce(directions=ALL, partition="per_direction"),
        tangled(batch(p=2)),
        (w.Dynamic(strategy="quadratic", delta=2.0), w.Focal(gamma=0.5), w.Dynamic(strategy="extremes")),
    ),
    "infonce-dynamic-own": Case(
        infonce(in_batch_negatives=False), tangled(batch(m=2)), (w.Dynamic(strategy="uniform"),)
    ),
    "clp": Case(o.CLP(temperature=0.1), tangled(batch(m=4, weight=WEIGHT))),
    "clp-own": Case(o.CLP(temperature=0.2, in_batch_negatives=False, penalty=0.5), batch(m=2)),
    "clp-guide": Case(
        o.CLP(temperature=0.1, guide="absolute", mask_duplicates=False), guided(batch(p=2, m=2)), (w.Focal(gamma=0.5),)
    ),
    "mann_whitney": Case(o.MannWhitney(temperature=0.1), tangled(batch(m=1, weight=WEIGHT))),
    "mann_whitney-sum": Case(o.MannWhitney(similarity="dot", temperature=2.0, reduction="sum"), tangled(batch(p=2))),
    "mixed_negatives": Case(o.MixedNegatives(temperature=0.1), tangled(batch(m=3, weight=WEIGHT))),
    "mixed_negatives-guide": Case(
        o.MixedNegatives(temperature=0.1, count=2, alpha=0.7, guide="absolute", hard_negative_weight=0.4),
        guided(tangled(batch(p=2, m=3))),
        (w.Focal(gamma=0.5), w.Hardness(alpha=2.0)),
    ),
    "mixed_negatives-dot": Case(
        o.MixedNegatives(temperature=2.0, similarity="dot", directions=ALL, mask_duplicates=False), tangled(batch(m=2))
    ),
    "mixed_negatives-list": Case(
        o.MixedNegatives(temperature=0.2, mix="list", learn_temperature=True), tangled(batch(m=3))
    ),
    "mixed_negatives-list-dot": Case(
        o.MixedNegatives(temperature=2.0, mix="list", similarity="dot", other_negatives=False), batch(m=2)
    ),
    "mochi": Case(o.MoCHi(temperature=0.2, hardest=5, pairs=4, with_query=3), tangled(batch(m=1, weight=WEIGHT))),
    "mochi-guide": Case(
        o.MoCHi(temperature=0.2, directions=("d-q", "q-d"), partition="per_direction", pairs=0, guide="absolute"),
        guided(tangled(batch(p=2))),
        (w.Focal(gamma=0.5),),
    ),
    "mochi-learned": Case(o.MoCHi(learn_temperature=True, hardest=3, with_query=0), tangled(batch())),
    "dclr": Case(o.DCLR(phi=0.8), guided(batch())),
    "dclr-tangled": Case(
        o.DCLR(phi=0.5, noise_times=2.5, step_length=0.1, temperature=0.1), guided(tangled(batch(m=2, weight=WEIGHT)))
    ),
    "dclr-still": Case(o.DCLR(phi=0.5, noise_steps=0), guided(tangled(batch(m=1)))),
    "dclr-paper": Case(
        o.DCLR(variant="paper", phi=0.5, step_length=0.1, noise_temperature=0.5), guided(tangled(batch(m=1)))
    ),
    "dclr-paper-no-noise": Case(o.DCLR(variant="paper", noise_times=0.0), guided(tangled(batch()))),
    "debiased": Case(o.Debiased(), batch()),
    "debiased-tangled": Case(
        o.Debiased(temperature=0.3, tau_plus=0.05, directions=ALL), tangled(batch(p=2, m=2, weight=WEIGHT))
    ),
    "debiased-hard": Case(o.Debiased(beta=1.0), tangled(batch(m=1))),
    "debiased-hard-views": Case(
        o.Debiased(temperature=0.4, tau_plus=0.01, beta=2.0, directions=ALL), tangled(batch(p=2))
    ),
    "debiased-hard-constants": Case(
        o.Debiased(tau_plus=0.0, beta=1.5, detach_weights=True, directions=("q-d", "d-q")), tangled(batch(m=1))
    ),
    "spread_out": Case(o.SpreadOut(), batch()),
    "spread_out-tangled": Case(o.SpreadOut(), tangled(batch(p=2, m=1, weight=WEIGHT))),
    "spread_out-query": Case(o.SpreadOut(of="query", similarity="dot"), batch(p=0)),
    "cosine_pull": Case(o.CosinePull(weight=0.5), tangled(batch(p=2, weight=WEIGHT)), alone=False),
    "macl": Case(o.MACL(), batch()),
    "macl-tangled": Case(o.MACL(tau0=0.1, alpha=1.0, a0=0.5), tangled(batch(p=2, m=1, weight=WEIGHT))),
    "supcon": Case(o.SupCon(), tangled(batch(p=2, label=CLASSES, weight=WEIGHT))),
    "supcon-one-view": Case(
        o.SupCon(temperature=0.2, base_temperature=None), batch(p=0, label=torch.tensor([0, 0, 0, 1, 1, 2] * 2))
    ),
    "supcon-lone": Case(o.SupCon(temperature=0.5), batch(p=0, label=torch.tensor([*range(10), 0, 1]))),
    "supcon-dot": Case(o.SupCon(temperature=2.0, similarity="dot"), batch(p=1, label=CLASSES), alone=False),
    "supcon-texts": Case(o.SupCon(labels=False), tangled(batch(p=3))),
    "moco": Case(o.MoCo(queue=15), followed(batch())),
    "moco-top": Case(o.MoCo(temperature=0.2, top=4, momentum=None), tangled(batch(p=2, weight=WEIGHT))),
    "moco-unmasked": Case(o.MoCo(temperature=0.1, mask_duplicates=False), followed(tangled(batch(p=2)))),
    "ascl": Case(o.ASCL(queue=18), followed(tangled(batch(weight=WEIGHT)))),
    "ascl-adaptive": Case(o.ASCL(neighbours=3, targets="adaptive", momentum=None), batch()),
    "ascl-hard": Case(o.ASCL(neighbours=2, targets="hard", queue=0), followed(tangled(batch()))),
    "sogclr": Case(o.SogCLR(temperature=0.5), batch()),
    "sogclr-pairs": Case(
        o.SogCLR(contrast="pairs", rho=0.3, temperature_clip=1.5), tangled(batch(weight=WEIGHT)), alone=False
    ),
    "sogclr-temperatures": Case(o.SogCLR(rho=0.3, temperature_clip=1.5), tangled(batch(weight=WEIGHT))),
    "spcl": Case(o.SPCL(pool=4, support=4), batch(p=0, label=CLASSES, weight=WEIGHT)),
    "spcl-new-classes": Case(
        o.SPCL(temperature=0.2, ignore_below=0, pool=64), batch(p=0, label=torch.tensor([*range(10), 0, 1]))
    ),
    "non_negative": Case(
        o.NonNegative(objective=infonce(directions=ALL), activation="softplus"), tangled(batch(m=1, weight=WEIGHT))
    ),
    "non_negative-default": Case(o.NonNegative(objective=o.SupCon(temperature=0.2)), batch(label=CLASSES), alone=False),
    "conr": Case(o.ConR(window=0.25, steepness=0.7), tangled(batch(p=2, score=graded(), weight=WEIGHT))),
    "conr-squared": Case(o.ConR(window=0.1, weight=1.0, error="squared"), batch(p=0, score=graded()), alone=False),
    "supremix": Case(o.SupReMix(window=0.5), batch(p=1, score=graded())),
    "supremix-plain": Case(
        o.SupReMix(mix=False, distance="squared", bins=0.3), batch(p=0, score=scores(1), weight=WEIGHT), alone=False
    ),
    "core_tuning": Case(o.CoreTuning(temperature=0.3, focus=2.0), tangled(batch(label=CLASSES, weight=WEIGHT))),
    "gml": Case(o.GML(pool=4), batch(label=CLASSES, weight=WEIGHT)),
    "gml-prior": Case(
        o.GML(learn_temperature=False, prior=tuple(float(c) for c in range(20, 0, -1))),
        batch(p=0, label=torch.tensor([*range(10), 0, 1])),
        alone=False,
    ),
    "sbcl": Case(o.SBCL(smallest=2, every=33), batch(label=CLASSES, weight=WEIGHT)),
    "sbcl-ccl": Case(
        o.SBCL(variant="ccl", smallest=2, every=33, temperature=0.3), batch(p=0, label=CLASSES), alone=False
    ),
    "swav": Case(o.SwAV(prototypes=5, queue=15, epsilon=0.3), batch(weight=WEIGHT)),
    "swav-views": Case(o.SwAV(prototypes=4, queue=0, freeze=1, temperature=0.5), batch(p=2), alone=False),
    "keep_start": Case(o.KeepStart(temperature=0.2, softening=2.0), followed(tangled(batch(m=2, weight=WEIGHT)))),
    "keep_start-queries": Case(o.KeepStart(), followed(batch(p=0)), alone=False),
    "replay_supcon": Case(
        o.ReplaySupCon(temperature=0.3), followed(tangled(batch(label=CLASSES, weight=WEIGHT, memory=CLASSES > 0)))
    ),
    "replay_supcon-memory": Case(
        o.ReplaySupCon(temperature=0.5, against="memory"),
        followed(batch(p=0, label=torch.tensor([*range(10), 0, 1]), memory=torch.arange(N) % 5 < 3)),
        alone=False,
    ),
    "byol": Case(o.BYOL(hidden=20), followed(batch(p=2, weight=WEIGHT))),
    "byol-simsiam": Case(o.BYOL(momentum=None, batch_norm=False), batch(), alone=False),
    "beclr": Case(
        o.BECLR(hidden=20, memory=15, clusters=1, neighbours=3, weight=0.5),
        followed(tangled(batch(p=2, weight=WEIGHT))),
    ),
    "beclr-alone": Case(
        o.BECLR(momentum=None, batch_norm=False, memory=0, clusters=1, temperature=0.5), batch(), alone=False
    ),
    "sepclr": Case(
        o.SepCLR(salient=3, salient_weight=2.0, infoless_weight=0.5, jem_weight=0.7),
        tangled(batch(label=torch.arange(N) % 2)),
    ),
    "storm": Case(o.STORM(objective=infonce(), rate=0.5), tangled(batch(m=1, weight=WEIGHT))),
    "vicreg": Case(o.VICReg(variance=10.0, scaling="paper"), batch(), alone=False),
    "barlow_twins": Case(o.BarlowTwins(off_diagonal=0.3), batch(), alone=False),
    "w_mse": Case(o.WMSE(eps=0.1), batch()),
    "flops": Case(o.Flops(query=0.5, document=2.0), tangled(batch(p=2, m=2, weight=WEIGHT))),
    "flops-warming": Case(o.Flops(query=3.0, document=0.0, warmup=7), replace(batch(p=0), step=5)),
    "rank": Case(o.Rank(), batch(p=0)),
    "rank-effective": Case(o.Rank(quantity="effective_rank", of="all"), tangled(batch(m=2, weight=WEIGHT))),
    "energy_hinge": Case(o.EnergyHinge(), tangled(batch(m=1, weight=WEIGHT))),
    "energy_hinge-views": Case(o.EnergyHinge(margin=0.6), tangled(batch(p=2))),
    "contrastive_tension": Case(o.ContrastiveTension(), batch(score=(scores(1) > 0.7).double(), weight=WEIGHT)),
    "cosent": Case(o.CoSENT(), batch(score=graded())),
    "angle": Case(o.AnglE(), batch(score=graded())),
    "cosine_mse": Case(o.CosineMSE(), batch(score=graded(), weight=WEIGHT)),
    "triplet": Case(o.Triplet(margin=1.0), tangled(batch(m=2, weight=WEIGHT))),
    "triplet-weighted": Case(
        o.Triplet(margin=0.15, distance="cosine", positive_weight=0.7, negative_weight=1.4), tangled(batch(m=2))
    ),
    "triplet-cosine": Case(o.Triplet(margin=0.3, distance="cosine"), tangled(batch(p=2, m=3))),
    "margin_mse": Case(o.MarginMSE(), tangled(batch(m=2, score=scores(3)))),
    "margin_mse-margins": Case(o.MarginMSE(similarity="cos"), tangled(batch(m=2, score=scores(2), weight=WEIGHT))),
    "kl": Case(o.KLDistillation(temperature=0.2), tangled(batch(m=3, score=scores(4)))),
    "kl-rescaled": Case(
        o.KLDistillation(similarity="dot", temperature=2.0, teacher_temperature=0.3, rescale=True),
        tangled(batch(m=2, score=scores(3), weight=WEIGHT)),
    ),
    "bce": Case(o.BCE(reduction="sum", temperature=0.3, bias=0.2), tangled(batch(m=2, weight=WEIGHT))),
    "bce-grades": Case(
        o.BCE(reduction="mean", similarity="dot", positive_weight=3.0), tangled(batch(m=2, score=scores(3)))
    ),
    "bce-alone": Case(o.BCE(reduction="mean"), batch(score=graded(), weight=WEIGHT)),
    "lce": Case(o.LCE(temperature=0.1), tangled(batch(m=3, weight=WEIGHT))),
    "dcd": Case(o.DCD(temperature=0.3), tangled(batch(m=3, score=3 * scores(4), weight=WEIGHT))),
    "dcd-hard": Case(
        o.DCD(weights="hard", alpha=0.5, similarity="dot"), tangled(batch(m=2, score=scores(3))), alone=False
    ),
    "focal_smoothed": Case(o.FocalSmoothed(), tangled(batch(m=3, weight=WEIGHT))),
    "focal_smoothed-zero": Case(
        o.FocalSmoothed(absent="zero", gamma=1.5, temperature=0.3), tangled(batch(m=2)), alone=False
    ),
    "hard_negative_nce": Case(o.HardNegativeNCE(temperature=0.1, beta=0.5), tangled(batch(m=2, weight=WEIGHT))),
    "hard_negative_nce-raw": Case(
        o.HardNegativeNCE(temperature=0.2, normalize=False, query_weight=1.0), tangled(batch(p=2)), alone=False
    ),
    "listnet": Case(o.ListNet(temperature=0.2), tangled(batch(m=3, weight=WEIGHT))),
    "listnet-grades": Case(
        o.ListNet(similarity="dot", temperature=2.0, target_temperature=0.5), tangled(batch(m=3, score=relevance(4)))
    ),
    "ranknet": Case(o.RankNet(temperature=0.2), tangled(batch(m=3, weight=WEIGHT))),
    "ranknet-grades": Case(o.RankNet(similarity="dot", top=2), tangled(batch(m=3, score=relevance(4), weight=WEIGHT))),
    "lambda_loss": Case(o.LambdaLoss(temperature=0.2), tangled(batch(m=3, score=relevance(4)))),
    "lambda_loss-lambdarank": Case(
        o.LambdaLoss(weights="lambdarank", similarity="dot", top=2),
        tangled(batch(m=3, score=relevance(4), weight=WEIGHT)),
    ),
    "lambda_loss-ndcg2": Case(o.LambdaLoss(weights="ndcg2", temperature=0.5), tangled(batch(m=3))),
    "margin_ranking": Case(o.MarginRanking(margin=0.1), tangled(batch(m=4, score=relevance(5)))),
    "margin_ranking-candidate": Case(
        o.MarginRanking(margin=0.2, reference="candidate", similarity="dot"), tangled(batch(m=3, score=scores(4)))
    ),
    "margin_ranking-reference": Case(
        o.MarginRanking(reference_margin=0.3, reference_weight=0.5, temperature=0.5), batch(m=3, score=scores(4))
    ),
    "score_mse": Case(o.ScoreMSE(), tangled(batch(m=2, score=scores(3), weight=WEIGHT))),
    "score_mse-alone": Case(o.ScoreMSE(similarity="dot", temperature=2.0), batch(score=graded())),
    "symmetric_kl": Case(o.SymmetricKL(temperature=0.2), tangled(batch(m=3, score=scores(4)))),
    "symmetric_kl-dot": Case(
        o.SymmetricKL(similarity="dot", temperature=1.5, epsilon=0.0),
        tangled(batch(m=2, score=scores(3), weight=WEIGHT)),
    ),
    "partial_rank": Case(o.PartialRank(temperature=0.2), tangled(batch(m=3, score=scores(4), weight=WEIGHT))),
    "partial_rank-top": Case(
        o.PartialRank(similarity="dot", temperature=2.0, top=2), tangled(batch(m=3, score=(scores(4) * 3).round()))
    ),
    "partial_rank-given": Case(
        o.PartialRank(temperature=0.3, order="given", weights="teacher", teacher_temperature=0.4),
        tangled(batch(m=2, score=scores(3))),
    ),
    "st": Case(
        st("ContrastiveLoss", target="label", arguments={"distance_metric": "SiameseDistanceMetric.EUCLIDEAN"}),
        batch(label=torch.arange(N) % 2),
    ),
    "st-ranking": Case(
        st("MultipleNegativesRankingLoss", inputs=("query", "positive", "negative"), arguments={"scale": 10.0}),
        batch(m=2),
    ),
    "st-batch-hard": Case(
        st("BatchHardSoftMarginTripletLoss", inputs=("query",), target="label"), batch(label=CLASSES)
    ),
    "st-guide": Case(st("MSELoss", target="guide"), third(batch())),
    "matryoshka": Case(
        o.Matryoshka(objective=infonce(learn_temperature=True), dims=(8, 4, 2), weights=(1.0, 0.5, 0.25)),
        tangled(batch(m=1)),
    ),
    "matryoshka-focal": Case(
        o.Matryoshka(objective=infonce(), dims=(8, 3)), tangled(batch(m=1)), (w.Focal(normalize="weight"),)
    ),
    "guide_pair": Case(GuidePair(objective=infonce()), third(tangled(batch(m=1, weight=WEIGHT)))),
    "guide_pair-queries": Case(
        GuidePair(objective=infonce(directions=("q-d", "d-q"), partition="per_direction"), of="positive", to="query"),
        third(tangled(batch(p=2, m=1))),
    ),
    "mean_shift": Case(
        o.MeanShift(objective=infonce(temperature=1.0, similarity="dot", directions=("q-d", "d-q"))),
        tangled(batch(m=1, weight=WEIGHT)),
    ),
    "mean_shift-scale": Case(
        o.MeanShift(objective=infonce(temperature=0.2, similarity="dot", directions=("q-d",))), tangled(batch(p=2))
    ),
    "view_pairs": Case(o.ViewPairs(objective=infonce()), tangled(batch(p=2))),
    "view_pairs-all": Case(
        o.ViewPairs(objective=infonce(guide="absolute"), pairs="all", reduction="mean"),
        guided(tangled(batch(p=3, m=1, weight=WEIGHT))),
    ),
    "sum": Case(
        o.Sum(
            terms=(
                o.SumTerm(weight=0.7, objective=infonce(learn_temperature=True)),
                o.SumTerm(weight=0.3, objective=o.CoSENT()),
                o.SumTerm(weight=2.0, objective=o.Matryoshka(objective=o.CosineMSE(), dims=(8, 4))),
            )
        ),
        tangled(batch(score=graded())),
    ),
}
