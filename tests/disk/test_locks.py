"""One process writes to a folder at a time; a dead one holds nothing."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from embedkit.disk.locks import hold_file, hold_folder
from embedkit.errors import BusyError, WriteError

HOLDER = """
import sys
from pathlib import Path
from embedkit.disk import locks
with getattr(locks, sys.argv[1])(Path(sys.argv[2]), "training"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_process(kind: str, place: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds `place` until its input ends."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, kind, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "held\n"
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("kind", ["hold_folder", "hold_file"])
def test_a_living_holder_is_named_and_a_dead_one_holds_nothing(tmp_path: Path, kind: str) -> None:
    hold = {"hold_folder": hold_folder, "hold_file": hold_file}[kind]
    place = tmp_path / "run"
    with another_process(kind, place) as child:
        with pytest.raises(BusyError) as caught, hold(place, "testing"):
            pass
        words = rf"process {child.pid} has been training here since \d{{4}}-\d\d-\d\dT"
        assert re.match(words, caught.value.what) and caught.value.where == str(place)
        with hold(tmp_path / "other", "testing"):
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert list(tmp_path.rglob("*.lock*")), "it died without cleaning up"
        with hold(place, "testing"):
            pass
    assert not list(tmp_path.rglob(".*"))


def test_the_end_of_the_holder_frees_the_folder(tmp_path: Path) -> None:
    with another_process("hold_folder", tmp_path) as child:
        child.communicate("")
        assert child.returncode == 0
        with hold_folder(tmp_path, "testing"):
            assert sorted(p.name for p in tmp_path.iterdir()) == [".embedkit.lock", ".embedkit.lock.json"]
    assert not list(tmp_path.iterdir())


def test_a_second_hold_in_one_process_is_refused_too(tmp_path: Path) -> None:
    with hold_folder(tmp_path, "testing"):
        with pytest.raises(BusyError, match=f"process {os.getpid()} has been testing"), hold_folder(tmp_path, "again"):
            pass
        with pytest.raises(BusyError), hold_folder(tmp_path, "again"):
            pass


def test_who_waits_gets_it_in_the_end(tmp_path: Path) -> None:
    with another_process("hold_folder", tmp_path) as child:
        assert child.stdin is not None
        waiting = subprocess.Popen(
            [
                sys.executable,
                "-c",
                HOLDER.replace('"training")', '"training", wait=True)'),
                "hold_folder",
                str(tmp_path),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        with pytest.raises(BusyError), hold_folder(tmp_path, "testing"):
            pass
        child.communicate("")
        out, _ = waiting.communicate("")
        assert out == "held\n" and waiting.returncode == 0


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / ("x" * 5000)):
        with pytest.raises(WriteError), hold_folder(place, "testing"):
            pass
