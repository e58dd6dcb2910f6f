"""Texts of the labels as anchors in the contrast of their texts."""

from __future__ import annotations

import torch
from torch import Tensor

from embedkit.errors import DataError, TrainingError
from embedkit.objectives.base import Objective, upcast
from embedkit.objectives.logits import log_sum_exp, products, unit
from embedkit.objectives.views import needs_labels, needs_positives
from embedkit.types import Embeddings, LossOut

_EPS = 1e-8
_CLAMP = 0.99999


class LabelAnchors(Objective):
    """EACL (arXiv 2403.20289): the batch's texts and its label texts, one row per class, contrasted together.

    The N queries x and the C different documents a of the batch make N + C rows z. A text's class is its document::

        s_ij  = ((1 + cos(z_i, z_j)) / 2 + eps) / temperature                           eps = 1e-8
        p_i   = sum over j of its class of e^s_ij / sum over all j != i of e^s_ij       |P_i| rows of its class
        loss  = mean over rows i of -log(p_i / (|P_i| + eps) + eps)  +  angle_weight * angle
        angle = -mean over c of arccos( max over c' != c of cos(a_c - abar, a_c' - abar) )

    Cosines of the angle lie within 0.99999. The least value of a row is log |P_i|, as in the released code. An anchor
    without a text in the batch counts nothing (`count_lone`). There the anchors are frozen encodings of the label
    words through a trained head, and all classes are in every batch; here a label text is encoded as all texts are,
    the mean of its copies is its anchor, and the classes are those that the batch brings: with C - 1 negatives per
    query all of them.

    Args:
        temperature: of the logits.
        angle_weight: of the angle term; 0 leaves it out.
        count_lone: whether a row without a positive counts -log(eps).

    Raises:
        DataError: no labels, no positives, a label with two documents or a document of two labels, or fewer than
            three anchors for an angle.
        TrainingError: two label texts have the same embedding.
    """

    scope = "batch"

    def __init__(self, temperature: float = 0.1, angle_weight: float = 0.1, count_lone: bool = False) -> None:
        super().__init__()
        self.temperature, self.angle_weight, self.count_lone = temperature, angle_weight, count_lone

    def columns(self, e: Embeddings) -> int:
        return len(e) * (1 + e.positive.shape[1] + e.negative.shape[1])

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        needs_positives(e, "label_anchors")
        _refuse_mixed(needs_labels(e, "label_anchors"), e.positive_id)
        anchors, ids = anchors_of(e)
        loss, positives = self.contrast(upcast(e.query), anchors, e.positive_id[:, 0], ids)
        counts = torch.ones_like(loss) if self.count_lone else (positives > 0).to(loss)
        value = (loss * counts).sum() / (counts.sum() + _EPS)
        metrics = {"contrast": value.detach(), "anchors": float(len(anchors)), "lone": (positives == 0).to(loss).sum()}
        if self.angle_weight:
            angles, nearest = anchor_angles(anchors)
            value = value - self.angle_weight * angles.mean()
            metrics |= {"anchor_angle": angles.detach().mean(), "anchor_cosine": nearest}
        return LossOut(value, None, metrics)

    def contrast(self, x: Tensor, anchors: Tensor, own: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """[N + C] losses, and [N + C] how many rows of its class each row is set against.

        Args:
            x: [N, d] texts.
            anchors: [C, d].
            own: [N] the anchor of each text, as in `ids`.
            ids: [C].
        """
        z, of = unit(torch.cat([x, anchors])), torch.cat([own, ids])
        other = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
        logits = ((1 + products(z, z)) / 2 + _EPS) / self.temperature
        same = (of[:, None] == of) & other
        share = (log_sum_exp(logits, same) - log_sum_exp(logits, other)).exp()
        alike = same.sum(1).to(share.dtype)
        return -torch.log(share / (alike + _EPS) + _EPS), alike


def anchors_of(e: Embeddings) -> tuple[Tensor, Tensor]:
    """The different documents of a batch: [C, d] means of their copies, in float32 at least, and [C] their text ids."""
    copies = torch.cat([e.positive.flatten(0, 1), e.negative[e.negative_mask]])
    ids, place = torch.cat([e.positive_id.flatten(), e.negative_id[e.negative_mask]]).unique(return_inverse=True)
    copies = upcast(copies)
    total = copies.new_zeros(len(ids), copies.shape[1]).index_add(0, place, copies)
    return total / torch.bincount(place, minlength=len(ids))[:, None], ids


def anchor_angles(anchors: Tensor) -> tuple[Tensor, Tensor]:
    """[C] angles (radians) between each anchor and the nearest other one, seen from the mean of all; their largest
    cosine.

    Args:
        anchors: [C, d] with C of 3 or more: two are opposite whatever they are.

    Raises:
        DataError: fewer than three.
        TrainingError: two are equal, and not all.
    """
    if len(anchors) < 3:
        what = f"the angles of label texts need three of them, and a batch brings {len(anchors)}"
        raise DataError(what, "negatives.per_query", "raise it to the number of classes - 1, or set angle_weight: 0")
    centred = unit(anchors - anchors.mean(0))
    own = torch.eye(len(anchors), dtype=torch.bool, device=anchors.device)
    nearest, place = products(centred, centred).masked_fill(own, -2.0).max(1)
    collapsed = (anchors == anchors[0]).all()  # of which training itself warns
    if bool((anchors == anchors[place]).all(1).any() & ~collapsed):
        what = "two label texts have the same embedding: no angle tells them apart"
        raise TrainingError(what, "label_texts", "write texts that differ within model.max_length tokens")
    return torch.arccos(nearest.clamp(-_CLAMP, _CLAMP)), nearest.detach().max()


def _refuse_mixed(label: Tensor, document: Tensor) -> None:
    """A label has one document, and a document one label."""
    same = label[:, None] == label
    if document.shape[1] != 1 or not torch.equal(same, document == document.T):
        what = (
            "label_anchors needs one text per label: here a label has several documents, or a document several labels"
        )
        raise DataError(what, "positive", "let the source make them: `label_texts: {template: 'It is about {label}.'}`")
