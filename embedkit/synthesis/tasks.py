"""What every task has: prompts, a count of what was dropped, and a plan of its calls."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from embedkit.data.text import text_id
from embedkit.synthesis.answers import BadAnswer
from embedkit.synthesis.calls import Call, Reply
from embedkit.synthesis.prompts import Prompter
from embedkit.types import Example

T = TypeVar("T")
Ask = Callable[[Sequence[Call]], list[Reply]]
BLOCK = 256
"""Texts whose calls are asked together."""


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
        classes: what the labels of the texts are called, by their number.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ("text",)
    kinds: ClassVar[tuple[str, ...]]

    def __init__(self, prompter: Prompter) -> None:
        self.prompter = prompter
        self.dropped: Counter[str] = Counter()
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
            return read(reply)
        except BadAnswer as bad:
            self.dropped[f"{kind}: {bad}"] += 1
            return None

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


def in_blocks(items: Sequence[T], size: int = BLOCK) -> Iterator[Sequence[T]]:
    """The items, `size` at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
