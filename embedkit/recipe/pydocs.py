"""The pydocs corpus as recipes and suites name it."""

from __future__ import annotations

from pydantic import Field

from embedkit.recipe.base import Block


class PydocsSource(Block):
    """(query, positive) pairs harvested from the docstrings of installed packages: summary -> the rest."""

    packages: tuple[str, ...] | None = Field(None, description="Import names; None takes the default list.")
    holdout: tuple[str, ...] = Field(
        ("sklearn",), description="Packages kept out of training, whole; they make the test set."
    )
    dev: tuple[str, ...] = Field(("networkx",), description="Packages kept out of training for choosing checkpoints.")
    min_words: int = Field(4, ge=1, description="Shortest query and positive, in words.")
    max_words: int = Field(256, ge=8, description="The positive is cut here.")
