"""Negatives of the first search, to the end."""

from __future__ import annotations

from embedkit.mining.miner import Miner
from embedkit.mining.strategies.base import Occasion
from embedkit.mining.table import MinedTable


class Static:
    """Searches once."""

    once = True

    def refresh(self, miner: Miner, occasion: Occasion) -> MinedTable:
        return occasion.before or miner.mine(occasion.by)
