"""Rules about what is put on, in and around the backbone: soft prompts, templates, attention in both directions."""

from __future__ import annotations

from collections.abc import Iterator

from embedkit.disk.model_files import prompt_for
from embedkit.recipe.objectives.base import leaves
from embedkit.recipe.planning.context import Context, objective_path, problem
from embedkit.recipe.reading.problems import Problem
from embedkit.types import ROLES

MERGE_FIRST = (
    "set model.lora with their r and alpha to go on training them, or merge them first "
    "(`Encoder.load(Model(base=FOLDER)).save(MERGED)`) and give the merged folder"
)


def soft_prompts_alone(c: Context) -> Iterator[Problem]:
    model = c.recipe.model
    if model.soft_prompts is None:
        return
    if model.lora is not None:
        what = "soft prompts train on a frozen backbone, and LoRA would change it"
        yield problem(("model", "soft_prompts"), what, "give soft_prompts or lora, not both")
    if model.freeze:
        what = "soft prompts freeze the whole backbone already"
        yield problem(("model", "freeze"), what, "give soft_prompts or freeze, not both")


def soft_prompts_leave_room(c: Context) -> Iterator[Problem]:
    prompts, length, model = c.recipe.model.soft_prompts, c.recipe.model.max_length, c.model
    if prompts is None or length is None or model is None or not model.positions or length > model.positions:
        return
    if length + prompts.length > model.positions:
        what = f"{length} tokens and {prompts.length} soft prompts are more than the {model.positions} positions"
        yield problem(("model", "max_length"), what, f"at most {max(0, model.positions - prompts.length)}")


def prompts_in_a_template_are_pooled(c: Context) -> Iterator[Problem]:
    model = c.recipe.model
    if model.template is not None and model.include_prompt_in_pooling is False:
        what = "sentence-transformers cannot leave prompts out of the pooling when a template is written around them"
        yield problem(("model", "include_prompt_in_pooling"), what, "leave it out; the last token is pooled")


def template_reads_its_last_token(c: Context) -> Iterator[Problem]:
    model = c.recipe.model
    if model.template is not None and model.rationale is None and model.pooling not in (None, "lasttoken"):
        what = f"a template asks for a word at its last token, and pooling {model.pooling} reads others"
        yield problem(("model", "pooling"), what, "lasttoken")


def bidirectional_is_pooled_on_purpose(c: Context) -> Iterator[Problem]:
    model = c.recipe.model
    if model.bidirectional and model.pooling is None and model.template is None:
        what = "a plain causal language model is pooled at its last token; bidirectional ones usually take the mean"
        yield problem(("model", "pooling"), what, "set model.pooling: mean, or lasttoken if that is meant")


def adapters_are_merged_first(c: Context) -> Iterator[Problem]:
    model = c.recipe.model
    kept = model.head is not None and model.head.keep
    if c.saved is not None and c.saved.adapters and model.lora is None and model.soft_prompts is None and not kept:
        what = "the folder holds adapters, which are read frozen on a frozen base: nothing that is saved would train"
        yield problem(("model", "base"), what, MERGE_FIRST)


def stored_prompts_are_used(c: Context) -> Iterator[Problem]:
    """sentence-transformers reads some stored prompts by no role, and training does as it does."""
    if c.saved is None:
        return
    given, prompts = c.recipe.model.prompts, {name: text for name, text in c.saved.prompts.items() if text}
    unused = [name for name in prompts if name not in ROLES]
    if unused and given.query is None and given.document is None:
        shown = ", ".join(f"{name!r} ({prompts[name]!r:.40})" for name in unused[:3])
        more = f" and {len(unused) - 3} more" if len(unused) > 3 else ""
        what = f"the model stores prompts that no text gets here: {shown}{more}"
        cure = "set model.prompts.query and model.prompts.document to those that are meant, or to an empty text"
        yield problem(("model", "prompts"), what, cure)
    default = c.saved.default_prompt
    text = prompts.get(default or "")
    if text and text not in (_own(given.query, c, "query"), _own(given.document, c, "document")):
        what = (
            f"the model puts its default prompt {default!r} ({text!r:.40}) before every text that plain `encode` gets"
        )
        yield problem(("model", "prompts"), f"{what}, and training does not", "set model.prompts to what is meant")


def _own(given: str | None, c: Context, role: str) -> str:
    assert c.saved is not None, "the rule asks first"
    return prompt_for(c.saved.prompts, role) if given is None else given


def similarity_is_trained(c: Context) -> Iterator[Problem]:
    own = None if c.saved is None else c.saved.similarity
    if own is None or own == "cosine":
        return
    for source in c.sources:
        for leaf in leaves(source.objective):
            if leaf.compares not in (None, own):
                what = f"the model says that its embeddings are compared by {own}, which evaluation does, and "
                what += f"{leaf.name} trains the {leaf.compares}"
                choice = "set its similarity to dot, or " if own == "dot" and hasattr(leaf, "similarity") else ""
                cure = f"{choice}give the tasks of the suite `similarity: cos`; what the model says stays as it is"
                yield problem(objective_path(source), what, cure)


def frozen_tower_has_a_partner(c: Context) -> Iterator[Problem]:
    """A frozen tower is the base as it is, and what trains has to stay in its space."""
    model, path = c.recipe.model, ("model", "frozen_tower")
    if model.frozen_tower is None:
        return
    if model.towers == 1:
        what = "with one tower queries and documents share their weights, and freezing one side freezes both"
        yield problem(path, what, "set model.towers: 2")
    if model.keep_tower == ("first" if model.frozen_tower == "query" else "second"):
        what = f"the {model.keep_tower} tower is the frozen one: the result would be the base"
        yield problem(("model", "keep_tower"), what, "leave it out: the trained tower is the result")
    parts = {"head": model.head is not None, "soft_prompts": model.soft_prompts is not None}
    for name in (name for name, given in parts.items() if given):
        what = f"{name} is new in both towers, and the frozen one would no longer give the base's vectors"
        yield problem(("model", name), what, "leave it out, or do not freeze a tower")
    if model.from_scratch:
        yield problem(path, "the frozen tower would keep random weights", "remove from_scratch, or frozen_tower")
    if c.recipe.auxiliary and model.frozen_tower == "query":
        what = "auxiliary losses train the first tower, which is the one of queries and frozen"
        yield problem(("auxiliary",), what, "remove them, or freeze the tower of documents")


REFUSALS = [
    frozen_tower_has_a_partner,
    soft_prompts_alone,
    soft_prompts_leave_room,
    prompts_in_a_template_are_pooled,
    adapters_are_merged_first,
]
WARNINGS = [
    template_reads_its_last_token,
    bidirectional_is_pooled_on_purpose,
    stored_prompts_are_used,
    similarity_is_trained,
]
