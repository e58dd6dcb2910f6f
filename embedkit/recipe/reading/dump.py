"""A recipe as YAML with every default explicit, and its hash."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import replace
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from embedkit.errors import RecipeError
from embedkit.foreign.redacting import PLACEHOLDER, redact
from embedkit.foreign.showing import visible
from embedkit.recipe.reading.tree import override_value
from embedkit.recipe.schema import Recipe
from embedkit.recipe.stages import Staged, Step

LATER = {
    ("mining",),
    ("card",),
    ("publish",),
    ("train", "betas"),
    ("train", "deterministic"),
    ("train", "encode_once"),
    ("negatives", "hardest_of"),
    ("train", "prograd"),
    ("train", "anchor"),
    ("train", "layer_decay"),
    ("model", "frozen_tower"),
    ("model", "kind"),
    ("model", "question"),
    ("eval", "first_stage"),
    ("data", "sources", "grades"),
    ("data", "sources", "clusters"),
    ("data", "sources", "pairs"),
    ("data", "sources", "label_texts"),
    ("data", "sources", "repeat"),
    ("data", "sources", "generated"),
    ("data", "generated_duplicates"),
    ("views", "strength"),
    ("data", "sources", "score_split"),
    ("data", "sources", "templates"),
    ("eval", "suite", "tasks", "prompts"),
    ("eval", "during", "tasks", "prompts"),
    ("eval", "suite", "tasks", "group"),
    ("eval", "during", "tasks", "group"),
    ("eval", "suite", "tasks", "perturb"),
    ("eval", "during", "tasks", "perturb"),
    ("eval", "suite", "tasks", "subclass"),
    ("eval", "during", "tasks", "subclass"),
}
"""Keys that came after recipes had been published, places in lists left out: absent where they are null, so that hashes
stay what they were."""
FORMER = {"tokens_per_micro_batch": 2048}
"""Values of `train` that stood where null stands now: in a hash they still do."""
FROM_BEFORE = ("base", "revision", "from_scratch")
"""What a stage's model block leaves to the stage before."""
BESIDE = ("card", "publish")
"""Blocks that change nothing of the model: not in the hash, and a run goes on when they change."""


def dump(recipe: Recipe) -> str:
    """The recipe as YAML that loads back to an equal recipe with an equal hash.

    In the place of a secret stands a placeholder, in the hash too: a new token is no other recipe. What cannot be seen
    (control characters, characters without width) stands as escapes.
    """
    return _written(_plain(recipe))


def _written(plain: Any) -> str:
    yaml = YAML()
    yaml.width = 2**20  # never fold: a folded text is a changed one
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.allow_unicode = True
    yaml.representer.add_representer(type(None), _null)
    stream = io.StringIO()
    yaml.dump(_styled(plain), stream)
    return visible(stream.getvalue(), lines=True)


def dump_stages(staged: Staged) -> str:
    """Stages as `dump` writes a recipe: each of them whole, without a base where it goes on from the one before."""
    return _written({"stages": _stages(staged)})


def stages_hash(staged: Staged) -> str:
    """As `recipe_hash`, of all stages."""
    steps = (replace(step, recipe=of_the_model(step.recipe)) for step in staged.steps)
    return _hash({"stages": [_as_before(stage) for stage in _stages(Staged(tuple(steps)))]})


def _stages(staged: Staged) -> list[dict[str, Any]]:
    return [_stage(step, i, [s.name for s in staged.steps]) for i, step in enumerate(staged.steps)]


def _stage(step: Step, number: int, names: list[str]) -> dict[str, Any]:
    found = _plain(step.recipe)
    own: dict[str, Any] = {"name": step.name}
    if step.begins is not None and step.begins != number - 1:
        own["from"] = names[step.begins]
    if step.begins is not None:
        found["model"] = {key: value for key, value in found["model"].items() if key not in FROM_BEFORE}
    if step.merge is not None:
        own["merge"] = _listed(step.merge.model_dump(mode="python"), ())
    return own | found


def of_the_model(recipe: Recipe) -> Recipe:
    """The recipe without what is beside the model."""
    return recipe.model_copy(update=dict.fromkeys(BESIDE))


def recipe_hash(recipe: Recipe) -> str:
    """16 hex digits that change when any value changes but a secret and those of `BESIDE`; the order of keys and the
    Python version do not matter."""
    return _hash(_as_before(_plain(of_the_model(recipe))))


def _as_before(plain: dict[str, Any]) -> dict[str, Any]:
    """With what stood where null stands now (`FORMER`).

    How rows are cut into micro-batches changes no gradient, only which masks dropout draws.
    """
    train = {name: FORMER.get(name) if value is None else value for name, value in plain["train"].items()}
    return plain | {"train": train}


def _hash(plain: dict[str, Any]) -> str:
    text = json.dumps(plain, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def _plain(recipe: Recipe) -> dict[str, Any]:
    data: dict[str, Any] = _without_later(redact(_listed(recipe.model_dump(mode="python"), ()), PLACEHOLDER))
    return data


def _without_later(value: Any, path: tuple[str, ...] = ()) -> Any:
    if isinstance(value, list):
        return [_without_later(item, path) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: inner for key, inner in value.items() if inner is not None or (*path, key) not in LATER}
    return {key: _without_later(inner, (*path, key)) for key, inner in kept.items()}


def _listed(value: Any, path: tuple[str | int, ...]) -> Any:
    if isinstance(value, dict):
        return {str(k): _listed(v, (*path, k)) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_listed(v, (*path, i)) for i, v in enumerate(value)]
    if isinstance(value, str):
        return str(value)  # a settled path as it was written
    if value is None or isinstance(value, (bool, int, float)):
        return value
    where = ".".join(map(str, path))
    raise RecipeError(f"{type(value).__name__} has no form in YAML", where, "use text, numbers, lists and mappings")


def _styled(value: Any) -> Any:
    """Lists of scalars on one line; text quoted unless it reads back as itself."""
    if isinstance(value, dict):
        return CommentedMap((_styled(k), _styled(v)) for k, v in value.items())
    if isinstance(value, list):
        items = CommentedSeq(_styled(v) for v in value)
        if not any(isinstance(v, (dict, list)) for v in value):
            items.fa.set_flow_style()
        return items
    if isinstance(value, str) and not _is_bare(value):
        return DoubleQuotedScalarString(value)
    return value


def _is_bare(text: str) -> bool:
    """Whether a text means itself without quotes, also to readers of YAML 1.1."""
    simple = text.isascii() and text[:1].isalpha() and all(c.isalnum() or c in "_-./@" for c in text)
    return (
        simple and text.lower() not in ("y", "n", "yes", "no", "on", "off") and override_value(text, "").value == text
    )


def _null(representer: Any, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")
