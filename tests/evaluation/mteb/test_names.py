"""What can be told without mteb: names, the data of local files, and that mteb is asked for where it is missing."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from embedkit.errors import DataError, RecipeError
from embedkit.evaluation import suite as suites
from embedkit.evaluation.content import read
from embedkit.evaluation.mteb.encoder import name_of, revision_of
from embedkit.recipe import mteb as blocks
from embedkit.recipe.load import load_suite_file


def test_commas_in_brackets_belong_to_a_name() -> None:
    assert blocks.names_of("mteb:MTEB(eng, v2), SciFact,STS12") == ["MTEB(eng, v2)", "SciFact", "STS12"]
    assert blocks.names_of("mteb:") == []


def test_names_of_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "a" / "model").mkdir(parents=True)
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert name_of("user/model-x") == "user/model-x"
    assert name_of("runs/a/model") == "local/a"
    assert name_of("org/name") == "local/name", "a folder that is there is no id"
    assert name_of(str(tmp_path / "runs/a")) == "local/a"
    assert name_of("./runs/a") == "local/a"


def test_the_revision_is_of_content_and_length() -> None:
    found = {revision_of(f, n) for f in ("a", "b") for n in (None, 64, 128)}
    assert len(found) == 6 and all(len(one) == 40 for one in found)


def test_without_mteb_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "mteb" else real(name, *rest))
    with pytest.raises(RecipeError, match="not installed") as caught:
        suites.load_suite("mteb:STS12")
    assert "embedkit-train[mteb]" in caught.value.cure


@pytest.mark.parametrize(
    ("task", "what"),
    [
        ("{type: mteb, name: a}", "needs `task`, `data` or both"),
        ("{type: mteb, data: {kind: sts, files: [a.tsv]}}", "needs a name"),
        ("{type: mteb, name: a, benchmark: NanoBEIR, data: {kind: sts, files: [a]}}", "benchmark without task"),
        ("{type: mteb, task: STS12, data: {kind: st, files: [a.tsv]}}", "own.yaml:2"),
        ("{type: mteb, task: STS12, data: {kind: sts, file: [a.tsv]}}", "did you mean `files`"),
        ("{type: mteb, name: a, data: {kind: classification, files: [a.tsv]}}", "train"),
    ],
)
def test_a_wrong_task_is_refused_with_its_line(tmp_path: Path, task: str, what: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(f"tasks:\n  - {task}\n")
    with pytest.raises(RecipeError) as caught:
        load_suite_file(path)
    assert what in str(caught.value) and "own.yaml:" in str(caught.value)


def test_the_name_is_that_of_the_official_task_unless_given(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("tasks:\n  - {type: mteb, task: STS12}\n  - {type: mteb, task: STS13, name: other}\n")
    assert [task.name for task in load_suite_file(path).tasks] == ["STS12", "other"]


# Files --------------------------------------------------------------------------------------------------------


def write(path: Path, text: str) -> tuple[str, ...]:
    path.write_text(text, encoding="utf-8")
    return (str(path),)


def refused(data: blocks.Data) -> DataError:
    with pytest.raises(DataError) as caught:
        read(data, "t")
    return caught.value


def test_labels_become_numbers_in_their_order(tmp_path: Path) -> None:
    train = write(tmp_path / "train.tsv", "label\ttext\n10\ta\n9\tb\n10\tc\n")
    test = write(tmp_path / "test.tsv", "label\ttext\n9\td\n")
    found = read(blocks.ClassificationFiles(files=test, train=train), "t")
    assert found.train["label"] == [1, 0, 1] and found.test["label"] == [0]
    named = write(tmp_path / "named.tsv", "label\ttext\nzebra\ta\nape\tb\n")
    assert read(blocks.ClusteringFiles(files=named), "t").test["label"] == [1, 0]


def test_the_digest_is_of_the_content(tmp_path: Path) -> None:
    rows = "sentence1\tsentence2\tlabel\na\tb\t1\nc\td\t0\n"
    one = read(blocks.PairFiles(files=write(tmp_path / "a.tsv", rows)), "t").digest
    two = read(blocks.PairFiles(files=write(tmp_path / "b.tsv", rows)), "t").digest
    other = read(blocks.PairFiles(files=write(tmp_path / "c.tsv", rows.replace("d", "e"))), "t").digest
    assert one == two != other


def test_reranking_gives_each_query_its_own_candidates(tmp_path: Path) -> None:
    rows = [
        {"query": "q", "positive": ["a", "a"], "negative": ["b"]},
        {"query": "r", "positive": "b", "negative": ["a", "c"]},
    ]
    files = write(tmp_path / "r.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    found = read(blocks.RerankingFiles(files=files), "t")
    assert found.retrieval is not None and found.candidates is not None
    texts = found.retrieval.corpus
    assert sorted(texts.values()) == ["a", "b", "c"]
    judged = [{texts[d]: gain for d, gain in judged.items()} for judged in found.retrieval.qrels.values()]
    assert judged == [{"a": 1, "b": 0}, {"b": 1, "a": 0, "c": 0}]
    assert [[texts[d] for d in ids] for ids in found.candidates.values()] == [["a", "b"], ["b", "a", "c"]]


def test_many_labels_are_a_list_or_a_text(tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", '{"text": "a", "labels": ["x", "y"]}\n{"text": "b", "labels": []}\n')
    test = write(tmp_path / "b.tsv", "text\tlabels\nc\tx; y\nd\ty\n")
    found = read(blocks.MultilabelFiles(files=test, train=train, separator=";"), "t")
    assert found.train["label"] == [["x", "y"], []] and found.test["label"] == [["x", "y"], ["y"]]


@pytest.mark.parametrize(
    ("kind", "text", "what", "line"),
    [
        ("pairs", "sentence1\tsentence2\tlabel\na\tb\t1\nc\td\t2\n", "expected 0 or 1", 3),
        ("pairs", "sentence1\tsentence2\tlabel\na\tb\t1\n", "have one label", None),
        ("pairs", "sentence1\tsentence2\tlabel\na\t\t1\n", "sentence2 is empty", 2),
        ("pairs", "sentence1\tsentence\tlabel\na\tb\t1\n", "no column 'sentence2'", 1),
        ("bitext", "sentence1\tsentence2\n", "no rows", None),
        ("clusters", "text\tlabel\na\tx\nb\t \n", "expected a label", 3),
        ("clusters", "text\tlabel\na\tx\nb\tx\n", "all texts have one label", None),
        ("classes", "text\tlabel\na\tx\nb\tz\n", "the test files have labels that the training files lack: z", None),
        ("rerank", '{"query": "q", "positive": [], "negative": ["b"]}\n', "expected a text or a list of texts", 1),
        ("rerank", '{"query": "q", "positive": ["b"], "negative": ["b"]}\n', "both positive and negative", 1),
        ("rerank", '{"query": "q", "positive": ["b", 3], "negative": ["c"]}\n', "expected text", 1),
    ],
)
def test_bad_files_are_refused_with_their_line(
    tmp_path: Path, kind: str, text: str, what: str, line: int | None
) -> None:
    name = "f.jsonl" if kind == "rerank" else "f.tsv"
    files = write(tmp_path / name, text)
    train = write(tmp_path / "train.tsv", "text\tlabel\na\tx\nb\ty\n")
    data = {
        "pairs": blocks.PairFiles(files=files),
        "bitext": blocks.BitextFiles(files=files),
        "clusters": blocks.ClusteringFiles(files=files),
        "classes": blocks.ClassificationFiles(files=files, train=train),
        "rerank": blocks.RerankingFiles(files=files),
    }[kind]
    error = refused(data)
    assert what in error.what, error
    if line is not None:
        assert error.where == f"{files[0]}:{line}"
