"""The kinds of data that objectives are compared on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from benchmarks.objectives import data
from benchmarks.objectives.data import Given, Kind

_STS = "Spearman's correlation of the cosine, mean of STS-B test and SICK test"
_FOUND = "mean average precision of finding the texts of the query's class among texts that were not trained on"
_PAIRS = [{"type": "sts", "name": "STS-B dev", "files": ["dev.tsv"]}]
_TEST_PAIRS = [
    {"type": "sts", "name": "STS-B", "files": ["test-stsb.tsv"]},
    {"type": "sts", "name": "SICK-R", "files": ["test-sick.tsv"]},
]


def _search(part: str, metric: str) -> list[dict[str, object]]:
    return [{"type": "retrieval", "name": part, "folder": part, "split": "test", "metric": metric, "ks": [1, 10]}]


def _labelled(name: str, title: str, what: str, source: object) -> Kind:
    return Kind(
        name=name,
        shape="labels",
        title=title,
        what=what,
        train="train.tsv",
        roles={"query": "text", "label": "label"},
        has=frozenset({"query", "label"}),
        metric=_FOUND,
        make=data.labelled(source),  # type: ignore[arg-type]
        dev=_search("dev", "map"),
        test=_search("test", "map"),
    )


def _retrieval(name: str, title: str, what: str, make: Callable[[Path, Given], None]) -> Kind:
    return Kind(
        name=name,
        shape="retrieval",
        title=title,
        what=what,
        train="train.parquet",
        roles={},
        has=frozenset({"query", "positive", "negative"}),
        metric="nDCG@10 among the documents that are kept",
        make=make,
        dev=_search("dev", "ndcg@10"),
        test=_search("test", "ndcg@10"),
        share=0.5,
        negatives=2,
    )


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            name="graded",
            shape="graded",
            title="Graded pairs",
            what="STS-B train, scores brought to 0..1; the rate is chosen on STS-B dev",
            train="train.tsv",
            roles={"query": "sentence1", "positive": "sentence2", "score": "score"},
            has=frozenset({"query", "positive", "score"}),
            metric=_STS,
            make=data.graded,
            dev=_PAIRS,
            test=_TEST_PAIRS,
        ),
        _labelled(
            "banking77",
            "Labelled sentences: Banking77",
            "Banking77, every fourth intent; dev queries and all that is searched are held out of train",
            data.banking77,
        ),
        Kind(
            name="unlabelled",
            shape="unlabelled",
            title="Unlabelled sentences",
            what="sentences of English Wikipedia, each its own positive under another dropout; the rate is chosen on "
            "STS-B dev",
            train="train.txt",
            roles={},
            has=frozenset({"query", "positive"}),
            metric=_STS,
            make=data.unlabelled,
            dev=_PAIRS,
            test=_TEST_PAIRS,
        ),
        _retrieval(
            "scifact",
            "Queries, documents and hard negatives: SciFact",
            "SciFact train, two hard negatives per query found once by the base; dev queries are held out of "
            "train, and test queries look among all relevant documents and others drawn by chance",
            data.scifact,
        ),
        _labelled(
            "trec",
            "Labelled sentences: TREC",
            "TREC question types, 6 classes; dev queries and all that is searched are held out of train",
            data.trec,
        ),
        _retrieval(
            "pydocs",
            "Queries, documents and hard negatives: docstrings",
            "summaries of docstrings ask for the rest of them, two hard negatives per query found once by the base; "
            "scikit-learn is tested on and networkx chooses the rate, neither is trained on, and queries look among "
            "all relevant documents and others drawn by chance",
            data.pydocs,
        ),
    )
}
"""In the order in which they are measured."""
