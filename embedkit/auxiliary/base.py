"""Auxiliary losses: losses on the row side of the step, over tokens rather than examples.

The step (`embedkit.train.step`) runs them micro-batch by micro-batch and divides by a globally counted
denominator, so that neither micro-batches nor processes nor accumulation change their gradient.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from embedkit.foreign import showing
from embedkit.types import LossOut

if TYPE_CHECKING:
    import numpy as np

    from embedkit.types import RowBatch


logger = showing.logger(__name__)


class Auxiliary(nn.Module):
    """Base of all auxiliary losses.

    The loss is ``weight * sum of forward(...).value / sum of count(...)`` over all micro-batches of all processes.
    Everything random in `draw` is a pure function of the seed, ``batch.step`` and the row's place in the global
    batch. What belongs to the encoder, and frozen companions, must not be registered as submodules: the
    parameters of this module are trained, clipped, summed over processes and saved.

    Attributes:
        name: for metrics.
        weight: factor of the loss.
        conditioned: whether `forward` is told the embeddings of its rows, batch heads applied, and sends a
            gradient into them.
        reports: names of all metrics that `forward` gives.
        warnings: what a reader of the run should know, for its record.
    """

    name = "auxiliary"
    conditioned = False
    reports: tuple[str, ...] = ()

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight
        self.warnings: list[str] = []

    def sizes(self, batch: RowBatch) -> np.ndarray | None:
        """About how many tokens each row has for this auxiliary; None where they are the encoder's, whose
        micro-batches then serve here too."""
        return None

    def draw(self, batch: RowBatch, rows: np.ndarray) -> Any:
        """The features of a micro-batch of rows; None when it has nothing to do for them."""
        raise NotImplementedError

    def count(self, drawn: Any) -> float:
        """The micro-batch's share of the denominator, e.g. its masked tokens."""
        raise NotImplementedError

    def forward(self, drawn: Any, embeddings: Tensor | None) -> LossOut:
        """The sum of the micro-batch's losses.

        Args:
            drawn: from `draw`.
            embeddings: [r, d] of these rows when `conditioned`, with gradient; else None.

        Returns:
            `value` a scalar sum, `weight` None, `metrics` means over the micro-batch, as `reports` names them.
        """
        raise NotImplementedError

    def export(self, folder: Path) -> None:
        """Write what a user may want beside the trained model, e.g. a masked-LM head; nothing by default.

        Args:
            folder: of the run, the model in it already; called once, on process 0, after the last update.
        """

    def warn(self, what: str) -> None:
        """Say what a reader of the run should know: in its log and in its record."""
        logger.warning("%s: %s", self.name, what)
        self.warnings.append(f"auxiliary {self.name}: {what}")
