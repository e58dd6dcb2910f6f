"""Getting answers: from the cache, else from the backend; and the count of what that took."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

from embedkit.synthesis.cache import Cache
from embedkit.synthesis.calls import Backend, Call, Reply, key
from embedkit.terminal.progress import Bar


@dataclass
class Usage:
    """Calls and tokens.

    Attributes:
        new, cached: calls by kind that the backend answered now, that the cache answered.
        tokens: by (``new`` or ``cached``, ``prompt`` or ``completion``).
        uncounted: answers whose backend did not say how many tokens they took.
    """

    new: Counter[str] = field(default_factory=Counter)
    cached: Counter[str] = field(default_factory=Counter)
    tokens: Counter[tuple[str, str]] = field(default_factory=Counter)
    uncounted: int = 0

    def add(self, call: Call, reply: Reply, *, cached: bool) -> None:
        (self.cached if cached else self.new)[call.kind] += 1
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            self.uncounted += 1
            return
        when = "cached" if cached else "new"
        self.tokens[when, "prompt"] += reply.prompt_tokens
        self.tokens[when, "completion"] += reply.completion_tokens

    def cost(self, price_in: float, price_out: float, *, cached: bool) -> float:
        """What it cost at prices per million tokens: the new calls, and those in the cache if asked for."""
        kinds = ("new", "cached") if cached else ("new",)
        prompt, completion = (sum(self.tokens[when, side] for when in kinds) for side in ("prompt", "completion"))
        return (prompt * price_in + completion * price_out) / 1e6


class Asker:
    """Answers calls; each new answer is on disk before the next one is looked at.

    Args:
        backend: the model.
        cache: answers of this run and of earlier ones.
        total: calls to expect, for the progress bar.
        progress: show a bar.
    """

    def __init__(self, backend: Backend, cache: Cache, *, total: int = 0, progress: bool = False) -> None:
        self.backend, self.cache, self.usage = backend, cache, Usage()
        self._bar = Bar("asking", total, "calls", show=progress)

    def __call__(self, calls: Sequence[Call]) -> list[Reply]:
        """The replies, in the order of the calls. Calls that are the same are asked once."""
        keys = [key(self.backend.identity, call) for call in calls]
        missing = {k: call for k, call in zip(keys, calls, strict=True) if k not in self.cache}
        names = list(missing)
        for k, call in zip(keys, calls, strict=True):
            if k not in missing:
                self._count(call, self.cache.get(k), cached=True)
        with closing(self.backend.answer(list(missing.values()))) as answers:
            for index, reply in answers:
                self.cache.add(names[index], reply)
                self._count(missing[names[index]], reply, cached=False)
        self._bar.advance(len(calls) - self._seen(keys, missing))
        return [self.cache.get(k) for k in keys]

    @staticmethod
    def _seen(keys: Sequence[str], missing: dict[str, Call]) -> int:
        return sum(k not in missing for k in keys) + len(missing)

    def _count(self, call: Call, reply: Reply, *, cached: bool) -> None:
        self.usage.add(call, reply, cached=cached)
        self._bar.advance(note=f"{self.backend.retries} retries" if self.backend.retries else "")

    def close(self) -> None:
        """End the bar and close the cache."""
        self._bar.close()
        self.cache.close()
