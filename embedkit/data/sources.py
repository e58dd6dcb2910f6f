"""A recipe's data sources as examples with ids, groups of positives and a content hash."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

import numpy as np

from embedkit.data.bad_rows import BadRows
from embedkit.data.origins import Origin, open_origin
from embedkit.data.replayed import NONE, ReplayedStream, replayed
from embedkit.data.roles import BadRow, Roles, RowParser, resolve_roles
from embedkit.data.stream import Stream
from embedkit.data.table import Classes, Place, TableBuilder, is_whole
from embedkit.data.text import text_id
from embedkit.errors import DataError
from embedkit.foreign.showing import shown
from embedkit.inputs.cures import Cures
from embedkit.inputs.records import PEEK
from embedkit.recipe.planning.contents import LOOK, Contents, look
from embedkit.recipe.schema import Source
from embedkit.terminal.progress import watched
from embedkit.types import Example

__all__ = ["LoadedSource", "load_source", "text_id"]

NAMED = 400
"""Characters of the longest name of a source."""


class Store(Protocol):
    """What holds the examples of a source."""

    def get(self, positions: Sequence[int]) -> list[Example]: ...


@dataclass
class LoadedSource:
    """A source, ready to give examples.

    Attributes:
        name: for logs.
        roles: the roles present: query, positive, negative, score, label, text, weight, grade, cluster, memory.
        rows: usable rows; None for a stream.
        digest: content hash: sha256 of the file's bytes (of the digests where there are several files), of the
            rows as read (Hub), of both ends of a streamed file, the id of a streamed Hub dataset.
        files: name and digest of each file it was read from.
        skipped: rows left out, by reason; grows while a stream is read.
        remarks: what is odd about rows that are used, in sentences; grows while a stream is read.
        ended: rows of a stream that ends within its first ones, see `load_source`; None elsewhere.
        max_negatives: the most negatives one example has; of a stream, among its first rows.
        streaming: whether it is a stream.
        unused: columns that have no role.
        clusters: [rows] the cluster of each row; None where they have none.
        made: how its rows were made of others, for the run's record; empty for rows as they were read.
        classes: what the classes are called, by their number; empty for a stream.
    """

    name: str
    roles: frozenset[str]
    rows: int | None
    digest: str
    max_negatives: int
    store: Store = field(repr=False)
    files: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    ended: int | None = None
    unused: tuple[str, ...] = ()
    clusters: np.ndarray | None = field(default=None, repr=False)
    made: dict[str, Any] = field(default_factory=dict, repr=False)
    classes: dict[int, str] = field(default_factory=dict, repr=False)

    def contents(self) -> Contents | None:
        """What its rows hold, for the plan; None for a stream, which would be read ahead, and for bare texts."""
        if self.rows is None or "text" in self.roles:
            return None
        blocks = (range(start, min(start + 1024, self.rows)) for start in range(0, min(self.rows, LOOK), 1024))
        examples = itertools.chain.from_iterable(map(self.get, blocks))
        return look((e.query, e.positives, e.scores) for e in examples)

    @property
    def streaming(self) -> bool:
        return self.rows is None

    def get(self, positions: Sequence[int]) -> list[Example]:
        """The examples at `positions`; increasing ones for a stream."""
        return self.store.get(positions)


def load_source(
    source: Source, *, seed: int = 0, progress: bool = False, peek: int = PEEK, cures: Cures | None = None
) -> LoadedSource:
    """Read a source, or open it as a stream.

    Args:
        source: the recipe's entry.
        seed: of a stream's shuffle.
        progress: show a bar when reading takes long.
        peek: rows of a stream that are read at once, to know what it gives.
        cures: advice for errors; None: that for a source of a recipe.

    Raises:
        DataError: it is missing or empty, has no column for a role, or has bad rows and does not skip them.
        RecipeError: ``roles:`` contradicts itself.
    """
    if source.pydocs is not None:
        return _pydocs(source, progress)
    cures = cures or Cures.of_source()
    origin = open_origin(source, cures)
    if not origin.columns:
        refuse_shapeless(origin, cures)
    roles = resolve_roles(origin.columns, source.roles, origin.where)
    reading = _Reading(source, origin, roles, cures)
    loaded = _stream(reading, seed, peek) if source.streaming else _table(reading, progress)
    loaded.name, loaded.files = shown(source.name or loaded.name, most=NAMED), origin.files
    used = set(roles.used)
    loaded.unused = tuple(c for c in origin.columns if c not in used)
    return loaded


def refuse_shapeless(origin: Origin, cures: Cures) -> None:
    """No row shows a column: say whether all are bad or there are none."""
    bad = BadRows(cures)
    for row in origin.rows([]):
        bad.add(str(row.place), row.reason or "no fields", row.lines)
    bad.refuse(origin.where, good=0)
    raise DataError("there are no rows", origin.where, "give data")


@dataclass(frozen=True)
class _Reading:
    """A source whose columns have roles."""

    source: Source
    origin: Origin
    roles: Roles
    cures: Cures

    def examples(
        self, bad: BadRows, label_code: Callable[[str], int], met: Callable[[], None], progress: bool = False
    ) -> Iterator[tuple[Place, Example]]:
        """The examples of one pass over the rows. `met` is called after each that went into `bad`."""
        parse = RowParser(
            self.roles,
            label_code,
            textual=self.origin.textual,
            grades=self.source.grades,
            label_sets=self.source.pairs is not None and self.source.pairs.multilabel,
        )
        rows = self.origin.rows(self.roles.used)
        for row in watched(rows, f"reading {self.origin.where}", "rows", show=progress):
            try:
                if row.values is None:
                    raise BadRow(row.reason)
                example = parse(row.values, "")
            except BadRow as problem:
                bad.add(str(row.place), str(problem), row.lines)
                met()
                continue
            if row.note:
                bad.note(str(row.place), row.note)
                met()
            yield row.place, example

    def none_usable(self, bad: BadRows) -> DataError:
        skipped = f"; skipped: {bad.by_reason}" if bad.counts else ""
        cure = f"{bad.cure(skipped=True)}, and check `roles:`" if bad.counts else "check the file and `roles:`"
        return DataError(f"there are no usable rows{skipped}", self.origin.where, cure)


def _table(reading: _Reading, progress: bool) -> LoadedSource:
    source, origin = reading.source, reading.origin
    builder, bad, classes = TableBuilder(), BadRows(reading.cures), Classes()
    sha = hashlib.sha256()
    for place, example in reading.examples(bad, classes.code, lambda: None, progress):
        if origin.digest is None:
            sha.update(repr(example).encode("utf-8"))
            if example.weights or example.cluster is not None:
                sha.update(repr((example.weights, example.cluster)).encode("utf-8"))
            if example.memory is not None:
                sha.update(repr(example.memory).encode("utf-8"))
        builder.add(example, place)
        if len(builder) == source.limit:
            break
    if source.on_bad_row == "error":
        bad.refuse(origin.where, good=len(builder))
    if not len(builder):
        raise reading.none_usable(bad)
    table, names = builder.finish(classes), dict(zip(classes.final().tolist(), classes.seen, strict=True))
    return LoadedSource(
        name=origin.where,
        roles=reading.roles.present,
        rows=len(table),
        digest=origin.digest or sha.hexdigest(),
        max_negatives=table.max_negatives,
        store=table,
        clusters=table.clusters,
        skipped=bad.by_reason,
        remarks=[*bad.remarks, *replayed(table.memory, table.labels, names, origin.where)],
        classes=names,
    )


def _stream(reading: _Reading, seed: int, peek: int) -> LoadedSource:
    source, where = reading.source, reading.origin.where
    skipped: dict[str, int] = {}
    remarks: list[str] = []
    latest = [BadRows(reading.cures)]
    marks = ReplayedStream(where) if "memory" in reading.roles.present else None

    def label_code(label: str) -> int:
        code = _hashed_label(label)
        return code if marks is None else marks.named(code, label)

    def one_pass() -> Iterator[Example]:
        bad = latest[0] = BadRows(reading.cures)

        def met() -> None:
            """The counts are those of the pass that saw the most."""
            if source.on_bad_row == "error":
                bad.refuse(where)
            if bad.counts.total() > sum(skipped.values()):
                skipped.clear()
                skipped.update(bad.by_reason)
            if len(bad.remarks) >= len(remarks):
                remarks[:] = bad.remarks

        for place, example in islice(reading.examples(bad, label_code, met), source.limit):
            if marks is not None:
                marks.see(example, str(place))
            known = tuple(text_id(text) for text in example.positives)
            yield replace(example, known=known, origin=str(place))
        if marks is not None and not marks.marked and NONE not in remarks:
            remarks.append(NONE)

    first = list(islice(one_pass(), peek))
    if not first:
        raise reading.none_usable(latest[0])
    return LoadedSource(
        name=where,
        roles=reading.roles.present,
        rows=None,
        digest=reading.origin.digest or where,
        max_negatives=max(len(example.negatives) for example in first),
        store=Stream(one_pass, source.shuffle_buffer, seed, where),
        skipped=skipped,
        remarks=remarks,
        ended=len(first) if len(first) < peek else None,
    )


def _hashed_label(label: str) -> int:
    """A stream cannot know all classes before it ends: a text that is no whole number gets its hash, 63 bits."""
    if is_whole(label):
        return int(label)
    return int.from_bytes(hashlib.blake2b(label.encode("utf-8"), digest_size=8).digest(), "big") >> 1


def _pydocs(source: Source, progress: bool) -> LoadedSource:
    from embedkit.data.pydocs import load_pydocs

    assert source.pydocs is not None
    corpus = load_pydocs(source.pydocs, progress=progress)
    builder = TableBuilder()
    for example in islice(corpus.train, source.limit):
        builder.add(example, Place(example.origin))
    table = builder.finish()
    return LoadedSource(
        name=shown(source.name or "pydocs", most=NAMED),
        roles=frozenset({"query", "positive"}),
        rows=len(table),
        digest=str(corpus.info["digest"]),
        max_negatives=0,
        store=table,
    )
