"""The guides run: their commands, one after the other, on files as they describe them, and their Python."""

from __future__ import annotations

import gzip
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done, embedkit  # noqa: F401
from tests.test_docs import ROOT, blocks, recipes_of
from tests.tiny import sentences, tiny_bert

Run = Callable[..., Done]
SMALL = ["model.base=tiny", "train.steps=2", "train.batch_size=8", "train.device=cpu", "eval.resamples=100"]
TYPO = ("learning_rate", "lerning_rate")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files that the guides speak of."""
    monkeypatch.chdir(tmp_path)
    tiny_bert(Path("tiny"))
    texts = sentences(80)
    pairs = list(zip(texts[::2], texts[1::2], strict=True))
    Path("faq.tsv").write_text("question\tanswer\n" + "".join(f"{q}\t{a}\n" for q, a in pairs), encoding="utf-8")
    Path("held-out.tsv").write_text(Path("faq.tsv").read_text(encoding="utf-8"), encoding="utf-8")
    rows = [json.dumps({"question": q, "answer": a, "wrong_answers": [texts[0]]}) for q, a in pairs]
    Path("pairs.jsonl.gz").write_bytes(gzip.compress("\n".join(rows).encode()))
    return tmp_path


def own_set() -> None:
    """The evaluation set of the questions page, by its own code."""
    made = next(b for b in blocks(ROOT / "docs" / "questions.md", "python") if "dev-beir" in b)
    exec(compile(made, "questions.md", "exec"), {})


def shown(page: Path) -> list[list[str]]:
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    return [words[1:] for words in (shlex.split(line, comments=True) for line in lines) if words[:1] == ["embedkit"]]


def small(words: list[str]) -> list[str]:
    """The command with a tiny model and few updates; evaluated models are the tiny one and what was trained."""
    if words[0] in ("check", "train"):
        at = [i + 1 for i, word in enumerate(words) if word == "--seeds"]
        return [*("2" if i in at else word for i, word in enumerate(words)), *SMALL]
    return ["tiny" if "/" in word and not word.startswith(("runs/", "scores/")) else word for word in words] + [
        "--resamples",
        "100",
    ]


@pytest.mark.slow
def test_every_command_of_the_start_page(embedkit: Run, work: Path) -> None:  # noqa: F811
    page = ROOT / "docs" / "start.md"
    for name, text in recipes_of(page).items():
        Path(name).write_text(text, encoding="utf-8")
    ran = [words for words in shown(page) if words[0] in ("check", "train", "eval")]
    assert len(ran) >= 6
    for words in ran:
        done = embedkit(*small(words))
        assert done.code == 0, (words, done.err)
    assert Path("runs/faq/model/modules.json").is_file() and Path("scores/faq/scores.json").is_file()


def test_every_command_of_the_front_page(embedkit: Run, work: Path) -> None:  # noqa: F811
    page = ROOT / "README.md"
    for name, text in recipes_of(page).items():
        Path(name).write_text(text, encoding="utf-8")
    own_set()
    ran = [words for words in shown(page) if words[0] in ("check", "train", "recipes")]
    assert len(ran) >= 4
    for words in ran:
        done = embedkit(*(small(words) if words[0] != "recipes" else words))
        assert done.code == 0, (words, done.err)


def test_the_error_that_the_front_page_shows(embedkit: Run, work: Path) -> None:  # noqa: F811
    page = ROOT / "README.md"
    (name, text), *_ = recipes_of(page).items()
    Path(name).write_text(text.replace(*TYPO, 1), encoding="utf-8")
    done = embedkit("check", name)
    assert done.code == 2
    example = next(block for block in blocks(page, "text") if TYPO[1] in block)
    assert done.err.split() == example.split()


def test_the_evaluation_set_of_the_questions_page(embedkit: Run, work: Path) -> None:  # noqa: F811
    own_set()
    Path("own.yaml").write_text(
        "name: own\ntasks: [{type: retrieval, name: dev, folder: dev-beir}]\n", encoding="utf-8"
    )
    done = embedkit("eval", "tiny", "--suite", "own.yaml:dev", "--resamples", "100")
    assert done.code == 0 and "dev" in done.out
    missing = embedkit("eval", "tiny", "--suite", "own.yaml:nothing")
    assert missing.code == 2 and "tasks: dev" in missing.err


def test_rows_from_python(work: Path) -> None:
    made = next(b for b in blocks(ROOT / "docs" / "questions.md", "python") if "from embedkit import" in b)
    made = made.replace("sentence-transformers/all-MiniLM-L6-v2", "tiny")
    made = re.sub(r'"steps": 2', '"steps": 2, "device": "cpu"', made)
    space: dict[str, object] = {}
    exec(compile(made, "questions.md", "exec"), space)
    assert space["record"].finished and Path("runs/from-python/model").is_dir()  # type: ignore[attr-defined]


def test_the_reference_is_that_of_the_code() -> None:
    """Every key of the schema and every option of the command line stands in the docs."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    for name, page in generate.PAGES.items():
        written = (ROOT / "docs" / "reference" / name).read_text(encoding="utf-8")
        assert written == page().rstrip() + "\n", f"docs/reference/{name} is out of date: run `make docs`"


def test_the_vectors_page(embedkit: Run, work: Path) -> None:  # noqa: F811
    import numpy as np

    page, model = ROOT / "docs" / "vectors.md", "sentence-transformers/all-MiniLM-L6-v2"
    Path("corpus.txt").write_text("\n".join(sentences(9)) + "\n", encoding="utf-8")
    rows = [json.dumps({"id": i, "body": text}) for i, text in enumerate(sentences(9))]
    Path("corpus.jsonl").write_text("\n".join(rows), encoding="utf-8")
    ran = shown(page)
    assert [words[0] for words in ran] == ["encode", "encode"]
    for words in ran:
        done = embedkit(*("tiny" if word == model else word for word in words), "--device", "cpu")
        assert done.code == 0, (words, done.err)
    np.save("mine.npy", np.eye(3))
    names: dict[str, object] = {}
    for block in blocks(page, "python"):
        own = block.replace(f'base="{model}"', 'base="tiny"').replace("runs/a/model + runs/b/model", "tiny + tiny")
        exec(compile(own, page.name, "exec"), names)
    assert names["both"].dim == 64  # type: ignore[attr-defined]
    view = names["view"]
    assert view.take([2]).tolist() == view[0:1].tolist()  # type: ignore[attr-defined]
