"""What every task has: prompts, a count of what was dropped, and a plan of its calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

from embedkit.data.text import text_id
from embedkit.foreign import showing
from embedkit.foreign.quoting import quoted
from embedkit.synthesis import answers
from embedkit.synthesis.answers import BadAnswer
from embedkit.synthesis.calls import Call, Reply
from embedkit.synthesis.prompts import Prompter
from embedkit.types import Example

logger = showing.logger(__name__)

T = TypeVar("T")
Ask = Callable[[Sequence[Call]], list[Reply]]
BLOCK = 256
"""Texts whose calls are asked together."""
EARLY = 32
"""Answers to a prompt after which a hopeless model is told."""
HOPELESS = 0.9
"""Share of them that cannot be used."""


@dataclass(frozen=True)
class Planned:
    """Calls of one kind.

    Attributes:
        kind: of the prompt.
        count: how many there will be; how many at most where `at_most` is set.
        at_most: the number depends on the answers to earlier calls.
        first: the first of them; a made-up one where they depend on answers.
    """

    kind: str
    count: int
    first: Call
    at_most: bool = False


class Task(ABC):
    """A way to make training data.

    Attributes:
        name: what the user calls it.
        needs: roles of the texts it starts from; empty if it starts from nothing.
        kinds: prompts it uses.
        dropped: what could not be used, by reason.
        examples: the first answer that was dropped, by reason.
        scores: how often the model gave each, where it is asked for scores.
        classes: what the labels of the texts are called, by their number.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ("text",)
    kinds: ClassVar[tuple[str, ...]]

    def __init__(self, prompter: Prompter) -> None:
        self.prompter = prompter
        self.dropped: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.scores: Counter[float] = Counter()
        self._first: dict[str, list[str]] = defaultdict(list)
        self.classes: dict[int, str] = {}

    @abstractmethod
    def plan(self, texts: Sequence[Example]) -> list[Planned]:
        """The calls that `rows` will make, in order. Asks nothing.

        Args:
            texts: what it starts from, each once (`once`).
        """

    @abstractmethod
    def rows(self, texts: Sequence[Example], ask: Ask) -> Iterable[dict[str, Any]]:
        """The rows of the data file."""

    def usable(self, kind: str, reply: Reply, read: Callable[[Reply], T]) -> T | None:
        """What `read` finds in a reply; None, and one more of its kind and reason in `dropped`, if it is unusable."""
        try:
            found, reason = read(reply), ""
        except BadAnswer as bad:
            found, reason = None, f"{kind}: {bad}"
            self.dropped[reason] += 1
            self.examples.setdefault(reason, reply.text)
        first = self._first[kind]
        if len(first) < EARLY:
            first.append(reason)
            if len(first) == EARLY:
                self._warn(kind, [reason for reason in first if reason])
        return found

    def scored(self, reply: Reply) -> float | None:
        """The score in a reply, counted in `scores`; None if it is unusable."""
        found = self.usable("score", reply, answers.score)
        if found is not None:
            self.scores[found] += 1
        return found

    def _warn(self, kind: str, unusable: Sequence[str]) -> None:
        if len(unusable) > HOPELESS * EARLY:
            said = f"{unusable[0]}, e.g. {quoted(self.examples[unusable[0]])}"
            what = f"{len(unusable)} of the first {EARLY} answers to the prompt {kind!r} cannot be used: {said}"
            logger.warning("%s\n  cure: stop, and take another model or a prompt of your own (--prompts)", what)

    def once(self, examples: Iterable[Example]) -> list[Example]:
        """The examples without those whose texts came before; the others are counted in `dropped`."""
        seen: set[tuple[int, ...]] = set()
        kept = []
        for example in examples:
            identity = tuple(text_id(text) for text in (example.query, *example.positives, *example.negatives))
            if identity in seen:
                self.dropped["given twice"] += 1
                continue
            seen.add(identity)
            kept.append(example)
        return kept


def same(first: str, second: str) -> bool:
    """Whether two texts are the same but for white space, case and Unicode form."""
    return text_id(first.casefold()) == text_id(second.casefold())


def in_blocks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """First `EARLY` of the items, which show whether the model understands what it is asked; then `BLOCK` at a time."""
    for start, end in pairwise([0, *range(min(EARLY, len(items)), len(items), BLOCK), len(items)]):
        if start < end:
            yield items[start:end]
