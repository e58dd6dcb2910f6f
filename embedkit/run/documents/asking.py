"""Questions for passages: the second stage of `embedkit start`."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from embedkit.data.text import text_id
from embedkit.disk import files
from embedkit.errors import DataError
from embedkit.inputs.records import read
from embedkit.recipe.filters import parse_synth
from embedkit.run.documents.place import TITLES, Asked
from embedkit.run.documents.reading import Passage
from embedkit.run.mining_filters import backend_of, file_at
from embedkit.run.mining_queries import writer_of
from embedkit.run.state import Say
from embedkit.synthesis.asker import Asker
from embedkit.synthesis.cache import Cache
from embedkit.synthesis.judge import Judge
from embedkit.synthesis.prompts import Prompter, load_prompts

WHERE = "--questions"
FEWEST = 0.1
"""Share of the passages that must have a question at the end."""


@dataclass(frozen=True)
class Question:
    """A question and the passages that answer it, by id."""

    text: str
    passages: tuple[str, ...]
    document: str


def questions_of(
    asked: Asked,
    passages: Sequence[Passage],
    answers: Path,
    left: Counter[str],
    *,
    device: str,
    say: Say,
    progress: bool,
) -> list[Question]:
    """What is asked about the passages; a question that two documents would answer alike is left out.

    Args:
        asked: where questions come from.
        passages: of all documents.
        answers: file that keeps a language model's answers: killed and started again, only what is missing is asked.
        left: gets the count of what was left out, by reason.
        device: of a local language model.
        say: receives what it will cost, before anything is asked.
        progress: show a bar.

    Raises:
        RecipeError: a setting of `questions` is wrong, or the model is not found.
        DataError: a language model left fewer questions than a tenth of the passages it was asked about.
        EmbedkitError: the model gives no answers.
    """
    made = (
        _titles(passages)
        if asked.questions == TITLES
        else _written(asked, passages, answers, left, device, say, progress)
    )
    documents: dict[int, set[str]] = {}
    for question in made:
        documents.setdefault(text_id(question.text), set()).add(question.document)
    own = [q for q in made if len(documents[text_id(q.text)]) == 1]
    left["questions that several documents have"] += len(made) - len(own)
    once = {(text_id(q.text), q.passages): q for q in own}
    kept = sorted(once.values(), key=lambda q: _shuffled(asked.seed, q.text))[: asked.limit]
    left["questions beyond the limit"] += len(once) - len(kept)
    return kept


def _shuffled(seed: int, text: str) -> bytes:
    """A place in an order that knows no text and does not change when questions come or go."""
    return hashlib.sha256(f"{seed}:{text}".encode("utf-8", "surrogatepass")).digest()


def _titles(passages: Sequence[Passage]) -> list[Question]:
    """A document's title, answered by each of its passages that is more than the title."""
    parts: dict[str, list[Passage]] = {}
    for passage in passages:
        if passage.title and text_id(passage.text.lstrip("# ")) != text_id(passage.title):
            parts.setdefault(passage.document, []).append(passage)
    return [Question(found[0].title, tuple(p.id for p in found), name) for name, found in parts.items()]


def _written(
    asked: Asked, passages: Sequence[Passage], answers: Path, left: Counter[str], device: str, say: Say, progress: bool
) -> list[Question]:
    chosen = sorted(passages, key=lambda p: _shuffled(asked.seed, p.text))[: asked.limit]
    write = writer_of(asked.questions, answers, seed=asked.seed, device=device, say=say, progress=progress)
    assert write is not None, "the settings were read before"
    whole = {passage.id: f"{passage.title}\n{passage.text}".strip() for passage in chosen}
    written = write(list(whole.values()))
    left.update(written.dropped)
    made = [
        (Question(written.queries[key], (passage.id,), passage.document), whole[passage.id])
        for passage in chosen
        if (key := text_id(whole[passage.id])) in written.queries
    ]
    kept = list(_judged(asked, made, answers, left, device, progress)) if asked.judged else [q for q, _ in made]
    if len(kept) < FEWEST * len(chosen):
        reasons = ", ".join(f"{count} {reason}" for reason, count in left.most_common() if count)
        what = f"{len(kept)} questions are left of {len(chosen)} passages that were asked about: {reasons}"
        raise DataError(
            what, WHERE, "another language model or prompts of your own; where the judge said no, --no-judge"
        )
    return kept


def _judged(
    asked: Asked,
    made: Sequence[tuple[Question, str]],
    answers: Path,
    left: Counter[str],
    device: str,
    progress: bool,
) -> Iterator[Question]:
    """Questions that their passage answers, as the language model says."""
    named = parse_synth(asked.questions.partition(":")[2], WHERE)
    prompts = load_prompts(file_at(named.settings["prompts"]) if "prompts" in named.settings else None)
    with closing(Cache(answers)) as cache:
        asker = Asker(backend_of(named, device, WHERE), cache, total=len(made), progress=progress)
        try:
            judge = Judge(asker, Prompter(prompts, asked.seed))
            verdicts = judge([(question.text, text) for question, text in made])
        finally:
            asker.close()
    for (question, _), verdict in zip(made, verdicts, strict=True):
        if verdict == 1:
            yield question
        else:
            left["questions that their passage does not answer, says the judge"] += verdict == 0
            left["questions without a usable judgement"] += verdict != 0


def write_questions(path: Path, found: Sequence[Question]) -> None:
    """JSON Lines that a person may look at and change."""
    files.write_lines(path, ({"query": q.text, "document": q.document, "passages": list(q.passages)} for q in found))


def read_questions(path: Path) -> list[Question]:
    """What `write_questions` wrote, as it is now.

    Raises:
        DataError: a line is something else.
    """
    found = []
    for record in read(path, "jsonl"):
        values = record.values or {}
        query, document, passages = values.get("query"), values.get("document"), values.get("passages")
        if not (isinstance(query, str) and isinstance(document, str) and isinstance(passages, list) and passages):
            what = f"line {record.line}: `query`, `document` and a list of `passages` are expected"
            raise DataError(what, str(path), "mend the line, or remove it")
        found.append(Question(query, tuple(map(str, passages)), document))
    return found
