"""Adapters of the schema "sentence": texts around a sentence."""

from __future__ import annotations

from typing import Any

from embedkit.model.reading.templates import RAW, jinja
from embedkit.recipe.schema import Template
from tests.conformance.runner import Case, adapter


@adapter("sentence", "PromptEOL prompt construction")
def prompteol(case: Case) -> dict[str, Any]:
    """The shipped template, rendered as transformers renders it."""
    from transformers.utils.chat_template_utils import render_jinja_template

    template = jinja(Template(clean="promptEOL"))
    chats = [[{"role": "user", "content": text}] for text in case.inputs.fields["sentences"]]

    def rendered(**options: Any) -> list[str]:
        texts, _ = render_jinja_template(chats, chat_template=template, **options)
        return list(texts)

    return {"eval_prompts": rendered(), "train_prompts": rendered(**RAW)}
