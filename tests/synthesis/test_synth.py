"""``embedkit synth`` from end to end: data that the recipes train on, caching, counts, dry runs, no key anywhere."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedkit.disk.locks import hold_file
from tests.cli.conftest import Done, embedkit  # noqa: F401 (a fixture)
from tests.synthesis.server import Server
from tests.tiny import sentences, tiny_bert

Run = Callable[..., Done]
KEY = "sk-test-0123456789abcdef"
TEXTS = sentences(24, seed=9, shortest=4)
ROWS = [{"sent0": TEXTS[i], "sent1": TEXTS[i + 8], "hard_neg": TEXTS[i + 16]} for i in range(8)]
ROLES = "{query: sent0, positive: sent1, negative: hard_neg}"
SCORE_ONLY = """\
score: {temperature: 2.0, top_p: 1.0, max_tokens: 2, messages: [{content: '{{ text_a }} {{ text_b }}'}]}
fill: {temperature: 2.0, top_p: 1.0, max_tokens: 60, messages: [{content: '{{ masked }}'}]}
paraphrase: {temperature: 2.0, top_p: 1.0, max_tokens: 60, messages: [{content: '{{ text }}'}]}
"""
"""For a model of random weights: a number and an end come often enough."""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with texts, triplets and prompts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    Path("text.txt").write_text("\n".join(TEXTS) + "\n")
    Path("nli.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    Path("score.yaml").write_text(SCORE_ONLY)
    return tmp_path


def rows_of(path: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def meta_of(path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(path).with_suffix(".meta.json").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize(
    ("task", "given", "recipe"),
    [
        ("claif", ("--text", "text.txt", "--limit", "6"), "sup/claif"),
        ("clhaif", ("--text", "nli.jsonl", "--roles", ROLES), "sup/clhaif"),
        ("syncse-partial", ("--text", "text.txt"), "sup/syncse"),
        ("syncse-scratch", ("--count", "30"), "sup/syncse"),
    ],
)
def test_one_command_makes_the_data_and_one_trains_on_it(
    embedkit: Run,  # noqa: F811
    server: Server,
    work: Path,
    task: str,
    given: tuple[str, ...],
    recipe: str,
) -> None:
    done = embedkit("synth", task, *given, "--out", "made.jsonl", "--endpoint", server.url, "--model", "tiny")
    assert done.code == 0, done.err
    rows, meta = rows_of("made.jsonl"), meta_of("made.jsonl")
    assert f"wrote        {len(rows):,} rows to made.jsonl" in done.out and len(rows) == meta["rows"] >= 6
    assert sum(meta["calls"]["new"].values()) == len(server.requests) and not meta["calls"]["cached"]
    assert meta["tokens"]["new"]["prompt"] == sum(map(len, server.prompts()))
    if scores := meta.get("scores"):
        assert sum(scores.values()) >= len([row for row in rows if row.get("made") != "random"]) > 0
        score, times = next(iter(scores.items()))
        assert f"scores       {score} {times:,} times" in done.out
    assert ("scores" in meta) == (task in ("claif", "clhaif"))

    tiny_bert(work / "base")
    small = ("model.base=base", "model.max_length=32", "train.batch_size=4", "train.steps=2", "train.device=cpu")
    done = embedkit("train", recipe, "data.sources.0.path=made.jsonl", *small, "eval.suite=null", "--out", "run")
    assert done.code == 0, done.err
    assert (work / "run" / "model" / "modules.json").is_file()


def test_a_local_model_with_random_weights_makes_pairs(embedkit: Run, work: Path, terse_lm: Path) -> None:  # noqa: F811
    arguments = ("synth", "claif", "--text", "text.txt", "--limit", "12", "--prompts", "score.yaml")
    done = embedkit(*arguments, "--out", "a.jsonl", "--model", str(terse_lm), "--device", "cpu")
    assert done.code == 0, done.err
    rows, meta = rows_of("a.jsonl"), meta_of("a.jsonl")
    assert {row["sentence1"] for row in rows} <= set(TEXTS[:12])
    assert len({row["score"] for row in rows}) > 3 and all(0 <= row["score"] <= 1 for row in rows)
    assert meta["dropped"]["score: not a number from 0 to 1"] > 0 and meta["tokens"]["new"]["completion"] > 100
    assert str(terse_lm) not in Path("a.meta.json").read_text(), "a folder's name says nothing about its model"

    again = embedkit(*arguments, "--out", "b.jsonl", "--model", str(terse_lm), "--device", "cpu", "--batch-size", "3")
    assert again.code == 0 and Path("b.jsonl").read_bytes() == Path("a.jsonl").read_bytes()
    other = embedkit(*arguments, "--out", "c.jsonl", "--model", str(terse_lm), "--device", "cpu", "--seed", "1")
    assert other.code == 0 and Path("c.jsonl").read_bytes() != Path("a.jsonl").read_bytes()


def test_a_rerun_asks_nothing_and_more_texts_ask_only_what_is_new(
    embedkit: Run,  # noqa: F811
    server: Server,
    work: Path,
) -> None:
    where = ("--endpoint", server.url, "--model", "tiny", "--price-in", "2", "--price-out", "4")
    base = ("synth", "syncse-partial", "--text", "text.txt", "--out", "t.jsonl", *where)
    assert embedkit(*base, "--limit", "10").code == 0
    first, meta = Path("t.jsonl").read_bytes(), meta_of("t.jsonl")
    assert len(server.requests) == 20
    tokens = meta["tokens"]["new"]
    assert meta["cost"]["new"] == pytest.approx((tokens["prompt"] * 2 + tokens["completion"] * 4) / 1e6, abs=1e-6)

    refused = embedkit(*base, "--limit", "10")
    assert refused.code == 1 and "--overwrite" in refused.err and len(server.requests) == 20
    done = embedkit(*base, "--limit", "10", "--overwrite")
    assert done.code == 0 and len(server.requests) == 20 and Path("t.jsonl").read_bytes() == first
    assert "calls        0 new, 20 from the cache" in done.out
    again = meta_of("t.jsonl")
    assert again["cost"]["new"] == 0 and again["cost"]["with cached"] == meta["cost"]["new"]
    assert again["tokens"]["cached"] == tokens

    assert embedkit(*base, "--limit", "15", "--overwrite").code == 0
    assert len(server.requests) == 30
    assert Path("t.jsonl").read_bytes().startswith(first), "the texts before are as they were"
    assert embedkit(*base, "--limit", "15", "--overwrite", "--seed", "1").code == 0
    assert len(server.requests) == 60


def test_a_run_that_fails_keeps_its_answers_and_goes_on(embedkit: Run, server: Server, work: Path) -> None:  # noqa: F811
    server.failures = [None] * 7 + [401]
    base = ("synth", "syncse-partial", "--text", "text.txt", "--out", "t.jsonl", "--concurrency", "1")
    done = embedkit(*base, "--endpoint", server.url, "--model", "tiny")
    assert done.code == 1 and "HTTP 401" in done.err and "OPENAI_API_KEY is not set" in done.err
    assert not Path("t.jsonl").exists() and not Path("t.meta.json").exists()
    done = embedkit(*base, "--endpoint", server.url, "--model", "tiny")
    assert done.code == 0 and len(server.requests) == 8 + 2 * len(TEXTS) - 7
    assert meta_of("t.jsonl")["calls"]["cached"]


def test_no_key_in_any_file_or_output(
    embedkit: Run,  # noqa: F811
    server: Server,
    work: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(0)
    monkeypatch.setenv("MY_KEY", KEY)
    server.echo = True
    server.failures = [429, 500]
    base = ("synth", "syncse-partial", "--text", "text.txt", "--endpoint", server.url, "--model", "tiny")
    good = embedkit(*base, "--key-env", "MY_KEY", "--out", "t.jsonl")
    assert good.code == 0
    assert {headers["Authorization"] for headers in server.headers} == {f"Bearer {KEY}"}
    assert "Bearer [key]" in Path("t.jsonl").read_text(), "the server put the header into its answers"
    server.failures = [403]
    bad = embedkit(*base, "--key-env", "MY_KEY", "--out", "u.jsonl", "--concurrency", "1")
    assert bad.code == 1 and "MY_KEY is set" in bad.err
    files = [path.read_text(encoding="utf-8") for path in work.iterdir()]
    assert len(files) >= 6
    for text in (*files, good.out, good.err, bad.out, bad.err, caplog.text):
        assert KEY not in text


def test_a_dry_run_calls_nothing_and_says_what_a_run_would(embedkit: Run, server: Server, work: Path) -> None:  # noqa: F811
    base = ("synth", "claif", "--text", "text.txt", "--out", "t.jsonl", "--endpoint", server.url, "--model", "tiny")
    done = embedkit(*base, "--dry-run", "--price-in", "1")
    assert done.code == 0 and not server.requests
    assert sorted(path.name for path in work.iterdir()) == ["nli.jsonl", "score.yaml", "text.txt"]
    assert "calls        24 paraphrase + 192 fill + up to 216 score = up to 432; none is made now" in done.out
    assert f"Sentence: {TEXTS[0]}" in done.out and "--- fill: temperature 0.7, top_p 0.9" in done.out
    assert "cost         roughly" in done.out
    shown = done.out.split("--- paraphrase")[1].split("[user]\n")[1].split("\n\n---")[0]
    assert embedkit(*base).code == 0
    asked = server.prompts()
    assert shown in asked
    kinds = meta_of("t.jsonl")["calls"]["new"]
    assert (kinds["paraphrase"], kinds["fill"]) == (24, 192) and kinds["score"] <= 216


def test_what_the_record_holds(embedkit: Run, server: Server, work: Path) -> None:  # noqa: F811
    Path("twice.txt").write_text(f"{TEXTS[0]}\n{TEXTS[1]}\n\n{TEXTS[0]}\n{TEXTS[2]}\n")
    server.usage = False
    base = ("synth", "syncse-partial", "--text", "twice.txt", "--out", "t.jsonl", "--endpoint", server.url)
    refused = embedkit(*base, "--model", "tiny")
    assert refused.code == 3 and "twice.txt:3: empty line" in refused.err and not server.requests
    done = embedkit(*base, "--model", "tiny", "--skip-bad-rows", "--seed", "3")
    assert done.code == 0, done.err
    meta = meta_of("t.jsonl")
    assert meta["dropped"]["given twice"] == 1 and meta["source"]["skipped"] == {"empty line": 1}
    assert meta["source"]["texts"] == 3 and meta["seed"] == 3 and meta["calls without a token count"] == 6
    assert "6 calls came without a token count" in done.out and "cost" not in meta
    assert meta["model"] == {"endpoint": f"{server.url}/chat/completions", "model": "tiny", "body": {}}
    assert set(meta["prompts"]) == {"positive", "negative"}
    assert set(meta["dropped, for example"]) == {name for name in meta["dropped"] if ": " in name}


def test_nothing_usable_is_an_error_with_reasons(embedkit: Run, work: Path, lm: Path) -> None:  # noqa: F811
    base = ("synth", "clhaif", "--text", "nli.jsonl", "--roles", ROLES, "--out", "t.jsonl")
    done = embedkit(*base, "--model", str(lm), "--device", "cpu")
    assert done.code == 3 and "no usable row; dropped: " in done.err and " score: " in done.err
    assert "of the first" not in done.err, "so few answers say nothing of the model"
    assert not Path("t.jsonl").exists() and not list(work.glob(".*"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("clauf", "--text", "text.txt", "--out", "t.jsonl"), "there is no task 'clauf'"),
        (("claif", "--text", "text.txt"), "no data file is named"),
        (("claif", "--text", "text.txt", "--out", "t.csv"), "must end with .jsonl"),
        (("claif", "--out", "t.jsonl"), "needs texts to start from"),
        (("claif", "--out", "t.jsonl", "--text", "text.txt"), "no language model is named"),
        (("claif", "--out", "t.jsonl", "--text", "text.txt", "--count", "3"), "--count is for syncse-scratch"),
        (("syncse-scratch", "--out", "t.jsonl", "--text", "text.txt"), "starts from nothing"),
        (("syncse-scratch", "--out", "t.jsonl"), "needs a number of sentences"),
        (("clhaif", "--out", "t.jsonl", "--text", "nli.jsonl", "--roles", "[a"), "not a mapping: [a"),
        (("claif", "--out", "t.jsonl", "--text", "text.txt", "--model", "m", "--body", "{}"), "there is no --endpoint"),
        (
            (
                "claif",
                "--out",
                "t.jsonl",
                "--text",
                "text.txt",
                "--model",
                "m",
                "--endpoint",
                "http://h",
                "--body",
                "[]",
            ),
            "not a JSON object",
        ),
        (("claif", "--out", "t.jsonl", "--text", "text.txt", "--prompts", "none.yaml"), "none.yaml: no such file"),
    ],
)
def test_usage_errors_say_what_and_cure(
    embedkit: Run,  # noqa: F811
    work: Path,
    arguments: tuple[str, ...],
    expected: str,
) -> None:
    done = embedkit("synth", *arguments)
    assert done.code == 2 and expected in done.err and "  cure: " in done.err


def test_a_task_says_which_columns_it_needs(embedkit: Run, work: Path) -> None:  # noqa: F811
    done = embedkit("synth", "clhaif", "--text", "text.txt", "--out", "t.jsonl", "--model", "m")
    assert done.code == 3 and "--roles '{query: COLUMN, positive: COLUMN, negative: COLUMN}'" in done.err
    done = embedkit("synth", "claif", "--text", "nli.jsonl", "--roles", ROLES, "--out", "t.jsonl", "--model", "m")
    assert done.code == 3 and "--roles '{text: COLUMN}'" in done.err


def test_our_prompts_can_be_copied_and_used(embedkit: Run, server: Server, work: Path) -> None:  # noqa: F811
    shown = embedkit("synth", "claif", "--show-prompts")
    Path("mine.yaml").write_text(shown.out)
    base = ("synth", "claif", "--text", "text.txt", "--limit", "2", "--endpoint", server.url, "--model", "tiny")
    assert embedkit(*base, "--out", "a.jsonl", "--cache", "shared.cache").code == 0
    asked = len(server.requests)
    assert embedkit(*base, "--out", "b.jsonl", "--cache", "shared.cache", "--prompts", "mine.yaml").code == 0
    assert len(server.requests) == asked and meta_of("a.jsonl")["prompts"] == meta_of("b.jsonl")["prompts"]


@pytest.mark.parametrize(
    ("task", "recipe"),
    [
        ("claif", "sup/claif"),
        ("clhaif", "sup/clhaif"),
        ("syncse-partial", "sup/syncse"),
        ("syncse-scratch", "sup/syncse"),
    ],
)
def test_the_docs_show_the_two_commands(task: str, recipe: str) -> None:
    page = Path(__file__).parents[2] / "docs" / "methods" / ("claif.md" if "if" in task else "syncse.md")
    text = page.read_text(encoding="utf-8")
    made = re.search(rf"^embedkit synth {task} .*--out (\S+)", text, re.MULTILINE)
    assert made
    assert f"embedkit train {recipe} data.sources.0.path={made[1]} " in text


def base(server: Server, *more: str) -> tuple[str, ...]:
    return ("synth", "syncse-partial", "--text", "text.txt", "--endpoint", server.url, "--model", "tiny", *more)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestPlaces:
    """What cannot be written, or is somebody's, is refused before anything is asked, and stays as it is."""

    @pytest.mark.parametrize(
        ("made", "arguments", "code", "expected"),
        [
            ("", ("--out", "t.jsonl", "--cache", "text.txt"), 2, "the cache and --text are one file"),
            ("", ("--out", "t.jsonl", "--cache", "nli.jsonl"), 3, "nli.jsonl: is no cache of answers"),
            ("", ("--out", "t.jsonl", "--cache", "t.jsonl"), 2, "the cache and the data file are one file"),
            ("", ("--out", "t.jsonl", "--cache", "t.meta.json"), 2, "the cache and its record are one file"),
            ("", ("--out", "t.jsonl", "--cache", "sub"), 3, "sub: is a folder"),
            (
                "",
                ("--out", "t.jsonl", "--prompts", "score.yaml", "--cache", "score.yaml"),
                2,
                "and --prompts are one file",
            ),
            ("t.jsonl/", ("--out", "t.jsonl", "--overwrite"), 1, "t.jsonl: is no file"),
            ("t.meta.json/", ("--out", "t.jsonl"), 1, "t.meta.json: is no file"),
            ("", ("--out", "text.txt/t.jsonl"), 1, "text.txt: is a file, not a folder"),
            ("", ("--out", "nli.jsonl"), 1, "nli.jsonl: exists already"),
            ("", ("--out", "n" * 300 + ".jsonl"), 1, "the name is too long"),
        ],
    )
    def test_refused_before_anything_is_asked(
        self,
        embedkit: Run,  # noqa: F811
        server: Server,
        work: Path,
        made: str,
        arguments: tuple[str, ...],
        code: int,
        expected: str,
    ) -> None:
        (work / "sub").mkdir()
        if made:
            (work / made).mkdir()
        before = contents(work)
        done = embedkit(*base(server, *arguments))
        assert done.code == code and expected in done.err and "  cure: " in done.err, done.err
        assert not server.requests and contents(work) == before

    def test_texts_are_not_overwritten(self, embedkit: Run, server: Server, work: Path) -> None:  # noqa: F811
        before = contents(work)
        arguments = ("synth", "clhaif", "--text", "nli.jsonl", "--roles", ROLES, "--endpoint", server.url)
        done = embedkit(*arguments, "--model", "tiny", "--out", "./nli.jsonl", "--overwrite")
        assert done.code == 2 and "the data file and --text are one file" in done.err
        assert not server.requests and contents(work) == before

    @pytest.mark.parametrize("held", ["t.jsonl", "t.cache"])
    def test_one_process_writes_to_a_place(
        self,
        embedkit: Run,  # noqa: F811
        server: Server,
        work: Path,
        held: str,
    ) -> None:
        with hold_file(work / held, "making data"):
            done = embedkit(*base(server, "--out", "t.jsonl"))
        assert done.code == 1 and f"process {os.getpid()} has been making data here" in done.err
        assert not server.requests
        assert embedkit(*base(server, "--out", "t.jsonl")).code == 0
        assert not [path for path in work.iterdir() if path.name.startswith(".")]

    def test_a_failure_leaves_the_answers_alone(self, embedkit: Run, server: Server, work: Path) -> None:  # noqa: F811
        Path("t.jsonl").write_text("before\n")
        server.failures = [None] * 7 + [401]
        done = embedkit(*base(server, "--out", "t.jsonl", "--overwrite", "--concurrency", "1"))
        assert done.code == 1 and Path("t.jsonl").read_text() == "before\n"
        names = {path.name for path in work.iterdir()}
        assert names == {"nli.jsonl", "score.yaml", "text.txt", "t.jsonl", "t.cache"}


def test_secrets_of_the_body_are_in_no_file(embedkit: Run, server: Server, work: Path) -> None:  # noqa: F811
    secret, token = "hush-0123456789", "hf_" + "aB3dE5fG7h" * 3
    body = {"api_key": secret, "extra": {"note": f"Bearer {token}", "passwords": [secret]}, "temperature": 0.5}
    done = embedkit(*base(server, "--out", "t.jsonl", "--body", json.dumps(body)))
    assert done.code == 0 and server.requests[0]["api_key"] == secret
    for name, content in contents(work).items():
        assert secret.encode() not in content and token.encode() not in content, name
    assert meta_of("t.jsonl")["model"]["body"] == {
        "api_key": "[redacted]",
        "extra": {"note": "Bearer [redacted]", "passwords": ["[redacted]"]},
        "temperature": 0.5,
    }
    asked = len(server.requests)
    body["api_key"] = "renewed-0123456789"
    assert embedkit(*base(server, "--out", "t.jsonl", "--overwrite", "--body", json.dumps(body))).code == 0
    assert len(server.requests) == asked, "a renewed key is no other model"
