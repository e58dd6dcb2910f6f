"""A malformed input, what is run on it, and what must come of it."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cli.conftest import Done
from tests.workers import PATIENCE

RECIPE, DATA, FAILED = 2, 3, 1
"""Exit codes: of a recipe or a model, of data, of what a run left behind (checkpoints, records)."""

Spoil = Callable[[Path], Any]
"""Makes the malformed input in a folder that holds copies of `Case.needs`."""
Check = Callable[[Path, Done], None]
"""What must hold where the command succeeds: it has assertions."""


@dataclass(frozen=True)
class Case:
    """A malformed input.

    Attributes:
        kind: of input, for the table.
        name: what is wrong with it.
        spoil: makes it.
        command: what is run.
        code: of the error; 0 where the input is acceptable.
        needs: names in the ground that are copied before.
        says: words of the error.
        then: of an acceptable input what must have been read.
        either: whether an error with `code` and a success that `then` confirms are both right.
    """

    kind: str
    name: str
    spoil: Spoil
    command: tuple[str, ...]
    code: int
    needs: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    then: Check | None = None
    either: bool = False


def complaint(case: Case, done: Done, folder: Path) -> str:
    """What is wrong with the outcome; empty where nothing is."""
    last = (done.err.strip() or done.out.strip() or "nothing was printed").splitlines()
    if "Traceback (most recent call last)" in done.err:
        return f"a traceback: {last[-1]}"
    if done.code == 0:
        if case.code != 0 and not case.either:
            return f"it succeeds: {last[-1]}"
        try:
            if case.then is not None:
                case.then(folder, done)
        except AssertionError as error:
            return f"it succeeds and reads something else: {error}"
        return ""
    if done.code != case.code:
        return f"exit code {done.code} instead of {case.code}: {last[0]}"
    if "cure: " not in done.err and "Usage: " not in done.err:
        return f"no cure: {last[-1]}"
    missing = [word for word in case.says if word not in done.err]
    return f"{missing} are not in: {last[0]}" if missing else ""


def identity(case: Case, folder: Path) -> str:
    """A hash of the input and what is run on it: two cases with one are the same case."""
    digest = hashlib.sha256("\0".join(case.command).encode("utf-8", "surrogateescape"))
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        digest.update(f"\n{name}\n".encode("utf-8", "surrogateescape"))
        if path.is_symlink():
            digest.update(str(path.readlink()).encode() if name != "tiny" else b"")
        elif path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()


class Hang(BaseException):
    """The command did not end. No `Exception`, so that nothing takes it for a failure of its own."""


@contextmanager
def deadline(seconds: float = PATIENCE) -> Iterator[None]:
    """End what hangs; what works takes as long as it takes."""

    def stop(number: int, frame: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
