"""SwAV: predictions between the views' assignments to prototypes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from embedkit.errors import RecipeError
from embedkit.objectives.base import Objective, example_weight
from embedkit.objectives.companions import Companion
from embedkit.objectives.logits import products, unit
from embedkit.objectives.views import needs_positives, no_negatives, stacked
from embedkit.types import Embeddings, LossOut


def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """[B, P] codes of B texts: rows sum to 1, columns to about B / P.

    ``exp(scores / epsilon)``, columns and rows brought to these sums in turn, as logarithms: nothing overflows.

    Args:
        scores: [B, P] similarities.
        epsilon: smoothness.
        iterations: how often.
    """
    log_code = scores / epsilon
    share = math.log(len(scores) / scores.shape[1])
    for _ in range(iterations):
        log_code = log_code - log_code.logsumexp(0, keepdim=True) + share
        log_code = log_code - log_code.logsumexp(1, keepdim=True)
    return log_code.exp()


class Features(Companion):
    """The newest examples, with several views.

    Args:
        size: examples kept.

    Attributes:
        vector: [K, V, d] unit vectors, oldest first.
    """

    vector: Tensor

    def __init__(self, size: int) -> None:
        super().__init__(("vector",))
        self.size = size

    def push(self, vector: Tensor) -> None:
        """Add examples [n, V, d]."""
        self._append(self.size, vector=vector)


class SwAV(Objective):
    """SwAV (arXiv 2006.09882) over the query and its positives as views, with P prototypes c that are trained.

    With unit vectors, scores ``o = z c``, and for each of the first `code_views` views s its codes Q_s, `sinkhorn` over
    the whole batch and the queue, as constants::

        loss_i = mean over s of mean over other views v of  -sum_c Q_s,ic log softmax(o_v,i / t)_c

    The codes share the texts out over the prototypes equally, so there is no collapse; with far fewer texts than
    prototypes an equal share means nothing. Column sums are approximate after three iterations.

    Args:
        prototypes: P.
        temperature: t.
        epsilon, iterations: of `sinkhorn`.
        queue: earlier examples whose views join the batch's there.
        code_views: see above.
        freeze: steps before the prototypes train.

    Raises:
        DataError: the batch has no positives, or explicit negatives.
        RecipeError: fewer views than `code_views`.
    """

    def __init__(
        self,
        prototypes: int = 300,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        queue: int = 640,
        code_views: int = 2,
        freeze: int = 0,
    ) -> None:
        super().__init__()
        self.count, self.temperature, self.epsilon, self.iterations = prototypes, temperature, epsilon, iterations
        self.code_views, self.freeze = code_views, freeze
        self.memory = Features(queue)
        self.remembers = queue > 0

    def setup(self, dim: int, seed: int) -> None:
        drawn = torch.randn(self.count, dim, generator=torch.Generator().manual_seed(seed))
        self.prototypes = nn.Parameter(nn.functional.normalize(drawn, dim=1))

    def columns(self, e: Embeddings) -> int:
        return self.count * (1 + e.positive.shape[1])

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        views = self._views(e)
        prototypes = unit(self.prototypes if e.step >= self.freeze else self.prototypes.detach())
        codes = self.codes(views, prototypes)[:, rows]  # [S, m, P]
        scores = products(views[rows].flatten(0, 1), prototypes).view(len(rows), views.shape[1], -1)
        log_p = (scores / self.temperature).log_softmax(2)
        crossed = -(codes.transpose(0, 1)[:, :, None] * log_p[:, None]).sum(-1)  # [m, S, V]
        other = ~torch.eye(*crossed.shape[1:], dtype=torch.bool, device=rows.device)
        value = (crossed * other).sum((1, 2)) / (len(codes) * (views.shape[1] - 1))
        metrics = {
            "code_entropy": torch.special.entr(codes).sum(2).mean(),
            "agreement": (codes[0].argmax(1) == scores.detach()[:, 1].argmax(1)).to(value.dtype).mean(),
        }
        return LossOut(value, example_weight(e, rows), metrics)

    @torch.no_grad()
    def codes(self, views: Tensor, prototypes: Tensor) -> Tensor:
        """[S, N, P] of the views that have codes.

        Args:
            views: [N, V, d] unit vectors.
            prototypes: [P, d] unit vectors.
        """
        found = []
        for s in range(self.code_views):
            every = views[:, s]
            if len(self.memory):
                every = torch.cat([every, self.memory.vector[:, s].to(every)])
            found.append(sinkhorn(products(every, prototypes), self.epsilon, self.iterations)[: len(views)])
        return torch.stack(found)

    def _views(self, e: Embeddings) -> Tensor:
        no_negatives(e, "swav")
        needs_positives(e, "swav")
        if 1 + e.positive.shape[1] < self.code_views:
            what = f"{self.code_views} views have codes, and the batch has {1 + e.positive.shape[1]}"
            raise RecipeError(what, "objective.code_views", "lower it, or raise views.count")
        return stacked(e)

    @torch.no_grad()
    def remember(self, e: Embeddings) -> None:
        if self.memory.size:
            self.memory.push(self._views(e)[:, : self.code_views])
