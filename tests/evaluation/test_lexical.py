"""Retrieval with sparse embeddings: the same scores as with the same numbers dense, and how sparse they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from embedkit.errors import EmbedkitError, RecipeError
from embedkit.evaluation import lexical
from embedkit.evaluation.stored import forms
from embedkit.evaluation.suite import evaluate_suite
from embedkit.evaluation.tasks import run_task
from embedkit.recipe.suite import RetrievalTask, StsTask, Suite
from embedkit.types import RetrievalData

WORDS, DOCUMENTS, QUERIES = 50, 30, 8
TASK = RetrievalTask(name="r", folder="f", ks=(1, 10))


class Words:
    """Weights of words by the number in the text, dense."""

    similarity = "dot"

    def __init__(self, share: float = 0.2, equal: bool = False) -> None:
        rng = np.random.default_rng(0)
        weights = rng.random((2, DOCUMENTS, WORDS)) * (rng.random((2, DOCUMENTS, WORDS)) < share)
        self.weights = weights.astype(np.float32)
        if equal:
            self.weights[:] = self.weights[0, 0]

    def encode(self, texts: Sequence[str], *, role: str = "query", **_: Any) -> np.ndarray:
        return self.weights[int(role == "document"), [int(text[1:]) for text in texts]]

    def fingerprint(self) -> str:
        return "words"


class SparseWords(Words):
    """The same, sparse."""

    def encode_sparse(self, texts: Sequence[str], **options: Any) -> csr_array:
        return csr_array(super().encode(texts, **options))

    def encode(self, texts: Sequence[str], **_: Any) -> np.ndarray:
        raise AssertionError("dense embeddings are not asked for")


def data() -> RetrievalData:
    rng = np.random.default_rng(1)
    qrels = {f"q{q}": {f"d{d}": 1 for d in rng.choice(DOCUMENTS, 3, False)} for q in range(QUERIES)}
    corpus = {f"d{i}": f"d{i % 28}" for i in range(DOCUMENTS)}  # two texts twice
    return RetrievalData({f"q{i}": f"q{i}" for i in range(QUERIES)}, corpus, qrels, "digest")


@pytest.mark.parametrize("similarity", ["dot", "cos"])
def test_the_metrics_are_those_of_the_same_numbers_dense(similarity: str) -> None:
    task = TASK.model_copy(update={"similarity": similarity})
    dense, sparse = (run_task(model, task, data(), insight=True) for model in (Words(), SparseWords()))
    assert dense.metrics == sparse.metrics and "sparsity" not in dense.details and not sparse.insight
    for name, values in dense.units.items():
        np.testing.assert_array_equal(values, sparse.units[name])


def test_flops_are_counted_as_an_index_would() -> None:
    model, texts = SparseWords(), data()
    found = run_task(model, TASK, texts).details["sparsity"]
    queries = [model.weights[0, i] for i in range(QUERIES)]
    documents = [model.weights[1, i] for i in range(28)]
    active = [int(np.count_nonzero(x)) for x in queries]
    products = [int(((q != 0) & (d != 0)).sum()) for q in queries for d in documents]
    assert found["active_query"] == pytest.approx(np.mean(active), abs=0.01)
    assert found["flops"] == pytest.approx(np.mean(products), abs=1e-3) and found["dim"] == WORDS


def test_words_that_are_all_active_are_noted() -> None:
    assert "note" not in run_task(SparseWords(), TASK, data()).details
    noted = run_task(SparseWords(share=1.1), TASK, data()).details["note"]
    assert noted == "50 of 50 words are active in a document: nothing is sparse yet"


def test_one_vector_for_all_is_noted_and_what_is_not_finite_refused() -> None:
    score = run_task(SparseWords(equal=True), TASK, data())
    assert score.details["note"] == "all embeddings are equal" and score.metrics["ndcg@10"] == 0
    broken = SparseWords()
    broken.weights[0, 2, 7] = np.inf
    with pytest.raises(EmbedkitError, match="1 of 8 embeddings are not finite, first of 'q2'"):
        run_task(broken, TASK, data())
    assert not lexical.all_equal(lexical.unit(csr_array(np.eye(2, 3, dtype=np.float32))))


def test_other_tasks_and_geometry_are_refused() -> None:
    sts = Suite(name="s", tasks=(StsTask(name="sts", files=("f.tsv",)),))
    with pytest.raises(RecipeError, match="measured on retrieval, and this task is of type sts"):
        evaluate_suite(SparseWords(), sts)
    with pytest.raises(RecipeError, match="stored sparse, in none of these forms"):
        evaluate_suite(SparseWords(), Suite(name="s", tasks=(TASK,)), stored=forms("int8")[0])
    with pytest.raises(RecipeError, match="geometry"):
        evaluate_suite(SparseWords(), Suite(name="s", tasks=(TASK,)), geometry=True)


def test_a_saved_sparse_encoder_is_evaluated_and_compared(tmp_path: Path) -> None:
    from embedkit.model.running.lexical import LexicalEncoder
    from embedkit.recipe.schema import Model
    from embedkit.run.evaluating import evaluate
    from tests.auxiliary.models import tiny_masked_lm
    from tests.torture.jobs import material

    material(tmp_path)
    base = tiny_masked_lm(tmp_path / "masked")
    LexicalEncoder.load(Model(kind="sparse", base=str(base)), device="cpu").save(tmp_path / "model")
    suite = Suite(name="s", tasks=(RetrievalTask(name="set", folder=str(tmp_path / "set"), ks=(10,)),))
    said: list[str] = []
    options: dict[str, Any] = {"resamples": 100, "progress": False, "say": lambda line: said.append(line)}
    scores = evaluate(str(tmp_path / "model"), suite, compare=str(tmp_path / "tiny"), out=tmp_path / "out", **options)
    found = scores.tasks[0].details["sparsity"]
    assert 0 < found["active_query"] < found["dim"] and found["flops"] > 0 and scores.tasks[0].interval is not None
