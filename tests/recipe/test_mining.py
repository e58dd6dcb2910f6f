"""The mining block."""

from __future__ import annotations

import pytest

from embedkit.errors import RecipeError
from embedkit.recipe.load import dump, load_recipe, made, recipe_hash
from embedkit.recipe.mining import Mining, Search
from tests.recipe.conftest import DATA, Write


def test_every_key_and_the_strategies(write: Write) -> None:
    text = f"{DATA}mining:\n  from: 5\n  refresh: {{every: epoch}}\n  mode: background\n  strategy: conan\n  keep: 3\n"
    recipe = load_recipe(write(text))
    block = recipe.mining
    assert block is not None and block.first == 5 and block.refresh.every == "epoch" and block.strategy.name == "conan"
    again = load_recipe(write(dump(recipe)))
    assert again.mining == block and recipe_hash(again) == recipe_hash(recipe)


def test_a_recipe_without_it_keeps_the_hash_it_had(write: Write) -> None:
    recipe = load_recipe(write(DATA))
    assert "mining" not in dump(recipe)
    with_ = recipe.model_copy(update={"mining": Mining()})
    assert recipe_hash(with_) != recipe_hash(recipe)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("{keep: 9, depth: 5}", "9 negatives of 5"),
        ("{refresh: {every: 0}}", "every 0 updates"),
        ("{refresh: {every: weekly}}", "epoch"),
        ("{lag: 3}", "no lag"),
        ("{mode: background, lag: 30, refresh: {every: 20}}", "every 20"),
        ("{strategy: {name: curriculum, first: [5, 2]}}", "ranks 5 to 2"),
        ("{strategy: anse}", "ance"),
        ("{filters: [margen=0.95]}", "margin"),
        ("{recall: 1.5}", "recall"),
    ],
)
def test_what_cannot_be_is_refused(write: Write, block: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_recipe(write(f"{DATA}mining: {block}\n"))


def test_a_rule_between_keys_is_told_of_a_block_alone() -> None:
    """Such an error has no key."""
    with pytest.raises(RecipeError, match="9 negatives of 8 retrieved documents") as caught:
        made(Search, depth=8, keep=9)
    assert caught.value.cure == "raise depth, or lower keep"
