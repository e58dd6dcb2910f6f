"""Two towers: queries and positives are encoded by two copies of one model that train apart (Contrastive Tension).

The second tower encodes positives and negatives. One of the two becomes the result.
"""

from __future__ import annotations

from typing import Literal

from embedkit.model.running.encoder import Encoder

NAMES = ("first", "second")


def candidates(
    encoder: Encoder, keep: Literal["first", "second", "best"], *, evaluated: bool
) -> list[tuple[str, Encoder]]:
    """The towers that may become the result, by name.

    Args:
        encoder: with one or two towers.
        keep: `model.keep_tower`.
        evaluated: whether something is evaluated during training, so that there is a better one.

    Returns:
        Both for ``best`` where something is evaluated; else one.
    """
    both = list(zip(NAMES, (encoder.tower(0), encoder.tower(1)), strict=True))
    if encoder.module.second is None or (keep == "best" and not evaluated):
        return both[:1]
    return [(name, tower) for name, tower in both if keep in (name, "best")]
