"""A choice among near texts: whether the right one is the most similar (ARO, arXiv 2210.01936)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embedkit.errors import DataError
from embedkit.evaluation import similarity
from embedkit.evaluation.content import Texts, digest_of, rows, texts_of
from embedkit.evaluation.files import text_column
from embedkit.evaluation.kinds.base import Measured, means
from embedkit.evaluation.noise import steady
from embedkit.evaluation.side import Side
from embedkit.foreign.quoting import quoted
from embedkit.recipe.kinds import ChoiceTask
from embedkit.types import Groups


@dataclass(frozen=True)
class Offered:
    """Queries with what they choose from.

    Attributes:
        queries: texts.
        options: of each query, the right text first.
        digest: content hash.
        groups: of the queries, where the task asks for some.
    """

    queries: list[str]
    options: list[list[str]]
    digest: str
    groups: Groups | None = None

    @property
    def texts(self) -> Texts:
        """Options of all queries, and the queries."""
        return [([text for own in self.options for text in own], "query"), (self.queries, "query")]


def read(task: ChoiceTask) -> Offered:
    """Read the files. A wrong text that is given twice counts once.

    Raises:
        DataError: a wrong row, or a text that is right and wrong.
    """
    queries, options = [], []
    for row in rows(task.files, (task.query, task.right, task.wrong)):
        right = text_column(row, task.right)
        wrong = list(dict.fromkeys(texts_of(row, task.wrong)))
        if right in wrong:
            raise DataError(f"{quoted(right)} is both right and wrong", row[0], "remove it from the wrong texts")
        queries.append(text_column(row, task.query))
        options.append([right, *wrong])
    return Offered(queries, options, digest_of({"query": queries, "options": options}))


def measure(side: Side, task: ChoiceTask, data: Offered) -> Measured:
    """Share of the queries whose right text is the most similar one; an item is a query."""
    (offered, role), (queries, query_role) = data.texts
    texts, text_of = side.encode(offered, role)
    asked, query_of = side.encode(queries, query_role)
    name = similarity.chosen(task.similarity, side.encoder)
    texts, asked = similarity.prepared(name, texts), similarity.prepared(name, asked)
    sizes = np.array([len(own) for own in data.options])
    scores = steady(similarity.paired(name, asked[np.repeat(query_of, sizes)], texts[text_of]))
    margin = np.array([right_lead(own, 0) for own in np.split(scores, sizes.cumsum()[:-1])])
    units = {"accuracy": right_chosen(margin, task.ties == "right"), "margin": margin}
    details = {
        "items": len(queries),
        "options": int(sizes.sum()),
        "chance": 100 * float((1 / sizes).mean()),
        "tied": int((margin == 0).sum()),
        "similarity": name,
    }
    return Measured(means(units), units, details)


def right_lead(scores: np.ndarray, right: int) -> float:
    """How much more similar the right option is than the most similar wrong one.

    Args:
        scores: [K] of the options of one query, K > 1.
        right: place of the right one.
    """
    return float(scores[right] - np.delete(scores, right).max())


def right_chosen(lead: np.ndarray, ties: bool) -> np.ndarray:
    """1 where the right option is chosen, else 0, [n] float64.

    ARO's code takes the first of equally similar options: a tie is right where the right option stands first (its
    sets of word order), and wrong where it stands last (its sets of relations and attributes).

    Args:
        lead: [n], see `right_lead`.
        ties: whether a lead of 0 is right.
    """
    return (lead >= 0 if ties else lead > 0).astype(np.float64)
