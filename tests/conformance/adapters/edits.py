"""Adapters of the schema "retrieval" for negatives made by rule: the draws are those of the references' generators."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from embedkit.synthesis import edits
from tests.conformance.runner import Case, adapter


@adapter("retrieval", "aro_order_shuffle")
def order(case: Case) -> dict[str, Any]:
    fields, seed = case.inputs.fields, case.hyper["seed"]
    words, tags = fields["text"].split(" "), fields["tags"]
    by_numpy = np.random.RandomState(seed)
    by_python = edits.by_python(random.Random(seed))

    def permuted(n: int) -> list[int]:
        return by_numpy.permutation(n).tolist()

    made = {
        "nouns_and_adjectives": lambda: edits.shuffle_nouns_and_adjectives(words, tags, permuted),
        "all_but_nouns_and_adjectives": lambda: edits.shuffle_others(words, tags, permuted),
        "within_trigrams": lambda: edits.shuffle_within(words, by_python),
        "trigrams": lambda: edits.shuffle_groups(words, by_python),
        "all_words": lambda: edits.shuffle_places(words, range(len(words)), permuted),
    }
    return {"text": " ".join(made[case.hyper.only("rule", *made)]())}


@adapter("retrieval", "ngram_shuffle")
def ngrams(case: Case) -> dict[str, Any]:
    rng = random.Random(case.hyper["seed"])
    made = edits.shuffle_ngrams(case.inputs.fields["tokens"], case.hyper["n"], rng)
    return {"text": made or "", "made": made is not None}
