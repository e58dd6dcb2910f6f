"""Training, dev and test files of every kind of data, cut from a folder of known sets, always in the same way.

Rows are drawn with a fixed seed that has nothing to do with the seeds of the trainings; what is tested is never
trained on, and what chooses a learning rate is neither.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.errors import DataError

Line = dict[str, str]
SEED = 0
DOCUMENT = 400
"""Letters of a document that are kept: more than the tokens of any training here."""


@dataclass(frozen=True)
class Sizes:
    """How much of each set is used.

    Attributes:
        train: rows of a training file at most.
        dev, test: pairs, or queries, at most.
        documents: what they are looked for among, at most.
        classes: of a labelled set, at most.
    """

    train: int = 4000
    dev: int = 300
    test: int = 1000
    documents: int = 500
    classes: int = 20


@dataclass(frozen=True)
class Given:
    """What a kind is made from.

    Attributes:
        data: the folder of sets.
        sizes: how much of them.
        base: the encoder, with which hard negatives are found.
        length: tokens kept.
    """

    data: Path
    sizes: Sizes
    base: str
    length: int


@dataclass(frozen=True)
class Kind:
    """One kind of data.

    Attributes:
        name: in folders and on the command line.
        shape: its part of the table of objectives.
        title: on the page.
        what: of what sets it is made, in a sentence.
        train: file of the training rows.
        roles: role -> column of that file; empty where columns are named as roles.
        has: the roles that rows have, views included.
        metric: the tests' main number, in words.
        share: rows per update, as a share of the comparison's batch.
        negatives: hard negatives of a row.
        make: writes the files into a folder.
        dev, test: tasks of a suite; files and folders are below that folder.
    """

    name: str
    shape: str
    title: str
    what: str
    train: str
    roles: Mapping[str, str]
    has: frozenset[str]
    metric: str
    make: Callable[[Path, Given], None]
    dev: Sequence[Mapping[str, Any]]
    test: Sequence[Mapping[str, Any]]
    share: float = 1.0
    negatives: int = 0


def table(path: Path) -> list[Line]:
    """The lines of a TSV file without quoting.

    Raises:
        DataError: it is not there.
    """
    if not path.is_file():
        raise DataError("no such file", str(path), "give the folder of the sets with --data")
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def drawn(lines: Sequence[Any], most: int, tag: str) -> list[Any]:
    """At most so many of them, by chance and in random order; the same for the same `tag`."""
    rng = np.random.default_rng([SEED, int(hashlib.sha256(tag.encode()).hexdigest()[:8], 16)])
    return [lines[place] for place in rng.permutation(len(lines))[:most]]


def write(path: Path, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join("\t".join(line) for line in [columns, *lines])
    path.write_text(text + "\n", encoding="utf-8")


# Graded pairs, which also test what was trained on text alone ---------------------------------------------------


def _pairs(folder: Path, given: Given) -> None:
    sizes = given.sizes
    for name, source, most in (
        ("dev", "STSB-dev", sizes.dev),
        ("test-stsb", "STSB-test", sizes.test),
        ("test-sick", "SICK-test", sizes.test),
    ):
        lines = drawn(table(given.data / "sts" / f"{source}.tsv"), most, source)
        write(folder / f"{name}.tsv", COLUMNS, [[line[c] for c in COLUMNS] for line in lines])


def graded(folder: Path, given: Given) -> None:
    """STS-B train, its scores from 0 to 1."""
    _pairs(folder, given)
    lines = drawn(table(given.data / "sts" / "STSB-train.tsv"), given.sizes.train, "graded")
    rows = [[line["sentence1"], line["sentence2"], f"{float(line['score']) / 5:.4f}"] for line in lines]
    write(folder / "train.tsv", COLUMNS, rows)


def unlabelled(folder: Path, given: Given) -> None:
    """The first sentences of a text in random order."""
    _pairs(folder, given)
    path = given.data / "unlabeled" / "wiki_sentences.txt"
    if not path.is_file():
        raise DataError("no such file", str(path), "give the folder of the sets with --data")
    with path.open(encoding="utf-8") as file:
        lines = [line.strip() for line, _ in zip(file, range(given.sizes.train), strict=False)]
    (folder / "train.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


COLUMNS = ("sentence1", "sentence2", "score")

# Labelled texts: texts of one class are to find each other ------------------------------------------------------


def labelled(source: Callable[[Path], tuple[list[Line], list[Line]]]) -> Callable[[Path, Given], None]:
    """Makes the files of a labelled set; `source` reads its lines for training and for testing."""

    def make(folder: Path, given: Given) -> None:
        sizes = given.sizes
        train, test = source(given.data)
        names = sorted({line["label"] for line in train})
        kept = names[:: -(-len(names) // sizes.classes)]
        train, test = ([line for line in lines if line["label"] in kept] for lines in (train, test))
        train, test = drawn(train, len(train), "labels train"), drawn(test, len(test), "labels test")
        held = sizes.dev + 2 * sizes.documents  # queries to choose by, and what is searched
        if len(train) <= held:
            raise DataError(f"{len(train)} labelled texts, {held} of them held out", str(given.data), "hold out fewer")
        dev, searched, train = train[: sizes.dev], train[sizes.dev : held], train[held : held + sizes.train]
        _finding(folder / "dev", dev, searched[: sizes.documents])
        _finding(folder / "test", test[: sizes.test], searched[sizes.documents :])
        write(folder / "train.tsv", ("label", "text", "partner"), _partners(train))

    return make


def _finding(folder: Path, queries: Sequence[Line], documents: Sequence[Line]) -> None:
    """A BEIR folder in which a document is relevant to the queries of its class."""
    classes = {line["label"] for line in documents}
    asked = [line for line in queries if line["label"] in classes]
    found = [
        (f"q{i}", f"d{j}") for i, q in enumerate(asked) for j, d in enumerate(documents) if q["label"] == d["label"]
    ]
    beir(
        folder,
        {f"q{i}": line["text"] for i, line in enumerate(asked)},
        {f"d{j}": line["text"] for j, line in enumerate(documents)},
        found,
    )


def _partners(lines: Sequence[Line]) -> list[list[str]]:
    """Each text with another of its class, by chance; texts that are alone in theirs are left out."""
    rng = np.random.default_rng([SEED, len(lines)])
    by_class: dict[str, list[int]] = {}
    for place, line in enumerate(lines):
        by_class.setdefault(line["label"], []).append(place)
    rows = []
    for place, line in enumerate(lines):
        others = [other for other in by_class[line["label"]] if other != place]
        if others:
            rows.append([line["label"], line["text"], lines[int(rng.choice(others))]["text"]])
    return rows


def banking77(data: Path) -> tuple[list[Line], list[Line]]:
    return tuple(table(data / "classification" / "banking77" / f"{part}.tsv") for part in ("train", "test"))  # type: ignore[return-value]


def trec(data: Path) -> tuple[list[Line], list[Line]]:
    return tuple(table(data / "classification" / f"trec-{part}.tsv") for part in ("train", "test"))  # type: ignore[return-value]


# Queries, documents and hard negatives --------------------------------------------------------------------------


def beir(
    folder: Path, queries: Mapping[str, str], documents: Mapping[str, str], relevant: Sequence[tuple[str, str]]
) -> None:
    """Write a folder in BEIR's layout, with the judgements as split ``test``."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, texts in (("queries", queries), ("corpus", documents)):
        lines = [json.dumps({"_id": key, "text": text}, ensure_ascii=False) for key, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write(folder / "qrels" / "test.tsv", ("query-id", "corpus-id", "score"), [(q, d, "1") for q, d in relevant])


def scifact(folder: Path, given: Given) -> None:
    """SciFact: dev queries are held out of its train split; hard negatives are found once, by the base."""
    place, sizes = given.data / "retrieval" / "scifact", given.sizes
    queries, documents = _texts(place / "queries.jsonl"), _texts(place / "corpus.jsonl")
    found = {split: _relevant(place / "qrels" / f"{split}.tsv") for split in ("train", "test")}
    ids = drawn(sorted(found["train"]), len(found["train"]), "scifact dev")
    dev, train = ids[: sizes.dev], ids[sizes.dev :]
    for name, judged in (
        ("dev", {q: found["train"][q] for q in dev}),
        ("test", {q: found["test"][q] for q in drawn(sorted(found["test"]), sizes.test, "scifact test")}),
        ("pool", {q: found["train"][q] for q in train}),
    ):
        searched(folder / name, queries, documents, judged, sizes.documents)
    mined(folder, given)


def pydocs(folder: Path, given: Given) -> None:
    """Docstrings of installed packages: whole ones are tested on, another one chooses the rate; negatives as above."""
    from embedkit.data.pydocs import load_pydocs
    from embedkit.recipe.pydocs import PydocsSource

    corpus, sizes = load_pydocs(PydocsSource()), given.sizes
    for name, held, most in (("dev", corpus.dev, sizes.dev), ("test", corpus.test, sizes.test)):
        asked = drawn(sorted(held.qrels), most, f"pydocs {name}")
        searched(folder / name, held.queries, held.corpus, {q: list(held.qrels[q]) for q in asked}, sizes.documents)
    pool = drawn(corpus.train, sizes.train, "pydocs pool")
    documents = {text: f"d{i}" for i, text in enumerate(dict.fromkeys(d for row in pool for d in row.positives))}
    searched(
        folder / "pool",
        {f"q{i}": row.query for i, row in enumerate(pool)},
        {key: text for text, key in documents.items()},
        {f"q{i}": [documents[d] for d in row.positives] for i, row in enumerate(pool)},
        sizes.documents,
    )
    mined(folder, given)


def searched(
    folder: Path,
    queries: Mapping[str, str],
    documents: Mapping[str, str],
    judged: Mapping[str, Sequence[str]],
    most: int,
) -> None:
    """The judged queries, all their documents, and others by chance until there are `most`."""
    wanted = list(dict.fromkeys(d for ids in judged.values() for d in ids))
    rest = drawn(sorted(set(documents) - set(wanted)), len(documents), folder.name)
    kept = [*wanted, *rest[: max(0, most - len(wanted))]]
    pairs = [(q, d) for q, ids in judged.items() for d in ids]
    beir(folder, {q: queries[q] for q in judged}, {d: documents[d][:DOCUMENT] for d in kept}, pairs)


def mined(folder: Path, given: Given) -> None:
    """``train.parquet``: the queries of ``pool`` with two hard negatives each, found by the base."""
    from embedkit import mine

    mine(
        given.base,
        out=folder / "train.parquet",
        beir=folder / "pool",
        split="test",
        store=folder / "vectors",
        max_length=given.length,
        device="cpu",
        overwrite=True,
        say=lambda line: None,
        progress=False,
        depth=30,
        keep=2,
        filters=("rank=3:",),
    )


def _texts(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise DataError("no such file", str(path), "give the folder of the sets with --data")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]
    return {row["_id"]: f"{row.get('title', '')} {row['text']}".strip()[:DOCUMENT] for row in rows}


def _relevant(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in table(path):
        if float(line["score"]) > 0:
            found.setdefault(line["query-id"], []).append(line["corpus-id"])
    return found
