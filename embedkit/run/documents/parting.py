"""Which documents are held out for the test: the third stage of `embedkit start`."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

from embedkit.disk import files
from embedkit.errors import DataError
from embedkit.run.documents.asking import Question
from embedkit.run.documents.reading import Passage, write_corpus

FEW_DOCUMENTS = 10
"""With fewer documents than this, passages are held out one by one."""


def held_out(passages: Sequence[Passage], questions: Sequence[Question], share: float, seed: int) -> set[str]:
    """Names of what is held out: documents, or passages where there are few documents.

    At least one is held out and one is not; which ones depends on the seed and their names alone.

    Raises:
        DataError: there are too few questions to hold any out.
    """
    units = sorted({unit_of(question, passages) for question in questions})
    if len(units) < 2:
        raise DataError("fewer than two documents have questions", "questions", "give more documents")
    order = sorted(units, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode("utf-8", "surrogatepass")).digest())
    return set(order[: min(max(1, math.ceil(share * len(units))), len(units) - 1)])


def unit_of(question: Question, passages: Sequence[Passage]) -> str:
    """What a question is held out with."""
    return question.document if by_document(passages) else question.passages[0]


def by_document(passages: Sequence[Passage]) -> bool:
    """Whether whole documents are held out."""
    return len({passage.document for passage in passages}) >= FEW_DOCUMENTS


def write_set(
    folder: Path, split: str, passages: list[Passage], questions: Sequence[Question], *, titles: bool
) -> None:
    """A folder in BEIR's form: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/SPLIT.tsv``, which is written last."""
    write_corpus(folder / "corpus.jsonl", passages, titles=titles)
    names = [f"q{number}" for number in range(1, len(questions) + 1)]
    rows = ({"_id": name, "text": question.text} for name, question in zip(names, questions, strict=True))
    files.write_lines(folder / "queries.jsonl", rows)
    judged = [f"{name}\t{p}\t1" for name, question in zip(names, questions, strict=True) for p in question.passages]
    files.write_text(folder / "qrels" / f"{split}.tsv", "\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
