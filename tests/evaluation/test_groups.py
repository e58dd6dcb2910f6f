"""The main number by the values of a column, and the gap."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from embedkit.errors import DataError
from embedkit.evaluation import groups, stats
from embedkit.evaluation import suite as suites
from embedkit.recipe.kinds import ClassificationTask, PairTask
from embedkit.recipe.suite import RetrievalTask, StsTask, Suite
from embedkit.types import Groups, Scores, TaskScore
from tests.evaluation.hashing import HashingEncoder

PACKS = suites.shipped_suites().parent / "packs"


def score(values: np.ndarray) -> TaskScore:
    return TaskScore("t", "retrieval", "map", {"map": 100 * float(values.mean())}, units={"map": values})


@pytest.fixture(scope="module")
def values() -> tuple[np.ndarray, Groups]:
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2], [60, 40, 5])
    return rng.random(105) * np.array([1.0, 0.6, 0.1])[codes], Groups("lang", ("de", "en", "fr"), codes)


def test_every_group_has_its_mean_and_interval(values: tuple[np.ndarray, Groups]) -> None:
    per_query, own = values
    found = groups.measured(score(per_query), own, 300, 0)
    assert (found["column"], found["metric"]) == ("lang", "map")
    for place, row in enumerate(found["rows"]):
        member = own.codes == place
        assert row["value"] == pytest.approx(100 * per_query[member].mean()) and row["items"] == member.sum()
    (de, en, fr) = found["rows"]
    part = replace(score(per_query[:60]), task="t de")
    drawn = stats.draws(part, 300, 0)["map"]
    assert de["interval"] == pytest.approx(list(np.quantile(drawn, [0.025, 0.975])))
    assert fr["interval"] is None, "five are too few"
    gap = found["gap"]
    assert (gap["best"], gap["worst"]) == ("de", "en"), "fr is lower, but too small to count"
    assert gap["value"] == pytest.approx(de["value"] - en["value"])
    spread = np.std(per_query[:60]) ** 2 / 60 + np.std(per_query[60:100]) ** 2 / 40
    assert gap["interval"][1] - gap["interval"][0] == pytest.approx(2 * 1.96 * 100 * spread**0.5, rel=0.2)


def test_without_resamples_there_are_values_alone(values: tuple[np.ndarray, Groups]) -> None:
    found = groups.measured(score(values[0]), values[1], 0, 0)
    assert found["gap"]["interval"] is None and all(row["interval"] is None for row in found["rows"])
    assert found["gap"]["value"] > 0


def test_pairs_and_correlations_are_computed_anew() -> None:
    rng = np.random.default_rng(1)
    similarity, match = rng.random(60), np.repeat([0, 1], 30)
    own = Groups("c", ("a", "b", "c"), np.repeat([0, 1, 2], [20, 20, 20]))
    pairs = TaskScore("t", stats.PAIRS, "auc", {}, units={"similarity": similarity, "match": match})
    found = groups.measured(pairs, own, 20, 0)
    from sklearn.metrics import roc_auc_score

    assert [row["value"] is None for row in found["rows"]] == [True, False, True], "one label alone has no curve"
    assert found["rows"][1]["value"] == pytest.approx(100 * roc_auc_score(match[20:40], similarity[20:40]))
    assert found["gap"] is None
    sts = TaskScore(
        "t",
        "sts",
        "spearman",
        {},
        units={"cosine": similarity, "gold": match * 2.0, "subset": np.zeros(60, int)},
        details={"aggregate": "all"},
    )
    found = groups.measured(sts, own, 20, 0)
    assert [row["value"] is None for row in found["rows"]] == [True, False, True], "one grade has no correlation"


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """Files with a column `kind` of two values."""
    folder = tmp_path_factory.mktemp("groups")
    lines = (PACKS / "mini-sts.tsv").read_text(encoding="utf-8").splitlines()
    rows = [lines[0] + "\tkind", *(f"{line}\t{'odd' if i % 2 else 'even'}" for i, line in enumerate(lines[1:]))]
    (folder / "sts.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    faq = folder / "faq"
    (faq / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "qrels/test.tsv"):
        (faq / name).write_text((PACKS / "mini-retrieval" / name).read_text(encoding="utf-8"), encoding="utf-8")
    queries = [json.loads(line) for line in (PACKS / "mini-retrieval" / "queries.jsonl").open(encoding="utf-8")]
    for i, row in enumerate(queries):
        row["kind"] = i % 2 + 1
    (faq / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries[::-1]), encoding="utf-8")
    labels = ["text\tlabel\tkind", *(f"{'red' if i % 2 else 'blue'} {i}\t{i % 2}\t{i % 3}" for i in range(60))]
    (folder / "labels.tsv").write_text("\n".join(labels) + "\n", encoding="utf-8")
    label = (str(folder / "labels.tsv"),)
    return Suite(
        name="grouped",
        tasks=(
            StsTask(name="sts", files=(str(folder / "sts.tsv"),), group="kind"),
            RetrievalTask(name="faq", folder=str(faq), group="kind"),
            ClassificationTask(
                name="labels", train=label, files=label, samples_per_label=2, experiments=2, group="kind"
            ),
        ),
    )


@pytest.fixture(scope="module")
def scores(suite: Suite) -> Scores:
    return suites.evaluate_suite(HashingEncoder(), suite, resamples=60, model_name="m")


def test_groups_of_every_type(suite: Suite, scores: Scores) -> None:
    sts, faq, labels = (task.details["groups"] for task in scores.tasks)
    assert [(row["name"], row["items"]) for row in sts["rows"]] == [("even", 60), ("odd", 60)]
    assert [(row["name"], row["items"]) for row in faq["rows"]] == [("1", 20), ("2", 20)]
    assert [(row["name"], row["items"]) for row in labels["rows"]] == [("0", 20), ("1", 20), ("2", 20)]
    for found, task in ((faq, scores.tasks[1]), (labels, scores.tasks[2])):
        mean = np.average([row["value"] for row in found["rows"]], weights=[row["items"] for row in found["rows"]])
        assert mean == pytest.approx(task.metrics[task.main])
    plain = suite.model_copy(update={"tasks": tuple(t.model_copy(update={"group": None}) for t in suite.tasks)})
    assert [t.metrics for t in suites.evaluate_suite(HashingEncoder(), plain, resamples=0).tasks] == [
        t.metrics for t in scores.tasks
    ]


def test_groups_are_shown_and_kept(scores: Scores, tmp_path: Path) -> None:
    console = Console(width=160, color_system=None)
    with console.capture() as captured:
        console.print(suites.table(scores))
    text = captured.get()
    gap = scores.tasks[0].details["groups"]["gap"]
    assert "sts by kind: 100 x spearman" in text and f"Gap: {gap['value']:.2f} (" in text
    assert f"'{gap['best']}' to '{gap['worst']}'" in text
    suites.write_scores(scores, tmp_path)
    assert suites.load_scores(tmp_path).tasks[0].details["groups"] == scores.tasks[0].details["groups"]


def test_the_report_has_them(scores: Scores, tmp_path: Path) -> None:
    from embedkit.publish import details
    from tests.publish.records import record

    plain = suites.plain(scores)
    ((heading, tables),) = details.sections(record(scores_before=plain, scores_after=plain))
    assert heading == "Groups" and [table.title for table in tables][1] == "faq by kind, ndcg@10"
    row = scores.tasks[1].details["groups"]["rows"][0]
    low, high = row["interval"]
    first = next(r for r in tables[1].rows if r[0] == "1")
    assert first == ("1", "20", *2 * (f"{row['value']:.2f}",), f"{low:.2f} to {high:.2f}")
    ((_, tables),) = details.sections(record(scores_before=None, scores_after=plain))
    assert tables[1].heads == ("group", "items", "score", "interval")


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("sort", ["no column 'sort'", "labels.tsv:1"]),
        ("same", ["all items are in one group, 'x'", "leave `group: same` out"]),
        ("gap", ["gap: expected a label", "labels.tsv:3"]),
    ],
)
def test_groups_that_are_refused(tmp_path: Path, column: str, words: list[str]) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text("sentence1\tsentence2\tlabel\tsame\tgap\na\tb\t1\tx\ty\nc\td\t0\tx\t \n", encoding="utf-8")
    task = PairTask(name="t", files=(str(path),), group=column)
    with pytest.raises(DataError) as caught:
        suites.load_data(Suite(tasks=(task,)))
    assert all(word in str(caught.value) for word in words), str(caught.value)
