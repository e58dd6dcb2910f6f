"""What `mine` searches and what for: a BEIR folder, files of queries and documents, titles, or a recipe's sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from embedkit.data.generated import as_asked
from embedkit.data.sources import LoadedSource, load_source
from embedkit.data.text import text_id
from embedkit.errors import DataError, RecipeError
from embedkit.evaluation.loading import load_beir
from embedkit.mining.assembly import WEIGHT, Assembly
from embedkit.mining.problem import Problem
from embedkit.mining.reading import Document, Rows
from embedkit.recipe.schema import Recipe
from embedkit.run.mining_queries import Write, check_form
from embedkit.types import Example

TITLE = "title"
TWO_GRADES = "judgements of a query text and a document that differ: the higher one counts"
_READ = 4096


@dataclass(frozen=True)
class Data:
    """Where queries and documents come from: `beir`, or `queries` and `corpus`, or a recipe's sources.

    Attributes:
        beir: a BEIR folder.
        split: of its judgements.
        queries: a file with columns `query` and, where they are known, `positive`; `query_id` or `id` if there is one;
            `weight` and `grade` of the positives, which the file of negatives keeps.
        corpus: a file with columns `text` and, if there are any, `title`, `_id` or `id`. None: the positives.
        queries_from: ``title``: the queries are the titles of the corpus, each answered by its own text.
            ``synth:MODEL,...``: a language model writes them (`embedkit.run.mining_queries`).
        skip: leave bad rows out and count them.
    """

    beir: Path | None = None
    split: str = "train"
    queries: str | Path | None = None
    corpus: str | Path | None = None
    queries_from: str | None = None
    skip: bool = False

    def check(self, recipe: bool) -> None:
        """Refuse what does not go together.

        Raises:
            RecipeError: no origin of queries, or several.
        """
        given = {
            "--beir": self.beir is not None,
            "--queries": self.queries is not None,
            "--queries-from": self.queries_from is not None,
            "--recipe": recipe,
        }
        named = [name for name, there in given.items() if there]
        if len(named) != 1:
            what = f"{' and '.join(named)} both give queries" if named else "nothing gives queries"
            raise RecipeError(what, "mine", f"give one of {', '.join(given)}")
        if self.corpus is not None and named[0] in ("--beir", "--recipe"):
            what = f"{named[0]} brings its own corpus" + (": mining.corpus" if recipe else "")
            raise RecipeError(what, "--corpus", "leave it out, or give --queries instead")
        if self.queries_from is not None:
            check_form(self.queries_from, TITLE)
            if self.corpus is None:
                raise RecipeError("queries are made of a corpus", "--queries-from", "give --corpus FILE")


@dataclass(frozen=True)
class Gathered:
    """A problem with what was done to get it.

    Attributes:
        problem: queries and documents.
        left_out: rows that are not used, by reason.
        notes: what was done to the data, by kind.
        remarks: what is odd about rows that are used.
        ordered: whether queries and documents each stand in the order of their file, one for every row.
    """

    problem: Problem
    left_out: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    ordered: tuple[bool, bool] = (False, False)


def gather(data: Data, recipe: Recipe | None = None, *, write: Write | None = None, progress: bool = False) -> Gathered:
    """Read queries and documents.

    Args:
        data: where from.
        recipe: its sources, where `data` names nothing.
        write: writes queries for documents, where `data` asks for that.
        progress: show bars.

    Raises:
        RecipeError: see `Data.check`.
        DataError: a file is missing, empty, or has bad rows; ids repeat; a source has no queries with positives.
    """
    data.check(recipe is not None)
    if data.beir is not None:
        return _beir(data.beir, data.split)
    if recipe is not None:
        return _sources(recipe, data.skip, progress)
    return _files(data, progress) if write is None else _synthetic(data, write, progress)


def _synthetic(data: Data, write: Write, progress: bool) -> Gathered:
    """The documents of a corpus, each the answer of the query that was written for it."""
    assembly, rows = Assembly(), Rows(skip=data.skip)
    assert data.corpus is not None
    documents = list(rows.documents(data.corpus, progress=progress))
    written = write([document.whole for document in documents])
    for document in documents:
        query = written.queries.get(text_id(document.whole))
        assembly.document(document.whole, document.name, document.where, answers=() if query is None else [query])
    assembly.notes.update(written.dropped)
    problem = assembly.finish()
    ordered = (False, rows.stands_for(problem.documents))
    return Gathered(problem, dict(rows.bad.by_reason), dict(+assembly.notes), tuple(rows.bad.remarks), ordered)


def _beir(folder: Path, split: str) -> Gathered:
    """Every judgement above 0 is a positive; documents without text, which BEIR allows, are left out."""
    found = load_beir(folder, split)
    assembly, left_out = Assembly(), Counter[str]()
    answers: dict[str, dict[str, float]] = {}
    graded = any(gain > 0 and gain != 1 for judged in found.qrels.values() for gain in judged.values())
    for name, text in found.queries.items():
        judged = [document for document, gain in found.qrels[name].items() if gain > 0]
        readable = [document for document in judged if found.corpus[document]]
        if not readable:
            left_out["queries whose positives have no text"] += 1
            continue
        assembly.query(text, name=name, where=str(folder))
        for document in readable:
            gain, known = found.qrels[name][document], answers.setdefault(document, {})
            assembly.notes[TWO_GRADES] += text in known and known[text] != gain
            known[text] = max(gain, known.get(text, gain))
    for name, text in found.corpus.items():
        if text:
            own = answers.get(name, {})
            assembly.document(text, name, answers=own, grades=list(own.values()) if graded else None)
        else:
            left_out["documents without text"] += 1
    problem = assembly.finish()
    ordered = [
        len(mine) == len(all_) for mine, all_ in ((problem.queries, found.queries), (problem.documents, found.corpus))
    ]
    return Gathered(problem, dict(left_out), dict(+assembly.notes), ordered=(ordered[0], ordered[1]))


def _files(data: Data, progress: bool) -> Gathered:
    assembly = Assembly()
    read = [Rows(skip=data.skip), Rows(skip=data.skip)]
    if data.queries is not None:
        for query in read[0].queries(data.queries, progress=progress):
            assembly.query(query.text, query.positives, query.name, query.where, query.marks)
    if data.corpus is not None:
        titles = data.queries_from == TITLE
        for document in read[1].documents(data.corpus, titles=titles, progress=progress):
            if not titles:
                add_document(assembly, document)
            elif document.text:
                answers = [document.title] if document.title else []
                assembly.document(document.text, document.name, document.where, answers=answers)
                assembly.notes["documents without a title, which are no one's answer"] += not document.title
            else:
                assembly.notes["titles without a text, left out"] += 1
    elif not assembly.has_answers:
        raise DataError("no column `positive`, and no corpus", str(data.queries), "give --corpus FILE")
    left_out: Counter[str] = sum((Counter(rows.bad.by_reason) for rows in read), Counter())
    problem, remarks = assembly.finish(), tuple(line for rows in read for line in rows.bad.remarks)
    asking = read[1] if data.queries is None else read[0]
    ordered = (asking.stands_for(problem.queries), read[1].stands_for(problem.documents))
    return Gathered(problem, dict(left_out), dict(+assembly.notes), remarks, ordered)


def _sources(recipe: Recipe, skip: bool, progress: bool) -> Gathered:
    """Queries and positives of all sources; their documents are also the negatives, and the recipe's mining corpus."""
    assembly, left_out, remarks = Assembly(), Counter[str](), list[str]()
    weighted: dict[bool, str] = {}
    sources = [load_source(source, seed=recipe.train.seed, progress=progress) for source in recipe.data.sources]
    for loaded in as_asked(recipe.data, sources):
        if loaded.streaming or not {"query", "positive"} <= loaded.roles or "score" in loaded.roles:
            why = "a stream" if loaded.streaming else f"roles {', '.join(sorted(loaded.roles))}"
            remarks.append(f"{loaded.name}: not mined ({why})")
            continue
        weighted.setdefault(bool({"weight", "grade"} & loaded.roles), loaded.name)
        if len(weighted) == 2:
            what = f"{weighted[True]} has weights and {weighted[False]} has none: in one file they cannot be compared"
            raise DataError(what, "data.sources", "mine one after the other, or give every source weights")
        add_source(assembly, loaded, weigh=True)
        left_out.update(loaded.skipped)
        remarks += [f"{loaded.name}: {line}" for line in loaded.remarks]
    if not assembly.has_answers:
        what = "no source has queries and positives" + "".join(f"; {line}" for line in remarks)
        raise DataError(what, "data.sources", "name the columns in `roles: {query: COLUMN, positive: COLUMN}`")
    corpus = recipe.mining.corpus if recipe.mining else None
    rows = Rows(skip=skip)
    for document in rows.documents(corpus, progress=progress) if corpus is not None else ():
        add_document(assembly, document)
    left_out.update(rows.bad.by_reason)
    return Gathered(assembly.finish(), dict(left_out), dict(assembly.notes), (*remarks, *rows.bad.remarks))


def add_source(assembly: Assembly, source: LoadedSource, *, weigh: bool = False) -> None:
    """The queries and positives of a source; its negatives are documents.

    Raises:
        DataError: the weights of its examples are wanted (`weigh`), and a pair has two.
    """
    for example in _examples(source):
        marks = {WEIGHT: example.weights} if weigh and example.weights else None
        assembly.query(example.query, example.positives, where=example.origin, marks=marks)
        assembly.want(example.negatives)


def add_document(assembly: Assembly, document: Document) -> None:
    """A document of a file, which is also that of its text without the title."""
    alone = document.text if document.title and document.text else None
    assembly.document(document.whole, document.name, document.where, alone)


def _examples(source: LoadedSource) -> Iterator[Example]:
    count = source.rows or 0
    for start in range(0, count, _READ):
        yield from source.get(range(start, min(count, start + _READ)))
