"""From (update, batch) to the rows of that batch: a pure function, so that resuming replays nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from embedkit.data.augment import Viewing
from embedkit.data.collate import collate
from embedkit.data.sampler import Batch, StepSampler
from embedkit.data.tension import tension_pairs
from embedkit.data.views import Expanded, expand
from embedkit.recipe.schema import Views
from embedkit.types import Example, RowBatch

if TYPE_CHECKING:
    from embedkit.data.sources import LoadedSource
    from embedkit.model.running.reranker import Trained
    from embedkit.train.distributed import Comm
    from embedkit.train.negatives import Negatives


class Pipeline:
    """This process's share of every batch of a run.

    The encoder is told the variants (dropout rates, towers) that its rows will need.

    Args:
        sources: where examples come from.
        sampler: which examples a batch holds.
        encoder: for its tokenizer and the width of its embedding layer.
        comm: which share is ours.
        views: how unlabelled text becomes rows.
        viewing: what happens to the rows of each slot; None makes it of `views`.
        per_query: explicit negatives per query, one number per source.
        one_positive: ``sample``, ``first``, ``rotate`` or ``all``.
        tokens_per_micro_batch: budget of padded tokens.
        seed: of every draw.
        negatives: take the place of those of the data, late: batches are made when their update comes.
        hardest_of: negatives drawn of each row, of which those are used that the teacher scores highest.
        once: a text of several examples of a batch is encoded once.

    Raises:
        RecipeError: the encoder cannot apply a view's transform.
    """

    def __init__(
        self,
        sources: Sequence[LoadedSource],
        sampler: StepSampler,
        encoder: Trained,
        comm: Comm,
        *,
        views: Views | None = None,
        viewing: Viewing | None = None,
        per_query: Sequence[int] = (0,),
        one_positive: str = "sample",
        tokens_per_micro_batch: int = 2048,
        seed: int = 0,
        negatives: Negatives | None = None,
        hardest_of: int | None = None,
        once: bool = False,
    ) -> None:
        self.sources, self.sampler, self.encoder, self.comm = sources, sampler, encoder, comm
        self.views = views or Views()
        self.viewing = viewing or Viewing(self.views)
        self.per_query, self.one_positive = per_query, one_positive
        self.tokens_per_micro_batch, self.seed = tokens_per_micro_batch, seed
        self.negatives, self.hardest_of, self.once = negatives, hardest_of, once
        self._width = encoder.prepare_views(
            self.viewing.variants, cuts=self.viewing.cuts, reorders=self.viewing.reorders
        )

    def batch(self, step: int, k: int) -> RowBatch:
        """Batch `k` of update `step`.

        Args:
            step: update, from 0.
            k: which of the `accumulation` batches of the update.
        """
        drawn = self.sampler.batch(step, k)
        number = step * self.sampler.accumulation + k
        return collate(
            self._expanded(drawn, number),
            self.encoder.tokenize,
            self.tokens_per_micro_batch,
            source=drawn.source,
            step=number,
            width=self._width,
            padded=not self.encoder.module.packs,
            once=self.once,
        )

    def _expanded(self, drawn: Batch, number: int) -> Expanded:
        source = self.sources[drawn.source]
        unlabelled = "text" in source.roles
        examples, pool = self._examples(drawn, number)
        if self.negatives is not None:
            examples = self.negatives.join(drawn.source, examples)
        return expand(
            examples,
            unlabelled=unlabelled,
            views=self.views.count,
            per_query=self.per_query[drawn.source],
            one_positive=self.one_positive,
            hardest_of=None if unlabelled else self.hardest_of,
            seed=self.seed,
            step=number,
            turn=self.seed + drawn.epoch,
            offset=self.comm.rank * len(examples),
            transforms=self.viewing.unlabelled if unlabelled else self.viewing.labelled,
            pool=pool,
            paired=self.encoder.reads_pairs,
        )

    def _examples(self, drawn: Batch, number: int) -> tuple[list[Example], list[str]]:
        """Our share, and the words of the whole batch where a transform needs them."""
        source, tension = self.sources[drawn.source], self.views.pairing == "tension"
        own = self.sampler.own(drawn, self.comm.rank, self.comm.world)
        if "text" not in source.roles or not (tension or self.viewing.needs_pool):
            return source.get(own), []
        share = slice(self.comm.rank * len(own), (self.comm.rank + 1) * len(own))
        everyone = source.get(drawn.positions)  # every process reads all texts: partners and words are the batch's
        pool = [word for example in everyone for word in example.query.split()] if self.viewing.needs_pool else []
        if not tension:
            return everyone[share], pool
        k = self.views.negatives_per_positive
        return tension_pairs(everyone, share, negatives_per_positive=k, seed=self.seed, step=number), pool
