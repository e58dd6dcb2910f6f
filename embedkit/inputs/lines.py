"""The lines of a text file, decoded, each within a bound."""

from __future__ import annotations

import contextlib
import gzip
import io
import zlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from embedkit.errors import DataError
from embedkit.foreign.limits import BLANK_LINES, LINE
from embedkit.inputs.cures import PLAIN, Cures
from embedkit.inputs.decoding import decoding
from embedkit.inputs.opening import HEAD, open_bytes, refuse_foreign, unreadable

CARRIAGE_RETURN = "a carriage return inside the line (lines end with \\n or \\r\\n)"
TOO_LONG = f"a line of more than {LINE:,} characters"


@dataclass(frozen=True)
class TextFile:
    """A text file, gzipped or not.

    Attributes:
        path: the file.
        encoding: as declared.
        cures: advice for errors.
        next_line: whether U+0085 may stand inside a line without meaning its end.
    """

    path: Path
    encoding: str = "utf-8"
    cures: Cures = PLAIN
    next_line: bool = False

    def lines(self) -> Generator[str | None, None, None]:
        """Physical lines with their ends; None for one that is too long, see `TOO_LONG`.

        Bytes that are not in the encoding become lone surrogates, see `embedkit.inputs.texts.is_broken`; a byte order
        mark is removed.

        Raises:
            DataError: the file cannot be read (on), or is in another encoding, or its lines end with another sign.
            RecipeError: unknown encoding.
        """
        number = 0
        with open_bytes(self.path) as raw:
            try:
                text = self._decoded(raw)
                while line := text.readline(LINE):
                    number += 1
                    if len(line) == LINE and not line.endswith("\n"):
                        while (rest := text.readline(LINE)) and not rest.endswith("\n"):
                            pass
                        yield None
                    else:
                        yield line.lstrip("\ufeff") if number == 1 else line
            except UnicodeError as error:
                what = f"not {self.encoding} after line {number}: {error}"
                raise DataError(what, str(self.path), f"mend it, or {self.cures.encoding('NAME')}") from error
            except (EOFError, zlib.error, gzip.BadGzipFile) as error:
                what = f"the gzip stream is broken after line {number}: {error}"
                raise DataError(what, str(self.path), "fetch the file again") from error
            except OSError as error:
                raise unreadable(error, self.path, number) from error

    def _decoded(self, raw: io.BufferedReader) -> io.TextIOWrapper:
        head = raw.peek(HEAD)
        refuse_foreign(head, self.path)
        codec = decoding(head, self.encoding, self.path, self.cures)
        start = head.decode(codec, "replace")
        if "\n" not in start:
            if "\r" in start:
                cure = "end them with \\n, e.g. `tr '\\r' '\\n' < FILE > NEW`"
                raise DataError("its lines end with carriage returns alone", str(self.path), cure)
            if "\x85" in start and not self.next_line:
                raise DataError("its lines end with U+0085 (next line)", str(self.path), "end them with \\n")
        return io.TextIOWrapper(raw, codec, errors="surrogateescape", newline="\n")

    def numbered(self) -> Iterator[tuple[int, str | None]]:
        """Numbered lines without their ends; blank ones, as "", only where a line that is not blank follows.

        Raises:
            DataError: as `lines`; more than `BLANK_LINES` blank lines in a row.
        """
        blank = Blank(self.path)
        with contextlib.closing(self.lines()) as lines:
            for number, line in enumerate(lines, 1):
                line = line if line is None else line.rstrip("\r\n")
                if line is not None and not line.strip():
                    blank.add(number)
                    continue
                for earlier in blank.flush():
                    yield earlier, ""
                yield number, line


class Blank:
    """Blank lines that are rows only if a line that is not blank follows: the first and how many, not each.

    Args:
        path: of the file, for messages.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.first, self.count = path, 0, 0

    def add(self, number: int) -> None:
        """Raises:
        DataError: there are too many.
        """
        self.first = self.first if self.count else number
        self.count += 1
        if self.count > BLANK_LINES:
            what = f"more than {BLANK_LINES:,} blank lines in a row"
            raise DataError(what, f"{self.path}:{self.first}", "remove them")

    def flush(self) -> range:
        """The numbers of the lines since the last flush."""
        found = range(self.first, self.first + self.count)
        self.count = 0
        return found
