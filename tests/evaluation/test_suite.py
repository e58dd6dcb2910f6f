"""Suites: shipped ones, finding files, a whole evaluation with a tiny encoder, scores on disk, comparison."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from embedkit.disk.paths import locate
from embedkit.errors import DataError, EmbedkitError, RecipeError
from embedkit.evaluation import suite as suites
from embedkit.evaluation.compare import apart
from embedkit.evaluation.cost import estimate
from embedkit.recipe.load import load_suite_file
from embedkit.recipe.suite import RetrievalTask, StsTask, Suite
from embedkit.types import Scores
from tests.evaluation.hashing import HashingEncoder


@pytest.fixture(scope="module")
def mini() -> Suite:
    return suites.load_suite("mini")


@pytest.fixture(scope="module")
def scores(mini: Suite) -> Scores:
    return suites.evaluate_suite(HashingEncoder(), mini, resamples=200, model_name="hashing")


@pytest.fixture(scope="module")
def weaker(mini: Suite) -> Scores:
    return suites.evaluate_suite(HashingEncoder(dim=8), mini, resamples=200, model_name="tiny hashing")


# Finding ------------------------------------------------------------------------------------------------------


def test_every_shipped_suite_is_found_and_valid() -> None:
    found = suites.list_suites()
    assert {path.stem for path in found} >= {"mini", "sts", "sts-dev", "scifact", "retrieval"}
    for path in found:
        suite = load_suite_file(path)
        assert suite.name == path.stem
        assert suite.description
        suite.check_selection("average")


@pytest.mark.parametrize(("name", "tasks"), [("mini", 2), ("analogies", 1)])
def test_a_shipped_suite_that_needs_nothing_has_its_packs(name: str, tasks: int) -> None:
    scores = suites.evaluate_suite(HashingEncoder(), suites.load_suite(name), resamples=0)
    assert len(scores.tasks) == tasks


def test_the_sts_suite_is_mtebs_seven() -> None:
    suite = load_suite_file(suites.shipped_suites() / "sts.yaml")
    assert [t.name for t in suite.tasks] == ["STS12", "STS13", "STS14", "STS15", "STS16", "STS-B", "SICK-R"]
    assert all(isinstance(t, StsTask) and t.aggregate == "all" for t in suite.tasks)
    assert suite.tasks[-1].files == ("sts/SICK-train.tsv", "sts/SICK-dev.tsv", "sts/SICK-test.tsv")


def write_pairs(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("score\tsentence1\tsentence2\n1\ta b\tc d\n2\tx y\tx z\n3\tq\tq\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("place", ["sts/STSB-dev.tsv", "STSB-dev.tsv", "sts/STSB-dev.tsv.gz"])
def test_files_are_found_in_a_data_folder(tmp_path: Path, place: str) -> None:
    write_pairs(tmp_path / place)
    suite = suites.load_suite("sts-dev", tmp_path)
    assert suite.tasks[0].files == (str((tmp_path / place).resolve()),)  # type: ignore[union-attr]
    (tmp_path / "elsewhere").mkdir()
    assert suites.load_suite(suite, tmp_path / "elsewhere") == suite  # absolute files stay


@pytest.mark.parametrize("given", [str, Path, lambda path: locate(path.name, "folder", [path.parent])])
def test_a_data_folder_that_is_none_is_refused(tmp_path: Path, given: Callable[[Path], str | Path]) -> None:
    """The files of the shipped suite `mini` are beside it, so that it could be measured all the same."""
    (tmp_path / "file").write_text("")
    for name, what in (("nowhere", "there is no such folder"), ("file", "is a file, not the folder")):
        with pytest.raises(DataError) as caught:
            suites.load_suite("mini", given(tmp_path / name))
        assert caught.value.where.endswith(name) and what in caught.value.what
        assert "--data DIR (eval.data in a recipe)" in caught.value.cure


def test_missing_files_are_all_listed(tmp_path: Path) -> None:
    write_pairs(tmp_path / "STS12.tsv")
    with pytest.raises(DataError) as caught:
        suites.load_suite("sts", tmp_path)
    assert "sts/STS12.tsv" not in caught.value.what
    for name in ("sts/STS13.tsv", "sts/SICK-test.tsv"):
        assert name in caught.value.what
    assert str(tmp_path) in caught.value.where
    assert "--data" in caught.value.cure


def test_tasks_can_be_chosen(tmp_path: Path) -> None:
    write_pairs(tmp_path / "STS12.tsv")
    write_pairs(tmp_path / "STSB-test.tsv")
    suite = suites.load_suite("sts:STS-B,STS12", tmp_path)
    assert [task.name for task in suite.tasks] == ["STS-B", "STS12"]
    with pytest.raises(RecipeError, match="did you mean 'STS-B'"):
        suites.load_suite("sts:STSB", tmp_path)


def test_a_suite_file_finds_files_beside_itself(tmp_path: Path) -> None:
    write_pairs(tmp_path / "data" / "pairs.tsv")
    (tmp_path / "own.yaml").write_text(
        "name: own\ntasks:\n  - {type: sts, name: pairs, files: [data/pairs.tsv]}\n", encoding="utf-8"
    )
    for ref in (
        str(tmp_path / "own.yaml"),
        *(locate(name, "suite", [tmp_path]) for name in ("own.yaml", "own.yaml:pairs")),
    ):
        suite = suites.load_suite(ref)
        assert suite.tasks[0].files == (str(tmp_path / "data" / "pairs.tsv"),)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("name: a\nname: b\ntasks: []\n", "given twice"),
        ("name: a\ntasks:\n  - {type: sts, name: t, file: [x]}\n", "did you mean `files`"),
        ("name: a\ntasks:\n  - {type: sts, name: t, files: [x], aggregate: al}\n", "'all'"),
        ("name: a\ntasks:\n  - {type: retrieval, name: t, folder: x, metric: ndgc@10}\n", "unknown metric"),
        ("name: a\ntasks:\n  - {type: retrieval, name: t, folder: x, ks: [0]}\n", "below 1"),
        ("name: a\ntasks:\n  - {type: retrieval, name: t}\n", "exactly one of folder, pydocs"),
    ],
)
def test_a_wrong_suite_file_is_refused_with_its_line(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        suites.load_suite(str(path))
    assert what in str(caught.value)
    assert "own.yaml:" in str(caught.value)


def test_an_unknown_suite_names_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean 'mini'"):
        suites.load_suite("minii")


def test_selection_must_be_measured(mini: Suite) -> None:
    for good in ("average", "mini-sts/spearman", "mini-sts/pearson_wmean", "mini-retrieval/recall@5"):
        mini.check_selection(good)
    with pytest.raises(RecipeError, match="did you mean 'mini-sts/spearman'"):
        suites.evaluate_suite(HashingEncoder(), mini, select="mini-sts/spearmen")


# Measuring ----------------------------------------------------------------------------------------------------


def test_the_mini_suite_end_to_end(scores: Scores) -> None:
    assert [task.task for task in scores.tasks] == ["mini-sts", "mini-retrieval"]
    for task in scores.tasks:
        assert task.interval is not None
        assert task.interval.low < task.metrics[task.main] == task.interval.value < task.interval.high
        assert set(task.details["intervals"]) == set(task.metrics)
        assert all(-100 <= value <= 100 for value in task.metrics.values())
    sts, retrieval = scores.tasks
    assert (sts.details["pairs"], sts.details["subsets"]) == (120, {"everyday": 40, "technical": 40, "news": 40})
    assert (retrieval.details["queries"], retrieval.details["documents"]) == (40, 60)
    assert retrieval.details["judgements"] == 53
    assert sts.metrics["spearman"] == sts.metrics["spearman_all"] > 50  # word overlap tells a lot
    assert retrieval.metrics["auc"] > 80
    assert scores.average == pytest.approx((sts.metrics["spearman"] + retrieval.metrics["ndcg@10"]) / 2)
    assert scores.interval is not None
    assert scores.interval.low < scores.average < scores.interval.high
    assert scores.fingerprint == "hashing-256-0.3"
    assert {"embedkit", "torch", "sentence-transformers"} <= set(scores.versions)
    assert set(sts.details["files"]) == {"packs/mini-sts.tsv"}


def test_metrics_are_the_ones_the_schema_names(mini: Suite, scores: Scores) -> None:
    for task, score in zip(mini.tasks, scores.tasks, strict=True):
        assert set(task.metrics) == set(score.metrics)
        assert task.main == score.main


def test_same_seed_same_numbers_other_seed_other_intervals(mini: Suite, scores: Scores) -> None:
    again = suites.evaluate_suite(HashingEncoder(), mini, resamples=200, model_name="hashing")
    assert [(t.metrics, t.interval) for t in again.tasks] == [(t.metrics, t.interval) for t in scores.tasks]
    other = suites.evaluate_suite(HashingEncoder(), mini, resamples=200, seed=1)
    assert [t.metrics for t in other.tasks] == [t.metrics for t in scores.tasks]
    assert other.tasks[0].interval != scores.tasks[0].interval


def test_data_read_once_serves_several_models(mini: Suite, scores: Scores) -> None:
    data = suites.load_data(mini)
    for _ in range(2):
        again = suites.evaluate_suite(HashingEncoder(), mini, resamples=0, data=data)
        assert [task.metrics for task in again.tasks] == [task.metrics for task in scores.tasks]


def test_roles_lengths_and_duplicates_reach_the_encoder(tmp_path: Path) -> None:
    path = write_pairs(tmp_path / "pairs.tsv")
    folder = suites.shipped_suites().parent / "packs" / "mini-retrieval"
    tasks = (
        StsTask(name="s", files=(str(path),), max_length=7),
        RetrievalTask(name="r", folder=str(folder), limit_queries=3),
    )
    encoder = HashingEncoder()
    scores = suites.evaluate_suite(encoder, Suite(tasks=tasks), resamples=0)
    assert encoder.calls[0] == ("query", 7, ["a b", "x y", "q", "c d", "x z"])  # "q" once
    assert [(role, length, len(texts)) for role, length, texts in encoder.calls[1:]] == [
        ("document", None, 60),
        ("query", None, 3),
    ]
    assert [task.details["texts"] for task in scores.tasks] == [5, 63]
    assert scores.tasks[0].interval is None
    assert scores.interval is None
    assert "intervals" not in scores.tasks[0].details


def test_dot_and_cosine_order_differently(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    texts = {"short": "tea", "long": "tea tea tea coffee milk sugar", "other": "rain"}
    lines = [json.dumps({"_id": key, "text": text}) for key, text in texts.items()]
    (tmp_path / "corpus.jsonl").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text('{"_id": "q", "text": "tea"}\n', encoding="utf-8")
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\tshort\t1\n", encoding="utf-8")
    for similarity, reciprocal in (("cos", 100.0), ("dot", 50.0)):
        task = RetrievalTask(name="t", folder=str(tmp_path), similarity=similarity)
        scores = suites.evaluate_suite(HashingEncoder(triples=0), Suite(tasks=(task,)), resamples=0)
        assert scores.tasks[0].metrics["mrr@10"] == reciprocal


def test_an_embedding_that_is_not_finite_stops_the_evaluation(mini: Suite) -> None:
    with pytest.raises(EmbedkitError) as caught:
        suites.evaluate_suite(HashingEncoder(spoil="windowsill"), mini, resamples=0)
    assert "1 of" in caught.value.what
    assert "windowsill" in caught.value.what
    assert caught.value.where == "task mini-sts"


def test_a_collapsed_model_scores_zero_not_nan(mini: Suite) -> None:
    class Constant(HashingEncoder):
        def encode(self, texts: list[str], **_: object) -> np.ndarray:  # type: ignore[override]
            return np.ones((len(texts), 4), dtype=np.float32)

    scores = suites.evaluate_suite(Constant(), mini, resamples=20)
    assert scores.tasks[0].metrics["spearman"] == 0.0
    assert scores.tasks[1].metrics["auc"] == 50.0
    json.dumps(suites.plain(scores), allow_nan=False)


# On disk, compared --------------------------------------------------------------------------------------------


def test_scores_survive_the_disk(scores: Scores, tmp_path: Path) -> None:
    path = suites.write_scores(scores, tmp_path / "out")
    back = suites.load_scores(tmp_path / "out")
    assert path.name == "scores.json"
    assert suites.plain(back) == suites.plain(scores)
    for old, new in zip(scores.tasks, back.tasks, strict=True):
        assert set(old.units) == set(new.units)
        for name, values in old.units.items():
            assert np.array_equal(values, new.units[name])
    assert not list((tmp_path / "out").glob("*.part"))


def test_files_that_are_no_scores_are_refused(scores: Scores, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        suites.load_scores(tmp_path)
    path = suites.write_scores(scores, tmp_path)
    whole = path.read_text(encoding="utf-8")
    for broken in (
        "{",
        "[]",
        "{}",
        whole.replace('"average"', '"averag"'),
        whole.replace('"format": 1', '"format": 9'),
    ):
        path.write_text(broken, encoding="utf-8")
        with pytest.raises(DataError, match="evaluate again"):
            suites.load_scores(tmp_path)


def test_comparison_is_symmetric_and_paired(scores: Scores, weaker: Scores) -> None:
    up, down = suites.compare(weaker, scores, 300), suites.compare(scores, weaker, 300)
    assert [c.task for c in up] == ["mini-sts", "mini-retrieval", "average"]
    for one, other in zip(up, down, strict=True):
        assert one.difference.value == pytest.approx(one.after - one.before)
        assert (one.difference.low, one.difference.high) == pytest.approx(
            (-other.difference.high, -other.difference.low)
        )
        assert one.p == other.p
        assert (one.verdict, other.verdict) == ("win", "loss")
    same = suites.compare(scores, scores, 100)
    assert all((c.verdict, c.p, c.difference.low, c.difference.high) == ("tie", 1.0, 0.0, 0.0) for c in same)


def test_pairing_narrows_the_interval(mini: Suite, scores: Scores) -> None:
    """Two nearly equal models: the difference varies far less than either score."""
    near = suites.evaluate_suite(HashingEncoder(triples=0.35), mini, resamples=0)
    for change, task in zip(suites.compare(near, scores, 300), scores.tasks, strict=False):
        assert task.interval is not None
        assert change.difference.high - change.difference.low < 0.6 * (task.interval.high - task.interval.low)


def test_comparison_after_reading_needs_the_units(scores: Scores, weaker: Scores, tmp_path: Path) -> None:
    for name, found in (("a", weaker), ("b", scores)):
        suites.write_scores(found, tmp_path / name)
    read = [suites.load_scores(tmp_path / name) for name in "ab"]
    assert suites.compare(*read, resamples=50) == suites.compare(weaker, scores, resamples=50)
    (tmp_path / "a" / "samples.npz").unlink()
    with pytest.raises(EmbedkitError, match=r"samples\.npz"):
        suites.compare(suites.load_scores(tmp_path / "a"), scores)


def test_other_data_cannot_be_compared(scores: Scores) -> None:
    first = scores.tasks[0]
    moved = replace(first, details={**first.details, "digest": "another"})
    with pytest.raises(EmbedkitError, match="other data"):
        suites.compare(scores, replace(scores, tasks=(moved, scores.tasks[1])))
    with pytest.raises(EmbedkitError, match="different tasks"):
        suites.compare(scores, replace(scores, tasks=(first,)))


def test_tasks_that_cannot_be_paired_are_named_with_the_reason(scores: Scores, weaker: Scores) -> None:
    first, second = scores.tasks
    assert apart(weaker, scores) == {}
    turned = replace(scores, tasks=(second, first))
    assert apart(weaker, turned) == {}
    both = suites.compare(weaker, scores, 100)
    assert {c.task: c for c in suites.compare(weaker, turned, 100)[:2]} == {c.task: c for c in both[:2]}
    moved = replace(first, details={**first.details, "digest": "0"})
    unknown = replace(first, details={k: v for k, v in first.details.items() if k != "digest"})
    bare = replace(first, units={})
    for other, said in (
        (replace(scores, tasks=(moved, second)), "had other data or another main metric"),
        (replace(scores, tasks=(unknown, second)), "do not say what data they are of"),
        (replace(scores, tasks=(bare, second)), "lack their per-unit values"),
        (replace(scores, tasks=(second,)), "only the first was measured on it"),
        (replace(scores, failed={first.task: "no file"}), "could not be measured: no file"),
    ):
        found = apart(weaker, other)
        assert list(found) == [first.task] and said in found[first.task]
        (left,) = suites.compare(weaker, other, 100, without=found)
        assert left == both[1]
    assert apart(replace(weaker, tasks=(second,)), scores) == {first.task: "only the second was measured on it"}
    with pytest.raises(EmbedkitError, match="different tasks"):
        suites.compare(weaker, scores, 100, without=[first.task, second.task])


def shown(table: object, width: int = 160) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_the_table_shows_every_way_and_the_change(scores: Scores, weaker: Scores) -> None:
    text = shown(suites.table(scores, weaker, suites.compare(weaker, scores, 100)))
    metrics = scores.tasks[0].metrics
    for name in ("spearman_all", "spearman_mean", "spearman_wmean", "pearson"):
        assert f"{metrics[name]:.2f}" in text
    for word in ("mini-retrieval", "ndcg@10", "AUC", f"{scores.average:.2f}", "better", "hashing against tiny hashing"):
        assert word in text


STS_COLUMNS = "task pairs main 95_%_interval all mean wmean Pearson"
RETRIEVAL_COLUMNS = "task queries docs main 95_%_interval recall@10 MRR@10 MAP AUC"
CHANGE_COLUMNS = "task metric before after change 95_%_interval p verdict"


@pytest.mark.parametrize(
    ("width", "sts", "retrieval", "change"),
    [
        (100, STS_COLUMNS, RETRIEVAL_COLUMNS, CHANGE_COLUMNS),
        (80, STS_COLUMNS, RETRIEVAL_COLUMNS.replace(" AUC", ""), CHANGE_COLUMNS.replace(" metric", "")),
        (
            60,
            STS_COLUMNS.replace(" mean wmean", ""),
            "task queries docs main 95_%_interval",
            "task after change 95_%_interval verdict",
        ),
    ],
)
def test_the_table_fits_and_no_cell_takes_two_lines(
    scores: Scores, weaker: Scores, width: int, sts: str, retrieval: str, change: str
) -> None:
    lines = shown(suites.table(scores, weaker, suites.compare(weaker, scores, 200)), width).splitlines()
    assert max(map(len, lines)) <= width
    rows = [[cell.replace(" ", "_") for cell in re.split(r" {2,}", line.strip())] for line in lines]
    for heads in (sts, retrieval, change):
        assert heads.split() in rows
    main = scores.tasks[0]
    (row,) = [row for row in rows if row[0] == "mini-sts" and row[1] == "120"]
    assert row[2] == f"{main.metrics['spearman']:.2f}"
    assert main.interval is not None
    assert row[3] == f"{main.interval.low:.2f}_.._{main.interval.high:.2f}"
    assert sum(row[0] == "mini-retrieval" for row in rows) == 2


def test_tasks_with_other_metrics_and_cutoffs_say_so_in_their_cells(scores: Scores) -> None:
    first, second = scores.tasks
    other = {name.replace("@10", "@5"): value for name, value in second.metrics.items() if "@10" in name}
    tasks = (
        first,
        replace(first, task="P", main="pearson", details={**first.details, "subsets": {}}),
        second,
        replace(second, task="R5", main="recall@5", metrics={"map": 1.0, "auc": 2.0, **other}),
    )
    rows = [re.split(r" {2,}", line.strip()) for line in shown(suites.table(replace(scores, tasks=tasks))).splitlines()]
    value = {name: f"{number:.2f}" for name, number in (first.metrics | second.metrics).items()}
    by_name = {row[0]: row for row in rows}
    assert by_name["mini-sts"][2:4] == ["spearman all", value["spearman"]]
    assert by_name["P"][2:4] == ["pearson", value["pearson"]]
    assert by_name["mini-retrieval"][3:5] == ["ndcg@10", value["ndcg@10"]]
    assert by_name["mini-retrieval"][6:8] == [f"{value['recall@10']} @10", f"{value['mrr@10']} @10"]
    assert by_name["R5"][3:5] == ["recall@5", value["recall@10"]]
    assert by_name["R5"][6:8] == [f"{value['recall@10']} @5", f"{value['mrr@10']} @5"]


def test_a_model_name_with_brackets_is_shown_as_it_is(scores: Scores) -> None:
    assert "runs/[red]one" in shown(suites.table(replace(scores, model="runs/[red]one")))


def test_cost_is_told_without_a_model(mini: Suite) -> None:
    sts, retrieval = estimate(mini)
    assert (sts.texts, retrieval.texts) == (240, 100)
    assert sts.tokens is not None
    assert 2_000 < sts.tokens < 4_500
    cut = estimate(mini, max_length=8)[0].tokens
    assert cut is not None
    assert cut <= 8 * 240
    limited = mini.tasks[1].model_copy(update={"limit_queries": 5})
    assert estimate(Suite(tasks=(limited,)))[0].texts == 65
