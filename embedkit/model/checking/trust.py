"""Whose code runs: embedkit's own, and a model's only where the recipe trusts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from embedkit.disk.model_files import BASE, READ_FIRST, TRUST, Saved
from embedkit.errors import RecipeError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

OWN = "embedkit."


def own_classes(saved: Saved, *, trust: bool = False) -> dict[str, type]:
    """Module classes of embedkit by the names under which a model may have saved them.

    Raises:
        RecipeError: the model names another class of embedkit, or one of another package without trust.
    """
    names = [module.type for module in saved.modules]
    ours = [name for name in names if name.startswith(OWN)]
    foreign = [name for name in names if not name.startswith((OWN, "sentence_transformers."))]
    if foreign and not trust:
        what = f"its modules.json names {foreign[0]}, which is neither sentence-transformers' nor embedkit's"
        raise RecipeError(f"{what}: foreign code", TRUST, READ_FIRST)
    if not ours:
        return {}
    from embedkit.model.changing import rationale, soft_prompts

    known: dict[str, type] = dict.fromkeys(soft_prompts.SAVED_AS, soft_prompts.SoftPromptTransformer)
    known[rationale.SAVED_AS] = rationale.RationaleTransformer
    for name in ours:
        if name not in known:
            raise RecipeError(
                f"its modules.json names {name}, which this version of embedkit does not have",
                BASE,
                "install the version of embedkit that wrote it",
            )
    return known


def drop_foreign_code(st: SentenceTransformer) -> None:
    """Forget where code for a model or tokenizer could be found, so that saving it writes no way to run it.

    Without trust no such code runs, and a saved model that still names it would ask its next reader for that trust.
    """
    first: Any = st[0]
    pending = [getattr(getattr(first, "auto_model", None), "config", None)]
    while pending:
        config = pending.pop()
        if config is None:
            continue
        vars(config).pop("auto_map", None)
        pending += [value for value in vars(config).values() if hasattr(value, "to_diff_dict")]
    for reader in (getattr(first, "tokenizer", None), getattr(first, "processor", None)):
        for names in (vars(reader), getattr(reader, "init_kwargs", {})) if hasattr(reader, "__dict__") else ():
            for name in ("auto_map", "_auto_map"):
                names.pop(name, None)
