"""The comparison of methods: its table, its statistics, and a whole small comparison with everything in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.compare import page, summary, table
from benchmarks.compare.__main__ import main
from benchmarks.compare.study import Study, groups, without_folders, write
from benchmarks.compare.table import Method
from embedkit.errors import EmbedkitError, RecipeError
from embedkit.recipe.load import load_recipe
from tests.tiny import sentences, tiny_bert

SHIPPED = table.read()
TABLE = """\
base: {kind: base, title: untrained, pooling: mean}
white: {kind: whitening, title: whitened, pooling: mean}
simcse:
  title: SimCSE
  recipe: unsup/simcse
  settings: {train.learning_rate: 1e-3}
  why: by hand
warm:
  title: SimCSE again
  recipe: unsup/simcse
  settings: {objective.temperature: 0.1, model.base: "{simcse}"}
broken: {title: broken, recipe: unsup/simcse, settings: {model.base: nowhere}}
"""


# The table ----------------------------------------------------------------------------------------------------


def test_the_shipped_table_begins_with_the_base_and_has_the_reference() -> None:
    assert next(iter(SHIPPED.values())).kind == "base"
    assert SHIPPED[table.REFERENCE].recipe == "unsup/simcse"
    assert [m.name for m in SHIPPED.values() if m.kind == "whitening"] == ["whitening"]


@pytest.mark.parametrize("name", [name for name, method in SHIPPED.items() if method.kind == "train"])
def test_shipped_settings_are_valid_and_explained(name: str) -> None:
    method = SHIPPED[name]
    places = {"base": "some/base", "generator": "some/lm", "text": "text.txt", "groups": "32"}
    places |= dict.fromkeys(method.needs, "some/model")
    common = {"model.base": "{base}", "train.steps": 5, "eval.suite": None, "eval.every": None, "eval.keep": "last"}
    made = load_recipe(method.recipe, table.overrides(method, common, places))
    assert made.train.steps == 5 and made.eval.suite is None
    assert method.why and method.paper, name
    unfilled = re.findall(r"\{\w+\}", json.dumps(made.model_dump(mode="json")))
    assert not unfilled, name


def test_needs_come_first_and_the_reference_is_always_there(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TABLE)
    methods = table.read(tmp_path / "t.yaml")
    assert methods["warm"].needs == ["simcse"] and methods["simcse"].needs == []
    assert [m.name for m in table.choose(methods, ["warm"])] == ["simcse", "warm"]
    assert [m.name for m in table.choose(methods, ["base", "white"])] == ["base", "white"]
    with pytest.raises(RecipeError, match="no method called simsce"):
        table.choose(methods, ["simsce"])


@pytest.mark.parametrize("text", ["a: {recipe: unsup/simcse}", "a: {title: A, kind: magic}", "a: {title: A, typo: 1}"])
def test_a_wrong_table_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(RecipeError):
        table.read(tmp_path / "t.yaml")


def test_overrides_are_yaml() -> None:
    method = Method("m", "M", settings={"a.b": "{simcse}/x", "c": False})
    assert table.overrides(method, {"a.b": 1, "d": None, "e": 3e-5}, {"simcse": "S"}) == [
        "a.b=S/x",
        "d=null",
        "e=3e-05",
        "c=false",
    ]


def test_groups_are_those_of_whitenedcse() -> None:
    assert [groups(dim) for dim in (768, 1024, 384, 256, 7)] == [128, 128, 64, 32, 1]


# Statistics ---------------------------------------------------------------------------------------------------


def study(folder: Path) -> Study:
    return Study(base="b", text=folder / "t.txt", data=None, work=folder, steps=1, batch=2)


def store(
    folder: Path, name: str, seed: int | None, values: list[float], draws: np.ndarray, pooling: str = "mean"
) -> None:
    """A finished run with these task scores."""
    tasks = [f"T{i}" for i in range(len(values))]
    shape = {"uniformity": -2.0, "alignment": None}
    result = {
        "average": float(np.mean(values)),
        "scores": dict(zip(tasks, values, strict=True)),
        "geometry": dict.fromkeys(tasks, shape),
        "facts": {},
        "settings": {"recipe": {"pooling": pooling}},
    }
    write(folder / name / ("fixed" if seed is None else f"seed-{seed}"), result, dict(zip(tasks, draws, strict=True)))


def runs_of(seeds: int) -> set[tuple[str, int]]:
    return {("base", 1), *((name, seed) for name in ("simcse", "other") for seed in range(1, seeds + 1))}


METHODS = [Method("base", "B", kind="base"), Method("simcse", "S"), Method("other", "O")]


def test_the_difference_is_paired_over_seeds_and_over_pairs(tmp_path: Path) -> None:
    """A common shift of all draws, and a common shift of a seed, leave the difference alone."""
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 5, (2, 400))
    for seed, shift in ((1, 0.0), (2, 10.0), (3, -4.0)):
        store(tmp_path, "simcse", seed, [70 + shift, 60 + shift], 65 + shift + noise)
        store(tmp_path, "other", seed, [72 + shift, 62 + shift], 67 + shift + noise)
    store(tmp_path, "base", None, [40, 30], 35 + noise)
    found = summary.summarise(study(tmp_path), METHODS, runs_of(3))
    other = found["other"]["difference"]
    assert other["value"] == pytest.approx(2) and other["by_seed"] == pytest.approx([2, 2, 2])
    assert other["pairs"] == pytest.approx([2, 2], abs=1e-4) and other["seeds"] == pytest.approx([2, 2])
    assert other["verdict"] == "better" and found["simcse"]["difference"] is None
    assert found["simcse"]["average"] == pytest.approx(67) and found["simcse"]["sd"] == pytest.approx(7.2111, rel=1e-4)
    base = found["base"]["difference"]
    assert base["value"] == pytest.approx(-32) and len(base["by_seed"]) == 3 and found["base"]["sd"] is None
    assert "alignment" not in found["base"]["geometry"]["T0"]


def test_intervals_are_students_and_the_percentiles(tmp_path: Path) -> None:
    draws = np.linspace(-1, 3, 401)[None]
    for seed, gain in ((1, 0.0), (2, 1.0), (3, 2.0)):
        store(tmp_path, "simcse", seed, [70], np.full((1, 401), 70.0))
        store(tmp_path, "other", seed, [70 + gain], 70 + draws)
    found = summary.summarise(study(tmp_path), METHODS[1:], runs_of(3))["other"]["difference"]
    assert found["pairs"] == pytest.approx([-0.9, 2.9], abs=1e-3)
    half = 4.302653 / np.sqrt(3)  # t(0.975, 2 degrees of freedom) x sd 1 / sqrt 3
    assert found["seeds"] == pytest.approx([1 - half, 1 + half], rel=1e-5)
    assert found["verdict"] == "unclear"


@pytest.mark.parametrize(
    ("pairs", "seeds", "verdict"),
    [
        ([0.1, 2], [0.5, 1], "better"),
        ([-2, -0.1], [-1, -0.5], "worse"),
        ([0.1, 2], [-0.5, 1], "unclear"),
        ([-0.1, 2], [0.5, 1], "unclear"),
        ([0.1, 2], None, "unclear"),
    ],
)
def test_both_intervals_must_agree(pairs: list[float], seeds: list[float] | None, verdict: str) -> None:
    assert summary.verdict({"pairs": pairs, "seeds": seeds}) == verdict


def test_a_single_seed_gives_no_seed_interval(tmp_path: Path) -> None:
    for name in ("simcse", "other"):
        store(tmp_path, name, 1, [70], np.zeros((1, 5)))
    found = summary.summarise(study(tmp_path), METHODS[1:], runs_of(1))
    assert found["other"]["difference"]["seeds"] is None and found["other"]["sd"] is None


def test_losses_are_named_like_gains() -> None:
    found = {
        name: {"difference": {"value": value, "verdict": verdict}, "gain": {"value": 1 + value, "verdict": "better"}}
        for name, value, verdict in (("a", 1.0, "better"), ("b", -2.0, "worse"), ("c", 0.1, "unclear"))
    }
    (text,) = page.verdicts([Method(n, n.upper()) for n in "abc"], found)
    assert "Better than plain SimCSE: A (+1.00)." in text
    assert "Worse than plain SimCSE: B (-2.00)." in text
    assert "Not told from plain SimCSE: C (+0.10)." in text
    assert "Better than the untrained base: A (+2.00), B (-1.00), C (+1.10)." in text
    assert "Worse than the untrained base: none." in text


def test_the_gain_is_that_to_the_base_with_the_methods_pooling(tmp_path: Path) -> None:
    draws = np.linspace(-1, 1, 401)[None]
    store(tmp_path, "base", None, [60], 60 + draws)
    store(tmp_path, "cls", None, [40], 40 + draws, pooling="cls")
    store(tmp_path, "white", None, [63], 63 + 2 * draws)
    for seed, value in ((1, 58.0), (2, 57.0), (3, 56.0)):
        store(tmp_path, "simcse", seed, [value], value + draws)
        store(tmp_path, "other", seed, [value], value + draws, pooling="cls")
    methods = [Method("cls", "C", kind="base"), Method("white", "W", kind="whitening"), *METHODS]
    found = summary.summarise(study(tmp_path), methods, {("cls", 1), ("white", 1), *runs_of(3)})
    assert found["simcse"]["gain"]["value"] == pytest.approx(-3) and found["simcse"]["gain"]["verdict"] == "worse"
    assert found["simcse"]["gain"]["by_seed"] == pytest.approx([-2, -3, -4])
    assert found["other"]["gain"]["value"] == pytest.approx(17) and found["other"]["gain"]["verdict"] == "better"
    white = found["white"]["gain"]
    assert white["value"] == pytest.approx(3) and white["pairs"] == pytest.approx([2.05, 3.95], abs=1e-3)
    assert white["seeds"] is None and white["verdict"] == "better"
    assert found["base"]["gain"] is None and found["cls"]["gain"] is None


# A whole comparison -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare")
    tiny_bert(folder / "tiny", hidden=16)
    texts = sentences(64)
    (folder / "text.txt").write_text("\n".join(texts) + "\n")
    lines = [f"{texts[i]}\t{texts[i] + ' bade' if i % 2 else texts[i + 1]}\t{i % 6}" for i in range(24)]
    (folder / "pairs.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *lines]) + "\n")
    (folder / "suite.yaml").write_text("name: mine\ntasks: [{type: sts, name: A, files: [pairs.tsv]}]\n")
    (folder / "table.yaml").write_text(TABLE)
    return folder


def compare(place: Path, *more: str) -> int:
    words = ["--base", str(place / "tiny"), "--text", str(place / "text.txt"), "--data", str(place)]
    words += ["--suite", str(place / "suite.yaml"), "--table", str(place / "table.yaml")]
    words += ["--work", str(place / "work"), "--out", str(place / "out")]
    words += ["--steps", "3", "--batch", "16", "--seeds", "2", "--eval-length", "32", "--set", "train.device=cpu"]
    return main([*words, "--timed-steps", "1", "--rounds", "1", *more])


@pytest.fixture(scope="module")
def finished(place: Path) -> Path:
    assert compare(place, "--methods", "base,white,warm") == 0
    return place


@pytest.mark.slow
def test_every_run_has_its_result(finished: Path) -> None:
    found = sorted(str(p.relative_to(finished / "work").parent) for p in finished.rglob("result.json"))
    assert found == ["base/fixed", "simcse/seed-1", "simcse/seed-2", "warm/seed-1", "warm/seed-2", "white/fixed"]
    one, two = (json.loads((finished / f"work/simcse/seed-{s}/result.json").read_text()) for s in (1, 2))
    assert one["average"] != two["average"] and one["scores"]["A"] == one["average"]
    assert one["settings"]["recipe"]["train"]["learning_rate"] == 1e-3
    assert one["settings"]["recipe"]["data"]["sources"][0]["limit"] == 48
    assert (
        one["settings"]["recipe"]["eval"] | {"suite": None, "every": None, "keep": "last", "before": False}
        == (one["settings"]["recipe"]["eval"])
    )


@pytest.mark.slow
def test_only_models_that_others_need_are_kept(finished: Path) -> None:
    kept = sorted(str(p.parent.relative_to(finished / "work")) for p in finished.glob("work/*/*/model"))
    assert kept == ["simcse/seed-1", "simcse/seed-2"]
    assert not list(finished.glob("work/*/*/run"))


def test_a_method_starts_from_the_model_it_needs_with_the_same_seed(finished: Path) -> None:
    found = json.loads((finished / "work/warm/seed-2/result.json").read_text())
    assert found["settings"]["recipe"]["model"]["base"] == "{simcse}"


def test_a_message_keeps_the_last_part_of_a_path() -> None:
    said = "mlm: offline: /home/me/.venv/lib/python3.11/model holds no head; see sts/STS12.tsv, sentence-transformers/x"
    assert without_folders(said) == "mlm: offline: model holds no head; see sts/STS12.tsv, sentence-transformers/x"


def test_the_page_says_what_was_done_and_names_no_folder(finished: Path) -> None:
    text = (finished / "out" / "tiny.md").read_text()
    numbers = json.loads((finished / "out" / "tiny.json").read_text())
    for name, title in (("base", "untrained"), ("white", "whitened"), ("simcse", "SimCSE"), ("warm", "SimCSE again")):
        own, line = numbers["methods"][name], re.search(rf"^\| {title} \| .*\*\*.*$", text, re.MULTILINE)
        assert line and f"**{own['average']:.2f}**" in line[0]
        assert (own["sd"] is None) == (name in ("base", "white"))
    assert "3 updates of 16 sentences from text.txt" in text
    assert "--base tiny --text text.txt" in text and "`train.device=cpu`" in text
    assert "`train.learning_rate 0.001`" in text and "by hand" in text
    for file in ("tiny.md", "tiny.json"):
        assert str(finished.parent) not in (finished / "out" / file).read_text()
    for path in finished.rglob("result.json"):
        assert str(finished) not in path.read_text(), path
    assert (finished / "out" / "tiny.png").stat().st_size < 100_000


def test_time_is_a_ratio_to_simcse_in_the_same_process(finished: Path) -> None:
    found = json.loads((finished / "out" / "tiny.json").read_text())["methods"]
    time = found["warm"]["time"]
    assert time["ratio"] == pytest.approx(time["method"] / time["reference"]) and time["method"] > 0
    assert found["base"]["time"] is None and found["simcse"]["time"]["ratio"] > 0


def test_finished_runs_are_skipped_and_a_seed_can_be_added(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmarks.compare import runs

    def never(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("this run is finished")

    stamps = {p: p.stat().st_mtime_ns for p in finished.rglob("result.json")}
    monkeypatch.setattr(runs, "run", never)
    assert compare(finished, "--methods", "base,white,warm") == 0
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("result.json")} == stamps
    assert capsys.readouterr().out.count("finished earlier") == 6


def test_other_settings_are_not_mixed_in(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page_before = (finished / "out" / "tiny.md").read_text()
    assert compare(finished, "--methods", "simcse", "--set", "objective.temperature=0.2", "--seeds", "1") == 1
    assert "result of other settings: recipe.objective.temperature was 0.05, is 0.2" in capsys.readouterr().out
    assert (finished / "out" / "tiny.md").read_text() == page_before


def test_a_method_that_fails_does_not_stop_the_others(finished: Path, tmp_path: Path) -> None:
    out = ("--out", str(tmp_path), "--timed-steps", "0", "--seeds", "1", "--notes", str(tmp_path / "notes.md"))
    (tmp_path / "notes.md").write_text("By hand: nothing to add.")
    assert compare(finished, "--methods", "base,broken,simcse", *out) == 1
    text = (tmp_path / "tiny.md").read_text()
    assert (
        re.search(r"broken did not run: .*nowhere", text)
        and "| SimCSE |" in text
        and "By hand: nothing to add." in text
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--text", "x.txt"], "--data DIR"),
        (["--data", "d"], "--text FILE"),
        (["--text", "x.txt", "--data", "d", "--methods", "simsce"], "no method called simsce"),
        (["--text", "x.txt", "--data", "d", "--set", "a"], "is not KEY=VAL"),
        (["--table", "none.yaml"], "cannot be read"),
    ],
)
def test_missing_arguments_are_said_at_once(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().out


def test_a_missing_text_or_data_folder_is_wrong_data(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(finished, "--text", str(finished / "no.txt")) == 3
    assert "no such file" in capsys.readouterr().out
    assert main(["--text", str(finished / "text.txt"), "--data", str(finished / "none"), "--suite", "sts"]) == 3
    assert "there is no such folder" in capsys.readouterr().out


def test_the_table_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in SHIPPED)


def test_a_lost_model_is_said(finished: Path) -> None:
    with pytest.raises(EmbedkitError, match="the model that simcse trained with seed 9 is not there"):
        study(finished / "work").places(9, ["simcse"])


def test_a_generator_of_its_own_decides_the_runs_that_read_it(place: Path) -> None:
    base, other = str(place / "tiny"), str(tiny_bert(place / "other", hidden=32))
    files = {"text": place / "text.txt", "data": place, "work": place / "none", "suite": str(place / "suite.yaml")}
    own, plain = (Study(base=base, steps=1, batch=2, masked_lm=name, **files) for name in (other, None))
    for made, read in ((own, other), (plain, base)):
        places = made.places(1, [])
        assert places["generator"] == read
        found = made.settings({"model": base, "reads": places["generator"]}, places)
        assert found["recipe"] == {"model": "{base}", "reads": "{generator}" if read == other else "{base}"}
        assert ("generator" in found) == (read == other)
    assert "generator" not in own.settings({"model": base}, own.places(1, []))
    assert own.generator != own.origin["fingerprint"]
