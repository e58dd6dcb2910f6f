"""One text against K others that all say the same: translations, paraphrases, passages."""

from __future__ import annotations

from torch import Tensor

from embedkit.objectives.base import Objective, example_weight
from embedkit.objectives.contrastive import similarity_metrics
from embedkit.objectives.logits import Candidates, Pool, Rules, log_sum_exp
from embedkit.types import Embeddings, LossOut


class OneToK(Objective):
    """1-to-K contrastive loss (arXiv 2406.18254) of a query and its K positives d_k, cosines s::

        out_i  = sum over k of [ log sum over all documents j of e^(s(q_i, d_j) / t) - s(q_i, d_ik) / t ]
        back_i = mean over k of [ log sum over all queries j of e^(s(q_j, d_ik) / t) - s(q_i, d_ik) / t ]
        loss_i = (out_i + back_weight back_i) / 2, with `divide` over K

    All K positives stand in the denominator of `out` (InfoNCE here leaves the row's other positives out), so each
    positive's loss is at least about log K. `back` is a mean already: where the whole is divided by K, as by default in
    the authors' code, a pair pulls 1 / K as much backwards as forwards; `back_weight: K` makes them equal.

    Candidates known to match are left out; explicit negatives are documents. A row without any negative counts nothing.

    Args:
        temperature: t.
        divide: by K.
        back_weight: of the documents' direction.

    Raises:
        DataError: the batch has no positives.
    """

    def __init__(self, temperature: float = 0.07, divide: bool = True, back_weight: float = 1.0) -> None:
        super().__init__()
        self.temperature, self.divide, self.back_weight = temperature, divide, back_weight

    def columns(self, e: Embeddings) -> int:
        return len(e) * (e.positive.shape[1] + e.negative.shape[1])

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        pool = Pool(e, rows, "cos", Rules())
        k = e.positive.shape[1]
        out, back = pool.candidates("q-d"), pool.candidates("d-q")
        value = self._surprise(out).sum(1) / 2
        value = value + self.back_weight / 2 * self._surprise(back).view(-1, k).mean(1)
        value = value / k if self.divide else value
        has = out.is_negative.any(1) | back.is_negative.view(len(rows), -1).any(1)
        return LossOut(value, example_weight(e, rows) * has, similarity_metrics(out))

    def _surprise(self, candidates: Candidates) -> Tensor:
        """[a, P'] cross-entropies of each anchor's positives, all of them in the denominator."""
        mask = candidates.is_negative | candidates.is_positive
        total = log_sum_exp(candidates.similarities / self.temperature, mask)
        return total[:, None] - candidates.positive / self.temperature
