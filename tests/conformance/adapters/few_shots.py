"""Adapters of the schema "retrieval": what is made of few labelled texts, and the losses on it."""

from __future__ import annotations

from typing import Any

import numpy as np

from embedkit.data.label_texts import entailment_rows
from embedkit.data.pairs import setfit_pairs
from tests.conformance.runner import Case, adapter


@adapter("retrieval", "setfit_pairs")
def pairs(case: Case) -> dict[str, Any]:
    labels = np.array(case.inputs.fields["labels"])
    case.hyper.only("multilabel", labels.ndim == 2)
    most = case.hyper["max_pairs"]
    made = setfit_pairs(
        labels,
        sampling=case.hyper.only("sampling_strategy", "oversampling", "undersampling", "unique"),
        iterations=case.hyper["num_iterations"] or None,
        max_pairs=None if most == -1 else most,
    )
    positive = int(made.score.sum())
    rows = zip(made.pair.tolist(), made.score.tolist(), strict=True)
    return {
        "pairs": [[i, j, score] for (i, j), score in rows],
        "n_positive": positive,
        "n_negative": len(made) - positive,
        "n_self_pairs": made.of_itself,
    }


@adapter("retrieval", "efl_entailment_pairs")
def entailment(case: Case) -> dict[str, Any]:
    """`order` is that of the descriptions of one text."""
    case.hyper.only("order", "label")
    labels, classes = case.inputs.fields["labels"], case.hyper["num_labels"]
    rows = [[text, c, int(own)] for text, label in enumerate(labels) for c, own in entailment_rows(label, classes)]
    entailed = sum(row[2] for row in rows)
    return {"rows": rows, "n_entailment": entailed, "n_not_entailment": len(rows) - entailed}
