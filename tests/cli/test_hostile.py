"""Names that would steer a terminal: in YAML keys, values, files, columns, sources, tasks and overrides.

Real commands are run, and every byte they print and write is looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedkit.foreign.showing import visible
from tests.cli.conftest import Done
from tests.tiny import sentences

Run = Callable[..., Done]
YAML = r"\e[2J\e]0;t\a\x9B31m\x7F\u202E\u200B\nok: all is well"
"""As a double-quoted scalar of YAML would have it; it means what `RAW` is."""
RAW = "\x1b[2J\x1b]0;t\x07\x9b31m\x7f\u202e\u200b\nok: all is well"
SEEN = r"\x1b[2J\x1b]0;t\x07\x9b31m\x7f\u202e\u200b\nok: all is well"
FILE = "n\x1b[2J\x9b\u202e\nok: fine"
"""A name that a file may have."""
FILE_SEEN = r"n\x1b[2J\x9b\u202e\nok: fine"
TEXTS = sentences(24)


def assert_clean(done: Done) -> str:
    """Nothing acts, and no line begins with what a name says."""
    for text in (done.out, done.err):
        assert visible(text, lines=True) == text
        assert not [line for line in text.splitlines() if line.lstrip(" │").startswith("ok: ")], text
    return done.out + done.err


def assert_clean_files(folder: Path) -> None:
    found = [p for p in folder.rglob("*") if p.suffix in (".json", ".yaml", ".md", ".html", ".svg", ".txt", ".log")]
    assert found
    for path in found:
        text = path.read_bytes().decode("utf-8")
        assert visible(text, lines=True) == text, path


@pytest.mark.parametrize(
    "recipe",
    [
        'data: {sources: [{path: text.txt}]}\n"KEY": 1\n',
        'data: {sources: [{path: text.txt}]}\ntrain: {"KEY": 1}\n',
        'data: {sources: [{path: text.txt}]}\ntrain: {seed: "KEY"}\n',
        'data: {sources: [{path: text.txt}]}\ntrain: {schedule: "KEY"}\n',
        'data: {sources: [{path: text.txt}]}\ntrain: {"KEY": 1, "KEY": 2}\n',
        'data: {sources: [{path: text.txt}]}\nobjective: "KEY"\n',
        'data: {sources: [{path: text.txt}]}\nobjective: {name: "KEY", "KEY": 1}\n',
        'data: {sources: [{path: text.txt, roles: {"KEY": a}}]}\n',
        'data: {sources: [{path: text.txt}]}\nextends: "KEY"\n',
        'data: {sources: [{path: text.txt}]}\nplugins: ["KEY"]\n',
        'data: {sources: [{path: text.txt}]}\neval: {suite: {name: "KEY", tasks: [{type: "KEY"}]}}\n',
        'data: {sources: [{path: text.txt}]}\neval: {suite: "KEY"}\n',
        '"KEY"\n',
        '- "KEY"\n',
        "data: !<KEY> 1\n",
        '1: "KEY"\ndata: [\n',
    ],
)
@pytest.mark.parametrize("verb", ["check", "train", "show"])
def test_what_a_wrong_recipe_says_is_shown(embedkit: Run, work: Path, recipe: str, verb: str) -> None:
    Path("bad.yaml").write_text(recipe.replace("KEY", YAML))
    command = {"check": ("check", "bad.yaml"), "train": ("train", "bad.yaml", "--out", "run")}
    done = embedkit(*command.get(verb, ("recipes", "show", "bad.yaml", "--full")))
    assert done.code in (2, 3) or (verb == "show" and "eval: " in recipe), done.err
    assert_clean(done)


@pytest.mark.parametrize(
    "override",
    [
        f"train.{RAW}=1",
        f"{RAW}=1",
        RAW,
        f"train.seed={RAW}",
        f"train.schedule={RAW}",
        f"train.seed.{RAW}=1",
        f"data.sources.{RAW}=1",
        f"objective={RAW}",
        f"objective={{name: {RAW}",
        f"data.sources.0.path={RAW}",
        f"model.base=./{RAW}",
        "train.x\udcff=1",
    ],
)
def test_overrides_are_shown(embedkit: Run, work: Path, override: str) -> None:
    done = embedkit("train", "r.yaml", override, "--out", "run")
    assert done.code in (2, 3), done.out
    text = assert_clean(done)
    assert r"\x1b[2J" in text or r"\udcff" in text


def test_a_file_of_the_recipe_with_a_hostile_name(embedkit: Run, work: Path) -> None:
    name = f"{FILE}.yaml"
    Path(name).write_bytes(Path("r.yaml").read_bytes())
    for command in (("check", name), ("recipes", "cp", name, f"copy-{name}")):
        assert FILE_SEEN in assert_clean(embedkit(*command))
    Path(name).write_text("data: [\n")
    assert FILE_SEEN in assert_clean(embedkit("check", name))
    missing = embedkit("check", f"missing {RAW}.yaml")
    assert missing.code == 2 and SEEN in assert_clean(missing)


def test_the_plan_and_the_sample_show_names(embedkit: Run, work: Path) -> None:
    column = f"c {RAW}"
    rows = [{"query": t, "positive": u, column: "x"} for t, u in zip(TEXTS[::2], TEXTS[1::2], strict=True)]
    Path(f"{FILE}.jsonl").write_text("\n".join(map(json.dumps, [*rows, {"query": ""}])) + "\n")
    recipe: dict[str, Any] = {
        "model": {"base": "tiny", "pooling": "mean"},
        "data": {"sources": [{"path": f"{FILE}.jsonl", "on_bad_row": "skip"}]},
        "train": {"batch_size": 4, "steps": 2, "device": "cpu"},
        "eval": {"suite": {"name": f"s {RAW}", "tasks": [{"type": "sts", "name": f"t {RAW}", "files": ["sts.tsv"]}]}},
    }
    Path("h.yaml").write_text(json.dumps(recipe))
    done = embedkit("check", "h.yaml", "--sample", "20")
    assert done.code == 0, done.err
    text = assert_clean(done)
    assert FILE_SEEN in text and f"t {SEEN}" in text and f"columns without a role: 'c {SEEN}'" in text

    named = embedkit("check", "h.yaml", f"data.sources.0.name=x[red]{RAW}", "--sample", "20")
    assert f"x[red]{SEEN}: first 12 rows" in assert_clean(named), "markup in a name is text"

    wrong = embedkit("check", "h.yaml", "--sample", "20", "data.sources.0.on_bad_row=error")
    assert wrong.code == 3 and f"{FILE_SEEN}.jsonl:13: " in assert_clean(wrong)
    unknown = embedkit("check", "h.yaml", "--sample", "20", "data.sources.0.roles={query: nothing}")
    assert unknown.code == 3 and SEEN in assert_clean(unknown)
    full = embedkit("recipes", "show", "h.yaml", "--full")
    Path("again.yaml").write_text(full.out)
    assert r"\u202e" in assert_clean(full)
    assert embedkit("recipes", "show", "again.yaml", "--full").out == full.out, "the escapes mean what they stand for"
    assert_clean(embedkit("recipes", "show", "h.yaml"))


@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv", "txt"])
def test_files_whose_first_line_is_hostile(embedkit: Run, work: Path, ending: str) -> None:
    """Any file may be given as data; what its first line says is no place for commands, nor for a page of text."""
    header = f"\x1b[2J\x9b\u202e{'a' * 5000},b\tc"
    Path(f"d.{ending}").write_text(json.dumps({header: 1}) + "\n" if ending == "jsonl" else f"{header}\nx,y\tz\n")
    done = embedkit("check", "r.yaml", f"data.sources.0.path=d.{ending}", "--sample", "5")
    assert len(assert_clean(done)) < 20_000


def test_a_whole_run_prints_logs_and_writes_nothing_that_acts(
    embedkit: Run, work: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Path(f"{FILE}.txt").write_text("\n".join(TEXTS) + "\n")
    Path(f"m{FILE}").symlink_to("tiny")
    recipe: dict[str, Any] = {
        "model": {"base": f"m{FILE}", "pooling": "mean", "prompts": {"query": "\u200bq: "}},
        "data": {"sources": [{"path": f"{FILE}.txt", "name": f"[bold]s{RAW}"}]},
        "train": {"batch_size": 8, "steps": 4, "log_every": 1, "device": "cpu"},
        "eval": {
            "suite": {"name": f"s{RAW}", "tasks": [{"type": "sts", "name": f"t{RAW}", "files": ["sts.tsv"]}]},
            "every": 2,
            "select": f"t{RAW}/spearman",
            "resamples": 100,
        },
    }
    Path("h.yaml").write_text(json.dumps(recipe))
    out = f"run {FILE}"
    done = embedkit("train", "h.yaml", "--out", out)
    assert done.code == 0, done.err
    text = assert_clean(done)
    assert f"t{SEEN}" in text and f"[bold]s{SEEN}" in text
    assert_clean_files(Path(out))
    report = (Path(out) / "report" / "report.md").read_text(encoding="utf-8")
    assert r"\\x1b\[2J" in report, "visible, and escaped for Markdown"
    for record in caplog.records:
        message = record.getMessage()
        if record.name.startswith("embedkit"):
            assert visible(message) == message

    resumed = embedkit("train", "h.yaml", "--out", out, "--resume")
    assert resumed.code == 0, resumed.err
    assert_clean(resumed)
    Path("suite.yaml").unlink()
    Path("suite.yaml").write_text(json.dumps(recipe["eval"]["suite"]))
    measured = embedkit("eval", f"{out}/model", "--suite", "suite.yaml", "--compare", "tiny", "--geometry")
    assert measured.code == 0 and r"\x1b[2J" in assert_clean(measured)
    twice = embedkit("train", "h.yaml", "--out", out)
    assert twice.code == 1 and FILE_SEEN in assert_clean(twice)


@pytest.mark.parametrize(
    "command",
    [
        (f"verb{RAW}",),
        ("train", f"--x{RAW}"),
        ("recipes", f"verb{RAW}"),
        ("recipes", "cp", "unsup/simcse", "a.yaml", RAW),
        ("recipes", "show", RAW),
        ("whiten", RAW, "--text", RAW, "--out", "out"),
        ("debias", RAW, "--text", "text.txt", "--out", "a.jsonl"),
        ("synth", RAW, "--out", "a.jsonl"),
        ("eval", RAW, "--suite", RAW),
    ],
)
def test_what_a_wrong_command_line_says_is_shown(embedkit: Run, work: Path, command: tuple[str, ...]) -> None:
    done = embedkit(*command)
    text = assert_clean(done)
    assert done.code in (1, 2, 3) and text.strip()
    assert r"\x1b[2J" in text, text


def test_help_for_no_arguments_keeps_its_lines(embedkit: Run, work: Path) -> None:
    for command in ((), ("recipes",), ("train",)):
        done = embedkit(*command)
        assert len((done.out + done.err).splitlines()) > 8
