"""The study of what each part of retrieval training earns: the part of a corpus it takes, and what it keeps."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def quality() -> Any:
    sys.path.insert(0, str(BENCHMARKS))
    yield importlib.import_module("benchmarks.quality")
    sys.path.remove(str(BENCHMARKS))


def beir(folder: Path) -> Path:
    """40 documents, of which train judges the one numbered 3, test that numbered 10; U+2028 ends no line of JSONL."""
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": str(i), "title": "", "text": f"ba\u2028lo {i}"} for i in range(40)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), "utf-8")
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "ba"}) + "\n")
    for name, document in (("train", "3"), ("test", "10")):
        (folder / "qrels" / f"{name}.tsv").write_text(f"query-id\tcorpus-id\tscore\nq\t{document}\t1\n")
    return folder


def test_a_part_of_a_corpus_holds_all_judged_documents(quality: ModuleType, tmp_path: Path) -> None:
    whole, out = beir(tmp_path / "whole"), tmp_path / "out"
    made = quality.smaller(whole, 12, out)
    lines = (made / "corpus.jsonl").read_text("utf-8").split("\n")[:-1]
    rows = [json.loads(line) for line in lines]
    ids = [row["_id"] for row in rows]
    assert len(ids) == 12 and {"3", "10"} <= {*ids} and ids == sorted(ids, key=int)
    assert all(row["text"] == f"ba\u2028lo {row['_id']}" for row in rows)
    assert (made / "qrels" / "test.tsv").is_file() and (made / "queries.jsonl").is_file()
    again = quality.smaller(whole, 12, tmp_path / "other")
    assert (again / "corpus.jsonl").read_text() == (made / "corpus.jsonl").read_text()


def test_what_was_measured_is_kept_and_told(
    quality: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, study = tmp_path / "numbers.json", {"steps": 2}
    numbers = quality.Numbers(file, study)
    scores = {"untrained": [0.0, 1.0], "in-batch": [0.5, 1.0], "mined": [1.0, 1.0]}
    for name, units in scores.items():
        numbers.take(name, 42, {"ndcg@10": units, "seconds": {"training": 3.0, "searches": 1.0}})
    again = quality.Numbers(file, study)
    assert again.runs == numbers.runs and again.has("mined", 42) and not again.has("mined", 43)
    with pytest.raises(SystemExit, match="holds another study"):
        quality.Numbers(file, {"steps": 3})
    monkeypatch.setattr(quality.console, "width", 200)
    quality.show(again.runs, "in-batch")
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    line = next(words for words in told if "mined" in words)
    assert "100.00" in line and "+25.00" in line
    assert "s" in line
    assert any("untrained" in words and "50.00" in words for words in told)
    again.take("mined", 42, {"ndcg@10": scores["mined"], "seconds": None})
    again.take("mined", 43, {"ndcg@10": scores["mined"], "seconds": None})
    quality.show(again.runs, "mined")
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    line = next(words for words in told if "mined" in words and "nDCG@10" not in words)
    assert "s" not in line, "no time was taken"
    assert "-25.00" in next(words for words in told if "in-batch" in words), "on the seed that both have"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (["--settings", "guide filter"], "guide filter: name the model with --guide"),
        (["--settings", "guide as teacher", "--guide", "m"], "needs pairs and a corpus in files"),
        (["--settings", "minde"], "no such setting: minde"),
    ],
)
def test_what_cannot_be_run_is_said(
    quality: ModuleType, options: list[str], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["quality.py", "--out", str(tmp_path), *options])
    with pytest.raises(SystemExit, match=what):
        quality.main()
