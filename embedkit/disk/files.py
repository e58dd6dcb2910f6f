"""Writing: files that are whole or absent, errors that say why something cannot be written, one writer to a folder."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from embedkit.errors import WriteError
from embedkit.foreign.parsing import from_json
from embedkit.foreign.quoting import cut
from embedkit.foreign.showing import as_json

OURS = ".embedkit"
"""How the names begin of what embedkit needs in a folder for a while: unfinished files, the lock."""
PART, OLD = ".part", ".old"

_COUNT = itertools.count()
REASONS = {
    errno.ENOSPC: ("the disk is full", "make room on it"),
    errno.EDQUOT: ("the disk quota is used up", "make room, or ask for more"),
    errno.EFBIG: ("the file is larger than the system allows", "raise the limit (`ulimit -f`)"),
    errno.EROFS: ("the file system is read-only", "choose a place that can be written"),
    errno.EACCES: ("no permission to write here", "choose another place, or change its permissions"),
    errno.EPERM: ("no permission to write here", "choose another place, or change its permissions"),
    errno.ENAMETOOLONG: ("the name is too long for the file system", "choose a shorter one"),
    errno.EISDIR: ("is a folder, not a file", "name a file"),
    errno.ENOTDIR: ("a file is where a folder is needed", "choose another place"),
    errno.EEXIST: ("a file is where a folder is needed", "choose another place"),
    errno.ENOTEMPTY: ("the folder is not empty", "choose another place, or remove what is in it"),
    errno.EIO: ("the disk reports an error", "look at the system's log; choose another disk"),
}
"""What an error number of the system means to a person, and the cure."""
DAMAGED_ARRAYS = (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error)
"""What NumPy raises for a damaged ``.npy`` or ``.npz`` file."""
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_FAISS = ("write error in ", "truncate ", "for writing")
_TORCH = ("PytorchStreamWriter", "inline_container", "unexpected pos")


# Errors -------------------------------------------------------------------------------------------------------


@contextmanager
def writing(place: Path, then: str = "") -> Iterator[None]:
    """Errors of the system and of libraries that write for us, as a `WriteError` about `place`.

    Args:
        place: what is being written; errors about files elsewhere pass through.
        then: what is whole all the same, and how to go on; ends the cure.

    Raises:
        WriteError: it cannot be written.
    """
    try:
        yield
    except WriteError as error:
        raise WriteError(error.what, error.where, f"{error.cure}; {then}" if then else error.cure) from error
    except Exception as error:
        reason = _reason(error, place)
        if reason is None:
            raise
        where = cut(str(place)) if getattr(error, "errno", None) == errno.ENAMETOOLONG else str(place)
        raise WriteError(reason[0], where, f"{reason[1]}; {then}" if then else reason[1]) from error


def _reason(error: Exception, place: Path) -> tuple[str, str] | None:
    """What went wrong in writing `place`, and its cure; None where the error is about something else."""
    code = _code(error, place)
    if code is None:
        if not _by_torch(error) and not (type(error) is OSError and error.errno is None):
            return None
        return f"could not be written whole; {_room(place)}", "make room, or choose another disk"
    if code in REASONS:
        return REASONS[code]
    return f"cannot be written: {os.strerror(code)}", "choose another place"


def _code(error: Exception, place: Path) -> int | None:
    """The system's error number; Rust libraries put it into their text, faiss its words."""
    if isinstance(error, OSError):
        named = error.filename
        if isinstance(named, (str, bytes)) and not _belongs(Path(os.fsdecode(named)).absolute(), place):
            return None
        return error.errno
    if found := _OS_ERROR.search(str(error)):
        return int(found[1])
    text = str(error) if isinstance(error, RuntimeError) else ""
    if "faiss" not in text or not any(words in text for words in _FAISS):
        return None
    return next((code for code in REASONS if os.strerror(code) in text), errno.EIO)


def _belongs(path: Path, place: Path) -> bool:
    """Whether an error about `path` is one about writing `place`: itself, above or below it, or its unfinished file."""
    for whole in (place.absolute(), Path(os.path.realpath(place))):
        if path == whole or whole in path.parents or path in whole.parents:
            return True
        if path.parent == whole.parent and path.name.startswith(OURS):
            return True
    return False


def _by_torch(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _TORCH)


def _room(place: Path) -> str:
    """How much is free where `place` is: torch does not say why it cannot write."""
    there = next((p for p in (place, *place.parents) if p.exists()), Path())
    return f"{shutil.disk_usage(there).free / 1e6:,.1f} MB are free on its disk"


# Files --------------------------------------------------------------------------------------------------------


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the name `path` when it is whole and on disk; an error leaves what was there.

    A link stays a link, and an existing file's permissions stay.

    Raises:
        WriteError: it cannot be written, or `path` is there and no file.
    """
    with writing(path):
        path = Path(os.path.realpath(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = _mode(path)
        part = path.with_name(f"{OURS}-{os.getpid()}-{next(_COUNT)}{PART}")
        try:
            with part.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if mode is not None:
                part.chmod(mode)
            part.replace(path)
            _sync_folder(path.parent)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise


def _mode(path: Path) -> int | None:
    """Permissions of the file at `path`; None where there is none."""
    if not path.exists():
        return None
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not path.is_file():
        raise WriteError("is no regular file", str(path), "name a file")
    return stat.S_IMODE(path.stat().st_mode)


def write_bytes(path: Path, content: bytes) -> bool:
    """Write a file whole or not at all; one that holds `content` already is left alone. Returns whether it wrote.

    Raises:
        WriteError: as `new_file`.
    """
    with suppress(OSError):
        if path.stat().st_size == len(content) and path.read_bytes() == content:
            return False
    with new_file(path) as file:
        file.write(content)
    return True


def write_text(path: Path, text: str) -> bool:
    """`write_bytes` of a text in UTF-8, line ends as they are; what UTF-8 cannot say (lone surrogates) is escaped."""
    return write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_json(path: Path, value: Any, *, indent: int = 1) -> bool:
    """`write_text` of a value as JSON (`as_json`: without secrets, control characters escaped), with a line end."""
    return write_text(path, as_json(value, indent=indent) + "\n")


def json_in(path: Path) -> Any:
    """The JSON document in a file that can be made again; None where there is none, or a damaged one."""
    try:
        return from_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows as JSON Lines, whole or not at all; returns how many.

    Raises:
        WriteError: as `new_file`.
    """
    count = 0
    with new_file(path) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n")
            count += 1
    return count


def sha256(path: Path) -> str:
    """SHA-256 of a file as it lies on disk, in hex digits; read in parts."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# Folders ------------------------------------------------------------------------------------------------------


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, and make sure that files can be written into it.

    Raises:
        WriteError: it cannot be made or written.
    """
    with writing(folder):
        if folder.exists() and not folder.is_dir():
            raise WriteError("is a file, not a folder", str(folder), "choose another place")
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f"{OURS}-{os.getpid()}-{next(_COUNT)}{PART}"
        probe.touch()
        probe.unlink(missing_ok=True)  # the folder's writer may have swept it away


def is_empty(folder: Path) -> bool:
    """Whether a folder is absent, or holds nothing but what embedkit needs there for a while.

    Raises:
        WriteError: it is a file, or no path that a folder could have.
    """
    with writing(folder):
        if folder.exists() and not folder.is_dir():
            raise WriteError("is a file, not a folder", str(folder), "choose another place")
        return not folder.is_dir() or all(entry.name.startswith(OURS) for entry in folder.iterdir())


def sweep(folder: Path) -> None:
    """Remove what killed processes left in a folder, unfinished or replaced; only its one writer may do that."""
    for part in folder.glob(f"{OURS}-*{PART}"):
        part.unlink(missing_ok=True)
    for old in folder.glob(f"{OURS}-*{OLD}"):
        shutil.rmtree(old, ignore_errors=True)


def publish(staging: Path, final: Path) -> None:
    """Give a finished folder its real name, after its bytes are on disk; what had the name before is removed.

    Raises:
        WriteError: it cannot be renamed.
    """
    with writing(final):
        for path in staging.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            else:
                _sync_folder(path)
        _sync_folder(staging)
        old = final.with_name(f"{OURS}-{os.getpid()}-{next(_COUNT)}{OLD}")
        if final.exists():
            final.rename(old)
        staging.rename(final)
        _sync_folder(final.parent)
        shutil.rmtree(old, ignore_errors=True)


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk, where the system knows how."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
