"""The recipe as JSON Schema, for editors that complete and check YAML."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel

from embedkit.recipe import registry
from embedkit.recipe.auxiliary import AuxiliaryConfig
from embedkit.recipe.heads import HeadConfig
from embedkit.recipe.mining import StrategyConfig
from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.reading.describe import config_of, first_paragraph
from embedkit.recipe.stages import Written
from embedkit.recipe.views import TransformConfig
from embedkit.recipe.weighting import WeightingConfig

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_REF = "#/$defs/{model}"
_BASES: dict[registry.Kind, type[BaseModel]] = {
    "objective": ObjectiveConfig,
    "weighting": WeightingConfig,
    "head": HeadConfig,
    "view": TransformConfig,
    "auxiliary": AuxiliaryConfig,
    "strategy": StrategyConfig,
}


def json_schema() -> dict[str, Any]:
    """The schema of a recipe file: every block, every registered name with its own options, ``extends``, ``stages``.

    What depends on several keys at once, on files or on the model is left to `embedkit check`.
    """
    schema = Written.model_json_schema(ref_template=_REF)
    defs: dict[str, Any] = schema["$defs"]
    for kind in get_args(registry.Kind):
        names = registry.names(kind)
        for name in names:
            own = config_of(kind, name).model_json_schema(ref_template=_REF)
            for inner, value in own.pop("$defs", {}).items():
                defs.setdefault(inner, value)
            defs[f"{kind}.{name}"] = _named(own, config_of(kind, name), name)
        choices = [{"$ref": f"#/$defs/{kind}.{name}"} for name in names]
        title = f"One of the registered names, alone or with its options ({kind})."
        # last: the base class stands among the definitions of the classes above, without their options
        defs[_BASES[kind].__name__] = {"description": title, "anyOf": [{"enum": list(names)}, *choices]}
    schema["properties"]["extends"] = {"type": "string", "description": "A recipe that this one changes."}
    schema["anyOf"] = [{"required": schema.pop("required")}, {"required": ["extends"]}, {"required": ["stages"]}]
    defs["Stage"]["required"] = ["name"]  # a stage is laid over the keys beside `stages`
    return {"$schema": DIALECT, "title": "A recipe of embedkit", **schema}


def _named(schema: dict[str, Any], config: type[BaseModel], name: str) -> dict[str, Any]:
    """The options of one name. None is required: what a recipe extends may give them."""
    schema["properties"]["name"] = {"const": name, "description": first_paragraph(config)}
    schema.pop("required", None)
    return schema
