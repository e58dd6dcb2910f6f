"""One column of a file as texts in order, read from disk as they are asked for."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.data.bad_rows import BadRows
from embedkit.disk import paths
from embedkit.errors import DataError
from embedkit.foreign.quoting import did_you_mean, listed, quoted
from embedkit.inputs.cures import PLAIN, Cures
from embedkit.inputs.records import columns_of, format_of, read
from embedkit.inputs.texts import fault, fault_of_id, is_absent
from embedkit.terminal.progress import watched

SAMPLE = 1000


class TextColumn(Sequence[str]):
    """The texts of a column. Reading it once, at the start, finds what is wrong and how many there are.

    It is given out as ``texts[start:stop]``, from front to back; going back starts the file anew.

    Args:
        path: txt, jsonl, csv, tsv or parquet, gzipped or not.
        column: of the texts; a txt file has one, ``text``.
        ids: column of their ids, if any: texts or whole numbers.
        skip: leave bad rows out and count them, instead of refusing the file.
        cures: advice for errors.
        progress: show a bar when reading takes long.

    Attributes:
        lines: [n] int64, the line (in Parquet, the row) of each text, from 1.
        digest: sha256 of the texts in order, and of their ids.
        sample: at most 2 * `SAMPLE` of the texts, evenly spread.
        bad: the rows left out.

    Raises:
        DataError: the file is missing or unreadable, has no such column, has bad rows, or no rows.
    """

    def __init__(
        self,
        path: Path,
        column: str = "text",
        *,
        ids: str | None = None,
        skip: bool = False,
        cures: Cures = PLAIN,
        progress: bool = False,
    ) -> None:
        self.path, self.column, self.id_column, self._skip, self._cures = path, column, ids, skip, cures
        if not paths.is_there(path, Path.is_file):
            raise DataError("there is no such file", str(path), "check the path")
        self._form = format_of(path)
        found = columns_of(path, self._form, cures=cures)
        self.bad = BadRows(cures)
        for name in (column, *([ids] if ids is not None else [])) if found else ():  # else no row is one
            if name not in found:
                hint = did_you_mean(name, found)
                raise DataError(f"no column {quoted(name)}", str(path), f"{hint}columns: {listed(found)}")
        self._read_through(progress)
        self._at, self._rows = 0, iter(())  # type: tuple[int, Iterator[str]]

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, part: Any) -> Any:
        start, stop, step = part.indices(len(self))
        if step != 1:
            raise ValueError("texts are read from front to back")
        if start != self._at or start == 0:
            self._rows = islice((text for _, text, _ in self._good()), start, None)
        found = list(islice(self._rows, max(0, stop - start)))
        self._at = start + len(found)
        return found

    def ids(self) -> Iterator[str | int]:
        """The ids in order; without a column of them there are none."""
        return (identity for _, _, identity in self._good() if identity is not None)

    def _read_through(self, progress: bool) -> None:
        lines, sha = array("q"), hashlib.sha256()
        self.sample: list[str] = []
        stride = 1
        for line, text, identity in watched(self._good(self.bad), f"reading {self.path}", "rows", show=progress):
            for part in (text, *([] if identity is None else [str(identity)])):
                content = part.encode("utf-8")
                sha.update(len(content).to_bytes(8, "little") + content)
            if len(lines) % stride == 0:
                self.sample.append(text)
                if len(self.sample) == 2 * SAMPLE:
                    self.sample, stride = self.sample[::2], 2 * stride
            lines.append(line)
        if not self._skip:
            self.bad.refuse(str(self.path), good=len(lines))
        if not lines:
            what = f"there are no usable rows; skipped: {self.bad.by_reason}" if self.bad.counts else "has no rows"
            raise DataError(what, str(self.path), "give texts")
        self.lines, self.digest = np.frombuffer(lines, np.int64), sha.hexdigest()

    def _good(self, bad: BadRows | None = None) -> Iterator[tuple[int, str, str | int | None]]:
        """Line, text and id of every good row."""
        columns = [self.column] if self.id_column is None else list(dict.fromkeys((self.column, self.id_column)))
        for line, values, reason, lines, note in read(self.path, self._form, columns=columns, cures=self._cures):
            wrong = reason if values is None else self._fault(values)
            if not wrong and values is not None:
                if note and bad is not None:
                    bad.note(f"{self.path}:{line}", note)
                yield line, values[self.column], None if self.id_column is None else values[self.id_column]
            elif bad is not None:
                bad.add(f"{self.path}:{line}", wrong, lines)

    def _fault(self, values: dict[str, Any]) -> str:
        text = values.get(self.column)
        if not isinstance(text, str):
            return f"no {self.column}" if is_absent(text) else f"{self.column}: a text is expected"
        wrong = fault(text)
        if wrong or self.id_column is None:
            return wrong
        return fault_of_id(values.get(self.id_column), self.id_column)
