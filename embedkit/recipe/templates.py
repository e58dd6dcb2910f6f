"""Prompt templates: words around a text, and solved examples beside it. What is wrong with some, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from embedkit.foreign.quoting import quoted
from embedkit.recipe.base import LONG_TEXTS, Block, Leads

TEXT, LABEL = "{text}", "{label}"
"""Where a text goes, and where the word of its class goes."""

_EXAMPLE = "e.g. `{text} It was {label}.`"


class Demonstrations(Block):
    """One solved example of every class behind the text, in the text's own template, drawn anew for every use among the
    labelled texts of the source; never the text itself (LM-BFF, arXiv 2012.15723)."""

    model_config = LONG_TEXTS

    words: dict[str, str] | None = Field(
        None, description="label: what stands at {label}. None: the label itself, with spaces for `_`."
    )
    rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Draw from the most similar only: floor(floor(n / C) * rate) per class, of n other texts of C "
        "classes (LM-BFF: 0.5). None: from all.",
    )
    model: Annotated[str | None, Leads("folder")] = Field(
        None,
        description="What embeds them for `rate`, frozen: a folder or a Hub id. None: the recipe's own base model.",
    )


def filled(template: str, text: str, word: str) -> str:
    """The template with both places filled; what is put in is not looked at again."""
    before, _, after = template.partition(TEXT)
    return before.replace(LABEL, word) + text + after.replace(LABEL, word)


def plain(template: str) -> str:
    """For comparing: spaces do not tell two templates apart."""
    return " ".join(template.split())


def fault(templates: Sequence[str], *, labelled: bool = False) -> tuple[int, str, str] | None:
    """The first template that cannot be used: its place, what is wrong with it, the cure; None where all can.

    Args:
        templates: as written.
        labelled: whether each must have a place for the label.
    """
    seen: dict[str, int] = {}
    for place, template in enumerate(templates):
        texts, labels = template.count(TEXT), template.count(LABEL)
        if texts != 1:
            return (
                place,
                f"template {quoted(template)} has {texts} places for the text",
                f"write {TEXT} once, {_EXAMPLE}",
            )
        if labels > 1:
            return place, f"template {quoted(template)} has {labels} places for the label", f"write {LABEL} once"
        if labelled and not labels:
            what = f"template {quoted(template)} has no place for the label of a demonstration"
            return place, what, f"write {LABEL} once, {_EXAMPLE}"
        if seen.setdefault(plain(template), place) != place:
            return place, f"template {quoted(template)} is there twice", "remove one"
    return None
