"""Queries that a language model writes for the documents of a corpus, for `mine`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedkit.data.text import text_id
from embedkit.errors import RecipeError
from embedkit.foreign.quoting import quoted
from embedkit.recipe.filters import parse_synth
from embedkit.run.mining_filters import backend_of, file_at
from embedkit.run.state import Say
from embedkit.synthesis.asker import Asker
from embedkit.synthesis.cache import Cache
from embedkit.synthesis.prompts import Prompter, load_prompts
from embedkit.synthesis.queries import Queries
from embedkit.types import Example

SYNTH = "synth"
"""How `--queries-from` begins where a language model writes them."""
WHERE = "--queries-from"
_CHARACTERS_PER_TOKEN = 4

Write = Callable[[Sequence[str]], "Written"]
"""Documents -> what was written for them."""


@dataclass(frozen=True)
class Written:
    """Queries by the text id of their document, and what was left out, by reason."""

    queries: Mapping[int, str]
    dropped: Counter[str]


def writer_of(text: str, answers: Path, *, seed: int, device: str, say: Say, progress: bool) -> Write | None:
    """What writes queries; None where `text` asks for something else.

    Answers are kept one by one: killed and started again, only what is missing is asked.

    Args:
        text: of `--queries-from`: ``synth:MODEL`` with settings after commas.
        answers: file that keeps them.
        seed: of everything drawn.
        device: of a local model.
        say: receives what it will cost, before anything is asked.
        progress: show a bar.

    Raises:
        RecipeError: a setting is wrong, or the prompts are.
    """
    name, colon, arg = text.partition(":")
    if name != SYNTH or not colon:
        return None
    named = parse_synth(arg, WHERE)
    own = named.settings
    prompter = Prompter(load_prompts(file_at(own["prompts"]) if "prompts" in own else None), seed)

    def write(documents: Sequence[str]) -> Written:
        task = Queries(prompter)
        texts = task.once(Example(document) for document in documents)[: own.get("limit")]
        with closing(Cache(answers)) as cache:
            for line in _cost(task, texts, own, len(cache)):
                say(line)
            asker = Asker(backend_of(named, device, WHERE), cache, total=len(texts), progress=progress)
            try:
                queries = {text_id(row["positive"]): str(row["query"]) for row in task.rows(texts, asker)}
            finally:
                asker.close()
        left = Counter({f"documents without a query: {why}": count for why, count in task.dropped.items()})
        if len(texts) < len(set(map(text_id, documents))):
            left["documents without a query: beyond the limit"] = len(set(map(text_id, documents))) - len(texts)
        return Written(queries, left)

    return write


def check_form(text: str, known: str) -> None:
    """Refuse what `--queries-from` cannot be.

    Raises:
        RecipeError: neither `known` nor a right ``synth:...``.
    """
    name, colon, arg = text.partition(":")
    if name == SYNTH and colon:
        parse_synth(arg, WHERE)
    elif text != known:
        raise RecipeError(f"there is no {quoted(text)}", WHERE, f"known: {known}, {SYNTH}:MODEL")


def _cost(task: Queries, texts: Sequence[Example], own: Mapping[str, Any], kept: int) -> list[str]:
    """Calls, tokens and money, roughly: a token of English has four characters."""
    (planned,) = task.plan(texts)
    around = sum(len(content) for _, content in planned.first.messages) - len(texts[0].query)
    asked = (around * len(texts) + sum(len(example.query) for example in texts)) // _CHARACTERS_PER_TOKEN
    answered = len(texts) * planned.first.max_tokens
    before = f"; {kept:,} answers are there" if kept else ""
    lines = [f"queries: {len(texts):,} calls, roughly {asked:,} tokens in, at most {answered:,} out{before}"]
    if "price-in" in own or "price-out" in own:
        cost = (asked * own.get("price-in", 0.0) + answered * own.get("price-out", 0.0)) / 1e6
        lines.append(f"queries: roughly {cost:,.2f} at most")
    return lines
