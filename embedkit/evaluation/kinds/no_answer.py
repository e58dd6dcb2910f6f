"""Queries that nothing answers: whether the best similarity tells them from the others (NoMIRACL, arXiv 2312.11361)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedkit.errors import DataError
from embedkit.evaluation import similarity
from embedkit.evaluation.content import Texts, digest_of
from embedkit.evaluation.kinds.base import Measured, means
from embedkit.evaluation.loading import beir_files, judgements, texts_by_id
from embedkit.evaluation.metrics import codes, pair_metrics
from embedkit.evaluation.noise import steady
from embedkit.evaluation.side import Side
from embedkit.foreign.quoting import quoted
from embedkit.recipe.kinds import NoAnswerTask


@dataclass(frozen=True)
class Asked:
    """Queries with the documents that were judged for them.

    Attributes:
        queries: texts of the dev queries, then of the test queries.
        dev: how many of them are dev queries.
        answered: [queries] whether a document is relevant.
        judged: for each query the places of its judged documents.
        documents: texts, all that are searched.
        whole: every query searches all documents.
        unjudged: queries of the files that nothing was judged for, and that are left out.
        digest: content hash.
    """

    queries: list[str]
    dev: int
    answered: np.ndarray
    judged: list[list[int]]
    documents: list[str]
    whole: bool
    unjudged: int
    digest: str

    @property
    def texts(self) -> Texts:
        """Documents and queries."""
        return [(self.documents, "document"), (self.queries, "query")]


def read(task: NoAnswerTask) -> Asked:
    """Read corpus, queries and both files of judgements.

    Raises:
        DataError: see `embedkit.evaluation.loading`; a query that is in both; or no query with, or none without a
            relevant document.
    """
    folder = Path(task.folder)
    corpus_file, query_file, _ = beir_files(folder, task.split)
    texts, corpus = texts_by_id(query_file, documents=False), texts_by_id(corpus_file, documents=True)
    splits = [_judged(beir_files(folder, split)[2], texts, corpus) for split in (task.dev, task.split)]
    if both := splits[0].keys() & splits[1].keys():
        what = f"query {quoted(min(both))} is in dev and test ({len(both)} are)"
        raise DataError(what, str(folder), "choose the threshold on other queries than those it is judged on")
    gains = [own for split in splits for own in split.values()]
    answered = np.array([any(gain > 0 for gain in own.values()) for own in gains])
    for name, own in ((task.dev, answered[: len(splits[0])]), (task.split, answered[len(splits[0]) :])):
        if own.all() or not own.any():
            lacks = "without" if own.all() else "with"
            what = f"no query {lacks} a relevant document: its rate is not defined"
            raise DataError(what, str(folder / "qrels" / f"{name}.tsv"), "judge some with 0 alone, and some above 0")
    used = {document for own in gains for document in own}
    documents = {d: text for d, text in corpus.items() if task.candidates == "corpus" or d in used}
    place = {document: i for i, document in enumerate(documents)}
    queries = [texts[query] for split in splits for query in split]
    judged = [[place[document] for document in own] for own in gains]
    digest = digest_of(
        {"query": queries, "judged": judged, "answered": answered.tolist(), "text": list(documents.values())},
        {"dev": [len(splits[0])], "candidates": [task.candidates]},
    )
    unjudged = len(texts) - len(queries)
    whole = task.candidates == "corpus"
    return Asked(queries, len(splits[0]), answered, judged, list(documents.values()), whole, unjudged, digest)


def _judged(file: Path, queries: dict[str, str], corpus: dict[str, str]) -> dict[str, dict[str, int]]:
    """Query -> document -> gain, of every query that something was judged for."""
    found: dict[str, dict[str, int]] = {}
    for query, document, gain, where in judgements(file):
        for key, known, what in ((query, queries, "queries"), (document, corpus, "documents")):
            if key not in known:
                raise DataError(f"judgement about {quoted(key)}, which no {what} have", where, "use matching files")
        found.setdefault(query, {})[document] = gain
    if not found:
        raise DataError("no judgements", str(file), "the file holds no more than a header")
    return found


def measure(side: Side, task: NoAnswerTask, data: Asked) -> Measured:
    """The rates at the threshold that is best on dev, over the test queries; an item is a query."""
    (documents, document_role), (queries, query_role) = data.texts
    found, text_of = side.encode(documents, document_role)
    asked, query_of = side.encode(queries, query_role)
    name = similarity.chosen(task.similarity, side.encoder)
    found, asked = similarity.prepared(name, found), similarity.prepared(name, asked)
    between = similarity.between(name)
    best = np.empty(len(queries))
    for i, own in enumerate(data.judged):
        rows = found if data.whole else found[text_of[own]]
        best[i] = between(asked[query_of[i]][None], rows)[0].max()
    best = steady(best)
    dev, test = slice(data.dev), slice(data.dev, None)
    threshold = best_threshold(best[dev], data.answered[dev])
    units = abstention(best[test], data.answered[test], threshold)
    details = {
        "items": len(queries) - data.dev,
        "without": int((~data.answered[test]).sum()),
        "dev": data.dev,
        "documents": len(documents),
        "candidates": task.candidates,
        "threshold": threshold,
        "similarity": name,
        "unjudged": data.unjudged,
    }
    auc = pair_metrics(codes(best[test]), data.answered[test].astype(int))["auc"]
    return Measured({**means(units), "auc": auc}, units, details)


def best_threshold(best: np.ndarray, answered: np.ndarray) -> float:
    """The threshold with the largest balanced accuracy: between two similarities, the lowest of equally good ones.

    Args:
        best: [n] similarity of the most similar document.
        answered: [n] whether a document is relevant.
    """
    values = np.unique(best)
    middle = (values[1:] + values[:-1]) / 2
    cuts = np.array([values[0], *middle, np.nextafter(values[-1], np.inf)])
    below = [np.searchsorted(np.sort(own), cuts) / len(own) for own in (best[answered], best[~answered])]
    return float(cuts[int(np.argmax(np.round(below[1] - below[0], 12)))])


def abstention(best: np.ndarray, answered: np.ndarray, threshold: float) -> dict[str, np.ndarray]:
    """Values of every query, whose means are the rates of a search that answers at or above a threshold.

    - ``hallucination_rate``: share of the queries without a relevant document that are answered all the same;
    - ``error_rate``: share of the others that are not;
    - ``balanced_accuracy`` = 1 - the mean of the two; ``coverage``: share of all queries that are answered.

    Args:
        best: [n] similarity of the most similar document.
        answered: [n] whether a document is relevant; some are, some are not.
        threshold: what is equal to it is answered.
    """
    answers = best >= threshold
    hallucination = among(answers, ~answered)
    error = among(~answers, answered)
    return {
        "balanced_accuracy": 1 - (hallucination + error) / 2,
        "hallucination_rate": hallucination,
        "error_rate": error,
        "coverage": answers.astype(np.float64),
    }


def answer_rates(answers: Sequence[bool | None], answerable: bool) -> dict[str, float]:
    """NoMIRACL's shares of what a language model answers to queries that are all of one of its two subsets.

    ``error_rate``: answered where nothing is relevant (the hallucination rate), or not answered where something is;
    ``accuracy``: the other way round; ``invalid_rate``: neither. The authors' code leaves the error rate out where no
    answer is right.

    Args:
        answers: whether a query is answered; None where what was said is neither an answer nor a refusal.
        answerable: whether a document is relevant, for all of the queries.

    Raises:
        DataError: no answers: their shares are not defined.
    """
    if not answers:
        raise DataError("no answers", "answers", "a rate needs one query at least")
    shares = {said: sum(answer is said for answer in answers) / len(answers) for said in (True, False, None)}
    return {"accuracy": shares[answerable], "error_rate": shares[not answerable], "invalid_rate": shares[None]}


def among(values: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Values of all items, [n], whose mean, and whose resamples to first order, are those of the mean over `members`.

    Args:
        values: [n].
        members: [n] which of them count.
    """
    mean = float(values[members].mean())
    return mean + np.where(members, values - mean, 0.0) * len(values) / members.sum()
