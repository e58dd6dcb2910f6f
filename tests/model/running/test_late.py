"""A late-interaction model scores pairs by MaxSim, and is measured behind a search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import MultiVectorEncoder

from embedkit.errors import DataError, RecipeError
from embedkit.model.running import late
from embedkit.model.running.encoder import Encoder
from embedkit.model.running.late import LateInteraction
from embedkit.recipe.schema import Model
from embedkit.recipe.suite import RetrievalTask, Suite
from embedkit.run.evaluating import evaluate
from tests.tiny import sentences, tiny_bert
from tests.torture.jobs import material


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("late")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MultiVectorEncoder(str(tiny_bert(root / "bare")), device="cpu")
    model.save(str(root / "model"), create_model_card=False)
    return root


def test_a_score_is_the_sum_over_query_tokens_of_the_best_product(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "DOCUMENTS", 3)  # several portions
    model = LateInteraction.load(str(folder / "model"), device="cpu")
    queries, documents = sentences(4, seed=1), sentences(7, seed=2)
    pairs = [(queries[i % 4], documents[i % 7]) for i in range(25)]
    found = model.score(pairs)
    q = dict(zip(queries, model.st.encode_query(queries), strict=True))
    d = dict(zip(documents, model.st.encode_document(documents), strict=True))
    want = [float((q[query] @ d[document].T).max(dim=1).values.sum()) for query, document in pairs]
    assert found.dtype == np.float32 and np.ptp(found) > 1e-3
    np.testing.assert_allclose(found, want, rtol=1e-5)
    assert model.fingerprint() == LateInteraction.load(str(folder / "model"), device="cpu").fingerprint()


def test_scores_that_are_no_numbers_are_refused(folder: Path) -> None:
    model = LateInteraction.load(str(folder / "model"), device="cpu")
    with torch.no_grad():
        next(iter(model.st.parameters())).fill_(float("nan"))
    with pytest.raises(DataError, match=r"late-interaction.*1 of 1 scores are not finite, first of 'a' and 'b'"):
        model.score([("a", "b")])


def test_it_is_measured_behind_a_first_stage(folder: Path, tmp_path: Path) -> None:
    material(tmp_path)
    task = RetrievalTask(name="set", folder=str(tmp_path / "set"), ks=(10,))
    suite = Suite(name="s", tasks=(task,))
    options = {"resamples": 0, "progress": False, "say": lambda line: None}
    with pytest.raises(RecipeError, match="puts the results of a search in order"):
        evaluate(str(folder / "model"), suite, **options)
    scores = evaluate(str(folder / "model"), suite, first_stage=str(tmp_path / "tiny"), depth=20, **options)
    details = scores.tasks[0].details
    assert details["depth"] == 20 and details["first_stage"]["ndcg@10"] != scores.tasks[0].metrics["ndcg@10"]


def test_neither_kind_is_taken_for_the_other(folder: Path) -> None:
    with pytest.raises(RecipeError, match="it is a late-interaction model"):
        Encoder.load(Model.model_validate({"base": str(folder / "model")}), device="cpu")
    with pytest.raises(RecipeError, match="it is no late-interaction model"):
        LateInteraction.load(str(folder / "bare"), device="cpu")
