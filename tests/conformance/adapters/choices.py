"""Adapters of choices, analogies, answers and grades."""

from __future__ import annotations

from typing import Any

import numpy as np

from embedkit.evaluation import groups as grouped
from embedkit.evaluation import rasch
from embedkit.evaluation.kinds import analogy
from embedkit.evaluation.kinds.choice import right_chosen, right_lead
from embedkit.evaluation.kinds.no_answer import answer_rates
from embedkit.types import Groups, TaskScore
from tests.conformance.runner import Case, adapter

ANSWERS = {"Yes, answer is present": True, "I don't know": False, "Invalid": None}


@adapter("retrieval", "nomiracl_rates")
def answered(case: Case) -> dict[str, float]:
    relevant = case.hyper.only("subset", "relevant", "non_relevant") == "relevant"
    return answer_rates([ANSWERS[answer] for answer in case.inputs.fields["answers"]], relevant)


@adapter("retrieval", "aro_choice_accuracy")
def chosen(case: Case) -> dict[str, Any]:
    """The first of the largest wins: a tie is right where the right option stands first."""
    scores, right = np.array(case.inputs.fields["scores"]), case.hyper["positive_column"]
    values = right_chosen(np.array([right_lead(own, right) for own in scores]), ties=right == 0)
    if "groups" not in list(case.inputs.fields):
        return {"accuracy": float(values.mean())}
    names, codes = np.unique(case.inputs.fields["groups"], return_inverse=True)
    score = TaskScore("t", "choice", "accuracy", {}, units={"accuracy": values})
    found = grouped.measured(score, Groups("group", tuple(map(str, names)), codes), 0, 0)
    per_group = {f"per_group.{row['name']}": row["value"] / 100 for row in found["rows"]}
    return {"accuracy": float(values.mean()), "macro": found["mean"] / 100, **per_group}


@adapter("retrieval", "analogy_offset_alignment")
def parallel(case: Case) -> dict[str, Any]:
    offsets = (case["second"] - case["first"]).detach().numpy()
    values = analogy.alignment(offsets)
    similarities = analogy.offset_similarities(offsets).tolist()
    return {"alignment": values.tolist(), "mean_alignment": float(values.mean()), "pair_similarities": similarities}


@adapter("retrieval", "faceted_rasch")
def graded(case: Case) -> dict[str, Any]:
    fields = case.inputs.fields
    text, item, rater = np.array(fields["cells"]).T
    facets = [np.array(fields[name]) for name in ("theta", "item", "rater", "steps")]
    found = rasch.Estimate(*facets, error=np.zeros(0))
    given = "observed" in list(fields)
    ratings = rasch.Ratings(text, item, rater, np.array(fields["observed"]) if given else np.zeros_like(text))
    chances = rasch.probabilities(found.levels(ratings), found.steps)
    expected, variance = rasch.moments(chances)
    values = {"probabilities": chances.tolist(), "expected": expected.tolist(), "variance": variance.tolist()}
    if given:
        infit, outfit = rasch.misfit(ratings, expected, variance)
        values |= {"infit": infit.tolist(), "outfit": outfit.tolist()}
    return values
