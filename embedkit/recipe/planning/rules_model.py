"""Rules about what is put on, in and around the backbone: soft prompts, templates, attention in both directions."""

from __future__ import annotations

from collections.abc import Iterator

from embedkit.recipe.planning.context import Context, problem
from embedkit.recipe.reading.problems import Problem


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
    if model.template is not None and model.pooling not in (None, "lasttoken"):
        what = f"a template asks for a word at its last token, and pooling {model.pooling} reads others"
        yield problem(("model", "pooling"), what, "lasttoken")


def bidirectional_is_pooled_on_purpose(c: Context) -> Iterator[Problem]:
    model = c.recipe.model
    if model.bidirectional and model.pooling is None and model.template is None:
        what = "a plain causal language model is pooled at its last token; bidirectional ones usually take the mean"
        yield problem(("model", "pooling"), what, "set model.pooling: mean, or lasttoken if that is meant")


REFUSALS = [soft_prompts_alone, soft_prompts_leave_room, prompts_in_a_template_are_pooled]
WARNINGS = [template_reads_its_last_token, bidirectional_is_pooled_on_purpose]
