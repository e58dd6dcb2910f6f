"""Queries for documents, written by a language model (InPars, Bonifacio et al. 2022, arXiv 2202.05144)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

from embedkit.synthesis import answers
from embedkit.synthesis.tasks import Ask, Planned, Task, in_blocks, same
from embedkit.types import Example


class Queries(Task):
    """A query that each document answers. Negatives are a matter of `embedkit mine`."""

    name = "queries"
    kinds: ClassVar[tuple[str, ...]] = ("query",)

    def plan(self, texts: Sequence[Example]) -> list[Planned]:
        return [Planned("query", len(texts), self.prompter.call("query", text=texts[0].query))]

    def rows(self, texts: Sequence[Example], ask: Ask) -> Iterable[dict[str, Any]]:
        for block in in_blocks(texts):
            replies = ask([self.prompter.call("query", text=example.query) for example in block])
            for example, reply in zip(block, replies, strict=True):
                query = self.usable("query", reply, partial(answers.sentence, source=example.query))
                if query is None:
                    continue
                if same(query, example.query):
                    self.dropped["query that repeats its document"] += 1
                else:
                    yield {"query": query, "positive": example.query}
