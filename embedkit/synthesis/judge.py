"""A language model as the judge of what answers a query."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from embedkit.synthesis.answers import BadAnswer, score, yes
from embedkit.synthesis.asker import Asker
from embedkit.synthesis.prompts import Prompter
from embedkit.synthesis.tasks import in_blocks


class Judge:
    """Scores (query, document) pairs: 1 for yes and 0 for no, or a grade from 0 to 1.

    Every answer is on disk before the next one is looked at: a run that was cut off asks only what is missing.

    Args:
        asker: gets the answers.
        prompter: makes the questions, of the prompts ``answers`` and ``grade``.
        graded: ask for a grade.
        unusable: gets the count of answers that could not be used, by reason.
    """

    def __init__(
        self, asker: Asker, prompter: Prompter, *, graded: bool = False, unusable: Counter[str] | None = None
    ) -> None:
        self._asker, self._prompter = asker, prompter
        self._kind = "grade" if graded else "answers"
        self.unusable: Counter[str] = Counter() if unusable is None else unusable

    def __call__(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        """[m] float64 for m pairs of texts; NaN where the answer cannot be used.

        Raises:
            EmbedkitError: the model gives no answers.
        """
        found: list[float] = []
        for block in in_blocks(pairs):
            calls = [self._prompter.call(self._kind, query=query, document=document) for query, document in block]
            for reply in self._asker(calls):
                try:
                    found.append(score(reply) if self._kind == "grade" else float(yes(reply)))
                except BadAnswer as bad:
                    self.unusable[f"{self._kind}: {bad}"] += 1
                    found.append(np.nan)
        return np.array(found)
