"""Guards: stop on a non-finite loss with the batch on disk, warn when embeddings collapse."""

from __future__ import annotations

import math
from pathlib import Path

from embedkit.disk import files
from embedkit.errors import TrainingError, WriteError
from embedkit.foreign import showing
from embedkit.train.boundary import QUERY_COSINE
from embedkit.train.distributed import Comm
from embedkit.types import RowBatch, StepResult

logger = showing.logger(__name__)


class Guards:
    """Watches losses, gradients and the spread of the embeddings.

    Args:
        folder: where a failing batch is written.
        collapse: threshold of the mean cosine between different queries.
        comm: the process group; each process writes its own share of the batch.
    """

    def __init__(self, folder: Path, collapse: float, comm: Comm) -> None:
        self.folder, self.collapse, self.comm = folder, collapse, comm
        self.collapsed_at: int | None = None
        self.masked_at: int | None = None

    def check_loss(self, result: StepResult, batch: RowBatch, step: int) -> None:
        """Raises TrainingError when the loss is NaN or infinite."""
        if not math.isfinite(result.loss):
            self._stop(f"the loss is {result.loss}", batch, step, {"loss": str(result.loss), **result.metrics})

    def check_gradient(self, norm: float, batch: RowBatch, step: int) -> None:
        """Raises TrainingError when the gradient norm is NaN or infinite; the weights are still good."""
        if not math.isfinite(norm):
            self._stop(f"the gradient norm is {norm}", batch, step, {"gradient norm": str(norm)})

    def check_collapse(self, metrics: dict[str, float], step: int) -> None:
        """Warn once when different queries have become almost the same vector."""
        value = metrics.get(QUERY_COSINE)
        if value is not None and value > self.collapse and self.collapsed_at is None:
            self.collapsed_at = step
            logger.warning(
                "step %d: the mean cosine between different queries is %.3f, above %.2f: the embeddings are "
                "collapsing. Look at the learning rate, the temperature, and whether queries have negatives.",
                step,
                value,
                self.collapse,
            )

    def check_negatives(self, metrics: dict[str, float], step: int) -> None:
        """Warn once when all in-batch negatives of a batch are masked: its loss is 0, and nothing is learned."""
        if metrics.get("negatives") == 0 and metrics.get("masked", 0) > 0 and self.masked_at is None:
            self.masked_at = step
            logger.warning(
                "step %d: no row has a negative left: all are masked, because their texts are known matches of the "
                "query. Look at the columns in roles, or give explicit negatives.",
                step,
            )

    def _stop(self, what: str, batch: RowBatch, step: int, facts: dict[str, object]) -> None:
        path = self.folder / f"failed-step-{step}-process-{self.comm.rank}.json"
        rows = [
            {"text": text, "position": int(position), "input_ids": list(map(int, ids))}
            for text, position, ids in zip(batch.texts, batch.position, batch.input_ids, strict=True)
        ]
        content = {"step": step, "facts": facts, "source": batch.source, "origins": batch.origins, "rows": rows}
        try:
            files.write_json(path, content)
            batch_is = f"the batch is in {path}"
        except WriteError as error:
            batch_is = f"the batch could not be written to {path}: {error.what}"
        raise TrainingError(
            f"{what} at step {step}; {batch_is}",
            where=f"step {step}",
            cure="look at the batch; lower train.learning_rate, raise the temperature, or use fp32; then --resume",
        )
