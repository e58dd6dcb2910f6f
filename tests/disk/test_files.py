"""What is written is whole or absent, and an error says why it cannot be written."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from embedkit.disk import files
from embedkit.errors import WriteError
from embedkit.vectors.space import Space
from embedkit.vectors.store import VectorStore


def left(folder: Path) -> list[str]:
    """Names in a folder, unfinished files included."""
    return sorted(p.name for p in folder.iterdir())


def test_a_file_is_written_whole_and_equal_content_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    assert files.write_text(path, "one\r\ntwo\n")
    assert path.read_bytes() == b"one\r\ntwo\n"
    before = path.stat()
    assert not files.write_text(path, "one\r\ntwo\n")
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert files.write_text(path, "one\r\ntwo!")
    assert path.read_bytes() == b"one\r\ntwo!"
    assert left(path.parent) == ["a.txt"]


def test_json_says_what_utf8_cannot(tmp_path: Path) -> None:
    value = {"ü": ["\ud800", 1.5, None]}
    files.write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value


def test_json_in_a_file_that_can_be_made_again(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"a": [1]})
    assert files.json_in(tmp_path / "a.json") == {"a": [1]}
    (tmp_path / "folder").mkdir()
    for content in (b"", b"{", b"[" * 20_000, b"\xff"):
        (tmp_path / "b.json").write_bytes(content)
        assert files.json_in(tmp_path / "b.json") is None
    assert files.json_in(tmp_path / "no.json") is None and files.json_in(tmp_path / "folder") is None


def test_an_error_while_writing_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.new_file(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and left(tmp_path) == ["a.txt"]


@pytest.mark.skipif(os.name == "nt", reason="links and permissions of POSIX")
def test_links_stay_links_and_permissions_stay(tmp_path: Path) -> None:
    real, link = tmp_path / "real.txt", tmp_path / "link.txt"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real.name)
    files.write_text(link, "new")
    assert link.is_symlink() and real.read_text() == "new" and real.stat().st_mode & 0o777 == 0o600
    umask = os.umask(0o027)
    try:
        files.write_text(tmp_path / "fresh.txt", "x")
    finally:
        os.umask(umask)
    assert (tmp_path / "fresh.txt").stat().st_mode & 0o777 == 0o640


def killed_while_writing(path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from embedkit.disk import files
with files.new_file(Path({str(path)!r})) as file:
    file.write(b"half"); file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL


def test_a_kill_leaves_the_old_file_and_what_is_left_behind_is_swept(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    killed_while_writing(path)
    assert path.read_text() == "old" and len(left(tmp_path)) == 2
    (tmp_path / "mine.part").write_text("not ours")
    files.sweep(tmp_path)
    assert left(tmp_path) == ["a.txt", "mine.part"]


def test_a_folder_whose_writer_sweeps_can_be_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch = Path.touch

    def swept(path: Path, *args: Any, **more: Any) -> None:
        touch(path, *args, **more)
        files.sweep(path.parent)

    monkeypatch.setattr(Path, "touch", swept)
    files.make_folder(tmp_path / "a")
    with VectorStore(tmp_path).of(Space("model", 4)).marked() as mark:
        assert list(tmp_path.glob(f"*/{mark}"))


# Why it cannot be written --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "what", "cure"),
    [
        (errno.ENOSPC, "the disk is full", "make room"),
        (errno.EDQUOT, "the disk quota is used up", "make room"),
        (errno.EROFS, "the file system is read-only", "choose a place"),
        (errno.EACCES, "no permission", "permissions"),
        (errno.EPERM, "no permission", "permissions"),
        (errno.EIO, "the disk reports an error", "log"),
        (errno.ENXIO, os.strerror(errno.ENXIO), "choose another place"),
    ],
)
def test_the_system_says_no(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, what: str, cure: str) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    path = tmp_path / "a.txt"
    path.write_text("old")
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(WriteError) as caught:
        files.write_text(path, "new")
    assert what in caught.value.what and cure in caught.value.cure and caught.value.where == str(path)
    assert path.read_text() == "old" and left(tmp_path) == ["a.txt"]


def real_refusals(folder: Path) -> list[tuple[Path, str]]:
    (folder / "file").write_text("")
    (folder / "sub").mkdir()
    long = "x" * 5000
    found = [
        (folder / "sub", "is a folder, not a file"),
        (folder / "file" / "a.txt", "a file is where a folder is needed"),
        (folder / long, "the name is too long"),
        (folder / long / "a.txt", "the name is too long"),
        (Path(os.devnull), "is no regular file"),
    ]
    if sys.platform == "linux":
        found.append((Path("/sys/embedkit/a.txt"), "no permission" if os.access("/sys", os.W_OK) else "read-only"))
    return found


def test_the_system_really_says_no(tmp_path: Path) -> None:
    for path, what in real_refusals(tmp_path):
        with pytest.raises(WriteError) as caught:
            files.write_text(path, "x")
        if path.parts[1] != "sys":
            assert what in caught.value.what, path
        assert caught.value.cure and caught.value.exit_code == 1
    assert left(tmp_path) == ["file", "sub"] and Path(os.devnull).read_bytes() == b""


def saves(folder: Path) -> dict[str, Any]:
    """Every library that writes for us, writing 4 MB."""
    weights = {"w": torch.zeros(1_000_000)}
    return {
        "python": lambda: files.write_bytes(folder / "a.bin", bytes(4_000_000)),
        "safetensors": lambda: save_file(weights, folder / "a.safetensors"),
        "torch": lambda: torch.save(weights, folder / "a.pt"),
        "numpy": lambda: np.save(folder / "a.npy", np.zeros(500_000)),
        "numpy, open file": lambda: np.savez((folder / "b.npz").open("wb"), x=np.zeros(500_000)),
    }


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
@pytest.mark.parametrize("library", sorted(saves(Path())))
def test_a_disk_that_takes_no_more(tmp_path: Path, library: str) -> None:
    """A limit on the size of files stops the writes of every library in their middle, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(WriteError) as caught, files.writing(tmp_path, "what was there is whole"):
            saves(tmp_path)[library]()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "larger than the system allows" in caught.value.what or "could not be written whole" in caught.value.what
    assert caught.value.cure.endswith("what was there is whole")


def test_errors_about_other_things_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), files.new_file(tmp_path / "out.txt"):
        (tmp_path / "in.txt").read_text()
    with pytest.raises(RuntimeError, match="size mismatch"), files.writing(tmp_path):
        raise RuntimeError("size mismatch")
    with pytest.raises(WriteError, match="No such file"), files.writing(tmp_path / "a.txt"):
        (tmp_path / "a.txt").rename(tmp_path / "b.txt")


# Folders -------------------------------------------------------------------------------------------------------


def test_a_folder_takes_its_name_when_it_is_whole(tmp_path: Path) -> None:
    final, staging = tmp_path / "model", tmp_path / "staging"
    for text in ("first", "second"):
        (staging / "sub").mkdir(parents=True)
        (staging / "sub" / "a.txt").write_text(text)
        files.publish(staging, final)
        assert (final / "sub" / "a.txt").read_text() == text and left(tmp_path) == ["model"]


def test_what_is_an_empty_folder(tmp_path: Path) -> None:
    assert files.is_empty(tmp_path / "absent") and files.is_empty(tmp_path)
    (tmp_path / f"{files.OURS}.lock").touch()
    assert files.is_empty(tmp_path)
    (tmp_path / "notes.txt").touch()
    assert not files.is_empty(tmp_path)
    for wrong in (tmp_path / "notes.txt", tmp_path / ("x" * 5000)):
        with pytest.raises(WriteError):
            files.is_empty(wrong)
        with pytest.raises(WriteError):
            files.make_folder(wrong)
