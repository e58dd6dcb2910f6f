"""Adapters of the measures of how embeddings lie."""

from __future__ import annotations

import numpy as np

from embedkit.evaluation import geometry
from embedkit.evaluation.kinds.consistency import rank_spread
from tests.conformance.runner import Case, adapter


@adapter("objectives", "metrics")
def metrics(case: Case) -> dict[str, float]:
    """Of A with labels, or of X; the names say of which and whether its rows are brought to length 1."""
    case.hyper.only("rankme_eps", geometry.TINY)
    name = "A" if "labels" in case.entry.inputs else "X"
    x = case[name].numpy()
    found = {}
    for kind in ("raw", "unit", "centered_unit"):
        values = geometry.spectrum(x, centred=kind.startswith("centered"), normalised=kind != "raw")
        for measure, value in (
            ("rankme", geometry.rankme(values)),
            ("erank", geometry.singular_rank(values)),
            ("dhel_kcl_effective_rank", geometry.rankme(values, rescaled=True)),
        ):
            found |= {f"extra.{measure}_{kind}": value, f"extra.{measure}_{kind}_A": value}
    uniformity = geometry.uniformity(x, 2.0)
    found |= {"extra.uniformity_t2": uniformity, "extra.uniformity_t2_unit": uniformity}
    return found | (_tolerances(x, case.inputs.fields["labels"]) if name == "A" else {})


@adapter("retrieval", "mean_rank_variance")
def spread_of_ranks(case: Case) -> dict[str, float]:
    """Ranks from 0, which no difference of them shows."""
    found = rank_spread(case.inputs.fields["ranks"])
    return {
        "mean_rank_std": float(found["rank_std"].mean()),
        "mean_rank_variance": float(found["rank_variance"].mean()),
    }


def _tolerances(x: np.ndarray, labels: list[int]) -> dict[str, float]:
    first = [labels.index(label) for label in labels]  # every row with the first of its class
    pairs = np.array(first), np.arange(len(labels))
    return {
        "extra.tolerance_same_class_mean": geometry.tolerance(x, *pairs),
        "extra.tolerance_indicator_mean_all_pairs_incl_self": geometry.tolerance(x, *pairs, over="all"),
        "extra.tolerance_indicator_mean_offdiag_pairs": geometry.tolerance(x, *pairs, over="different"),
    }
