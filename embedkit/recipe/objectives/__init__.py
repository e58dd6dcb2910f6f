"""Options of the objectives, a file per family of `embedkit.objectives`."""

from embedkit.recipe.objectives.base import AnyObjective, ObjectiveConfig

__all__ = ["AnyObjective", "ObjectiveConfig"]
