"""Mined negatives by query: what a search gave, in memory and in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.disk import files
from embedkit.errors import TrainingError
from embedkit.foreign.parsing import from_json

FORMAT = "1"
ARRAYS = ("rows", "scores", "rank", "positive_score")


@dataclass(frozen=True)
class MinedTable:
    """Negatives of q queries, best first, as rows of the corpus they were found in.

    Attributes:
        rows: [q, keep] int64; -1 where a query has no more.
        scores: [q, keep] float32 similarities to the query; -inf there.
        rank: [q, keep] int64 place in the unfiltered list, from 1; 0 there.
        positive_score: [q] float32, the lowest similarity of the query's positives; NaN where it has none.
        version: counts the searches of a run, from 0.
        update: the update before which the search began.
        report: what was measured, see `embedkit.mining.miner.Mined`.
        state: arrays that a strategy keeps from one refresh to the next.
    """

    rows: np.ndarray
    scores: np.ndarray
    rank: np.ndarray
    positive_score: np.ndarray
    version: int = 0
    update: int = 0
    report: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    def negatives(self, query: int) -> list[int]:
        """Rows of one query's negatives, best first."""
        found: list[int] = self.rows[query][self.rows[query] >= 0].tolist()
        return found

    def changed(self, before: MinedTable | None) -> float:
        """Share of these negatives that the table before did not have for the same query."""
        if before is None:
            return 1.0
        own = self.rows[:, :, None]
        new = (self.rows >= 0) & ~(own == before.rows[:, None, :]).any(axis=2)
        return float(new.sum() / max(1, (self.rows >= 0).sum()))

    def write(self, path: Path) -> None:
        """Write it whole or not at all.

        Raises:
            WriteError: it cannot be written.
        """
        from safetensors.numpy import save

        arrays = {name: np.ascontiguousarray(getattr(self, name)) for name in ARRAYS}
        arrays |= {f"state.{name}": np.ascontiguousarray(array) for name, array in self.state.items()}
        about = {"version": self.version, "update": self.update, "report": dict(self.report)}
        files.write_bytes(path, save(arrays, metadata={"format": FORMAT, "about": json.dumps(about)}))

    @classmethod
    def read(cls, path: Path, queries: int) -> MinedTable:
        """Read what `write` wrote.

        Args:
            path: the file.
            queries: how many it must have.

        Raises:
            TrainingError: it is missing, damaged, of another version, or of other data.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if metadata.get("format") != FORMAT:
                what = f"mined negatives of another version of embedkit ({metadata.get('format')})"
                raise TrainingError(what, str(path), "resume with the version that wrote them, or train anew")
            about = from_json(metadata["about"])
            state = {name.removeprefix("state."): array for name, array in arrays.items() if name.startswith("state.")}
            table = cls(**{name: arrays[name] for name in ARRAYS}, **about, state=state)
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            what = f"mined negatives cannot be read: {error}"
            raise TrainingError(what, str(path), "resume from an older checkpoint, or train anew") from error
        if len(table) != queries:
            what = f"mined negatives of {len(table):,} queries, and the data have {queries:,}"
            raise TrainingError(what, str(path), "resume with the data of the run")
        return table
