"""The comparison of objectives: its table, its choice of a rate, its statistics, and a whole small comparison."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks import drift
from benchmarks.objectives import cells, data, page, summary, table
from benchmarks.objectives.__main__ import main
from benchmarks.objectives.cost import peak
from benchmarks.objectives.data import Given, Sizes, drawn
from benchmarks.objectives.kinds import KINDS
from benchmarks.objectives.table import BASE, REFERENCE, Row
from embedkit.data.pydocs import Pydocs
from embedkit.errors import DataError, RecipeError
from embedkit.recipe.base import validate_named
from embedkit.recipe.objectives.base import needs
from embedkit.recipe.reading.catalogue import catalogue
from embedkit.types import Example, RetrievalData
from tests.tiny import sentences, tiny_bert

SHIPPED = table.read()
HAS = {kind.shape: kind.has for kind in KINDS.values()}


# The table ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHIPPED)
def test_every_objective_is_trained_or_left_out_with_a_reason(shape: str) -> None:
    part = SHIPPED[shape]
    trained = {row.block["name"] for row in part.rows}
    reasons = table.reasons(part, HAS[shape])
    assert trained | reasons.keys() == {shown.name for shown in catalogue()}
    assert not trained & (reasons.keys() | part.left_out.keys())
    assert all(reasons.values()) and part.left_out.keys() <= reasons.keys()
    assert REFERENCE in [row.name for row in part.rows]


@pytest.mark.parametrize("shape", SHIPPED)
def test_rows_are_valid_explained_and_fed(shape: str) -> None:
    for row in SHIPPED[shape].rows:
        made = validate_named("objective", row.block, None)
        has = set(row.roles) or HAS[shape]
        assert needs(made) <= has, row.name
        assert row.why or not (row.options or row.roles or row.share != 1), row.name


def test_unfit_says_why() -> None:
    known = {shown.name: shown for shown in catalogue()}
    graded = frozenset({"query", "positive", "score"})
    assert table.unfit(known["cosent"], graded) is None
    assert table.unfit(known["dcl"], graded) == "does not read the scores; infonce stands for these"
    assert table.unfit(known["kl"], graded) == "needs negative"
    assert table.unfit(known["matryoshka"], graded) == "a wrapper: it changes how others are applied"
    assert table.reasons(table.Part((), {}), graded)["cosent"] == table.NEW


def test_the_reference_is_always_there_and_first(tmp_path: Path) -> None:
    assert [row.name for row in table.choose(SHIPPED["graded"], ["cosent"])] == [REFERENCE, "cosent"]
    (tmp_path / "t.yaml").write_text("graded: {rows: {cosent: {option: 1}}}\n")
    with pytest.raises(RecipeError, match="unknown keys"):
        table.read(tmp_path / "t.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        table.read(tmp_path / "none.yaml")
    (tmp_path / "t.yaml").write_text("graded: {rows: {cosent: {}}}\n")
    with pytest.raises(RecipeError, match="has no infonce"):
        table.choose(table.read(tmp_path / "t.yaml")["graded"], [])


def test_rows_are_drawn_once_and_for_all() -> None:
    assert drawn("abcdef", 4, "x") == drawn("abcdef", 4, "x") != drawn("abcdef", 4, "y")
    assert len(set(drawn("abcdef", 9, "x"))) == 6


# Statistics ---------------------------------------------------------------------------------------------------


def test_without_a_spread_over_seeds_the_interval_is_the_bootstraps() -> None:
    found = summary.welch([2.0, 2.0, 2.0], 0.5)
    assert found["interval"] == pytest.approx([2 - 1.96 * 0.5, 2 + 1.96 * 0.5], abs=1e-3)
    assert found["p"] == pytest.approx(2 * stats.norm.sf(4), rel=1e-3)


def test_without_a_spread_over_items_the_interval_is_students() -> None:
    values = [1.0, 2.0, 4.0]
    expected = stats.ttest_1samp(values, 0)
    found = summary.welch(values, 0.0)
    assert found["p"] == pytest.approx(expected.pvalue)
    assert found["interval"] == pytest.approx(list(expected.confidence_interval()))


def test_one_seed_has_no_interval_and_no_difference_none_at_all() -> None:
    assert summary.welch([2.0], 0.5) == {"p": None, "interval": None}
    assert summary.welch([0.0, 0.0], 0.0) == {"p": 1.0, "interval": [0.0, 0.0]}


def test_holm_stops_at_the_first_that_does_not_hold() -> None:
    ones = [{"p": p} for p in (0.04, 0.012, None, 0.02, 0.026)]
    summary.holm(ones)  # type: ignore[arg-type]
    assert [one["holm"] for one in ones] == [False, True, False, False, False]
    ones = [{"p": p} for p in (0.04, 0.012, 0.016, 0.024)]
    summary.holm(ones)  # type: ignore[arg-type]
    assert all(one["holm"] for one in ones)


def test_a_peak_is_what_was_held_at_once() -> None:
    import torch

    with torch.autograd.profiler.profile(profile_memory=True) as profiler:
        for _ in range(2):
            one = torch.ones(1000)
            two = one + one
            del one, two
    assert peak(profiler) == 8000


class Fake:
    """Cells with known results."""

    def __init__(self, folder: Path, dev: dict[float, float | None]) -> None:
        self.place, self.folder, self.dev = self, folder, dev
        self.asked: list[tuple[str, float, int, str]] = []

    def cell(self, name: str, rate: float, seed: int | None, part: str) -> Path:
        return self.folder

    def forget(self) -> None:
        pass

    def result(self, row: Row | None, rate: float, seed: int, part: str) -> dict[str, Any]:
        self.asked.append((row.name if row else BASE, rate, seed, part))
        if row and part == "dev" and self.dev[rate] is None:
            return {"failed": "the loss is not finite"}
        value = (self.dev[rate] or 0.0) if row and part == "dev" else 50.0
        facts = {"seconds": [0.1, 0.2, 0.3], "peak": None}
        return {"average": value, "scores": {"A": value}, "geometry": {"rankme": 2.0}, "seed": seed, "facts": facts}


def test_the_rate_is_the_best_on_dev_the_smaller_of_equal_ones(tmp_path: Path) -> None:
    np.savez(tmp_path / "draws.npz", A=np.linspace(49, 51, 11))
    fake = Fake(tmp_path, {1e-4: 60.0, 2e-4: 61.0, 3e-4: 61.0, 4e-4: None})
    found = summary.measured(fake, [Row("infonce")], list(fake.dev), [1, 2], train=True)  # type: ignore[arg-type]
    assert found["infonce"]["rate"] == 2e-4
    assert found["infonce"]["grid"] == {"0.0001": 60.0, "0.0002": 61.0, "0.0003": 61.0, "0.0004": None}
    assert found["infonce"]["failed"] == ["the loss is not finite"]
    tests = [(rate, seed) for name, rate, seed, part in fake.asked if name == "infonce" and part == "test"]
    assert tests == [(2e-4, 1), (2e-4, 2)]
    assert {seed for name, _, seed, part in fake.asked if name == "infonce" and part == "dev"} == {1}
    rows = summary.summarise(KINDS["graded"], [Row("infonce")], found, {"x": "why"})["rows"]
    assert rows["infonce"]["cost"]["seconds"] == pytest.approx(200) and rows["infonce"]["cost"]["seconds_ratio"] == 1
    assert rows["infonce"]["gain"]["value"] == 0 and rows["infonce"]["difference"] is None


# A whole comparison -------------------------------------------------------------------------------------------


def tsv(path: Path, columns: str, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([columns, *lines]) + "\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objectives")
    tiny_bert(folder / "tiny", hidden=16)
    texts = sentences(120)
    for number, name in enumerate(("STSB-train", "STSB-dev", "STSB-test", "SICK-test")):
        lines = [f"{texts[i]}\t{texts[i + number + 1]}\t{i % 6}" for i in range(40)]
        tsv(folder / f"data/sts/{name}.tsv", "sentence1\tsentence2\tscore", lines)
    for name, start in (("train", 0), ("test", 90)):
        lines = [f"c{i % 3}\t{text}" for i, text in enumerate(texts[start : start + 90])]
        tsv(folder / f"data/classification/banking77/{name}.tsv", "label\ttext", lines)
    (folder / "data/unlabeled").mkdir()
    (folder / "data/unlabeled/wiki_sentences.txt").write_text("\n".join(texts) + "\n")
    scifact = folder / "data/retrieval/scifact"
    for name, split in (("train", range(30)), ("test", range(30, 45))):
        tsv(scifact / f"qrels/{name}.tsv", "query-id\tcorpus-id\tscore", [f"q{i}\td{i}\t1" for i in split])
    for name, letter, chosen in (("queries", "q", texts[:45]), ("corpus", "d", texts[60:])):
        rows = [json.dumps({"_id": f"{letter}{i}", "title": "", "text": text}) for i, text in enumerate(chosen)]
        (scifact / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    return folder


def compare(place: Path, *more: str) -> int:
    words = ["--base", str(place / "tiny"), "--data", str(place / "data"), "--work", str(place / "work")]
    words += ["--out", str(place / "out"), "--steps", "3", "--batch", "8", "--seeds", "2", "--rates", "1e-3,1e-2"]
    words += ["--max-length", "16", "--dev", "12", "--test", "20", "--documents", "15"]
    return main([*words, *more])


@pytest.fixture(scope="module")
def finished(place: Path) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "RESAMPLES", 50)
        assert compare(place, "--kinds", "graded", "--objectives", "cosent") == 0
        yield place


def numbers(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "out" / "tiny.json").read_text())
    return found


def test_every_cell_is_a_file_and_the_best_rate_is_tested_with_every_seed(finished: Path) -> None:
    rows = numbers(finished)["kinds"]["graded"]["rows"]
    assert set(rows) == {BASE, "infonce", "cosent"}
    for name in ("infonce", "cosent"):
        own, folder = rows[name], finished / "work/graded" / name
        assert sorted(p.name for p in folder.iterdir()) == ["dev-0.001", "dev-0.01", "test-1", "test-2"]
        assert own["grid"][f"{own['rate']:g}"] == max(own["grid"].values())
        one, two = (json.loads((folder / f"test-{seed}/result.json").read_text()) for seed in (1, 2))
        assert one["rate"] == two["rate"] == own["rate"]
        assert one["average"] != two["average"] and own["average"] == np.mean([one["average"], two["average"]])
        assert own["gain"]["value"] == pytest.approx(own["average"] - rows[BASE]["average"])
        assert own["cost"]["seconds"] > 0 and own["cost"]["peak"] > 0
    last = min(("infonce", "cosent"), key=lambda name: rows[name]["average"])
    first = numbers(finished)["kinds"]["graded"]["best"]
    assert first != last and rows[last].get("behind" if first != BASE else "gain")["value"] < 0
    assert rows["cosent"]["difference"]["value"] == pytest.approx(
        rows["cosent"]["average"] - rows["infonce"]["average"]
    )


def test_labelled_rows_are_shared_out_without_overlap(place: Path, tmp_path: Path) -> None:
    KINDS["banking77"].make(tmp_path, Given(place / "data", Sizes(dev=12, test=20, documents=15), "", 16))
    train = [line.split("\t") for line in (tmp_path / "train.tsv").read_text().splitlines()[1:]]
    trained = {text for _, *texts in train for text in texts}
    held = {json.loads(line)["text"] for path in tmp_path.rglob("*.jsonl") for line in path.read_text().splitlines()}
    lines = (place / "data/classification/banking77/train.tsv").read_text().splitlines()[1:]
    label = {text: name for name, text in (line.split("\t") for line in lines)}
    assert train and not trained & held
    assert all(label[text] == label[partner] == name and text != partner for name, text, partner in train)
    with pytest.raises(DataError, match="90 labelled texts, 92 of them held out"):
        KINDS["banking77"].make(tmp_path, Given(place / "data", Sizes(dev=12, documents=40), "", 16))


def test_docstrings_are_searched_with_all_their_answers_and_none_is_tested_that_was_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(name: str) -> RetrievalData:
        return RetrievalData(
            {f"q{i}": f"{name} query {i}" for i in range(9)},
            {f"d{i}": f"{name} answer {i} " + "long " * 200 for i in range(30)},
            {f"q{i}": {f"d{2 * i}": 1, f"d{2 * i + 1}": 1} for i in range(9)},
        )

    train = [Example(f"train query {i}", (f"train answer {i}", f"train answer {i + 1}")) for i in range(12)]
    found = Pydocs(train, held("test"), held("dev"), {})
    mined: list[Path] = []
    monkeypatch.setattr("embedkit.data.pydocs.load_pydocs", lambda block: found)
    monkeypatch.setattr(data, "mined", lambda folder, given: mined.append(folder))
    KINDS["pydocs"].make(tmp_path, Given(tmp_path, Sizes(train=10, dev=4, test=6, documents=20), "", 16))
    assert mined == [tmp_path]
    for name, queries, documents in (("dev", 4, 20), ("test", 6, 20), ("pool", 10, None)):
        asked = [json.loads(line) for line in (tmp_path / name / "queries.jsonl").read_text().splitlines()]
        texts = [json.loads(line) for line in (tmp_path / name / "corpus.jsonl").read_text().splitlines()]
        judged = [line.split("\t")[:2] for line in (tmp_path / name / "qrels/test.tsv").read_text().splitlines()[1:]]
        kept = {line["_id"]: line["text"] for line in texts}
        assert len(asked) == queries and documents in (None, len(texts)) and len(set(kept.values())) == len(kept)
        assert len(judged) == 2 * queries and {document for _, document in judged} <= kept.keys()
        own = "train" if name == "pool" else name
        assert all(line["text"].startswith(own) and len(line["text"]) <= 400 for line in [*asked, *texts])


def test_a_second_start_trains_nothing(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("this cell is finished")

    before = numbers(finished)["kinds"]
    monkeypatch.setattr(cells, "train", never)
    assert compare(finished, "--kinds", "graded", "--objectives", "cosent") == 0
    assert numbers(finished)["kinds"] == before
    assert " rate " not in capsys.readouterr().out


def test_the_page_says_what_was_done_and_names_no_folder(finished: Path) -> None:
    text = (finished / "out/tiny.md").read_text()
    for kind in numbers(finished)["kinds"].values():
        for name, own in kind["rows"].items():
            title = re.escape(f"*{name}*" if name == BASE else f"`{name}`")
            assert re.search(rf"^\| {title} \| \*\*{own['average']:.2f}\*\*", text, re.MULTILINE)
    assert "--base tiny --data data" in text and "rates 0.001, 0.01" in text
    assert "Left out, needs negative: `mixed_negatives`" in text
    assert "Of 2 rows, " in text and "if none differed, up to 0.1 would seem to by chance" in text
    for file in ("tiny.md", "tiny.json"):
        assert str(finished) not in (finished / "out" / file).read_text()
    assert (finished / "out/tiny.png").stat().st_size < 100_000


def test_other_settings_are_not_mixed_in(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = ("--kinds", "graded", "--objectives", "cosent", "--out", str(tmp_path))
    assert compare(finished, *own, "--steps", "4") == 1
    assert "result of other settings: train.steps was 3, is 4" in capsys.readouterr().out


def test_a_row_measured_later_joins_the_table_as_if_measured_with_it(finished: Path, tmp_path: Path) -> None:
    own = ("--kinds", "graded", "--out")
    assert compare(finished, *own, str(tmp_path / "all"), "--objectives", "cosent,angle") == 0
    whole = json.loads((tmp_path / "all/tiny.json").read_text())["kinds"]["graded"]
    first, last = sorted(("cosent", "angle"), key=lambda name: -whole["rows"][name]["average"])
    assert compare(finished, *own, str(tmp_path), "--objectives", first) == 0
    alone = json.loads((tmp_path / "tiny.json").read_text())["kinds"]["graded"]
    assert compare(finished, *own, str(tmp_path), "--objectives", last) == 0
    both = json.loads((tmp_path / "tiny.json").read_text())["kinds"]["graded"]
    assert set(alone["rows"]) == {BASE, "infonce", first} and both["rows"] == whole["rows"]
    assert both["made"]["command"] == alone["made"]["command"] and last not in both["missing"]
    (later,) = both["made"]["joined"]
    assert later["rows"] == [last] and f"--objectives {last}" in later["command"]
    text = (tmp_path / "tiny.md").read_text()
    assert alone["made"]["command"] in text and later["command"] in text


def test_a_row_does_not_join_a_table_of_other_settings_or_scores(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ("--kinds", "graded", "--out", str(tmp_path))
    assert compare(finished, *own, "--objectives", "cosent") == 0
    file = tmp_path / "tiny.json"
    before = file.read_text()
    assert compare(finished, *own, "--objectives", "angle", "--steps", "4") == 2
    assert "made with other settings: steps 3, here 4" in capsys.readouterr().out and file.read_text() == before
    other = json.loads(before)
    other["kinds"]["graded"]["rows"]["infonce"]["by_seed"][0] += 0.01
    file.write_text(json.dumps(other))
    assert compare(finished, *own, "--objectives", "angle") == 2
    assert "`infonce` had [" in capsys.readouterr().out
    other = json.loads(before)
    other["kinds"]["graded"]["rows"] = {n: r for n, r in other["kinds"]["graded"]["rows"].items() if n != BASE}
    other["kinds"]["graded"]["rows"]["mine"] = {**other["kinds"]["graded"]["rows"]["cosent"], "average": 99.0}
    file.write_text(json.dumps(other))
    assert compare(finished, *own, "--objectives", "angle") == 2
    assert "`mine` leads the table now" in capsys.readouterr().out


def test_an_objective_that_fails_is_said_and_the_others_go_on(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text("graded: {rows: {infonce: {}, supcon: {}}}\n")
    own = ("--kinds", "graded", "--table", str(tmp_path / "t.yaml"), "--out", str(tmp_path))
    assert compare(finished, *own) == 0
    text = (tmp_path / "tiny.md").read_text()
    assert re.search(r"- `supcon` failed: .*label", text) and "| `infonce` |" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--data DIR"),
        (["--data", "d", "--kinds", "grated"], "no kind of data called grated"),
        (["--data", "d", "--rates", "high"], "is no list of learning rates"),
        (["--data", "d", "--rates", "0"], "give numbers above 0"),
        (["--data", "d", "--seeds", "0"], "start at 1"),
    ],
)
def test_missing_arguments_are_said_at_once(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().out


def test_the_table_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{shape}: infonce, " in shown for shape in SHIPPED) and "  without clp: needs" in shown


def test_a_section_says_how_many_rows_an_update_has() -> None:
    made = {"batch": 8, "steps": 3, "length": 16, "rates": [1e-3], "seeds": [1]}
    kind = {"title": "T", "what": "sentences of X", "share": 0.5, "metric": "m", "rows": {}, "missing": ["a"]}
    text = page.section({**kind, "left_out": {}, "made": made, "best": None})
    assert text[1].startswith("Sentences of X. 3 updates of 4 rows, 16 tokens of a text, seeds 1, rates 0.001 with")
    assert "Not measured: `a`." in text[-1]


@pytest.mark.slow
def test_labels_text_alone_and_hard_negatives(place: Path) -> None:
    kinds = "banking77,unlabelled,scifact"
    assert compare(place, "--kinds", kinds, "--objectives", "supcon,dcl,lce", "--out", str(place / "more")) == 0
    found = json.loads((place / "more/tiny.json").read_text())["kinds"]
    assert set(found["scifact"]["rows"]) == {BASE, "infonce", "dcl", "lce"}
    assert list(found) == kinds.split(",")
    assert (place / "work/data/scifact/train.parquet").is_file()


# Drift --------------------------------------------------------------------------------------------------------


def test_every_setting_of_the_drift_changes_the_recipe_in_what_it_names(tmp_path: Path) -> None:
    bench = cells.Bench("b", tmp_path, tmp_path, 6, 4, 16)
    made = {name: drift.recipe(bench, tmp_path / "t.txt", name, 1, 6) for name in drift.SETTINGS}
    assert len({recipe.model_dump_json() for recipe in made.values()}) == len(drift.SETTINGS)
    assert made["temperature 0.2"].objective.temperature == 0.2  # type: ignore[attr-defined]
    assert made["pooling cls"].model.pooling == "cls" and made["pooling cls"].train.learning_rate == 1e-4
    assert made["rate 2e-5"].train.learning_rate == 2e-5 and made["rate 2e-5"].model.pooling == "mean"
    assert made["four times the batch"].train.batch_size == 4 * made[""].train.batch_size


@pytest.mark.slow
def test_the_drift_is_measured_along_the_training(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = {**drift.SETTINGS[""], "train": {"learning_rate": 0.05}}
    monkeypatch.setattr(drift, "SETTINGS", {"": quick, "temperature 1": {"objective": {"temperature": 1.0}}})
    words = ["--base", str(place / "tiny"), "--data", str(place / "data"), "--work", str(place / "drift")]
    words += ["--steps", "6", "--batch", "4", "--dev", "12", "--seeds", "1", "--max-length", "16"]
    monkeypatch.setattr("sys.argv", ["drift", *words])
    drift.main()
    head, _, *lines = [line.strip("| ").split(" | ") for line in capsys.readouterr().out.splitlines() if line]
    assert head[:6] == ["changed", "start", "1", "2", "4", "6"] and head[6:9] == ["change", "pairs", "seeds"]
    assert [line[0] for line in lines] == ["nothing", "temperature 1"]
    assert lines[0][1] == lines[1][1] and lines[0][1] != lines[0][5]
    for cells_of in lines:
        assert float(cells_of[6].rstrip("▲▼ ")) == pytest.approx(float(cells_of[5]) - float(cells_of[1]), abs=0.02)
    assert all(" -> " in shape for shape in lines[0][9:])
