"""Label texts as anchors: what the contrast and the angle are, and what they refuse."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from embedkit.errors import DataError, TrainingError
from embedkit.objectives.anchors import anchor_angles, anchors_of
from embedkit.types import Embeddings
from tests.objectives import options as o
from tests.objectives.batches import batch
from tests.objectives.examples_labels import TWO, described
from tests.objectives.helpers import answer, loss_of

CONTRAST = o.LabelAnchors(angle_weight=0)


def test_an_anchor_is_the_mean_of_its_copies() -> None:
    e = described(batch(m=2, n=6, label=TWO))
    anchors, ids = anchors_of(e)
    assert ids.tolist() == [500, 501, 502]
    own = [e.positive[i, 0] for i in range(6) if TWO[i] == 0]
    others = [e.negative[i, k] for i in range(6) for k in range(2) if (TWO[i] + 1 + k) % 3 == 0]
    torch.testing.assert_close(anchors[0], torch.stack(own + others).mean(0))


def test_the_least_value_is_the_log_of_the_class() -> None:
    """Two classes at opposite ends, three texts each and an anchor: 3 rows of its class for each row."""
    ends = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)[torch.arange(6) % 2]
    e = described(batch(n=6, d=2, label=torch.arange(6) % 2))
    e = replace(e, query=ends, positive=ends[:, None])
    assert float(loss_of(o.LabelAnchors(angle_weight=0, temperature=0.02), e)) == pytest.approx(math.log(3), abs=1e-6)


def test_an_anchor_without_a_text_counts_only_where_it_is_asked_for() -> None:
    e = described(batch(m=1, n=6, label=TWO % 2))  # the negatives of label 1 are of a class without texts
    plain = answer(CONTRAST, e)
    counted = answer(o.LabelAnchors(angle_weight=0, count_lone=True), e)
    assert float(plain.metrics["lone"]) == 1 and plain.metrics["anchors"] == 3
    torch.testing.assert_close(counted.value, (8 * plain.value - math.log(1e-8)) / 9)


def test_angles_are_those_of_a_triangle_and_two_anchors_have_none() -> None:
    corners = torch.tensor([[0.0, 2.0], [3**0.5, -1.0], [-(3**0.5), -1.0]], dtype=torch.float64) + 5
    angles, nearest = anchor_angles(corners)
    torch.testing.assert_close(angles, torch.full((3,), 2 * math.pi / 3, dtype=torch.float64))
    assert float(nearest) == pytest.approx(-0.5)
    with pytest.raises(DataError, match="need three of them, and a batch brings 2"):
        anchor_angles(corners[:2])
    with pytest.raises(TrainingError, match="same embedding"):
        anchor_angles(corners[[0, 1, 1]])


@pytest.mark.parametrize(
    ("e", "part"),
    [
        (batch(p=0, n=6, label=TWO), "needs a positive"),
        (replace(described(batch(n=6, label=TWO)), label=None), "needs labels"),
        (batch(n=6, label=TWO), "one text per label"),
        (batch(p=2, n=6, label=TWO), "one text per label"),
    ],
)
def test_a_label_has_one_text(e: Embeddings, part: str) -> None:
    with pytest.raises(DataError, match=part):
        answer(CONTRAST, e)
