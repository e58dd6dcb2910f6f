"""CLAIF and CLHAIF (Cheng et al. 2023, arXiv 2305.01918): sentence pairs, and scores, from a language model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from embedkit.synthesis import answers
from embedkit.synthesis.answers import MASK
from embedkit.synthesis.calls import Call
from embedkit.synthesis.tasks import Ask, Planned, Task, in_blocks
from embedkit.types import Example

RATES = tuple(k / 10 for k in range(9))
"""Shares of the words that are masked, 0.0 to 0.8."""
MERGE = 0.5
"""How often the neighbouring masks of a sentence become one."""
SCALE, SHIFT = 0.8, 0.1
"""y' = 0.8 y + 0.1 keeps targets off the ends that a cosine hardly reaches."""
PER_LABEL = 2
"""Pairs kept of one sentence with one score."""
RANDOM = 2
"""Pairs with a text of another sentence, with score 0, per sentence."""


@dataclass
class Pair:
    """A sentence, what a language model made of it, and the similarity it sees (None: not asked yet)."""

    text_a: str
    text_b: str
    rate: float
    score: float | None = None


def masked(sentence: str, rate: float, generator: np.random.Generator) -> str:
    """A sentence with ``ceil(rate * words)`` of its words masked; in half of the sentences every run of masks is
    merged into one, so that a mask may stand for several words."""
    words = sentence.split()
    count = math.ceil(round(rate * len(words), 9))
    for place in generator.permutation(len(words))[:count]:
        words[place] = MASK
    if generator.random() < MERGE:
        words = [w for i, w in enumerate(words) if w != MASK or i == 0 or words[i - 1] != MASK]
    return " ".join(words)


class Claif(Task):
    """Pairs with graded similarity: mask the sentence, let the model fill the gaps, let it score the pair."""

    name = "claif"
    kinds = ("paraphrase", "fill", "score")

    def plan(self, texts: Sequence[Example]) -> list[Planned]:
        first, n = texts[0].query, len(texts)
        fill = next(call for _, call in self._calls(first) if call.kind == "fill")
        score = self.prompter.call("score", text_a=first, text_b="(what the model makes of the first sentence)")
        return [
            Planned("paraphrase", n, self.prompter.call("paraphrase", text=first)),
            Planned("fill", n * (len(RATES) - 1), fill),
            Planned("score", n * len(RATES), score, at_most=True),
        ]

    def rows(self, texts: Sequence[Example], ask: Ask) -> Iterable[dict[str, Any]]:
        pairs: list[Pair] = []
        for block in in_blocks(texts):
            pairs += self._scored(self._pairs([example.query for example in block], ask), ask)
        yield from self._finished(pairs)

    def _calls(self, text: str) -> list[tuple[float, Call]]:
        """The calls of one sentence by mask rate; without a mask there is nothing to fill, so it is paraphrased."""
        calls = []
        for rate in RATES:
            gaps = masked(text, rate, self.prompter.generator("mask", text, rate))
            whole = MASK not in gaps
            told: dict[str, Any] = {"text": text} if whole else {"text": text, "masked": gaps}
            # Two rates may leave the same gaps: each is a draw of its own.
            calls.append((rate, self.prompter.call("paraphrase" if whole else "fill", draw=round(10 * rate), **told)))
        return calls

    def _pairs(self, texts: Sequence[str], ask: Ask) -> list[Pair]:
        asked = [(text, rate, call) for text in texts for rate, call in self._calls(text)]
        pairs, seen = [], set()
        for (text, rate, call), reply in zip(asked, ask([call for _, _, call in asked]), strict=True):
            made = self.usable(call.kind, reply, partial(answers.sentence, source=text))
            if made is None:
                continue
            if MASK in made or MASK in text:
                self.dropped["a mask is left"] += 1
            elif made == text:
                self.dropped["identical pair"] += 1
            elif (text, made) in seen:
                self.dropped["made twice"] += 1
            else:
                seen.add((text, made))
                pairs.append(Pair(text, made, rate))
        return pairs

    def _scored(self, pairs: list[Pair], ask: Ask) -> list[Pair]:
        calls = [self.prompter.call("score", text_a=pair.text_a, text_b=pair.text_b) for pair in pairs]
        for pair, reply in zip(pairs, ask(calls), strict=True):
            pair.score = self.scored(reply)
        return [pair for pair in pairs if pair.score is not None]

    def _finished(self, pairs: list[Pair]) -> Iterable[dict[str, Any]]:
        """The authors' post-processing: at most two texts per sentence and score, smoothed scores, and random pairs.

        Which two are kept is drawn. Random pairs have score 0 as it is, and never a text made of the same sentence.
        """
        count: Counter[tuple[str, float | None]] = Counter()
        kept = []
        for place in self.prompter.generator("order").permutation(len(pairs)):
            pair = pairs[place]
            count[pair.text_a, pair.score] += 1
            if count[pair.text_a, pair.score] <= PER_LABEL:
                kept.append(place)
            else:
                self.dropped["score seen twice"] += 1
        kept.sort()
        for place in kept:
            pair = pairs[place]
            assert pair.score is not None
            target = round(SCALE * pair.score + SHIFT, 6)
            yield _row(pair.text_a, pair.text_b, target, pair.score, str(pair.rate))
        own: dict[str, set[str]] = {}
        for place in kept:
            own.setdefault(pairs[place].text_a, set()).add(pairs[place].text_b)
        candidates = [pairs[place].text_b for place in kept]
        for text, made in own.items():
            for other in _others(candidates, made | {text}, self.prompter.generator("random pairs", text)):
                yield _row(text, other, 0.0, None, "random")


def _others(candidates: list[str], own: set[str], generator: np.random.Generator) -> list[str]:
    """`RANDOM` different candidates that are not among `own`; fewer if a hundred draws do not find them."""
    found: list[str] = []
    for _ in range(100):
        if len(found) == RANDOM:
            break
        text = candidates[generator.integers(len(candidates))]
        if text not in own and text not in found:
            found.append(text)
    return found


def _row(a: str, b: str, target: float, given: float | None, rate: str) -> dict[str, Any]:
    return {"sentence1": a, "sentence2": b, "score": target, "given": given, "made": rate}


class Clhaif(Task):
    """The model's similarity for the (query, positive) pair of given triplets: how positive is the positive?"""

    name = "clhaif"
    needs = ("query", "positive", "negative")
    kinds = ("score",)

    def plan(self, texts: Sequence[Example]) -> list[Planned]:
        return [Planned("score", len(texts), self._call(texts[0]))]

    def rows(self, texts: Sequence[Example], ask: Ask) -> Iterable[dict[str, Any]]:
        for block in in_blocks(texts):
            for example, reply in zip(block, ask([self._call(example) for example in block]), strict=True):
                score = self.scored(reply)
                if score is not None:
                    positive, negative = example.positives[0], example.negatives[0]
                    yield {"query": example.query, "positive": positive, "negative": negative, "score": score}

    def _call(self, example: Example) -> Call:
        return self.prompter.call("score", text_a=example.query, text_b=example.positives[0])
