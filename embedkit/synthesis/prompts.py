"""The prompts: YAML with Jinja templates, ours or the user's, checked before anything is asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jinja2 import StrictUndefined, TemplateError, meta
from jinja2.sandbox import SandboxedEnvironment
from pydantic import Field

from embedkit.errors import RecipeError
from embedkit.recipe.base import Block
from embedkit.recipe.load import validate_tree
from embedkit.recipe.reading.tree import Node, read_tree
from embedkit.synthesis.calls import Call, digest

OURS = Path(__file__).parent / "prompts.yaml"
VARIABLES: dict[str, tuple[str, ...]] = {
    "paraphrase": ("text",),
    "fill": ("text", "masked"),
    "score": ("text_a", "text_b"),
    "positive": ("text",),
    "negative": ("text",),
    "sentences": ("count",),
    "query": ("text",),
    "answers": ("query", "document"),
    "grade": ("query", "document"),
}
"""What each kind of prompt is told."""
MANY_LINES = frozenset({"sentences"})
"""Kinds whose answer has more than one line."""


class Message(Block):
    """One message of a chat."""

    role: Literal["system", "user", "assistant"] = "user"
    content: str = Field(min_length=1, description="A Jinja template.")


class Prompt(Block):
    """How one kind of question is put, and how its answer is sampled."""

    messages: tuple[Message, ...] = Field(min_length=1)
    temperature: float = Field(0.7, ge=0, le=2, description="0 takes the most likely token.")
    top_p: float = Field(0.9, gt=0, le=1, description="Share of the probability mass that is sampled from.")
    max_tokens: int = Field(96, gt=0, description="The longest answer; a longer one is dropped.")
    allowed: tuple[str, ...] = Field(
        (), description="All possible answers; a model on this machine can give no other. Empty: any answer."
    )
    choices: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="name: values; each call is told one value, drawn by its seed, as `name`."
    )
    examples: tuple[dict[str, str], ...] = Field((), description="Examples to draw from, given as `examples`.")
    shots: int = Field(0, ge=0, description="How many of the examples a call is told.")


class Prompts(Block):
    """One prompt per kind. A user's file may give some of them; the others are embedkit's."""

    paraphrase: Prompt
    fill: Prompt
    score: Prompt
    positive: Prompt
    negative: Prompt
    sentences: Prompt
    query: Prompt
    answers: Prompt
    grade: Prompt


def load_prompts(path: Path | None = None) -> Prompts:
    """embedkit's prompts, or a user's file laid over them, kind by kind.

    Raises:
        RecipeError: with file and line: not YAML, an unknown key, a value out of bounds, a template that is malformed
            or names a variable its kind is not told.
    """
    tree = read_tree(OURS, OURS.name)
    if path is not None:
        if not path.is_file():
            raise RecipeError("no such file", str(path), "give the YAML file with your prompts")
        tree = Node({**tree.value, **read_tree(path, str(path)).value}, str(path))
    prompts = validate_tree(Prompts, tree)
    for kind in VARIABLES:
        _check(kind, getattr(prompts, kind), tree.at((kind,)).where)
    return prompts


def _environment() -> SandboxedEnvironment:
    # A prompt is text for a model, not HTML: nothing is escaped.
    return SandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)


def _check(kind: str, prompt: Prompt, where: str) -> None:
    known = {*VARIABLES[kind], *prompt.choices, *(["examples"] if prompt.shots else [])}
    if prompt.shots > len(prompt.examples):
        what = f"{kind}.shots: {prompt.shots} of {len(prompt.examples)} examples"
        raise RecipeError(what, where, "give more examples, or fewer shots")
    empty = [name for name, values in prompt.choices.items() if not values]
    if empty:
        raise RecipeError(f"{kind}.choices.{empty[0]}: an empty list", where, "give at least one value")
    for message in prompt.messages:
        try:
            wanted = meta.find_undeclared_variables(_environment().parse(message.content))
        except TemplateError as error:
            raise RecipeError(f"{kind}: malformed template: {error}", where, "mend the Jinja template") from error
        if wanted - known:
            name = sorted(wanted - known)[0]
            told = ", ".join(sorted(known))
            raise RecipeError(f"{kind}: unknown variable {name!r}", where, f"the prompt is told: {told}")


class Prompter:
    """Makes calls of prompts.

    Args:
        prompts: the prompts.
        seed: the user's. What a call is told and how its answer is sampled depend on it and on the call's fields
            alone, not on the place of a text in its file: texts may come and go, the other answers stay.
    """

    def __init__(self, prompts: Prompts, seed: int) -> None:
        self.prompts, self.seed = prompts, seed
        environment = _environment()
        self._templates = {
            kind: [(m.role, environment.from_string(m.content)) for m in getattr(prompts, kind).messages]
            for kind in VARIABLES
        }

    def generator(self, purpose: str, *parts: Any) -> np.random.Generator:
        """Random numbers that depend on the seed, the purpose and the parts alone."""
        return np.random.default_rng(int.from_bytes(digest(self.seed, purpose, *parts), "big"))

    def call(self, kind: str, *, draw: int = 0, **fields: Any) -> Call:
        """The call of a kind.

        Args:
            kind: one of `VARIABLES`.
            draw: number of the draw, where the same is asked several times.
            fields: what the kind is told (`VARIABLES`).
        """
        prompt: Prompt = getattr(self.prompts, kind)
        generator = self.generator(kind, fields, draw)
        told: dict[str, Any] = {
            name: values[generator.integers(len(values))] for name, values in prompt.choices.items()
        }
        if prompt.shots:
            drawn = generator.permutation(len(prompt.examples))[: prompt.shots]
            told["examples"] = [prompt.examples[i] for i in drawn]
        try:
            messages = [(role, template.render(told | fields)) for role, template in self._templates[kind]]
        except TemplateError as error:
            raise RecipeError(f"the prompt cannot be made: {error}", kind, "mend the Jinja template") from error
        return Call(
            kind,
            tuple(messages),
            prompt.temperature,
            prompt.top_p,
            prompt.max_tokens,
            kind not in MANY_LINES,
            int(generator.integers(2**31)),
            prompt.allowed,
        )

    def parameters(self, kinds: Iterable[str]) -> Mapping[str, dict[str, Any]]:
        """Sampling and a content hash of each prompt, for the record."""
        found = {}
        for kind in kinds:
            prompt: Prompt = getattr(self.prompts, kind)
            sampling = {name: getattr(prompt, name) for name in ("temperature", "top_p", "max_tokens", "allowed")}
            found[kind] = sampling | {"prompt": digest(prompt.model_dump(mode="json")).hex()}
        return found
