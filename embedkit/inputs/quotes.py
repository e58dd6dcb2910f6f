"""CSV as RFC 4180 has it: quotes may hold commas, doubled quotes and line breaks; one that is left open costs a row.

A quote without its partner makes a reader take the rows below for one long field, up to the next quote or the end of
the file. Where the lines of such a field are rows by themselves, the row that opens it is the bad one, and reading goes
on with the next line.
"""

from __future__ import annotations

import contextlib
import csv
from collections import deque
from collections.abc import Iterator

from embedkit.errors import DataError
from embedkit.foreign.limits import LINE, LONG_RECORD, RECORD_LINES
from embedkit.inputs.lines import CARRIAGE_RETURN, TOO_LONG, Blank, TextFile
from embedkit.inputs.rows import Fields

OPEN_QUOTE = "a quote opens here and is not closed in its row"
LEFT_OPEN = "is a quote left open?"
LONG = f"over more than {LONG_RECORD} lines: {LEFT_OPEN}"
DOUBTFUL = f"over lines that could each be a row: {LEFT_OPEN}"
_SURE = 5
"""Lines from which on a field of nothing but rows is taken for an open quote, whatever closes it."""

_Line = tuple[int, "str | None"]


class _TooFar(Exception):
    """A quoted field goes on beyond all bounds."""


class CsvRows:
    """The rows of a CSV file, the header first."""

    def __init__(self, file: TextFile) -> None:
        self._file = file
        self._ahead: deque[_Line] = deque()
        self._width: int | None = None

    def __iter__(self) -> Iterator[Fields]:
        csv.field_size_limit(2**31 - 1)  # the default refuses documents of more than 128 KiB
        blank = Blank(self._file.path)
        with contextlib.closing(self._file.lines()) as lines:
            self._lines = enumerate(lines, 1)
            while (line := self._take()) is not None:
                number, text = line
                if text is not None and not text.strip():
                    blank.add(number)
                    continue
                yield from (Fields(earlier, None, "empty line") for earlier in blank.flush())
                row = Fields(number, None, TOO_LONG) if text is None else self._row(number, text)
                if self._width is None and row.values is not None:
                    self._width = len(row.values)
                yield row

    def _take(self) -> _Line | None:
        return self._ahead.popleft() if self._ahead else next(self._lines, None)

    def _row(self, number: int, text: str) -> Fields:
        if '"' not in text:
            body = text.rstrip("\r\n")
            return Fields(number, None, CARRIAGE_RETURN) if "\r" in body else Fields(number, body.split(","))
        taken: list[_Line] = [(number, text)]
        fields, reason = self._parse(taken)
        if self._is_left_open([line for _, line in taken], fields):
            self._ahead.extendleft(reversed(taken[1:]))
            return Fields(number, None, OPEN_QUOTE)
        if reason is _TooFar:
            what = f"a quote opens here and is not closed within {RECORD_LINES:,} lines or {LINE:,} characters"
            raise DataError(what, f"{self._file.path}:{number}", "close it, or double it if it is part of the text")
        return Fields(number, fields, str(reason), len(taken), "" if fields is None else self._note(taken))

    def _parse(self, taken: list[_Line]) -> tuple[list[str] | None, str | type[_TooFar]]:
        """The fields of the record that starts with the one line of `taken`, which gets the lines that follow it."""

        def feed() -> Iterator[str]:
            characters = 0
            yield str(taken[0][1])
            while (line := self._take()) is not None:
                taken.append(line)
                characters += len(line[1] or "")
                if line[1] is None or len(taken) > RECORD_LINES or characters > LINE:
                    raise _TooFar
                yield line[1]

        try:
            return next(csv.reader(feed(), strict=True)), ""
        except _TooFar:
            return None, _TooFar
        except csv.Error as error:
            if "unexpected end" in str(error):
                return None, OPEN_QUOTE
            return None, CARRIAGE_RETURN if "new-line" in str(error) else f"malformed CSV ({error})"

    def _is_left_open(self, lines: list[str | None], fields: list[str] | None) -> bool:
        """Whether a record over several lines is a row with an open quote and rows below it."""
        first, rest = lines[0], lines[1:]
        if not rest or self._width is None:
            return False
        if fields is not None and len(fields) == self._width:
            return len(lines) >= _SURE and self._are_rows(lines)
        # The last line holds the quote that seems to close; it may itself be one that opens.
        whole = sum(self._is_row(line) for line in rest[:-1])
        whole += self._is_row(rest[-1]) or self._is_row(rest[-1], literal=True)
        return 2 * whole > len(rest) and (self._is_row(first, literal=True) or len(rest) >= _SURE)

    def _are_rows(self, lines: list[str | None]) -> bool:
        """Whether all lines are rows, the first but for its quote. Lines of a single column always are: no evidence.

        With more columns than one the lines of a sound field cannot all have the same number of commas as a row, or
        only where their own commas vary just so.
        """
        first, rest = lines[0], lines[1:]
        return self._width != 1 and self._is_row(first, literal=True) and all(self._is_row(line) for line in rest)

    def _is_row(self, line: str | None, *, literal: bool = False) -> bool:
        """Whether a line has as many fields as the header by itself; `literal`: quotes are characters."""
        if line is None:
            return False
        if literal or '"' not in line:
            return line.count(",") + 1 == self._width
        try:
            return len(next(csv.reader([line], strict=True))) == self._width
        except (csv.Error, StopIteration):
            return False

    def _note(self, taken: list[_Line]) -> str:
        if len(taken) == 1 or self._width is None:
            return ""
        if self._are_rows([line for _, line in taken]):
            return DOUBTFUL
        return LONG if len(taken) > LONG_RECORD else ""
