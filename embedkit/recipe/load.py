"""From a file, what it extends, and overrides to a `Recipe`: strict, with a place for everything that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from embedkit.errors import RecipeError
from embedkit.recipe.base import UNKNOWN_NAME
from embedkit.recipe.reading import plugins, stages
from embedkit.recipe.reading.dump import dump, recipe_hash
from embedkit.recipe.reading.find import base_dir_of, find_recipe, list_recipes
from embedkit.recipe.reading.merge import EXTENDS, apply_overrides, read_chain
from embedkit.recipe.reading.problems import raise_problems
from embedkit.recipe.reading.settle import settle
from embedkit.recipe.reading.translate import problems
from embedkit.recipe.reading.tree import KeyPath, Node, read_tree
from embedkit.recipe.schema import Recipe
from embedkit.recipe.stages import Merge, Staged, Step, Written, going_on
from embedkit.recipe.suite import Suite

__all__ = [
    "Loaded",
    "LoadedStages",
    "base_dir_of",
    "dump",
    "find_recipe",
    "list_recipes",
    "load",
    "load_any",
    "load_recipe",
    "load_suite_file",
    "made",
    "recipe_hash",
    "validate_tree",
]

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class Loaded:
    """A recipe with the memory of where everything in it was written.

    Attributes:
        recipe: the recipe, its paths settled.
        path: its file.
        tree: what was written, extended recipes and overrides included.
    """

    recipe: Recipe
    path: Path
    tree: Node

    def where(self, path: KeyPath) -> str:
        """``file:line`` of a key path, or of the nearest block above it that was written."""
        return self.tree.at(path).where


@dataclass(frozen=True)
class LoadedStages:
    """A recipe with `stages`.

    Attributes:
        staged: the stages as recipes of their own.
        path: the file.
        parts: each stage with the memory of where everything in it was written.
    """

    staged: Staged
    path: Path
    parts: tuple[Loaded, ...]


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe.

    Args:
        path: a YAML file, or the name of a shipped recipe such as ``unsup/simcse``.
        overrides: ``key.sub=value``, in order; values are YAML 1.2.

    Raises:
        RecipeError: with file, line, key, what is wrong, the nearest valid key and the cure, for all problems.

    Example:
        >>> recipe = load_recipe("unsup/simcse", ["train.steps=100"])
        >>> recipe.objective.name, recipe.train.steps
        ('infonce', 100)
    """
    return load(path, overrides).recipe


def load(path: str | Path, overrides: Sequence[str] = ()) -> Loaded:
    """Like `load_recipe`, with the places of all keys."""
    found = load_any(path, overrides)
    if isinstance(found, LoadedStages):
        what = f"has {len(found.parts)} stages, and one recipe is expected here"
        raise RecipeError(what, str(path), "`embedkit train` and `embedkit check` take it whole")
    return found


def load_any(path: str | Path, overrides: Sequence[str] = ()) -> Loaded | LoadedStages:
    """A recipe, or one with `stages`, with the places of all keys.

    Raises:
        RecipeError: as `load_recipe`; in a stage it says which.
    """
    file = find_recipe(path)
    tree = read_chain(file, Written)
    if tree.child(stages.KEY) is None:
        return _loaded(apply_overrides(tree, overrides, Recipe), file, (EXTENDS, stages.KEY))
    steps: list[Step] = []
    loaded: list[Loaded] = []
    for part in stages.parts(tree, overrides):
        with stages.naming(part.name):
            merge = None if part.merge is None else validate_tree(Merge, part.merge)
            found = _loaded(part.tree, file)
        if part.begins is not None:
            found = replace(found, recipe=going_on(found.recipe, steps[part.begins].recipe.model.base))
        steps.append(Step(part.name, found.recipe, part.begins, merge))
        loaded.append(found)
    return LoadedStages(Staged(tuple(steps)), file, tuple(loaded))


def _loaded(tree: Node, file: Path, beside: Sequence[str] = ()) -> Loaded:
    tree = _name_default_objective(tree)
    if modules := plugins.named(tree):
        _refuse_all_but_names(tree, beside)
        plugins.import_all(modules, file)
    return Loaded(settle(validate_tree(Recipe, tree, beside), base_dir_of(file)), file, tree)


def load_suite_file(path: Path) -> Suite:
    """Read an evaluation suite with the same strictness as a recipe.

    Raises:
        RecipeError: as `load_recipe`.
    """
    return validate_tree(Suite, read_tree(path, str(path)))


def validate_tree(root: type[T], tree: Node, beside: Sequence[str] = ()) -> T:
    """A tree as a `root`.

    Args:
        root: the class.
        tree: what was written.
        beside: keys that its file may hold at its top, too; cures name them.

    Raises:
        RecipeError: lists everything that is wrong, with its place and cure.
    """
    try:
        return root.model_validate(tree.plain())
    except ValidationError as error:
        raise_problems(problems(error, root, tree, beside=beside))
        raise


def _refuse_all_but_names(tree: Node, beside: Sequence[str]) -> None:
    """Refuse a recipe that is wrong whatever its plugins register, before any of their code runs."""
    try:
        Recipe.model_validate(tree.plain())
    except ValidationError as error:
        raise_problems(problems(error, Recipe, tree, leave_out=UNKNOWN_NAME, beside=beside))


def made(block: type[T], **values: Any) -> T:
    """A block of values that no file holds: what a person gave to a verb.

    Raises:
        RecipeError: as `validate_tree`.
    """
    try:
        return block(**values)
    except ValidationError as error:
        raise_problems(problems(error, block, _placeless(values)))
        raise


def _placeless(value: Any) -> Node:
    if isinstance(value, dict):
        return Node({key: _placeless(inner) for key, inner in value.items()}, "")
    return Node([_placeless(item) for item in value] if isinstance(value, (list, tuple)) else value, "")


def _name_default_objective(tree: Node) -> Node:
    """``objective: {temperature: 0.1}`` speaks about the default objective."""
    objective = tree.child("objective")
    if objective is None or not isinstance(objective.value, dict) or "name" in objective.value:
        return tree
    name = Node(Recipe.model_fields["objective"].default.name, objective.where)
    return replace(tree, value={**tree.value, "objective": replace(objective, value={"name": name, **objective.value})})
