"""Negatives that become harder: a window of ranks that narrows from refresh to refresh."""

from __future__ import annotations

from collections.abc import Sequence

from embedkit.mining.filters.scores import RankWindow
from embedkit.mining.miner import Miner
from embedkit.mining.strategies.base import Occasion
from embedkit.mining.table import MinedTable


class Curriculum:
    """Searches anew at every refresh, in ranks that move linearly from `first` to `last`.

    Args:
        first: window of the first refresh, both ranks included.
        last: window of the last one.
    """

    once = False

    def __init__(self, first: Sequence[int] = (30, 100), last: Sequence[int] = (1, 30)) -> None:
        self._first, self._last = first, last

    def window(self, number: int, total: int) -> RankWindow:
        """The ranks of refresh `number` of `total`."""
        share = number / max(1, total - 1)
        low, high = (round(a + share * (b - a)) for a, b in zip(self._first, self._last, strict=True))
        return RankWindow(low, high)

    def refresh(self, miner: Miner, occasion: Occasion) -> MinedTable:
        return miner.mine(occasion.by, filters=[self.window(occasion.number, occasion.total)])
