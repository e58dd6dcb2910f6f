"""One set of answers, the same questions in several languages: found everywhere, and at the same rank?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedkit.errors import DataError
from embedkit.evaluation import similarity
from embedkit.evaluation.content import Texts, digest_of, label_of, rows, texts_of
from embedkit.evaluation.files import column, text_column
from embedkit.evaluation.kinds.base import Measured, means
from embedkit.evaluation.ranking import Relevant, rank_relevant, tie_order
from embedkit.evaluation.side import Side
from embedkit.foreign.quoting import listed, quoted
from embedkit.recipe.kinds import ConsistencyTask


@dataclass(frozen=True)
class Parallel:
    """Questions in several languages.

    Attributes:
        languages: names.
        queries: for each language the question of every item.
        answers: all different answers.
        right: for each item the places of its answers.
        digest: content hash.
    """

    languages: tuple[str, ...]
    queries: list[list[str]]
    answers: list[str]
    right: list[list[int]]
    digest: str

    @property
    def texts(self) -> Texts:
        """Answers, then the questions of all languages."""
        return [(self.answers, "document"), ([query for own in self.queries for query in own], "query")]


def read(task: ConsistencyTask) -> Parallel:
    """Read the files.

    Raises:
        DataError: a wrong row; an item twice in a language, with other answers there, or missing; fewer than two
            languages; or an item for which every answer is right.
    """
    names = [task.language, task.query, task.answer, *([task.item] if task.item is not None else [])]
    asked: dict[str, dict[str, str]] = {}
    answers: dict[str, int] = {}
    right: dict[str, list[int]] = {}
    where: dict[str, str] = {}
    for row in rows(task.files, names):
        language = label_of(column(row, task.language), task.language, row)
        query = text_column(row, task.query)
        own = list(dict.fromkeys(texts_of(row, task.answer)))
        item = own[0] if task.item is None else label_of(column(row, task.item), task.item, row)
        places = sorted(answers.setdefault(text, len(answers)) for text in own)
        if right.setdefault(item, places) != places:
            what = f"item {quoted(item)} has other answers here than at {where[item]}"
            raise DataError(what, row[0], "give an item the same answers in every language")
        where.setdefault(item, row[0])
        if item in asked.setdefault(language, {}):
            raise DataError(f"item {quoted(item)} is asked twice in {quoted(language)}", row[0], "keep one row")
        asked[language][item] = query
    _check(task, asked, right, len(answers))
    queries = [[own[item] for item in right] for own in asked.values()]
    found: list[object] = [*answers, *right.values()]
    digest = digest_of(dict(zip(asked, queries, strict=True)), {"answer": found})
    return Parallel(tuple(asked), queries, list(answers), list(right.values()), digest)


def _check(task: ConsistencyTask, asked: dict[str, dict[str, str]], right: dict[str, list[int]], answers: int) -> None:
    files = ", ".join(task.files)
    if len(asked) < 2:
        what = f"all questions are in one language, {quoted(next(iter(asked)))}"
        raise DataError(what, files, "give the same items in several, or name their column: `language: ...`")
    for language, own in asked.items():
        if missing := [item for item in right if item not in own]:
            what = f"{len(missing)} items are not asked in {quoted(language)}: {listed(missing)}"
            raise DataError(what, files, "add these rows, or remove the items from the other languages")
    for item, places in right.items():
        if len(places) == answers:
            what = f"item {quoted(item)}: every answer is right, nothing can be ranked"
            raise DataError(what, files, "give items with other answers")


def measure(side: Side, task: ConsistencyTask, data: Parallel) -> Measured:
    """Recall and MRR over the languages, and how the ranks differ between them; an item is a question."""
    (documents, document_role), (queries, query_role) = data.texts
    texts, text_of = side.encode(documents, document_role)
    asked, query_of = side.encode(queries, query_role)
    name = similarity.chosen(task.similarity, side.encoder)
    texts, asked = similarity.prepared(name, texts), similarity.prepared(name, asked)
    relevant = [Relevant(np.array(places), np.ones(len(places))) for places in data.right] * len(data.languages)
    order = tie_order([f"d{i}" for i in range(len(documents))])
    between = similarity.between(name)
    rankings = rank_relevant(asked[query_of], texts, text_of, relevant, order, similarity=between)
    ranks = np.array([ranking.rank[0] for ranking in rankings]).reshape(len(data.languages), -1)
    units = {
        **{f"recall@{k}": (ranks <= k).mean(axis=0) for k in (1, 10)},
        "mrr": (1 / ranks).mean(axis=0),
        **rank_spread(ranks),
    }
    first = (ranks == 1).mean(axis=1)
    details = {
        "items": ranks.shape[1],
        "answers": len(documents),
        "languages": dict(zip(data.languages, (100 * first).tolist(), strict=True)),
        "similarity": name,
    }
    metrics = {**means(units), "rank_variance_median": float(np.median(units["rank_variance"]))}
    return Measured(metrics, units, details)


def rank_spread(ranks: np.ndarray | Sequence[Sequence[int]]) -> dict[str, np.ndarray]:
    """How far the ranks of an item lie apart, [items]: variance and standard deviation over the languages.

    ``MRV = mean_i Var_l(r_li)`` (1-to-K, arXiv 2406.18254), with the number of languages as divisor. The authors' code
    gives the mean of the standard deviations under that name.

    Args:
        ranks: [languages, items] of the right answer.
    """
    found = np.asarray(ranks, np.float64)
    return {"rank_variance": found.var(axis=0), "rank_std": found.std(axis=0)}
