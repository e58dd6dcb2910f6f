"""Every kind by the block of its tasks: how its data is read, and how it is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from embedkit.evaluation.kinds import (
    analogy,
    bitext,
    choice,
    classification,
    clustering,
    consistency,
    label_prompts,
    no_answer,
    pairs,
    reranking,
    transfer,
)
from embedkit.evaluation.kinds.base import Measured, Read
from embedkit.recipe.kinds import (
    AnalogyTask,
    BitextTask,
    ChoiceTask,
    ClassificationTask,
    ClusteringTask,
    ConsistencyTask,
    FewShotTask,
    LabelPromptTask,
    NoAnswerTask,
    PairTask,
    RerankingTask,
    TransferTask,
)


@dataclass(frozen=True)
class Kind:
    """A kind of task.

    Attributes:
        read: task with absolute paths -> its data.
        measure: `Side`, task and data -> what was found.
    """

    read: Callable[[Any], Read]
    measure: Callable[[Any, Any, Any], Measured]


KINDS: Mapping[type, Kind] = {
    ClassificationTask: Kind(classification.read, classification.measure),
    FewShotTask: Kind(classification.read_few_shot, classification.measure_few_shot),
    LabelPromptTask: Kind(label_prompts.read, label_prompts.measure),
    TransferTask: Kind(transfer.read, transfer.measure),
    ClusteringTask: Kind(clustering.read, clustering.measure),
    PairTask: Kind(pairs.read, pairs.measure),
    RerankingTask: Kind(reranking.read, reranking.measure),
    BitextTask: Kind(bitext.read, bitext.measure),
    ConsistencyTask: Kind(consistency.read, consistency.measure),
    ChoiceTask: Kind(choice.read, choice.measure),
    AnalogyTask: Kind(analogy.read, analogy.measure),
    NoAnswerTask: Kind(no_answer.read, no_answer.measure),
}
