"""Cases of metric learning on labels."""

from __future__ import annotations

from dataclasses import replace

import torch

from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.batches import WEIGHT, Case, batch, knotted, one_missing

TWO = torch.tensor([0, 1, 0, 1, 1, 2])
"""Of six examples; one class stands alone."""


def described(e: Embeddings, classes: int = 3) -> Embeddings:
    """The batch with one document per label as its positive, and those of other labels as its negatives."""
    assert e.label is not None
    after = 1 + torch.arange(e.negative.shape[1])
    own = 500 + e.label
    return replace(
        e, positive_id=own[:, None], negative_id=500 + (e.label[:, None] + after) % classes, known_id=own[:, None]
    )


_LABELS: dict[str, Case] = {
    "circle": Case(o.Circle(scale=8.0), knotted(batch(p=1, n=6, label=TWO, weight=WEIGHT[:6]))),
    "circle_batch": Case(o.CircleBatch(scale=4.0), knotted(batch(p=1, n=6, label=TWO))),
    "multi_similarity": Case(o.MultiSimilarity(beta=10.0), knotted(batch(p=1, n=6, label=TWO, weight=WEIGHT[:6]))),
    "multi_similarity-all": Case(o.MultiSimilarity(beta=9.0, mine=None), batch(p=0, n=6, label=TWO)),
    "label_contrastive": Case(
        o.LabelContrastive(positive_margin=0.3), knotted(batch(p=1, n=6, label=TWO, weight=WEIGHT[:6]))
    ),
    "label_triplet": Case(o.LabelTriplet(margin=0.2), knotted(batch(p=1, n=6, label=TWO, weight=WEIGHT[:6]))),
    "label_triplet-semi-hard": Case(
        o.LabelTriplet(margin=0.5, triplets="semi_hard", smooth=True), batch(p=1, n=6, label=TWO)
    ),
    "label_triplet-hardest": Case(o.LabelTriplet(margin=0.5, triplets="hardest"), batch(p=0, n=6, label=TWO)),
}

LABELS = {name: case._replace(alone=False) for name, case in _LABELS.items()} | {
    "simlap": Case(o.SimLAP(classes=3, hidden=5), knotted(batch(n=6, label=TWO, weight=WEIGHT[:6]))),
    "label_anchors": Case(o.LabelAnchors(angle_weight=0.7), described(one_missing(batch(m=1, n=6, label=TWO)))),
    "label_anchors-lone": Case(
        o.LabelAnchors(temperature=0.5, count_lone=True, angle_weight=0),
        described(batch(m=2, n=6, label=TWO % 2)),
        alone=False,
    ),
    "simlap-classes": Case(
        o.SimLAP(classes=4, hidden=None, pairs="identical", with_itself=True), batch(p=0, n=6, label=TWO), alone=False
    ),
}
_NAMES = ("circle", "circle_batch", "multi_similarity", "label_contrastive", "label_triplet")
TOGETHER_LABELS = {
    "sum-labels": Case(
        o.Sum(terms=tuple(o.SumTerm(objective=LABELS[name].config) for name in _NAMES)),
        batch(n=4, label=TWO[:4]),
    )
}
