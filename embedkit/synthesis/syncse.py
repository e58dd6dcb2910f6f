"""SynCSE (Zhang, Lan and He 2023, arXiv 2305.15077): a positive and a hard negative written for every sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

from embedkit.synthesis import answers
from embedkit.synthesis.calls import Call
from embedkit.synthesis.prompts import Prompter
from embedkit.synthesis.tasks import Ask, Planned, Task, in_blocks, same
from embedkit.types import Example

PER_CALL = 10
"""Sentences asked for at once where they too are written by the model."""


class Partial(Task):
    """A positive and a hard negative for given sentences."""

    name = "syncse-partial"
    kinds: ClassVar[tuple[str, ...]] = ("positive", "negative")

    def plan(self, texts: Sequence[Example]) -> list[Planned]:
        positive, negative = self._calls(texts[0].query)
        return [Planned("positive", len(texts), positive), Planned("negative", len(texts), negative)]

    def rows(self, texts: Sequence[Example], ask: Ask) -> Iterable[dict[str, Any]]:
        return self._triplets([example.query for example in texts], ask)

    def _calls(self, text: str) -> list[Call]:
        return [self.prompter.call(kind, text=text) for kind in ("positive", "negative")]

    def _triplets(self, sentences: Sequence[str], ask: Ask) -> Iterable[dict[str, Any]]:
        for block in in_blocks(sentences):
            replies = ask([call for text in block for call in self._calls(text)])
            for text, positive, negative in zip(block, replies[::2], replies[1::2], strict=True):
                read = partial(answers.sentence, source=text)
                match = self.usable("positive", positive, read)
                clash = self.usable("negative", negative, read)
                if match is None or clash is None:
                    self.dropped["triplet without a usable positive or negative"] += 1
                elif same(match, text) or same(clash, text) or same(match, clash):
                    self.dropped["triplet that repeats a sentence"] += 1
                else:
                    yield {"query": text, "positive": match, "negative": clash}


class Scratch(Partial):
    """Everything from topics and genres: the sentences, their positives and their hard negatives.

    Args:
        prompter: makes the calls.
        count: sentences to ask for, `PER_CALL` in a call; repeated ones are dropped, so fewer may come.
    """

    name = "syncse-scratch"
    needs = ()
    kinds = ("sentences", "positive", "negative")

    def __init__(self, prompter: Prompter, count: int) -> None:
        super().__init__(prompter)
        self.count = count

    def plan(self, texts: Sequence[Example] = ()) -> list[Planned]:
        calls = self._sentence_calls()
        positive, negative = self._calls("(a sentence that the model writes)")
        return [
            Planned("sentences", len(calls), calls[0]),
            Planned("positive", self.count, positive, at_most=True),
            Planned("negative", self.count, negative, at_most=True),
        ]

    def rows(self, texts: Sequence[Example], ask: Ask) -> Iterable[dict[str, Any]]:
        return self._triplets(self._written(ask), ask)

    def _sentence_calls(self) -> list[Call]:
        sizes = [min(PER_CALL, self.count - start) for start in range(0, self.count, PER_CALL)]
        return [self.prompter.call("sentences", draw=draw, count=size) for draw, size in enumerate(sizes)]

    def _written(self, ask: Ask) -> list[str]:
        found: list[Example] = []
        for block in in_blocks(self._sentence_calls()):
            for reply in ask(block):
                read = partial(answers.sentences, most=PER_CALL)
                found += [Example(text) for text in self.usable("sentences", reply, read) or ()]
        return [example.query for example in self.once(found)][: self.count]
