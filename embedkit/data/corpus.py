"""From docstrings to a training set and two held-out retrieval tasks that share no text with it."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from embedkit.data.harvest import Docstring, bare
from embedkit.data.text import text_id
from embedkit.types import Example, RetrievalData

SHARED_RESTS = 3
"""A rest that this many different summaries share says nothing about any of them."""
MOST_POSITIVES = 8
"""A summary with more different rests than this is a phrase ("Fit the model."), not a description."""
SHINGLE = 13
"""Words in a row that count as copied text, as in the decontamination of GPT-3's training set (arXiv 2005.14165)."""
COPIED = 0.5
"""Share of its shingles found in held-out text above which a training text is dropped."""

_BOILERPLATE = re.compile(
    r"^(\.\. )?\W*(deprecated|alias (for|of|to)|see (also )?:?|adapted from|copied from|todo|auto-?generated|"
    r"this (function|method|class|module|file) (is|was|has been) (deprecated|auto)|copyright|licensed? )",
    re.IGNORECASE,
)


@dataclass
class Group:
    """One query and the documents that answer it, in order of appearance."""

    query: str
    documents: dict[str, str] = field(default_factory=dict)  # document -> origin

    @property
    def origin(self) -> str:
        """The dotted name of the first document."""
        return next(iter(self.documents.values()))


@dataclass
class Split:
    """The groups of some packages, with the pairs left out by reason."""

    groups: list[Group]
    dropped: Counter[str]

    @property
    def pairs(self) -> int:
        """Distinct (query, document) pairs."""
        return sum(len(group.documents) for group in self.groups)

    def origins(self) -> Iterator[str]:
        """The dotted name of every pair."""
        return (origin for group in self.groups for origin in group.documents.values())


def build_split(docstrings: Iterable[Docstring], min_words: int, max_words: int) -> Split:
    """Clean, deduplicate and group.

    Summaries that differ only in case and punctuation are one query; its rests are its documents. A rest under
    two queries stays a document of both.

    Args:
        docstrings: in a fixed order; the first spelling of a summary is kept.
        min_words: shortest query and document.
        max_words: documents are cut here, queries longer than this are dropped.
    """
    dropped: Counter[str] = Counter()
    groups: dict[str, Group] = {}
    seen: dict[str, str] = {}
    for origin, summary, rest in docstrings:
        words = rest.split()
        key = bare(summary)
        if min(len(key.split()), len(words)) < min_words:
            dropped["too short"] += 1
        elif len(summary.split()) > max_words:
            dropped["summary too long"] += 1
        elif _BOILERPLATE.match(summary):
            dropped["boilerplate"] += 1
        else:
            document = " ".join(words[:max_words])
            document = seen.setdefault(bare(document), document)
            group = groups.setdefault(key, Group(summary))
            if document in group.documents:
                dropped["duplicate"] += 1
            group.documents.setdefault(document, origin)
    return Split(_specific(list(groups.values()), dropped), dropped)


def _specific(groups: list[Group], dropped: Counter[str]) -> list[Group]:
    """Without documents that many queries share and queries that many documents answer."""
    queries = Counter(document for group in groups for document in group.documents)
    kept = []
    for group in groups:
        shared = [document for document in group.documents if queries[document] >= SHARED_RESTS]
        for document in shared:
            del group.documents[document]
        dropped[f"rest shared by {SHARED_RESTS} or more"] += len(shared)
        if len(group.documents) > MOST_POSITIVES:
            dropped[f"summary with more than {MOST_POSITIVES} rests"] += len(group.documents)
        elif group.documents:
            kept.append(group)
    return kept


def without_copies(train: Split, held_out: Iterable[Split]) -> Split:
    """`train` without any text of `held_out`: the same query or document (but for case and punctuation), or more
    than `COPIED` of its `SHINGLE`-word runs, taken one after the other, in held-out text."""
    exact: set[str] = set()
    runs: set[int] = set()
    for split in held_out:
        for group in split.groups:
            for text in (group.query, *group.documents):
                exact.add(bare(text))
                runs.update(_shingles(text, 1))

    def copied(text: str) -> bool:
        if bare(text) in exact:
            return True
        found = [run in runs for run in _shingles(text, SHINGLE)]
        return bool(found) and sum(found) > COPIED * len(found)

    dropped = Counter(train.dropped)
    kept = []
    for group in train.groups:
        clean = {} if copied(group.query) else {d: o for d, o in group.documents.items() if not copied(d)}
        dropped["text of a held-out package"] += len(group.documents) - len(clean)
        if clean:
            kept.append(Group(group.query, clean))
    return Split(kept, dropped)


def _shingles(text: str, stride: int) -> list[int]:
    words = bare(text).split()
    return [hash(tuple(words[i : i + SHINGLE])) for i in range(0, len(words) - SHINGLE + 1, stride)]


def examples(split: Split) -> list[Example]:
    """One example per query, with all its documents as positives, in an order that does not depend on packages:
    by text id, so that the first rows are a fair sample."""
    made = [
        Example(
            group.query,
            tuple(group.documents),
            known=tuple(text_id(document) for document in group.documents),
            origin=group.origin,
        )
        for group in split.groups
    ]
    return sorted(made, key=lambda example: (text_id(example.query), example.query))


def retrieval(split: Split) -> RetrievalData:
    """Every query against all documents of the split. Ids are the dotted names the texts come from."""
    ids: dict[str, str] = {}
    for group in split.groups:
        for document, origin in group.documents.items():
            ids.setdefault(document, origin)
    names = _distinct(ids)
    queries = _distinct({group.query: group.origin for group in split.groups})
    data = {
        "queries": {queries[group.query]: group.query for group in split.groups},
        "corpus": {names[document]: document for document in ids},
        "qrels": {queries[g.query]: {names[document]: 1 for document in g.documents} for g in split.groups},
    }
    return RetrievalData(**data, digest=digest(data))  # type: ignore[arg-type]


def _distinct(origins: dict[str, str]) -> dict[str, str]:
    """Origins as ids; where several texts share one (overloads), the later ones get a number."""
    count: dict[str, int] = defaultdict(int)
    names = {}
    for text, origin in origins.items():
        count[origin] += 1
        names[text] = origin if count[origin] == 1 else f"{origin}#{count[origin]}"
    return names


def digest(data: Any) -> str:
    """sha256 of plain data."""
    plain = json.dumps(data, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()
