"""One writer at a time: a folder or a file that a process of embedkit writes to is held by it until it is done.

The operating system frees the lock of a process that ends, however it ends, so there are no stale ones to be judged.
Who holds it stands in a file beside it, for the message alone.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from embedkit.disk.files import OURS, make_folder, writing
from embedkit.errors import BusyError
from embedkit.foreign.parsing import from_json


@contextmanager
def hold_folder(folder: Path, doing: str, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder, made if need be, while its files are written.

    Args:
        folder: the folder.
        doing: what this process does there, for the message that others get: ``training``.
        wait: wait for another process to be done, instead of refusing.

    Raises:
        BusyError: another process holds it; which one, since when.
        WriteError: nothing can be written there.
    """
    make_folder(folder)
    with _hold(folder / f"{OURS}.lock", folder, doing, wait):
        yield


@contextmanager
def hold_file(file: Path, doing: str, *, wait: bool = False) -> Iterator[None]:
    """Hold one file, whether it is there yet or not, while it and what belongs to it are written; as `hold_folder`."""
    make_folder(file.parent)
    with _hold(file.with_name(f"{OURS}-{file.name}.lock"), file, doing, wait):
        yield


@contextmanager
def _hold(lock: Path, place: Path, doing: str, wait: bool) -> Iterator[None]:
    from filelock import FileLock, Timeout

    holder = lock.with_name(f"{lock.name}.json")
    taken = FileLock(lock)
    with writing(place):
        try:
            taken.acquire(timeout=-1 if wait else 0)
        except Timeout:
            raise _busy(place, holder) from None
    try:
        with suppress(OSError):  # it only serves the message of others
            holder.write_text(json.dumps(_this_process(doing)), encoding="utf-8")
        yield
    finally:
        for file in (holder, lock):  # while it is held: who opened it meanwhile sees that it is gone and tries again
            with suppress(OSError):
                file.unlink()
        taken.release()


def _this_process(doing: str) -> dict[str, Any]:
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": platform.node(), "since": now, "doing": doing}


def _busy(place: Path, holder: Path) -> BusyError:
    try:
        found = from_json(holder.read_text(encoding="utf-8"))
        where = "" if found["host"] == platform.node() else f" on {found['host']}"
        who = f"process {found['pid']}{where} has been {found['doing']} here since {found['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        who = "another process is at work here"
    return BusyError(who, str(place), "wait until it is done, stop it, or choose another place")
