"""Prompt templates: words around a text, and solved examples beside it. What is wrong with some, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator

from embedkit.foreign.limits import SEED
from embedkit.foreign.quoting import quoted
from embedkit.recipe.base import LONG_TEXTS, Block, Leads, invalid

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


class Templates(Block):
    """A template for every row, drawn once and the same in every epoch (PAFT as released, arXiv 2502.12859).
    Exactly one of texts, file."""

    model_config = LONG_TEXTS

    texts: tuple[str, ...] | None = Field(None, description="Each with {text} once.")
    file: Annotated[str | None, Leads("file")] = Field(
        None, description="UTF-8 file, a template per line. Relative to the recipe file, else to the working folder."
    )
    divisor: int = Field(
        1, ge=1, description="Draw from floor(templates / divisor) of them, themselves drawn first (PAFT: 24)."
    )
    hold: int = Field(1, ge=1, description="Draw at every row whose place this divides; the others keep the last one.")
    seed: int = Field(42, ge=0, le=SEED, description="Of the draws. Not train.seed.")

    @model_validator(mode="after")
    def _some_are_left(self) -> Templates:
        if (self.texts is None) == (self.file is None):
            raise invalid("templates needs exactly one of texts, file", "e.g. `file: prompts.txt`")
        if self.texts is not None:
            wrong = fault(self.texts, plain_text=True)
            if wrong is not None:
                raise invalid(*wrong[1:])
            if len(self.texts) < 2:
                raise invalid(f"{len(self.texts)} template: there is nothing to draw", "give two or more")
            if len(self.texts) < self.divisor:
                what = f"divisor {self.divisor} leaves none of {len(self.texts)} templates"
                raise invalid(what, f"set it to {len(self.texts)} or less")
        return self

    def facts(self) -> list[str]:
        """What will happen before training, a line each."""
        many = f"the lines of {self.file}" if self.texts is None else f"{len(self.texts)} templates"
        kept = "" if self.divisor == 1 else f" (1 in {self.divisor} of them)"
        held = "every text" if self.hold == 1 else f"every {self.hold} texts"
        return [f"a template for {held}, drawn once from {many}{kept}"]


class TemplateRange(Block):
    """Wordings that a model is judged in: those it knows, and held-out ones."""

    model_config = LONG_TEXTS

    seen: tuple[str, ...] = Field(min_length=1, description="Templates that the texts to learn from stand in.")
    unseen: tuple[str, ...] = Field(min_length=1, description="Held-out templates, which the main number is for.")

    @model_validator(mode="after")
    def _all_differ(self) -> TemplateRange:
        wrong = fault((*self.seen, *self.unseen), plain_text=True)
        if wrong is not None:
            raise invalid(*wrong[1:])
        return self


def filled(template: str, text: str, word: str) -> str:
    """The template with both places filled; what is put in is not looked at again."""
    before, _, after = template.partition(TEXT)
    return before.replace(LABEL, word) + text + after.replace(LABEL, word)


def plain(template: str) -> str:
    """For comparing: spaces do not tell two templates apart."""
    return " ".join(template.split())


def fault(templates: Sequence[str], *, labelled: bool = False, plain_text: bool = False) -> tuple[int, str, str] | None:
    """The first template that cannot be used: its place, what is wrong with it, the cure; None where all can.

    Args:
        templates: as written.
        labelled: whether each must have a place for the label.
        plain_text: whether none may have one.
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
        if plain_text and labels:
            what = f"template {quoted(template)} has a place for a label, and nothing is put there"
            return place, what, f"leave {LABEL} out"
        if labelled and not labels:
            what = f"template {quoted(template)} has no place for the label of a demonstration"
            return place, what, f"write {LABEL} once, {_EXAMPLE}"
        if seen.setdefault(plain(template), place) != place:
            return place, f"template {quoted(template)} is there twice", "remove one"
    return None
