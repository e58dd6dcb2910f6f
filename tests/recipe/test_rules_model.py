from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from embedkit.disk.model_files import Module, Saved
from embedkit.recipe.plan import Plan, plan
from embedkit.recipe.schema import Recipe

BERT = {
    "num_hidden_layers": 12,
    "hidden_size": 768,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "vocab_size": 30522,
    "max_position_embeddings": 512,
}


def made(**model: Any) -> Plan:
    recipe = Recipe.model_validate({"model": model, "data": {"sources": [{"rows": [{"text": "a"}] * 64}]}})
    return plan(recipe, model_config=BERT)


@pytest.mark.parametrize(
    "model",
    [
        {"soft_prompts": {}, "max_length": 496},
        {"template": {}},
        {"template": {}, "lora": {}},
        {"bidirectional": True, "pooling": "mean", "include_prompt_in_pooling": False},
        {"bidirectional": True, "soft_prompts": {}, "pooling": "mean"},
    ],
)
def test_not_refused(model: dict[str, Any]) -> None:
    assert made(**model).refusals == ()


def test_trained_weights_are_said() -> None:
    """PromCSE on BERT-base: 16 prompts of 12 layers, a key and a value of 768 each, and the head."""
    found = made(soft_prompts={}, head={}).memory
    assert found.trained == 16 * 12 * 2 * 768 + 769 * 768
    assert "885,504 weights train" in "\n".join(made(soft_prompts={}, head={}).lines())
    whole = made().memory
    assert whole.trained is None
    assert found.optimizer is not None and whole.optimizer is not None and found.optimizer < whole.optimizer / 3


def test_a_high_learning_rate_is_usual_for_prompts() -> None:
    def warned(**model: Any) -> list[str]:
        data = {"sources": [{"rows": [{"text": "a"}] * 64}]}
        recipe = Recipe.model_validate({"model": model, "data": data, "train": {"learning_rate": 0.03}})
        return [w.what for w in plan(recipe).warnings if "high for training" in w.what]

    assert warned() and not warned(soft_prompts={})


def test_a_template_without_a_place(refused: Callable[..., str]) -> None:
    message = refused("model: {template: {text: no place}}\ndata: {sources: [{path: a.txt}]}\n")
    assert "{text}" in message and "cure" in message


# What the base model says of itself ---------------------------------------------------------------------------

PAIRS = {"sources": [{"rows": [{"query": f"q{i}", "positive": f"p{i}"} for i in range(64)]}]}


def told(saved: Saved, **blocks: Any) -> Plan:
    recipe = Recipe.model_validate({"model": blocks.pop("model", {}), "data": PAIRS, **blocks})
    return plan(recipe, model_config=BERT, saved=saved)


def warned(made: Plan, words: str) -> list[str]:
    return [w.what for w in made.warnings if words in w.what]


@pytest.mark.parametrize("name", ["passage", "corpus", "clustering"])
def test_stored_prompts_that_no_text_gets(name: str) -> None:
    saved = Saved(prompts={"query": "", "document": "", name: "text: "})
    assert warned(told(saved), f"no text gets here: '{name}' ('text: ')")
    assert not warned(told(saved, model={"prompts": {"document": "text: "}}), "no text gets")


def test_stored_prompts_that_are_used() -> None:
    saved = Saved(prompts={"query": "query: ", "document": "passage: "})
    assert not warned(told(saved), "prompt")


def test_a_default_prompt_that_training_does_not_put() -> None:
    saved = Saved(prompts={"query": "", "document": "", "sts": "compare: "}, default_prompt="sts")
    assert warned(told(saved), "default prompt 'sts' ('compare: ')")
    chosen = {"query": "compare: ", "document": "compare: "}
    assert not warned(told(saved, model={"prompts": chosen}), "default prompt")


def test_a_static_model_takes_a_high_learning_rate() -> None:
    static = Module("0", "sentence_transformers.sentence_transformer.modules.static_embedding.StaticEmbedding", "")
    for saved, expected in ((Saved(), True), (Saved(modules=(static,)), False)):
        assert bool(warned(told(saved, train={"learning_rate": 5e-3}), "is high for training")) is expected


def test_training_by_another_similarity_than_the_models_own() -> None:
    for own, objective, expected in (
        ("dot", {"name": "infonce"}, True),
        ("dot", {"name": "infonce", "similarity": "dot"}, False),
        ("euclidean", {"name": "infonce"}, True),
        ("cosine", {"name": "infonce"}, False),
        (None, {"name": "infonce"}, False),
    ):
        found = warned(told(Saved(similarity=own), objective=objective), f"compared by {own}")
        assert bool(found) is expected, (own, objective)


def test_all_that_a_bert_has_is_frozen_layer_by_layer() -> None:
    bert = Saved(config={"model_type": "bert"})
    for freeze, expected in (
        (["embeddings", "layers:0-11"], True),
        (["embeddings", "layers:0-5", "layers:6-11"], True),
        (["embeddings", "layers:0-10"], False),
        (["layers:0-11"], False),
    ):
        found = [r.what for r in told(bert, model={"freeze": freeze}).refusals]
        assert any("nothing that is saved would train" in what for what in found) is expected, freeze
    other = Saved(config={"model_type": "modernbert"})  # has a norm behind its layers
    assert not told(other, model={"freeze": ["embeddings", "layers:0-11"]}).refusals


def test_a_base_of_adapters() -> None:
    saved = Saved(adapters=True)
    assert [r.path for r in told(saved).refusals] == [("model", "base")]
    assert not told(saved, model={"lora": {"r": 2, "alpha": 4}}).refusals


def test_a_task_longer_than_the_positions() -> None:
    task = {"name": "a", "type": "sts", "files": ["a.tsv"], "max_length": 513}
    suite = {"name": "own", "tasks": [task]}
    found = told(Saved(), eval={"suite": suite}).refusals
    assert ["max_length 513 is more than the 512" in r.what for r in found] == [True]
    task["max_length"] = 512
    assert not told(Saved(), eval={"suite": suite}).refusals
