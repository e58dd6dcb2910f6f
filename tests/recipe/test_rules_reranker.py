from __future__ import annotations

from typing import Any

import pytest

from embedkit.disk.model_files import Saved
from embedkit.recipe.load import dump, recipe_hash
from embedkit.recipe.plan import Plan, plan
from embedkit.recipe.schema import Recipe
from tests.recipe.test_rules_model import BERT

ROW = {"query": "a", "positive": "b", "negative": ["c", "d"], "score": [2, 1, 0]}
RETRIEVAL = {"type": "retrieval", "name": "r", "folder": "f"}


def recipe(**blocks: Any) -> Recipe:
    model = {"kind": "reranker", **blocks.pop("model", {})}
    source = blocks.pop("source", {"rows": [ROW] * 64})
    blocks.setdefault("objective", {"name": "lce"})
    return Recipe.model_validate({"model": model, "data": {"sources": [source]}, **blocks})


def made(**blocks: Any) -> Plan:
    return plan(recipe(**blocks), model_config=BERT)


def refusals(**blocks: Any) -> list[tuple[str, str, str]]:
    return [(".".join(map(str, r.path)), r.what, r.cure) for r in made(**blocks).refusals]


@pytest.mark.parametrize(
    "objective",
    [
        {"name": "bce", "reduction": "mean"},
        *({"name": name} for name in ("lce", "listnet", "ranknet", "lambda_loss", "margin_ranking", "score_mse")),
        *({"name": name} for name in ("kl", "margin_mse", "symmetric_kl")),
        {"name": "sum", "terms": [{"objective": {"name": "kl"}}, {"objective": {"name": "lce"}, "weight": 0.2}]},
    ],
)
def test_losses_on_scores_are_taken(objective: dict[str, Any]) -> None:
    assert refusals(objective=objective) == []


@pytest.mark.parametrize(
    ("objective", "named"),
    [
        ({"name": "infonce"}, "infonce"),
        ({"name": "cosent"}, "cosent"),
        ({"name": "matryoshka", "objective": {"name": "lce"}, "dims": [8, 4]}, "matryoshka"),
        ({"name": "sum", "terms": [{"objective": {"name": "lce"}}, {"objective": {"name": "triplet"}}]}, "triplet"),
        ({"name": "none"}, "none"),
    ],
)
def test_losses_on_embeddings_are_refused(objective: dict[str, Any], named: str) -> None:
    found = [f for f in refusals(objective=objective) if "compares embeddings" in f[1]]
    assert [f[1].split()[1] for f in found] == [named]
    assert "lce" in found[0][2]


@pytest.mark.parametrize(
    "model",
    [
        {"pooling": "mean"},
        {"normalize": True},
        {"prompts": {"query": "q: "}},
        {"head": {}},
        {"lora": {}},
        {"towers": 2},
        {"bidirectional": True},
        {"template": {}},
    ],
)
def test_what_makes_embeddings_is_refused(model: dict[str, Any]) -> None:
    found = refusals(model=model)
    assert any(path == f"model.{next(iter(model))}" and cure for path, _, cure in found)


def test_keys_of_every_encoder_are_taken() -> None:
    assert refusals(model={"max_length": 256, "dropout": 0.0, "freeze": ["layers:0-3"], "revision": "main"}) == []


@pytest.mark.parametrize(
    ("block", "value"),
    [
        ("mining", {}),
        ("heads", [{"name": "mlp"}]),
        ("guide", {"model": "m"}),
        ("auxiliary", [{"name": "mlm"}]),
        ("views", {"count": 3}),
    ],
)
def test_blocks_about_embeddings_are_refused(block: str, value: Any) -> None:
    assert block in [path for path, what, _ in refusals(**{block: value}) if "needs embeddings" in what]


def test_texts_alone_are_refused() -> None:
    found = refusals(source={"rows": [{"text": "a"}] * 64})
    assert any("reads a query with a document" in what for _, what, _ in found)


def test_retrieval_needs_a_first_stage_and_other_tasks_are_no_rerankers() -> None:
    suite = {"tasks": [RETRIEVAL]}
    assert [path for path, _, _ in refusals(eval={"suite": suite})] == ["eval.first_stage"]
    assert refusals(eval={"suite": suite, "first_stage": {}}) == []
    mteb = {"tasks": [{"type": "mteb", "name": "a", "task": "STS12"}]}
    assert any("has no embeddings" in what for _, what, _ in refusals(eval={"suite": mteb}))


@pytest.mark.parametrize(("kind", "architecture"), [("encoder", "LlamaForCausalLM"), ("reranker", "BertForMaskedLM")])
def test_a_question_is_for_a_causal_reranker(kind: str, architecture: str) -> None:
    asked = recipe(model={"kind": kind, "question": {}}, objective={"name": "lce", "temperature": 0.05})
    found = plan(asked, model_config=BERT, saved=Saved(config={"architectures": [architecture]})).refusals
    assert [".".join(map(str, r.path)) for r in found] == ["model.question"]
    good = recipe(model={"question": {"no": None}})
    assert plan(good, model_config=BERT, saved=Saved(config={"architectures": ["LlamaForCausalLM"]})).refusals == ()


def test_an_encoder_has_no_first_stage() -> None:
    found = refusals(model={"kind": "encoder"}, objective={"name": "infonce"}, eval={"first_stage": {}})
    assert [path for path, _, _ in found] == ["eval.first_stage"]


def test_a_loss_without_a_temperature_is_warned_of_on_cosines() -> None:
    def warned(**blocks: Any) -> list[str]:
        return [".".join(map(str, w.path)) for w in made(**blocks).warnings if "divides cosines" in w.what]

    assert warned(model={"kind": "encoder"}) == ["objective.temperature"]
    assert warned(model={"kind": "encoder"}, objective={"name": "lce", "temperature": 0.05}) == []
    assert warned() == []


def test_the_plan_counts_pairs() -> None:
    found = made(negatives={"per_query": 2})
    text = "\n".join(found.lines())
    assert "64 examples x 3 pairs = 192 pairs per batch" in text
    assert found.memory.rows == 192 and found.sources[0].rows_per_step == 192
    encoder = made(model={"kind": "encoder"}, negatives={"per_query": 2})
    assert encoder.memory.rows == 256
    assert found.memory.leaves is not None and encoder.memory.leaves is not None
    assert found.memory.leaves < encoder.memory.leaves / 500


def test_hashes_of_encoders_stay_what_they_were() -> None:
    plain = Recipe.model_validate({"data": {"sources": [{"path": "a.jsonl"}]}})
    assert "kind" not in dump(plain) and "first_stage" not in dump(plain)
    assert "kind: reranker" in dump(recipe())
    assert recipe_hash(plain) != recipe_hash(plain.model_copy(update={"model": recipe().model}))


def test_bce_says_how_it_reduces() -> None:
    with pytest.raises(ValueError, match="reduction"):
        recipe(objective={"name": "bce"})
