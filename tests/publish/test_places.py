"""Absolute paths do not leave the machine; the recipe's own words, addresses and other texts do."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedkit.publish.places import without_places


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/home/ann/corpora/pairs.tsv", "…/pairs.tsv"),
        ("/home/ann/My Documents/clients list.tsv", "…/clients list.tsv"),
        ("no such file: /home/ann/x/pairs.tsv:12", "no such file: …/pairs.tsv:12"),
        ("data:/home/ann/x.tsv, /mnt/y/z.tsv", "data:…/x.tsv, …/z.tsv"),
        ("('/home/ann/a.txt')", "('…/a.txt')"),
        ("/data/ann/*.jsonl", "…/*.jsonl"),
        ("file:///home/ann/x.tsv", "…/x.tsv"),
        ("~ann/models/best", "…/best"),
        ("C:\\Users\\ann\\x.tsv", "…/x.tsv"),
        ("read D:/corpora/ann/x.tsv twice", "read …/x.tsv twice"),
        ("\\\\server\\ann\\x.tsv", "…/x.tsv"),
    ],
)
def test_an_absolute_path_keeps_its_last_part(text: str, shown: str, tmp_path: Path) -> None:
    assert without_places(text, tmp_path) == shown


@pytest.mark.parametrize(
    "text",
    [
        "data/pairs.tsv",
        "../corpora/pairs.tsv",
        "./pairs.tsv",
        "~/corpora/pairs.tsv",
        "sentence-transformers/all-MiniLM-L6-v2",
        "hub:org/name",
        "https://example.org/a/b/c",
        "s3://bucket/key/x",
        "and/or, 12/05/2024, 3 / 4, ndcg@10",
        "/query: ",
        "a C: drive",
        "re: x",
    ],
)
def test_other_texts_stay(text: str, tmp_path: Path) -> None:
    assert without_places(text, tmp_path) == text


def test_paths_into_the_run_and_the_working_folder_are_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    run = tmp_path / "runs" / "a b"
    told = [
        f"the batch is in {run}/failed.json",
        str(run / "model"),
        f"{Path.cwd()}/data/x.tsv",
        str(run),
        f"/mnt{run}/x",
    ]
    assert without_places(told, run) == ["the batch is in failed.json", "model", "data/x.tsv", ".", "…/x"]


def test_a_path_with_spaces_is_known_in_other_texts_too(tmp_path: Path) -> None:
    path = "/home/ann/My Documents/x y.tsv"
    told = {"recipe": {"data": [{"path": path}]}, "text": f"data:\n- path: {path}\n  limit: 3\n", "n": 3}
    assert without_places(told, tmp_path) == {
        "recipe": {"data": [{"path": "…/x y.tsv"}]},
        "text": "data:\n- path: …/x y.tsv\n  limit: 3\n",
        "n": 3,
    }


def test_the_home_folder_alone_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/ann")
    assert without_places("not writable: /ann, /annual", tmp_path) == "not writable: ~, /annual"
