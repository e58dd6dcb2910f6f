"""Pairs for Contrastive Tension (Carlsson et al., ICLR 2021): a text with itself, or with another text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from embedkit.data.text import text_id
from embedkit.errors import DataError
from embedkit.types import Example

_PAIR = 23  # keeps this random stream apart from the others


def tension_pairs(
    batch: Sequence[Example], own: slice, *, negatives_per_positive: int, seed: int, step: int
) -> list[Example]:
    """Scored pairs from the unlabelled texts of one global batch.

    Of every K + 1 examples, counted through the whole run, one is paired with itself (score 1) and K with another
    text of the batch, drawn at random (score 0). The texts of score-0 pairs are not those of the score-1 pairs: both
    members of such a pair are random texts, as in the authors' code.

    Args:
        batch: the whole global batch, equal on all processes.
        own: this process's share of it.
        negatives_per_positive: K.
        seed, step: the partner of text i depends on (seed, step, i) alone.

    Raises:
        DataError: all texts of the batch are the same, so there is nothing to pair them with.
    """
    ids = [text_id(example.query) for example in batch]
    pairs = []
    for i in range(len(batch))[own]:
        if (step * len(batch) + i) % (negatives_per_positive + 1) == 0:
            partner, score = i, 1.0
        else:
            order = np.random.default_rng([_PAIR, seed, step, i]).permutation(len(batch))
            found = next((int(j) for j in order if ids[j] != ids[i]), None)
            if found is None:
                raise DataError(
                    f"the {len(batch)} texts of this batch are all the same",
                    batch[i].origin,
                    "Contrastive Tension pairs different texts: raise train.batch_size or give more text",
                )
            partner, score = found, 0.0
        pairs.append(replace(batch[i], positives=(batch[partner].query,), scores=(score,)))
    return pairs
