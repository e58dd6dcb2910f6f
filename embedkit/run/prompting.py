"""What the views of a run draw from: the tokenizer's mask token, labelled texts and their vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embedkit.data.augment import Viewing
from embedkit.data.demonstrations import Given, Support
from embedkit.data.pairs import labels_of
from embedkit.data.sources import LoadedSource
from embedkit.errors import RecipeError
from embedkit.model.running.reranker import Trained
from embedkit.recipe.schema import Recipe, Views


def viewing_of(recipe: Recipe, views: Views, sources: Sequence[LoadedSource], encoder: Trained) -> Viewing:
    """The recipe's views, ready to draw.

    Args:
        recipe: of the run.
        views: the recipe's, as strong as they are in this run.
        sources: of the run.
        encoder: of the run.

    Raises:
        RecipeError, DataError: a view lacks what it needs, see `embedkit.data.templates.Template.setup`.
    """
    viewing = Viewing(views, recipe.model.towers)

    def vectors(model: str | None, texts: Sequence[str]) -> np.ndarray:
        from embedkit.mining.guide import load_guide

        guide = load_guide(model, recipe.model, recipe.train.device, "views.transforms")
        return guide.encode(texts, role="query")

    viewing.setup(Given(getattr(encoder.st.tokenizer, "mask_token", None), lambda: _support(sources), vectors))
    return viewing


def _support(sources: Sequence[LoadedSource]) -> Support:
    """All labelled texts of the one source that has views."""
    bare = [source for source in sources if "text" in source.roles]
    if len(bare) != 1:
        what = f"demonstrations are drawn from the source itself, and {len(bare)} sources have bare text"
        raise RecipeError(what, "views.transforms", "give one")
    labels, names = labels_of(bare[0], "demonstrations")
    codes, place = np.unique(labels, return_inverse=True)
    texts = [example.query for example in bare[0].get(range(len(labels)))]
    return Support(texts, place.astype(np.int64), [names[code] for code in codes.tolist()], bare[0].name)
