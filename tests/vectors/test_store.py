"""Shards: what is written, found again, refused, set aside."""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedkit.disk import files
from embedkit.errors import DataError, EmbedkitError, WriteError
from embedkit.vectors import shards
from embedkit.vectors.space import Dtype, Space
from embedkit.vectors.store import Shelf, VectorStore

SPACE = Space("model", 4)


def texts(n: int, start: int = 0) -> list[str]:
    return [f"text {i}" for i in range(start, start + n)]


def vectors(of: Sequence[str], dim: int = 4) -> np.ndarray:
    """A vector that only its text has."""
    made = [np.random.default_rng(list(text.encode())).normal(size=dim) for text in of]
    return np.array(made, np.float32).reshape(-1, dim)


def filled(root: Path, *blocks: Sequence[str]) -> Shelf:
    shelf = VectorStore(root).of(SPACE)
    for block in blocks:
        assert shelf.add(block, vectors(block)) == len(set(block))
    return shelf


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class TestRows:
    def test_any_order_over_shards_and_in_a_new_process(self, tmp_path: Path) -> None:
        blocks = texts(5), texts(3, 5), texts(70, 8)
        asked = [*texts(78)[::-1], "text 4", "text 4"]
        for shelf in (filled(tmp_path, *blocks), VectorStore(tmp_path).of(SPACE)):
            assert len(shelf) == 78
            np.testing.assert_array_equal(shelf.rows(asked), vectors(asked))
            view = shelf.view(asked)
            assert (len(view), view.dim) == (80, 4)
            np.testing.assert_array_equal(view[10:40], vectors(asked[10:40]))
            np.testing.assert_array_equal(view[::-7], vectors(asked[::-7]))
            np.testing.assert_array_equal(view.take([79, 0, 79, 33]), vectors([asked[i] for i in (79, 0, 79, 33)]))
            np.testing.assert_array_equal(np.concatenate(list(view.blocks(9))), vectors(asked))
            assert view.take([]).shape == view[3:3].shape == (0, 4)

    @pytest.mark.parametrize("wrong", [-1, 5])
    def test_no_document_is_no_row(self, tmp_path: Path, wrong: int) -> None:
        view = filled(tmp_path, texts(5)).view(texts(5))
        with pytest.raises(IndexError, match=f"row {wrong} of vectors that have rows 0 to 4"):
            view.take([0, wrong])

    def test_an_empty_corpus(self, tmp_path: Path) -> None:
        shelf = VectorStore(tmp_path / "none").of(SPACE)
        assert shelf.missing([]).tolist() == [] and shelf.rows([]).shape == (0, 4)
        assert shelf.add([], np.zeros((0, 4))) == 0 and list(shelf.view([]).blocks()) == []
        assert not (tmp_path / "none").exists(), "reading makes no folder"

    def test_a_text_without_a_vector(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="2 of 4 texts have no vector, first text 2"):
            filled(tmp_path, texts(2)).rows(texts(4))

    def test_files_are_plain_numpy(self, tmp_path: Path) -> None:
        shelf = filled(tmp_path, texts(5))
        np.testing.assert_array_equal(np.load(shelf.folder / "000000.npy"), vectors(texts(5)))

    def test_few_maps_are_open_at_once(self, tmp_path: Path) -> None:
        shelf = Shelf(filled(tmp_path, *(texts(2, 2 * i) for i in range(6))).folder, SPACE, ram_gb=4 * 70 / 2**30)
        np.testing.assert_array_equal(shelf.rows(texts(12)), vectors(texts(12)))
        assert len(shelf._maps._open) == 2, "70 bytes: two shards of 32"


class TestRepeats:
    def test_within_a_call_and_between_calls(self, tmp_path: Path) -> None:
        asked = ["text 1", "text 0", "text 1", "text 2", "text 0"]
        shelf = VectorStore(tmp_path).of(SPACE)
        assert shelf.missing(asked).tolist() == [0, 1, 3]
        first = vectors(asked)
        assert shelf.add(asked, first) == 3 and len(shelf) == 3
        assert shelf.missing(["text 3", *asked]).tolist() == [0]
        assert shelf.add(asked, first + 1) == 0, "a text keeps its vector"
        assert shelf.add(["text 2", "text 3"], first[:2] + 1) == 1
        np.testing.assert_array_equal(shelf.rows(asked), first)
        np.testing.assert_array_equal(np.load(shelf.folder / "000001.npy"), first[1:2] + 1)

    def test_two_stores_at_once(self, tmp_path: Path) -> None:
        one, two = VectorStore(tmp_path).of(SPACE), VectorStore(tmp_path).of(SPACE)
        assert one.add(texts(4), vectors(texts(4))) == 4
        assert two.add(texts(6), vectors(texts(6)) + 1) == 2, "what the other wrote is not written again"
        assert one.missing(texts(7)).tolist() == [6]
        for shelf in (one, two):
            np.testing.assert_array_equal(shelf.rows(texts(4)), vectors(texts(4)))
            np.testing.assert_array_equal(shelf.rows(texts(2, 4)), vectors(texts(2, 4)) + 1)

    def test_processes_at_once(self, tmp_path: Path) -> None:
        with multiprocessing.get_context("spawn").Pool(3) as pool:
            pool.map(write_overlapping, [(tmp_path, worker) for worker in range(3)])
        shelf = VectorStore(tmp_path).of(SPACE)
        assert len(shelf) == 40 == sum(len(np.load(p)) for p in shelf.folder.glob("*.npy"))
        np.testing.assert_array_equal(shelf.rows(texts(40)), vectors(texts(40)))
        assert not [name for name in names(shelf.folder) if name.startswith(".")]


def write_overlapping(job: tuple[Path, int]) -> None:
    root, worker = job
    shelf = VectorStore(root).of(SPACE)
    for start in np.random.default_rng(worker).permutation(range(0, 40, 2)).tolist():
        block = texts(4, start)[: 40 - start]
        shelf.add(block, vectors(block))


class TestRefused:
    @pytest.mark.parametrize(
        ("given", "what"),
        [
            (np.zeros((3, 5)), "3 vectors of 5 dimensions for 3 texts of 4"),
            (np.zeros((2, 4)), "2 vectors of 4 dimensions for 3 texts of 4"),
            (np.zeros(12), r"float64 \[12\] are no vectors"),
            (np.array([["a"] * 4] * 3), "are no vectors"),
            (np.zeros((3, 4), complex), "are no vectors"),
            ([[0, 0, 0, 0], [0, np.nan, 0, 0], [0, 0, 0, 0]], "1 of 3 vectors are not finite, first of 'text 1'"),
            ([[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, -np.inf]], "1 of 3 vectors are not finite, first of 'text 2'"),
        ],
    )
    def test_vectors_that_are_none(self, tmp_path: Path, given: Any, what: str) -> None:
        shelf = VectorStore(tmp_path).of(SPACE)
        with pytest.raises(EmbedkitError, match=what):
            shelf.add(texts(3), given)
        assert not list(tmp_path.iterdir())

    def test_the_text_is_named_as_the_caller_counts(self, tmp_path: Path) -> None:
        with pytest.raises(EmbedkitError, match=r"^text 30: 1 of 2 vectors are not finite"):
            VectorStore(tmp_path).of(SPACE).add(texts(2), np.array([[0.0] * 4, [np.nan] * 4]), numbers=[20, 30])

    def test_another_space_in_the_folder(self, tmp_path: Path) -> None:
        folder = filled(tmp_path, texts(2)).folder
        with pytest.raises(DataError, match="vectors of another model or setting"):
            Shelf(folder, Space("other", 4))
        (folder / "space.json").write_text("{")
        with pytest.raises(DataError, match="cannot be read"):
            Shelf(folder, SPACE)


class TestHalfPrecision:
    def test_error_is_bounded_and_overflow_refused(self, tmp_path: Path) -> None:
        half = Space("model", 64, dtype="float16")
        given = np.random.default_rng(0).normal(size=(100, 64)).astype(np.float32)
        shelf = VectorStore(tmp_path).of(half)
        shelf.add(texts(100), given)
        found = shelf.rows(texts(100))
        assert found.dtype == np.float32 and np.load(shelf.folder / "000000.npy").dtype == np.float16
        assert (np.abs(found - given) <= np.maximum(2.0**-11 * np.abs(given), 2.0**-25)).all()
        assert np.abs(found - given).max() > 1e-4
        with pytest.raises(EmbedkitError, match="too large for float16") as caught:
            shelf.add(["x"], np.full((1, 64), 7e4))
        assert "float32" in caught.value.cure


def cut(path: Path, by: int) -> None:
    path.write_bytes(path.read_bytes()[:-by])


def other_keys(path: Path) -> None:
    head, _, content = path.read_bytes().partition(b"\n")
    path.write_bytes(head + b"\n" + bytes([content[0] ^ 1]) + content[1:])


def other_space(folder: Path) -> None:
    other = VectorStore(folder.parent).of(Space("other", 4))
    other.add(texts(3, 5), vectors(texts(3, 5)) + 9)
    for ending in (".npy", ".keys"):
        (other.folder / f"000000{ending}").replace(folder / f"000001{ending}")


DAMAGE = {
    "vectors cut": lambda f: cut(f / "000001.npy", 1),
    "vectors empty": lambda f: (f / "000001.npy").write_bytes(b""),
    "vectors gone": lambda f: (f / "000001.npy").unlink(),
    "vectors pickled": lambda f: np.save(f / "000001.npy", np.array([{}] * 3), allow_pickle=True),
    "another dimension": lambda f: np.save(f / "000001.npy", np.zeros((3, 5), np.float32)),
    "another number": lambda f: np.save(f / "000001.npy", np.zeros((2, 4), np.float32)),
    "another type": lambda f: np.save(f / "000001.npy", np.zeros((3, 4), np.float16)),
    "keys cut": lambda f: cut(f / "000001.keys", 16),
    "keys empty": lambda f: (f / "000001.keys").write_bytes(b""),
    "keys changed": lambda f: other_keys(f / "000001.keys"),
    "keys no object": lambda f: (f / "000001.keys").write_bytes(b"[]\n"),
    "another format": lambda f: (f / "000001.keys").write_bytes(b'{"format": 2}\n'),
    "another space": other_space,
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_shard_is_set_aside_and_encoded_again(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("embedkit"), "propagate", True)
    folder = filled(tmp_path, texts(5), texts(3, 5), texts(2, 8)).folder
    DAMAGE[kind](folder)
    shelf = VectorStore(tmp_path).of(SPACE)
    assert "000001.npy is set aside, its texts will be encoded again" in caplog.text
    assert shelf.missing(texts(10)).tolist() == [5, 6, 7]
    assert (folder / "000001.keys.damaged").exists(), "nothing is removed"
    shelf.add(texts(3, 5), vectors(texts(3, 5)))
    assert "000003.npy" in names(folder), "the number is not used again"
    caplog.clear()
    np.testing.assert_array_equal(VectorStore(tmp_path).of(SPACE).rows(texts(10)), vectors(texts(10)))
    assert not caplog.text


class TestWriting:
    @pytest.mark.parametrize("nth", [1, 2])
    def test_a_full_disk_leaves_nothing_half_written(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
    ) -> None:
        """In the middle of the vectors, and in the middle of the keys that follow them."""
        shelf = filled(tmp_path, texts(5))
        before, real, calls = names(shelf.folder), files.new_file, []

        class Full:
            def __init__(self, file: Any) -> None:
                self._file = file

            def write(self, content: Any) -> int:
                self._file.write(bytes(content)[: len(bytes(content)) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")

        from contextlib import contextmanager

        @contextmanager
        def failing(path: Path) -> Any:
            calls.append(path)
            with real(path) as file:
                yield Full(file) if len(calls) == nth else file

        monkeypatch.setattr(shards.files, "new_file", failing)
        with pytest.raises(WriteError, match="the disk is full"):
            shelf.add(texts(3, 5), vectors(texts(3, 5)))
        monkeypatch.setattr(shards.files, "new_file", real)
        assert names(shelf.folder) == before
        assert VectorStore(tmp_path).of(SPACE).missing(texts(8)).tolist() == [5, 6, 7]
        shelf.add(texts(3, 5), vectors(texts(3, 5)))
        np.testing.assert_array_equal(shelf.rows(texts(8)), vectors(texts(8)))

    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_a_disk_that_is_full_after_any_byte(self, tmp_path: Path, dtype: Dtype) -> None:
        """A shard is whole or absent, and what was not written is said: C loses a last buffer without a word."""
        space = Space("m", 16, dtype=dtype)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        outcomes = []
        for limit in range(40, 3000, 160):
            shelf = VectorStore(tmp_path / str(limit)).of(space)
            shelf.add(texts(1), np.ones((1, 16)))  # names the space
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
            try:
                shelf.add(texts(40, 1), np.ones((40, 16)))
                outcomes.append(True)
            except WriteError:
                outcomes.append(False)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert len(VectorStore(tmp_path / str(limit)).of(space)) == (41 if outcomes[-1] else 1)
            assert not list(shelf.folder.glob("*.damaged*"))
        assert sorted(outcomes) == outcomes and len(set(outcomes)) == 2

    def test_what_a_killed_process_left_is_swept(self, tmp_path: Path) -> None:
        folder = filled(tmp_path, texts(5)).folder
        (folder / ".embedkit-1-1.part").write_bytes(b"half")
        np.save(folder / "000001.npy", vectors(texts(3)))  # its keys never came
        shelf = VectorStore(tmp_path).of(SPACE)
        assert len(shelf) == 5
        shelf.add(texts(2, 5), vectors(texts(2, 5)))
        assert names(folder) == ["000000.keys", "000000.npy", "000001.keys", "000001.npy", "space.json"]
        np.testing.assert_array_equal(np.load(folder / "000001.npy"), vectors(texts(2, 5)))
        assert json.loads((folder / "space.json").read_text())["model"] == "model"

    def test_a_place_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(WriteError):
            VectorStore(tmp_path / "file").of(SPACE).add(texts(1), vectors(texts(1)))

    def test_vectors_that_vanish_are_an_error(self, tmp_path: Path) -> None:
        shelf = filled(tmp_path, texts(5))
        (shelf.folder / "000000.npy").unlink()
        with pytest.raises(DataError, match="cannot be read any more"):
            shelf.rows(texts(5))
