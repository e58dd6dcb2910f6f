"""Adapters of what is drawn: candidates by a language model's scores, and real rows among generated ones."""

from __future__ import annotations

from typing import Any

from embedkit.data.sampler import StepSampler
from embedkit.data.score_split import score_split
from embedkit.data.views import rotated
from tests.conformance.runner import Case, adapter

BATCH = 1000


@adapter("retrieval", "llmr_positive_negative_split")
def split(case: Case) -> dict[str, list[int]]:
    ids, worst = case.inputs.fields["doc_ids"], int(case.hyper["bottomk_as_negative"])
    scores, best = case.inputs.fields["doc_scores"], int(case.hyper["topk_as_positive"])
    sides = score_split(scores, best, None if worst == -1 else worst)
    return dict(zip(("positives", "negatives"), (sorted(ids[i] for i in side) for side in sides), strict=True))


@adapter("retrieval", "llmr_group_rotation")
def rotation(case: Case) -> dict[str, list[int]]:
    size, turn = int(case.hyper["negative_size"]), int(case.hyper["offset"])
    found: list[int] = []
    for positives, negatives in zip(*(case.inputs.fields[n] for n in ("positives", "negatives")), strict=True):
        found += [positives[i] for i in rotated(len(positives), 1, turn)]
        found += [negatives[i] for i in rotated(len(negatives), size, turn)]
    return {"doc_ids": found}


@adapter("retrieval", "adainf_mix")
def mixed(case: Case) -> dict[str, Any]:
    rows = [case.inputs.fields[name] for name in ("n_real", "n_generated")]
    sampler = StepSampler(rows, [None, None], BATCH, 1, 1.0, None, 0, repeats=[int(case.hyper["replication"]), 1])
    total = sum(sampler.counts)
    return {
        "rows_per_epoch": total * BATCH,
        "share_real": sampler.counts[0] / total,
        "share_generated": sampler.counts[1] / total,
        "weight_of_one_real_row": sampler.passes[0],
    }
