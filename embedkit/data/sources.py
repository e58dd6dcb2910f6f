"""A recipe's data sources as examples with ids, groups of positives and a content hash."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Protocol

from tqdm import tqdm

from embedkit.data.bad_rows import BadRows
from embedkit.data.origins import Origin, open_origin
from embedkit.data.readers import PEEK
from embedkit.data.roles import BadRow, Roles, RowParser, resolve_roles
from embedkit.data.stream import Stream
from embedkit.data.table import Classes, Place, TableBuilder, is_whole
from embedkit.data.text import text_id
from embedkit.errors import DataError
from embedkit.recipe.planning.contents import LOOK, Contents, look
from embedkit.recipe.schema import Source
from embedkit.types import Example

__all__ = ["LoadedSource", "load_source", "text_id"]

SLOW_SECONDS = 5.0
"""A progress bar shows when reading takes longer."""


class Store(Protocol):
    """What holds the examples of a source."""

    def get(self, positions: Sequence[int]) -> list[Example]: ...


@dataclass
class LoadedSource:
    """A source, ready to give examples.

    Attributes:
        name: for logs.
        roles: the roles present: query, positive, negative, score, label, text.
        rows: usable rows; None for a stream.
        digest: content hash: sha256 of the file's bytes (of the digests where there are several files), of the
            rows as read (Hub), of both ends of a streamed file, the id of a streamed Hub dataset.
        skipped: rows left out, by reason; grows while a stream is read.
        max_negatives: the most negatives one example has; of a stream, among its first rows.
        streaming: whether it is a stream.
        unused: columns that have no role.
        made: how its rows were made of others, for the run's record; empty for rows as they were read.
    """

    name: str
    roles: frozenset[str]
    rows: int | None
    digest: str
    max_negatives: int
    store: Store = field(repr=False)
    skipped: dict[str, int] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    made: dict[str, Any] = field(default_factory=dict, repr=False)

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


def load_source(source: Source, *, seed: int = 0, progress: bool = False) -> LoadedSource:
    """Read a source, or open it as a stream.

    Args:
        source: the recipe's entry.
        seed: of a stream's shuffle.
        progress: show a bar when reading takes longer than `SLOW_SECONDS`.

    Raises:
        DataError: it is missing or empty, has no column for a role, or has bad rows and does not skip them.
        RecipeError: ``roles:`` contradicts itself.
    """
    if source.pydocs is not None:
        return _pydocs(source, progress)
    origin = open_origin(source)
    if not origin.columns:
        _refuse_shapeless(origin)
    roles = resolve_roles(origin.columns, source.roles, origin.where)
    loaded = _stream(source, origin, roles, seed) if source.streaming else _table(source, origin, roles, progress)
    loaded.name = source.name or loaded.name
    loaded.unused = tuple(c for c in origin.columns if c not in roles.used)
    return loaded


def _refuse_shapeless(origin: Origin) -> None:
    """No row shows a column: say whether all are bad or there are none."""
    bad = BadRows()
    for place, _, reason in origin.rows([]):
        bad.add(str(place), reason or "no fields")
    bad.refuse(origin.where, good=0)
    raise DataError("there are no rows", origin.where, "give data")


def _table(source: Source, origin: Origin, roles: Roles, progress: bool) -> LoadedSource:
    builder, bad, classes = TableBuilder(), BadRows(), Classes()
    parse = RowParser(roles, classes.code, textual=origin.textual)
    sha = hashlib.sha256()
    rows = origin.rows(roles.used)
    for place, values, reason in tqdm(rows, origin.where, unit=" rows", delay=SLOW_SECONDS, disable=not progress):
        try:
            if values is None:
                raise BadRow(reason)
            example = parse(values, "")
        except BadRow as problem:
            bad.add(str(place), str(problem))
            continue
        if origin.digest is None:
            sha.update(repr(example).encode("utf-8"))
        builder.add(example, place)
        if len(builder) == source.limit:
            break
    if source.on_bad_row == "error":
        bad.refuse(origin.where, good=len(builder))
    if not len(builder):
        skipped = f"; skipped: {dict(bad.counts)}" if bad.counts else ""
        raise DataError(f"there are no usable rows{skipped}", origin.where, "check the file and `roles:`")
    table = builder.finish(classes)
    return LoadedSource(
        name=origin.where,
        roles=roles.present,
        rows=len(table),
        digest=origin.digest or sha.hexdigest(),
        max_negatives=table.max_negatives,
        store=table,
        skipped=dict(bad.counts),
    )


def _stream(source: Source, origin: Origin, roles: Roles, seed: int) -> LoadedSource:
    skipped: dict[str, int] = {}

    def one_pass() -> Iterator[Example]:
        bad, parse = BadRows(), RowParser(roles, _hashed_label, textual=origin.textual)
        rows = _good_rows(origin, roles, parse, bad, skipped, source.on_bad_row == "error")
        return islice(rows, source.limit)

    first = list(islice(one_pass(), PEEK))
    if not first:
        raise DataError("there are no usable rows", origin.where, "check the file and `roles:`")
    return LoadedSource(
        name=origin.where,
        roles=roles.present,
        rows=None,
        digest=origin.digest or origin.where,
        max_negatives=max(len(example.negatives) for example in first),
        store=Stream(one_pass, source.shuffle_buffer, seed, origin.where),
        skipped=skipped,
    )


def _good_rows(
    origin: Origin, roles: Roles, parse: RowParser, bad: BadRows, skipped: dict[str, int], strict: bool
) -> Iterator[Example]:
    """The examples of one pass. `skipped` gets the counts of the pass that saw the most."""
    for place, values, reason in origin.rows(roles.used):
        try:
            if values is None:
                raise BadRow(reason)
            example = parse(values, str(place))
        except BadRow as problem:
            bad.add(str(place), str(problem))
            if strict:
                bad.refuse(origin.where)
            if bad.counts.total() > sum(skipped.values()):
                skipped.clear()
                skipped.update(bad.counts)
            continue
        yield replace(example, known=tuple(text_id(text) for text in example.positives))


def _hashed_label(label: int | str) -> int:
    """A stream cannot know all classes before it ends: a text that is no whole number gets its hash."""
    return int(label) if isinstance(label, int) or is_whole(label) else text_id(label)


def _pydocs(source: Source, progress: bool) -> LoadedSource:
    from embedkit.data.pydocs import load_pydocs

    assert source.pydocs is not None
    corpus = load_pydocs(source.pydocs, progress=progress)
    builder = TableBuilder()
    for example in islice(corpus.train, source.limit):
        builder.add(example, Place(example.origin))
    table = builder.finish()
    return LoadedSource(
        name=source.name or "pydocs",
        roles=frozenset({"query", "positive"}),
        rows=len(table),
        digest=str(corpus.info["digest"]),
        max_negatives=0,
        store=table,
    )
