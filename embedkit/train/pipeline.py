"""From (update, batch) to the rows of that batch: a pure function, so that resuming replays nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from embedkit.data.collate import collate
from embedkit.data.sampler import StepSampler
from embedkit.data.views import expand
from embedkit.types import RowBatch

if TYPE_CHECKING:
    from embedkit.data.sources import LoadedSource
    from embedkit.model.encoder import Encoder
    from embedkit.train.distributed import Comm


class Pipeline:
    """This process's share of every batch of a run.

    Args:
        sources: where examples come from.
        sampler: which examples a batch holds.
        encoder: for its tokenizer.
        comm: which share is ours.
        views: dropout passes per unlabelled text.
        per_query: explicit negatives per query, one number per source.
        one_positive: ``sample`` or ``first``.
        tokens_per_micro_batch: budget of padded tokens.
        seed: of every draw.
    """

    def __init__(
        self,
        sources: Sequence[LoadedSource],
        sampler: StepSampler,
        encoder: Encoder,
        comm: Comm,
        *,
        views: int = 2,
        per_query: Sequence[int] = (0,),
        one_positive: str = "sample",
        tokens_per_micro_batch: int = 2048,
        seed: int = 0,
    ) -> None:
        self.sources, self.sampler, self.encoder, self.comm = sources, sampler, encoder, comm
        self.views, self.per_query, self.one_positive = views, per_query, one_positive
        self.tokens_per_micro_batch, self.seed = tokens_per_micro_batch, seed

    def batch(self, step: int, k: int) -> RowBatch:
        """Batch `k` of update `step`.

        Args:
            step: update, from 0.
            k: which of the `accumulation` batches of the update.
        """
        drawn = self.sampler.batch(step, k)
        own = self.sampler.own(drawn, self.comm.rank, self.comm.world)
        source = self.sources[drawn.source]
        number = step * self.sampler.accumulation + k
        expanded = expand(
            source.get(own),
            unlabelled="text" in source.roles,
            views=self.views,
            per_query=self.per_query[drawn.source],
            one_positive=self.one_positive,
            seed=self.seed,
            step=number,
            offset=self.comm.rank * len(own),
        )
        return collate(expanded, self.encoder.tokenize, self.tokens_per_micro_batch, source=drawn.source, step=number)
