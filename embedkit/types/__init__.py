"""The objects that travel between the parts. Data only: no behaviour that needs a model or a process group."""

from embedkit.types.batch import (
    PAD_ID,
    ROLES,
    Embeddings,
    Encodes,
    Example,
    LossOut,
    Row,
    RowBatch,
    StepResult,
)
from embedkit.types.results import LOGGED, Groups, Interval, RetrievalData, RunRecord, Scores, TaskScore

__all__ = [
    "LOGGED",
    "PAD_ID",
    "ROLES",
    "Embeddings",
    "Encodes",
    "Example",
    "Groups",
    "Interval",
    "LossOut",
    "RetrievalData",
    "Row",
    "RowBatch",
    "RunRecord",
    "Scores",
    "StepResult",
    "TaskScore",
]
