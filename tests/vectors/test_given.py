"""Vectors that users bring: in order, by id, from a callable; and what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedkit.errors import DataError
from embedkit.vectors.encoding import vectors_of
from embedkit.vectors.given import given_embedder, given_vectors, read_ids
from embedkit.vectors.store import VectorStore
from tests.vectors.test_store import texts, vectors

ROWS = vectors(texts(7))


def saved(folder: Path, rows: Any = ROWS, name: str = "v.npy") -> Path:
    np.save(folder / name, rows)
    return folder / name


class TestFiles:
    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", "int8"])
    def test_every_type_of_number_comes_out_as_float32(self, tmp_path: Path, dtype: str) -> None:
        given = (ROWS * 9).astype(dtype)
        view = given_vectors(saved(tmp_path, given), count=7, dim=4)
        assert view[:].dtype == np.float32 and (len(view), view.dim) == (7, 4)
        np.testing.assert_array_equal(view[:], given.astype(np.float32))
        np.testing.assert_array_equal(view.take([6, 0, 6]), given[[6, 0, 6]].astype(np.float32))

    def test_several_files_one_after_the_other(self, tmp_path: Path) -> None:
        parts = [saved(tmp_path, ROWS[a:b], f"{a}-{b}.npy") for a, b in ((0, 3), (3, 3), (3, 7))]
        np.testing.assert_array_equal(given_vectors(parts)[:], ROWS)
        np.testing.assert_array_equal(given_vectors(parts)[2:5], ROWS[2:5])

    def test_an_array(self) -> None:
        np.testing.assert_array_equal(given_vectors(ROWS, count=7)[::-1], ROWS[::-1])

    @pytest.mark.parametrize(
        ("rows", "options", "what"),
        [
            (ROWS[0], {}, r"float32 \[4\] are no vectors"),
            (np.zeros((2, 0)), {}, "are no vectors"),
            (np.array([["a"]]), {}, "are no vectors"),
            (np.array([[{}]], object), {}, "not a file of vectors"),
            (ROWS, {"count": 8}, "7 vectors for 8 texts"),
            (ROWS, {"dim": 5}, "vectors of 4 dimensions, not 5"),
            (ROWS, {"wanted": ["a"]}, "vectors without ids are asked for by id"),
            (ROWS, {"wanted": ["a"], "ids": ["a"]}, "1 ids for 7 vectors"),
            (ROWS, {"wanted": [0, "9"], "ids": range(7)}, "1 of 2 texts have no vector, first id '9'"),
            (ROWS, {"wanted": [0], "ids": [0, 1, 2, 1, 4, 5, 6]}, "the id of vector 3"),
            (ROWS, {"wanted": [0], "ids": [0, 1, 2, "1", 4, 5, 6]}, "the id of vector 3"),
        ],
    )
    def test_refused(self, tmp_path: Path, rows: Any, options: dict[str, Any], what: str) -> None:
        with pytest.raises(DataError, match=what):
            given_vectors(saved(tmp_path, rows), **options)

    def test_files_that_cannot_be_read(self, tmp_path: Path) -> None:
        cut = saved(tmp_path)
        cut.write_bytes(cut.read_bytes()[:-1])
        (tmp_path / "text.npy").write_text("hello")
        for path in (cut, tmp_path / "text.npy", tmp_path / "none.npy"):
            with pytest.raises(DataError, match="not a file of vectors"):
                given_vectors(path)
        with pytest.raises(DataError, match="after some of 4"):
            given_vectors([saved(tmp_path), saved(tmp_path, np.zeros((2, 5)), "w.npy")])
        with pytest.raises(DataError, match="no file of vectors"):
            given_vectors([])

    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
    def test_a_vector_that_is_not_finite_is_named_when_it_is_read(self, tmp_path: Path, value: float) -> None:
        given = ROWS.astype(np.float64)
        given[5, 2] = value
        view = given_vectors(saved(tmp_path, given), ids=range(7), wanted=[6, 5, 4])
        np.testing.assert_array_equal(view.take([0, 2]), ROWS[[6, 4]])
        with pytest.raises(DataError, match="row 5 "):
            view.take([0, 1])


class TestIds:
    @pytest.mark.parametrize("mixed", [False, True])
    def test_rows_are_found_by_id_whether_number_or_digits(self, tmp_path: Path, mixed: bool) -> None:
        ids = [10, 11, 12, 13, 14, 15, "x"] if mixed else [str(i) for i in (10, 11, 12, 13, 14, 15)] + ["x"]
        view = given_vectors(saved(tmp_path), ids=ids, wanted=["13", 10, "x", 13], count=4)
        np.testing.assert_array_equal(view[:], ROWS[[3, 0, 6, 3]])

    @pytest.mark.parametrize("name", ["i.npy", "n.npy", "i.jsonl", "i.txt"])
    def test_read_from_a_file(self, tmp_path: Path, name: str) -> None:
        file, ids = tmp_path / name, ["a", "b c", "ü"]
        if name.endswith(".npy"):
            ids = [5, 6, 7] if name == "n.npy" else ids  # type: ignore[list-item]
            np.save(file, np.array(ids))
        elif name == "i.jsonl":
            file.write_text("".join(json.dumps(i) + "\n" for i in ids))
        else:
            file.write_text("a\nb c\r\nü\n", encoding="utf-8")
        assert list(read_ids(file)) == ids

    @pytest.mark.parametrize("line", ["a", "1.5", "true", "null", "[1]"])
    def test_lines_that_are_no_ids(self, tmp_path: Path, line: str) -> None:
        (tmp_path / "i.jsonl").write_text(f'"a"\n{line}\n')
        with pytest.raises(DataError, match=r"i\.jsonl:2: no id"):
            list(read_ids(tmp_path / "i.jsonl"))
        np.save(tmp_path / "i.npy", np.zeros(3))
        for name in ("i.npy", "none.txt"):
            with pytest.raises(DataError):
                list(read_ids(tmp_path / name))


class TestCallables:
    def test_lists_from_an_interface_are_stored_under_their_name(self, tmp_path: Path) -> None:
        asked: list[str] = []

        def call(some: Sequence[str]) -> Any:
            asked.extend(some)
            return vectors(some).astype(np.float64).tolist()

        store = VectorStore(tmp_path)
        made = given_embedder(call, name="api v1")
        assert made.space.dim == 4 and asked == ["a"]
        np.testing.assert_array_equal(vectors_of(texts(5), made, store)[:], vectors(texts(5)))
        vectors_of(texts(6), given_embedder(call, name="api v1", dim=4), store)
        assert sorted(asked) == ["a", *texts(6)], "one more text, one more call"
        vectors_of(texts(2), given_embedder(call, name="api v2", dim=4), store)
        assert len(asked) == 9

    def test_without_a_name_nothing_is_found_again(self) -> None:
        assert given_embedder(vectors, dim=4).space != given_embedder(vectors, dim=4).space

    @pytest.mark.parametrize("given", [[1.0, 2.0], [[]], [[1.0], [2.0]]])
    def test_what_gives_no_vector(self, given: Any) -> None:
        with pytest.raises(DataError, match="one text gives an array of shape"):
            given_embedder(lambda some: given)

    def test_given_vectors_take_the_place_of_encoding(self, tmp_path: Path) -> None:
        view = given_vectors(saved(tmp_path))
        assert vectors_of(texts(7), view, VectorStore(tmp_path / "s")) is view
        with pytest.raises(DataError, match="7 vectors for 8 texts"):
            vectors_of(texts(8), view, VectorStore(tmp_path / "s"))


@pytest.mark.parametrize("files", [None, 5, "v.npy", [], [5], ["../v.npy"], ["a/v.npy"]])
def test_a_record_that_does_not_name_its_files(tmp_path: Path, files: Any) -> None:
    saved(tmp_path)
    record = {"format": 1, "whole": True} | ({} if files is None else {"files": files})
    (tmp_path / "encode.json").write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"encode\.json does not name the files of its vectors"):
        given_vectors(tmp_path)


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"[" * 20_000, b'{"a": "\xff"}', b"{}"])
def test_a_record_that_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "encode.json").write_bytes(content)
    with pytest.raises(DataError, match="not the record of an encoding"):
        given_vectors(tmp_path)
