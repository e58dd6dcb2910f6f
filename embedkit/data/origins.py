"""Where rows come from: local files, a dataset on the Hub, or rows in the recipe; all read the same way."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from embedkit.data.table import Place
from embedkit.disk import paths
from embedkit.disk.files import sha256
from embedkit.errors import DataError
from embedkit.foreign import showing
from embedkit.foreign.quoting import cut, listed, quoted
from embedkit.inputs.cures import Cures
from embedkit.inputs.records import PEEK, columns_of, format_of, read
from embedkit.recipe.schema import Source


class Located(NamedTuple):
    """A row with its place: values by column, or the reason why there are none; `lines` and `note` as those of an
    `embedkit.inputs.rows.Record`."""

    place: Place
    values: dict[str, Any] | None
    reason: str = ""
    lines: int = 1
    note: str = ""


@dataclass(frozen=True)
class Origin:
    """A source before its columns have roles.

    Attributes:
        where: for messages.
        columns: column names; empty if no row tells.
        textual: numbers are written as text.
        rows: starts a pass over all rows; is told which columns matter.
        digest: content hash, or None if only the rows as read can tell.
        files: name and content hash of each file.
    """

    where: str
    columns: list[str]
    textual: bool
    rows: Callable[[list[str]], Iterator[Located]]
    digest: str | None = None
    files: dict[str, str] = field(default_factory=dict)


def open_origin(source: Source, cures: Cures) -> Origin:
    """The origin that `source` names; `pydocs` is not one of them.

    Args:
        source: the recipe's entry.
        cures: advice for errors about files.

    Raises:
        DataError: it is not there or cannot be read.
    """
    if source.path is not None:
        return _local(source, source.path, cures)
    if source.hub is not None:
        return _hub(source, source.hub)
    return _given(source.rows or ())


def find_files(pattern: str) -> tuple[Path, ...]:
    """The files of a path or glob pattern, settled or not, sorted.

    Raises:
        DataError: there is none.
    """
    found = paths.locate(pattern, "files")
    if found.places:
        return found.places
    folder = paths.locate(str(pattern), "folder", found.looked).place
    if folder is not None:
        refuse_saved(folder)
        raise DataError("is a folder", str(folder), f"name files in it, e.g. {pattern.rstrip('/')}/*.jsonl")
    looked = "" if paths.at_home(pattern).is_absolute() else f" (looked in {paths.words(found.looked)})"
    raise DataError("no such file", f"{cut(str(pattern))}{looked}", "check the path")


def refuse_saved(folder: Path) -> None:
    """Refuse what `datasets.save_to_disk` writes: Arrow files, which are no form of a source.

    Raises:
        DataError: with the lines that convert it.
    """
    several = (folder / "dataset_dict.json").is_file()
    if several or ((folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()):
        split = "['train']" if several else ""
        raise DataError(
            "a dataset written by `save_to_disk`",
            str(folder),
            f"convert it: datasets.load_from_disk({str(folder)!r}){split}.to_parquet('train.parquet'), then give "
            "`path: train.parquet`",
        )


def _local(source: Source, pattern: str, cures: Cures) -> Origin:
    files = find_files(pattern)
    forms = [format_of(file) if source.format == "auto" else source.format for file in files]
    folders = paths.locate(pattern, "files").looked
    shown = {file: _shown(file, folders) for file in files}
    columns = columns_of(files[0], forms[0], source.encoding, cures)

    def rows(used: list[str]) -> Iterator[Located]:
        for file, form in zip(files, forms, strict=True):
            if file != files[0] and form != "jsonl":
                _same_columns(shown[file], columns_of(file, form, source.encoding, cures), used, shown[files[0]])
            for r in read(file, form, source.encoding, used, cures):
                yield Located(Place(shown[file], r.line), r.values, r.reason, r.lines, r.note)

    textual = any(form in ("csv", "tsv") for form in forms)
    where = shown[files[0]] if len(files) == 1 else f"{showing.shown(pattern)} ({len(files)} files)"
    whole = not source.streaming
    digests = [_digest(file, whole) for file in files]
    named = dict(zip(shown.values(), digests, strict=True))
    return Origin(where, columns, textual, rows, _joined(digests, whole), named)


def _shown(file: Path, folders: Sequence[Path]) -> str:
    for base in folders:
        if file.is_relative_to(base):
            return showing.shown(file.relative_to(base))
    return showing.shown(file)


def _same_columns(file: str, columns: list[str], used: list[str], first: str) -> None:
    for name in used:
        if name not in columns:
            raise DataError(
                f"no column {quoted(name)}, which {first} has; columns: {listed(columns)}",
                file,
                "give all files of a pattern the same columns, or make several sources of them",
            )


def _digest(file: Path, whole: bool) -> str:
    """sha256 of a file's bytes. A stream may be too long to hash: size, first and last MiB stand for it."""
    if whole:
        return sha256(file)
    sha = hashlib.sha256()
    with file.open("rb") as raw:
        size = raw.seek(0, os.SEEK_END)
        for start in (0, max(0, size - (1 << 20))):
            raw.seek(start)
            sha.update(raw.read(1 << 20))
    sha.update(str(size).encode())
    return sha.hexdigest()


def _joined(digests: Sequence[str], whole: bool) -> str:
    """One file's digest, or that of the digests where there are several files."""
    joined = digests[0] if len(digests) == 1 else hashlib.sha256(" ".join(digests).encode()).hexdigest()
    return joined if whole else f"ends:{joined}"


def _given(rows: tuple[dict[str, Any], ...]) -> Origin:
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True, default=repr).encode("utf-8", "surrogatepass"))
    columns = list(dict.fromkeys(key for row in rows[:PEEK] for key in row))

    def located(used: list[str]) -> Iterator[Located]:
        return (Located(Place.at_index("rows", i), row) for i, row in enumerate(rows))

    return Origin("rows", columns, False, located, digest.hexdigest())


def _hub(source: Source, name: str) -> Origin:
    import datasets

    where = ":".join(part for part in (name, source.config, source.split) if part)
    folder = paths.folder(name)
    if folder is not None:
        refuse_saved(folder)
    name_shown = showing.shown(where)
    try:
        data = datasets.load_dataset(
            paths.folder_or_id(name),
            source.config,
            split=source.split,
            revision=source.revision,
            streaming=source.streaming,
        )
        columns = data.column_names or list(next(iter(data), {}))
    except (datasets.exceptions.DatasetsError, OSError, ValueError) as error:
        offline = " This process is offline (HF_HUB_OFFLINE)." if datasets.config.HF_HUB_OFFLINE else ""
        raise DataError(
            f"cannot be loaded: {error}.{offline}",
            where,
            "check id, config, split and revision; `huggingface-cli login` for gated data; or use `path:`",
        ) from error

    def rows(used: list[str]) -> Iterator[Located]:
        chosen = iter((data.select_columns(used) if used else data).iter(batch_size=1000))
        index = 0
        while (batch := _next_batch(chosen, where, index)) is not None:
            for index, row in enumerate(zip(*batch.values(), strict=True), index):  # noqa: B020
                yield Located(Place.at_index(name_shown, index), dict(zip(batch, row, strict=True)))
            index += 1

    digest = f"{where}@{source.revision or 'default'}" if source.streaming else None
    return Origin(name_shown, columns, False, rows, digest)


def _next_batch(batches: Iterator[dict[str, Any]], where: str, read: int) -> dict[str, Any] | None:
    """The next batch of a Hub dataset, None at its end; a stream meets broken files here, long after it was opened."""
    import datasets
    import pyarrow as pa

    try:
        return next(batches, None)
    except (datasets.exceptions.DatasetsError, pa.ArrowException, OSError, ValueError) as error:
        what = f"cannot be read on after {read:,} rows: {error}"
        raise DataError(what, where, "check the dataset's files, or download them and use `path:`") from error
