"""What a strategy is given and what it gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from embedkit.mining.miner import By, Miner
from embedkit.mining.table import MinedTable


@dataclass(frozen=True)
class Occasion:
    """One refresh.

    Attributes:
        number: counts a run's refreshes, from 0.
        total: how many the run will have.
        by: the model as it is now.
        before: the negatives in use; None at the first refresh.
    """

    number: int
    total: int
    by: By
    before: MinedTable | None


class Strategy(Protocol):
    """Gives the negatives that follow. It depends on its arguments alone: state goes into the table."""

    once: bool
    """Whether the first refresh is the only one."""

    def refresh(self, miner: Miner, occasion: Occasion) -> MinedTable: ...
