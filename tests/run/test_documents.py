"""`embedkit start`: every stage leaves a file that can be looked at, changed and gone on from."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from embedkit.errors import DataError, EmbedkitError, RecipeError
from embedkit.inputs.parquet import count
from embedkit.run.documents.asking import Question, questions_of, read_questions
from embedkit.run.documents.parting import held_out, unit_of
from embedkit.run.documents.place import Asked, Place
from embedkit.run.documents.reading import Passage, passages_of
from embedkit.run.documents.starting import Start, start
from tests.synthesis.server import Server, serving
from tests.tiny import sentences, tiny_bert

QUICK = ("train.batch_size=4", "train.steps=2", "eval.resamples=100", "model.max_length=32")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and twelve documents of three passages with headings."""
    folder = tmp_path_factory.mktemp("documents")
    tiny_bert(folder / "tiny")
    texts = sentences(48, seed=5)
    (folder / "docs").mkdir()
    for number in range(12):
        own = texts[4 * number : 4 * number + 4]
        (folder / "docs" / f"{number}.md").write_text("\n\n".join([f"# {own[0]}", *own[1:]]))
    return folder


@pytest.fixture(scope="module")
def begun(material: Path) -> tuple[Place, list[str]]:
    """A folder of which all stages were made, and what was said."""
    said: list[str] = []
    return go(material, material / "begun", said), said


def go(material: Path, out: Path, said: list[str] | None = None, **changed: Any) -> Place:
    given = {"model": str(material / "tiny"), "words": 12, "held_out": 0.25, "device": "cpu", "overrides": QUICK}
    lines: list[str] = [] if said is None else said
    settings = Start(material / "docs", out, **(given | changed))
    return start(settings, say=lambda line: lines.append(str(line)), progress=False)


@pytest.fixture
def copy(begun: tuple[Place, list[str]], tmp_path: Path) -> Path:
    shutil.copytree(begun[0].root, tmp_path / "out")
    return tmp_path / "out"


def test_all_stages(begun: tuple[Place, list[str]]) -> None:
    place, said = begun
    questions = read_questions(place.questions)
    assert len(questions) == 12
    corpus = [json.loads(line) for line in place.corpus.read_text().splitlines()]
    assert all(set(row) == {"_id", "text"} for row in corpus), "a title would give its own question away"
    judged = {split: (place.root / split / "qrels" / f"{split}.tsv").read_text() for split in ("train", "test")}
    asked = {
        name: {line.split("#")[0].split("\t")[1] for line in text.splitlines()[1:]} for name, text in judged.items()
    }
    assert len(asked["test"]) == 3 and len(asked["train"]) == 9 and not asked["test"] & asked["train"]
    seen = [json.loads(line)["_id"] for line in (place.train / "corpus.jsonl").read_text().splitlines()]
    assert not {name.split("#")[0] for name in seen} & asked["test"], "nothing is mined among what the test asks for"
    assert count(place.mined) == len(judged["train"].splitlines()) - 1
    record = json.loads((place.run / "run.json").read_text())
    assert record["updates"] == 2 and record["scores_before"] and record["scores_after"]
    assert (place.run / "report" / "index.html").is_file() and (place.audit / "index.html").is_file()
    assert any("3 documents: 9 questions to train on, 3 to test" in line for line in said)


def test_again_nothing_is_made(material: Path, copy: Path) -> None:
    said: list[str] = []
    go(material, copy, said)
    assert [line for line in said if "there already" in line][-1] == "run: there already"
    assert not any(line.startswith("->") for line in said)


def test_a_run_of_files_that_were_removed_is_not_taken_for_theirs(material: Path, copy: Path) -> None:
    (copy / "mined.parquet").unlink()
    with pytest.raises(EmbedkitError, match="was trained before"):
        go(material, copy)


@pytest.mark.slow
def test_a_changed_file_is_taken(material: Path, copy: Path) -> None:
    shutil.rmtree(copy / "run")
    shutil.rmtree(copy / "train" / "qrels")
    kept = (copy / "questions.jsonl").read_text().splitlines()[1:]
    (copy / "questions.jsonl").write_text("\n".join(kept) + "\n")
    go(material, copy)
    judged = sum(len((copy / s / "qrels" / f"{s}.tsv").read_text().splitlines()) - 1 for s in ("train", "test"))
    assert judged == sum(len(json.loads(line)["passages"]) for line in kept)
    assert (copy / "run" / "model").is_dir()


def test_other_settings_or_documents_are_refused(material: Path, copy: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"words: '12' -> '20'"):
        go(material, copy, words=20)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.txt").write_text("other")
    with pytest.raises(RecipeError, match="sha256"):
        start(
            Start(tmp_path / "docs", copy, str(material / "tiny"), words=12, held_out=0.25, device="cpu"),
            progress=False,
        )
    foreign = tmp_path / "mine"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("precious")
    with pytest.raises(RecipeError, match="did not begin it"):
        go(material, foreign)


def test_a_line_of_questions_that_was_broken_by_hand(material: Path, copy: Path) -> None:
    shutil.rmtree(copy / "run")
    shutil.rmtree(copy / "test")
    with (copy / "questions.jsonl").open("a") as file:
        file.write('{"query": "why?"}\n')
    with pytest.raises(DataError, match="line 13: `query`, `document` and a list of `passages`"):
        go(material, copy)


def test_dry(material: Path, tmp_path: Path) -> None:
    said: list[str] = []
    settings = Start(
        material / "docs", tmp_path / "out", "m", "synth:lm,endpoint=http://localhost:1/v1", words=12, limit=7
    )
    start(settings, dry=True, say=lambda line: said.append(str(line)), progress=False)
    assert not (tmp_path / "out").exists()
    assert said[1] == "questions    7 calls of the language model, up to 7 of the judge"


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"questions": "titel"}, "neither `title` nor `synth:MODEL`"),
        ({"questions": "synth:"}, "nothing is given"),
        ({"overrides": ("train.epoch=3",)}, "did you mean `epochs`"),
        ({"documents": Path("nowhere")}, "no such folder or file"),
    ],
)
def test_wrong_settings(tmp_path: Path, changed: dict[str, Any], what: str) -> None:
    given: dict[str, Any] = {"documents": tmp_path, "out": tmp_path / "out", "model": "m", **changed}
    with pytest.raises(EmbedkitError, match=what):
        start(Start(**given), progress=False)
    assert not (tmp_path / "out").exists()


def test_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.pdf").write_text("%PDF")
    with pytest.raises(DataError, match="there is no text"):
        passages_of(tmp_path, 100, Counter(), progress=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        yield found


def test_a_language_model_asks_and_judges_and_is_not_asked_twice(server: Server, tmp_path: Path) -> None:
    passages = [Passage(f"{n}#1", str(n), "", text) for n, text in enumerate(sentences(60, seed=9))]
    asked = Asked("docs", "", "m", f"synth:lm,endpoint={server.url},key-env=HOME", True, 50, 0.1, 40, 1)

    def ask() -> tuple[list[Question], Counter[str]]:
        left: Counter[str] = Counter()
        options: dict[str, Any] = {"device": "cpu", "say": lambda line: None, "progress": False}
        return questions_of(asked, passages, tmp_path / "answers", left, **options), left

    found, left = ask()
    requests = len(server.requests)
    written = 40 - sum(count for why, count in left.items() if why.startswith("documents without a query"))
    judged = sum(count for why, count in left.items() if "judge" in why) + left["questions that several documents have"]
    assert 40 < requests <= 80 + left.total() and 0 < len(found) == written - judged
    assert ask() == (found, left) and len(server.requests) == requests
    by_id = {p.id: p.text for p in passages}
    for question in found:
        answer = reply_of(server, f"Query: {question.text}\n", by_id[question.passages[0]])
        assert answer == "Yes.", "the judge's own word"


def test_a_model_that_leaves_next_to_nothing_stops_the_start(server: Server, tmp_path: Path) -> None:
    passages = [Passage(f"{n}#1", str(n), "", text) for n, text in enumerate(sentences(60, seed=9))]
    asked = Asked("docs", "", "m", f"synth:lm,endpoint={server.url},key-env=HOME", False, 50, 0.1, 40, 1)
    options: dict[str, Any] = {"device": "cpu", "say": lambda line: None, "progress": False}
    server.failures = ["refusal"] * 38
    with pytest.raises(DataError) as stopped:
        questions_of(asked, passages, tmp_path / "answers", Counter(), **options)
    assert re.search(
        r"[12] questions are left of 40 passages .*: 3[89] documents without a query: query: refusal",
        str(stopped.value),
    )
    assert "--no-judge" in str(stopped.value)
    server.failures = ["refusal"] * 30
    assert len(questions_of(asked, passages, tmp_path / "others", Counter(), **options)) >= 4


def reply_of(server: Server, query: str, document: str) -> str:
    from tests.synthesis.server import reply_to

    prompts = [p for p in server.prompts() if query in p and document in p]
    return reply_to(prompts[-1])


def test_questions_of_two_documents_are_no_ones(tmp_path: Path) -> None:
    passages = [
        Passage(f"{n}#1", str(n), title, f"text {n}") for n, title in enumerate(["Intro", "intro ", "Intro", "Own"])
    ]
    asked = Asked("docs", "", "m", "title", True, 50, 0.1, None, 1)
    left: Counter[str] = Counter()
    options: dict[str, Any] = {"device": "cpu", "say": lambda line: None, "progress": False}
    found = questions_of(asked, passages, tmp_path / "a", left, **options)
    assert {q.text for q in found} == {"intro ", "Own"} and left["questions that several documents have"] == 2


def test_what_is_held_out_depends_on_names_and_seed_alone() -> None:
    passages = [Passage(f"{n}#{k}", str(n), "t", f"{n} {k}") for n in range(20) for k in (1, 2)]
    questions = [Question(f"q{p.id}", (p.id,), p.document) for p in passages]
    away = held_out(passages, questions, 0.2, 7)
    assert len(away) == 4 and away == held_out(passages, questions[::-1], 0.2, 7) != held_out(
        passages, questions, 0.2, 8
    )
    assert {unit_of(q, passages) for q in questions} == {str(n) for n in range(20)}
    few = [p for p in passages if int(p.document) < 3]
    assert unit_of(questions[0], few) == questions[0].passages[0], "a few documents are parted by passages"
    with pytest.raises(DataError, match="fewer than two"):
        held_out(passages, questions[:1], 0.2, 7)
