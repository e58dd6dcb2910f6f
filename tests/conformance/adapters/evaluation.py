"""Adapters of what an evaluation finds besides the metrics of its tasks."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from embedkit.evaluation.collapse import class_collapse
from embedkit.evaluation.harm import allocation_harm, group_cosines, representation_harm
from embedkit.evaluation.kinds.no_answer import abstention
from embedkit.evaluation.penalty import relative_penalty
from embedkit.evaluation.robustness import relative_drop
from tests.conformance.runner import Case, adapter


@adapter("retrieval", "abstention_at_threshold")
def abstained(case: Case) -> dict[str, float]:
    fields = case.inputs.fields
    best, answered = np.array(fields["top_scores"]), np.array(fields["has_relevant"], bool)
    found = abstention(best, answered, case.hyper["threshold"])
    return {name: float(found[name].mean()) for name in ("hallucination_rate", "error_rate", "coverage")}


@adapter("retrieval", "adversarial_relative_drop")
def dropped(case: Case) -> dict[str, Any]:
    clean, other = case.inputs.fields["clean"], case.inputs.fields["adversarial"]
    drops = [relative_drop(a, b) for a, b in zip(clean, other, strict=True)]
    means = {"mean_clean": float(np.mean(clean)), "mean_adversarial": float(np.mean(other))}
    return {"relative_drop": drops, "mean_relative_drop": float(np.mean([d for d in drops if d is not None])), **means}


@adapter("retrieval", "representation_harm")
def moved_together(case: Case) -> dict[str, Any]:
    groups = np.array(case.inputs.fields["labels"])
    balanced, imbalanced = case["balanced"].numpy(), case["imbalanced"].numpy()
    return {
        "cosine_balanced": group_cosines(balanced, groups).tolist(),
        "cosine_imbalanced": group_cosines(imbalanced, groups).tolist(),
        "representation_harm": representation_harm(balanced, imbalanced, groups).tolist(),
    }


@adapter("retrieval", "allocation_harm")
def by_embeddings_or_classifier(case: Case) -> dict[str, Any]:
    fields = case.inputs.fields
    found = allocation_harm(*(np.array(fields[name]) for name in ("balanced", "mediator", "imbalanced")))
    return {name: values.tolist() for name, values in found.items()}


@adapter("retrieval", "relative_penalty")
def pushed(case: Case) -> dict[str, Any]:
    share, entropy, push = relative_penalty(
        case["q"].detach().numpy(), case["p"].detach().numpy(), float(case.hyper["temperature"])
    )
    return {"relative_penalty": share.tolist(), "entropy": entropy.tolist(), "positive_weight": push.tolist()}


@adapter("retrieval", "class_collapse")
def collapsed(case: Case) -> dict[str, Any]:
    labels, subclasses = (np.array(case.inputs.fields[name]) for name in ("labels", "subclasses"))
    return asdict(class_collapse(case["x"].numpy(), labels, subclasses))
