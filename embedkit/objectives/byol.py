"""BYOL: views predict each other, one side as a slow copy of the encoder embeds it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from embedkit.errors import TrainingError
from embedkit.objectives.base import Objective, copied, example_weight, upcast
from embedkit.objectives.layers import linear
from embedkit.objectives.logits import unit
from embedkit.objectives.views import needs_positives, no_negatives
from embedkit.types import Embeddings, LossOut


class BYOL(Objective):
    """BYOL (arXiv 2006.07733), over the query and its positives as views::

        loss = mean over ordered pairs of views u != v of  2 - 2 cos(predict(z_u), z'_v)

    z' are constants: the embeddings by a copy of the encoder that follows it (`momentum`), or z itself without one,
    which is SimSiam (arXiv 2011.10566). ``predict`` is linear, batch norm over the rows of a view, ReLU, linear; it
    trains with the encoder and is left behind. The paper adds the two directions of a pair, which is twice this, and
    lets the momentum rise to 1; here it stays. Nothing else keeps the embeddings from collapsing: watch the metric
    `query_cosine`.

    Args:
        momentum: of the copy; None: no copy.
        hidden: width of the predictor; None: twice the embedding's.
        batch_norm: whether the predictor has one.

    Raises:
        DataError: the batch has no positives, or explicit negatives.
        RecipeError: a copy is asked for and the step has none.
        TrainingError: batch norm over a batch of one.
    """

    scope = "batch"

    def __init__(self, momentum: float | None = 0.996, hidden: int | None = None, batch_norm: bool = True) -> None:
        super().__init__()
        self.momentum, self.hidden, self.batch_norm = momentum, hidden, batch_norm

    def setup(self, dim: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        hidden = self.hidden or 2 * dim
        self.first = linear(dim, hidden, generator, bias=True)
        self.second = linear(hidden, dim, generator, bias=True)
        if self.batch_norm:
            self.scale, self.shift = nn.Parameter(torch.ones(hidden)), nn.Parameter(torch.zeros(hidden))

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        no_negatives(e, "byol")
        needs_positives(e, "byol")
        seen = e if self.momentum is None else copied(e, "byol")
        views = upcast(torch.cat([e.query[:, None], e.positive], dim=1))  # [N, V, d]
        wanted = unit(torch.cat([seen.query[:, None], seen.positive], dim=1).detach()).to(views)
        with torch.autocast(views.device.type, enabled=False):
            said = unit(torch.stack([self._predict(view) for view in views.unbind(1)], dim=1))
        cosine = (said[:, :, None] * wanted[:, None]).sum(-1)  # [N, V, V]
        pairs = ~torch.eye(views.shape[1], dtype=torch.bool, device=cosine.device)
        weight = example_weight(e, torch.arange(len(e), device=cosine.device))
        mean = (cosine * pairs).sum((1, 2)) / pairs.sum()
        mean = (mean * weight).sum() / weight.sum().clamp_min(torch.finfo(mean.dtype).tiny)
        return LossOut(2 - 2 * mean, None, {"positive_similarity": mean.detach()})

    def _predict(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        if self.batch_norm:
            if len(x) < 2:
                raise TrainingError("batch norm needs two examples or more in a batch", "train.batch_size", "raise it")
            hidden = functional.batch_norm(hidden, None, None, self.scale, self.shift, training=True)
        found: Tensor = self.second(hidden.relu())
        return found
