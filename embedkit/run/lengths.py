"""How long the texts of a run are in tokens, and how many are cut: of training data and of evaluation tasks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from embedkit.evaluation import tasks
from embedkit.model.reading import static, tokens
from embedkit.model.reading.structure import kept_length
from embedkit.model.running.encoder import Encoder
from embedkit.model.running.reranker import Reranker, Trained
from embedkit.model.running.towers import Pair
from embedkit.publish.insight import Lengths
from embedkit.run.state import Run

WHOLE = 1_000_000
"""Tokens kept where nothing is to be cut."""
SAMPLE = 1000
"""Texts of a role, or examples of a source, that are counted."""


def lengths(run: Run, encoder: Trained | Pair) -> list[Lengths]:
    """Of every source and every task of the suite, by role; prompts and special tokens count."""
    if isinstance(encoder, Reranker):
        return list(_of_pairs(run, encoder))
    model = encoder.trained if isinstance(encoder, Pair) else encoder
    found = []
    for where, role, texts, limit in _texts(run):
        own = kept_length(model.st)
        kept = own if limit is None else limit if own is None else min(own, limit)
        if counted := _count(model, role, texts):
            found.append(of_counts(where, role, counted, kept))
    return found


def _of_pairs(run: Run, reranker: Reranker) -> Iterator[Lengths]:
    """Of the pairs of every source: query and document together, as they are read."""
    own = kept_length(reranker.st)
    for source in run.sources:
        examples = source.get(_places(source.rows or 0))
        pairs = [(e.query, text) for e in examples for text in (*e.positives, *e.negatives)]
        some = [pairs[i] for i in _places(len(pairs))]
        if some:
            ids, _ = tokens.tokenize(reranker.st, [list(pair) for pair in some], "", WHOLE)
            yield of_counts(source.name, "pair", [len(row) for row in ids], own)


def of_counts(where: str, role: str, counts: Sequence[int], limit: int | None) -> Lengths:
    """A line from tokens per text."""
    tokens = np.array(counts)
    return Lengths(
        where=where,
        role=role,
        texts=len(tokens),
        median=int(np.quantile(tokens, 0.5, method="inverted_cdf")),
        long=int(np.quantile(tokens, 0.95, method="inverted_cdf")),
        longest=int(tokens.max()),
        limit=limit,
        cut=0.0 if limit is None else float((tokens > limit).mean()),
    )


def _texts(run: Run) -> Iterator[tuple[str, str, list[str], int | None]]:
    """(source or task, role, a sample of its texts, the task's own limit)."""
    for source in run.sources:
        rows = source.rows or 0  # a stream is not read twice
        examples = source.get(_places(rows))
        yield source.name, "query", [e.query for e in examples], None
        answers = [text for e in examples for text in (*e.positives, *e.negatives)]
        yield source.name, "document", [answers[i] for i in _places(len(answers))], None
    if run.recipe.eval.suite is None:
        return
    suite, data = run.measuring.data(run.recipe.eval.suite)
    for task, own in zip(suite.tasks, data, strict=True):
        for texts, role in tasks.inputs(own):
            distinct = list(dict.fromkeys(texts))
            yield task.name, role, [distinct[i] for i in _places(len(distinct))], task.max_length


def _places(count: int) -> list[int]:
    """Up to `SAMPLE` numbers below `count`, evenly spread."""
    return [i * count // min(SAMPLE, count) for i in range(min(SAMPLE, count))]


def _count(model: Encoder, role: str, texts: Sequence[str]) -> list[int]:
    prompt = model.prompt(role)
    if not texts:
        return []
    if static.is_static(model.st):
        return [len(row) for row in tokens.tokenize(model.st, texts, prompt)[0]]
    ids = model.st.tokenizer([prompt + text for text in texts], truncation=False, verbose=False)["input_ids"]
    return [len(row) for row in ids]
