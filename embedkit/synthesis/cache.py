"""Answers on disk: one line each, appended as they come, found again by their key."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NoReturn

from embedkit.disk.files import writing
from embedkit.errors import DataError
from embedkit.foreign.parsing import from_json
from embedkit.synthesis.calls import Reply

_START = b'{"key": "'
"""How the line of an answer begins."""


class Cache:
    """An append-only file of answers.

    A line is written by one system call, so a killed run leaves at most its last line torn. A torn or damaged line is
    passed over when the file is read (`torn` counts them), and the next answer starts on a line of its own. Only
    the places of the answers are held in memory. A file that does not begin with an answer is somebody's and no cache.

    Args:
        path: the file; made, with its folder, when the first answer is added.

    Raises:
        DataError: the path is no file, cannot be read, or what is there is no cache.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.torn = 0
        self._places: dict[str, tuple[int, int]] = {}
        self._size = 0
        self._open_line = False
        self._file: int | None = None
        if path.is_dir():
            raise DataError("is a folder", str(path), "name a file for the cache")
        if path.exists():
            if not path.is_file():
                raise DataError("is no regular file", str(path), "name a file for the cache")
            try:
                self._read()
            except OSError as error:
                what = f"cannot be read: {error.strerror}"
                raise DataError(what, str(path), "check its permissions, or name another file") from error

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def _read(self) -> None:
        with self.path.open("rb") as file:
            head = file.readline(len(_START))
            if head == b"\n" or not _START.startswith(head.rstrip(b"\n")):
                self._refuse()
            file.seek(0)
            for line in file:
                try:
                    record = from_json(line)
                except ValueError:
                    self.torn += bool(line.strip())
                else:
                    if _is_answer(record):
                        self._places[record["key"]] = (self._size, len(line))
                    elif self._size == 0:  # whole, and something else
                        self._refuse()
                    else:
                        self.torn += 1
                self._size += len(line)
                self._open_line = not line.endswith(b"\n")

    def _refuse(self) -> NoReturn:
        what = "is no cache of answers; nothing was written to it"
        raise DataError(what, str(self.path), "name another file with --cache: answers are appended to it")

    def get(self, key: str) -> Reply:
        """The answer under `key`; KeyError if there is none."""
        start, length = self._places[key]
        descriptor = self._descriptor()
        os.lseek(descriptor, start, os.SEEK_SET)
        record = json.loads(os.read(descriptor, length))
        return Reply(record["text"], record["finish"], *record["tokens"])

    def add(self, key: str, reply: Reply) -> None:
        """Append an answer; it is safe from a kill once this returns."""
        tokens = [reply.prompt_tokens, reply.completion_tokens]
        record = {"key": key, "text": reply.text, "finish": reply.finish, "tokens": tokens}
        line = json.dumps(record, ensure_ascii=True).encode() + b"\n"
        start = b"\n" if self._open_line else b""
        descriptor = self._descriptor()
        end = os.lseek(descriptor, 0, os.SEEK_END)
        with writing(self.path, "the answers before it are kept"):
            written = os.write(descriptor, start + line)
        self._open_line = written != len(start + line)
        if self._open_line:
            raise DataError("an answer could not be written whole", str(self.path), "is the disk full?")
        self._places[key] = (end + len(start), len(line))

    def _descriptor(self) -> int:
        if self._file is None:
            with writing(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        return self._file

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _is_answer(record: Any) -> bool:
    if not isinstance(record, dict) or not all(isinstance(record.get(name), str) for name in ("key", "text", "finish")):
        return False
    tokens = record.get("tokens")
    return isinstance(tokens, list) and len(tokens) == 2
