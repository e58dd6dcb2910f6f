"""Paraphrases of labelled texts, as second views of them (LM-CPPF, arXiv 2305.18169)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, ClassVar

from embedkit.errors import DataError
from embedkit.synthesis import answers
from embedkit.synthesis.tasks import Ask, Planned, Task, in_blocks, same
from embedkit.types import Example

LONGEST = 3.0
"""Times as many characters as the text, or a third as many: something else than the same in other words."""
MOST_DROPPED = 0.5
"""Share of the texts that may be left without a paraphrase."""


class Paraphrases(Task):
    """One paraphrase of every labelled text; the label is that of the text.

    A paraphrase that is unusable, repeats its text, or is more than three times as long or short is dropped with its
    text.

    Raises:
        DataError: more than half of the texts are dropped.
    """

    name = "paraphrases"
    needs = ("text", "label")
    kinds: ClassVar[tuple[str, ...]] = ("paraphrase",)

    def plan(self, texts: Sequence[Example]) -> list[Planned]:
        return [Planned("paraphrase", len(texts), self.prompter.call("paraphrase", text=texts[0].query))]

    def rows(self, texts: Sequence[Example], ask: Ask) -> Iterable[dict[str, Any]]:
        written = 0
        for block in in_blocks(texts):
            replies = ask([self.prompter.call("paraphrase", text=example.query) for example in block])
            for example, reply in zip(block, replies, strict=True):
                text = example.query
                found = self.usable("paraphrase", reply, partial(answers.sentence, source=text))
                if found is None:
                    continue
                if same(found, text):
                    self.dropped["paraphrase that repeats its text"] += 1
                elif not 1 / LONGEST <= len(found) / len(text) <= LONGEST:
                    self.dropped["paraphrase of another length"] += 1
                else:
                    written += 1
                    yield {"text": text, "paraphrase": found, "label": self._label(example)}
        if written < MOST_DROPPED * len(texts):
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.most_common())
            what = f"{len(texts) - written} of {len(texts)} texts have no usable paraphrase: {reasons}"
            raise DataError(what, self.name, "try another model, or a prompt of your own (--prompts)")

    def _label(self, example: Example) -> str:
        assert example.label is not None
        return self.classes[example.label]
