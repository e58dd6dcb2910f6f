"""What `check` says about sparse encoders."""

from __future__ import annotations

from typing import Any

import pytest

from embedkit.disk.model_files import Module, Saved
from embedkit.recipe.load import dump, recipe_hash
from embedkit.recipe.plan import Plan, plan
from embedkit.recipe.schema import Recipe
from tests.recipe.test_rules_model import BERT

ROW = {"query": "a", "positive": "b"}
INFONCE = {"name": "infonce", "similarity": "dot", "temperature": 1.0}
SPLADE = {"name": "sum", "terms": [{"objective": INFONCE}, {"objective": {"name": "flops"}}]}
MASKED = Saved(config={"architectures": ["BertForMaskedLM"]})


def recipe(**blocks: Any) -> Recipe:
    model = {"kind": "sparse", **blocks.pop("model", {})}
    source = blocks.pop("source", {"rows": [ROW] * 64})
    blocks.setdefault("objective", SPLADE)
    return Recipe.model_validate({"model": model, "data": {"sources": [source]}, **blocks})


def made(saved: Saved | None = MASKED, **blocks: Any) -> Plan:
    return plan(recipe(**blocks), model_config=BERT, saved=saved)


def refusals(saved: Saved | None = MASKED, **blocks: Any) -> list[tuple[str, str]]:
    return [(".".join(map(str, r.path)), r.what) for r in made(saved, **blocks).refusals]


def test_a_recipe_of_a_sparse_encoder_stands() -> None:
    found = made()
    assert not found.refusals and not [w for w in found.warnings if "spars" in w.what or "index" in w.what]
    assert "kind: sparse" in dump(recipe())
    assert recipe_hash(recipe()) != recipe_hash(recipe(model={"kind": None}))


@pytest.mark.parametrize(
    ("blocks", "where"),
    [
        ({"model": {"pooling": "mean"}}, "model.pooling"),
        ({"model": {"lora": {}}}, "model.lora"),
        ({"model": {"head": {}}}, "model.head"),
        ({"model": {"towers": 2}}, "model.towers"),
        ({"mining": {}, "negatives": {"per_query": 1}}, "mining"),
        ({"heads": [{"name": "batch_norm_projector"}]}, "heads"),
        ({"auxiliary": [{"name": "mlm"}]}, "auxiliary"),
        ({"source": {"rows": [ROW] * 64, "clusters": {"batches": "apart", "kmeans": 2}}}, "kmeans"),
        ({"objective": {"name": "matryoshka", "objective": INFONCE, "dims": [8]}}, "objective"),
        ({"objective": {"name": "vicreg"}}, "objective"),
    ],
)
def test_what_is_about_dense_embeddings_is_refused(blocks: dict[str, Any], where: str) -> None:
    found = refusals(**blocks)
    assert any(path.endswith(where) and ("sparse" in what or "words" in what) for path, what in found), found


def test_the_base_has_a_masked_lm_head() -> None:
    assert ("model.base", "a sparse encoder reads the masked-LM head, and the base is a BertModel") in refusals(
        Saved(config={"architectures": ["BertModel"]})
    )
    pooled = Module("1", "sentence_transformers.sparse_encoder.modules.splade_pooling.SpladePooling", "1_SpladePooling")
    ready = Saved(modules=(pooled,), config=MASKED.config)
    assert not refusals(ready)
    assert ("model.kind", "the base is a sparse encoder") in refusals(ready, model={"kind": None})
    late = Saved(model_type="MultiVectorEncoder", config=MASKED.config)
    assert "late-interaction" in dict(refusals(late, model={"kind": None}))["model.base"]


def test_tasks_are_of_retrieval_and_no_masked_lm_is_trained() -> None:
    suite = {"name": "s", "tasks": [{"type": "sts", "name": "pairs", "files": ["f.tsv"]}]}
    assert ("eval.suite", "task pairs: a sparse encoder is measured on retrieval, not on sts") in refusals(
        eval={"suite": suite}
    )
    assert "eval.masked_lm" in dict(refusals(eval={"masked_lm": "texts.txt"}))


def test_words_must_be_kept_few_and_products_trained() -> None:
    warnings = [w.what for w in made(objective={"name": "infonce"}).warnings]
    assert "nothing keeps the weights of words at 0" in warnings
    assert "infonce trains the cosine, and an inverted index adds products" in warnings
    dense = [w.what for w in made(model={"kind": None}).warnings]
    assert "flops keeps coordinates at 0, and those of a dense embedding never are" in dense


def test_embeddings_are_as_wide_as_the_vocabulary() -> None:
    own, dense = made(), made(None, model={"kind": None})
    words, hidden = BERT["vocab_size"], BERT["hidden_size"]
    assert own.memory.leaves * hidden == dense.memory.leaves * words
    assert own.memory.reforward - dense.memory.reforward == 4 * words * 2048
