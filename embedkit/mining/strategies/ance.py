"""Negatives of the newest model: everything is encoded and searched again (ANCE, arXiv 2007.00808)."""

from __future__ import annotations

from embedkit.mining.miner import Miner
from embedkit.mining.strategies.base import Occasion
from embedkit.mining.table import MinedTable


class Ance:
    """Searches anew at every refresh. All known positives are left out, not only the one of the row."""

    once = False

    def refresh(self, miner: Miner, occasion: Occasion) -> MinedTable:
        return miner.mine(occasion.by)
