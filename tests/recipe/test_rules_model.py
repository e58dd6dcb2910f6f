from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

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
