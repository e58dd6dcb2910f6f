"""From texts to a file of them with negatives made by rule, and what each rule gave."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embedkit.data.sources import LoadedSource
from embedkit.disk import files
from embedkit.errors import DataError
from embedkit.synthesis.edits import edits
from embedkit.terminal.progress import progress as bar

FEW = 0.5
"""A rule that gives a negative for a smaller share of the texts is remarked on."""
_BLOCK = 1024


@dataclass
class Edited:
    """What was made.

    Attributes:
        texts: rows read.
        rows: rows written: texts with at least one negative.
        made: negatives per rule, in the order of the rules.
    """

    texts: int = 0
    rows: int = 0
    made: Counter[str] = field(default_factory=Counter)

    def lines(self) -> Iterator[str]:
        """What a person should know."""
        for rule, count in self.made.items():
            share = count / max(1, self.texts)
            few = f"; fewer than {FEW:.0%}: the rule finds nothing to change in most of them" if share < FEW else ""
            yield f"{rule:<12}{count:,} negatives of {self.texts:,} texts ({share:.0%}){few}"
        if self.rows < self.texts:
            yield f"{self.texts - self.rows:,} texts without any are left out"


def edit_file(
    source: LoadedSource, rules: Sequence[str], out: Path, *, seed: int = 0, progress: bool = False
) -> Edited:
    """Write one row per text that has a negative: query, positive, its negatives and the rule of each.

    The positive is what is edited, where there is one; else the text, which is then its own positive, under another
    dropout mask.

    Raises:
        DataError: no rule changes any text; nothing is written.
        WriteError: the file cannot be written.
    """
    assert source.rows is not None
    told = Edited(made=Counter(dict.fromkeys(rules, 0)))
    with bar("editing", source.rows, "texts", show=progress) as shown, files.new_file(out) as file:
        for start in range(0, source.rows, _BLOCK):
            examples = source.get(range(start, min(source.rows, start + _BLOCK)))
            for e in examples:
                texts = e.positives or (e.query,)
                made = edits(texts[0], rules, seed=seed, but=(e.query, *texts))
                told.texts += 1
                told.made.update(made.keys())
                if made:
                    told.rows += 1
                    file.write(_line({"query": e.query, "positive": texts[0], **_columns(made)}))
            shown.advance(len(examples))
        if not told.rows:
            cure = "choose other rules: exchange, number and negation know English words"
            raise DataError(f"no rule of {', '.join(rules)} changes any of {told.texts:,} texts", source.name, cure)
    return told


def _columns(made: dict[str, str]) -> dict[str, Any]:
    return {"negative": list(made.values()), "rule": list(made)}


def _line(row: dict[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
