"""Scores after texts were changed by rule, for every type of task."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from embedkit.evaluation import robustness, stats
from embedkit.evaluation import suite as suites
from embedkit.evaluation.forecast import forecast
from embedkit.evaluation.perturbing import changed
from embedkit.evaluation.two_stage import FirstStage
from embedkit.recipe.kinds import FewShotTask, LabelPromptTask
from embedkit.recipe.suite import RetrievalTask, StsTask, Suite
from embedkit.types import RetrievalData, Scores
from tests.evaluation.hashing import HashingEncoder
from tests.evaluation.kinds.sets import write_all

PACKS = suites.shipped_suites().parent / "packs"


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    file = write_all(tmp_path_factory.mktemp("robust"))
    text, train = (str(file.parent / "test.tsv"),), (str(file.parent / "train.tsv"),)
    own = [task for task in suites.load_suite(str(file)).tasks if task.type != "clustering"]
    tasks = [
        StsTask(name="sts", files=(str(PACKS / "mini-sts.tsv"),)),
        RetrievalTask(name="faq", folder=str(PACKS / "mini-retrieval")),
        FewShotTask(name="few", train=train, files=text, shots=(2,), draws=2),
        LabelPromptTask(name="prompts", files=text),
        *own,
    ]
    rules = {"perturb": ("typos", "case", "order")}
    return Suite(name="robust", tasks=tuple(task.model_copy(update=rules) for task in tasks))


@pytest.fixture(scope="module")
def scores(suite: Suite) -> Scores:
    return suites.evaluate_suite(HashingEncoder(), suite, resamples=40, model_name="m")


def test_the_drop_is_that_of_the_changed_texts(suite: Suite, scores: Scores) -> None:
    for task, score in zip(suite.tasks, scores.tasks, strict=True):
        found = score.details["perturbed"]
        assert list(found) == ["typos", "case", "order"], task.name
        for rule, own in found.items():
            assert own["drop"] == pytest.approx(score.metrics[score.main] - own["value"]), task.name
            assert own["relative"] == pytest.approx(100 * own["drop"] / score.metrics[score.main])
            assert own["interval"][0] <= own["interval"][1]
            assert own["changed"] == own["items"], (task.name, rule)
        # words without case or order are all that this encoder sees
        assert found["case"]["drop"] == pytest.approx(0, abs=1e-6), task.name
    drops = {score.task: score.details["perturbed"]["typos"]["drop"] for score in scores.tasks}
    assert np.mean(list(drops.values())) > 3 and min(drops.values()) > -3, drops


def test_a_file_with_the_changed_texts_has_the_same_score(tmp_path: Path) -> None:
    lines = (PACKS / "mini-sts.tsv").read_text(encoding="utf-8").splitlines()
    place = lines[0].split("\t").index("sentence1")
    rows = [line.split("\t") for line in lines[1:]]
    for row in rows:
        row[place] = changed(row[place], "typos")
    (tmp_path / "t.tsv").write_text("\n".join([lines[0], *map("\t".join, rows)]) + "\n", encoding="utf-8")
    clean = StsTask(name="sts", files=(str(PACKS / "mini-sts.tsv"),), perturb=("typos",))
    (score,) = suites.evaluate_suite(HashingEncoder(), Suite(tasks=(clean,)), resamples=200).tasks
    worse = StsTask(name="sts", files=(str(tmp_path / "t.tsv"),))
    (other,) = suites.evaluate_suite(HashingEncoder(), Suite(tasks=(worse,)), resamples=0).tasks
    found = score.details["perturbed"]["typos"]
    assert found["value"] == other.metrics["spearman"]
    drawn = [stats.draws(s, 200, 0)["spearman"] for s in (score, other)]
    assert found["interval"] == pytest.approx(list(np.quantile(drawn[0] - drawn[1], [0.025, 0.975])))


def test_a_first_stage_searches_for_the_changed_queries() -> None:
    """What it found is kept by the data's hash, which changed texts have to change."""
    task = RetrievalTask(name="faq", folder=str(PACKS / "mini-retrieval"))
    (data,) = suites.load_data(Suite(tasks=(task,)))
    assert isinstance(data, RetrievalData)
    own = list(data.queries.values())
    other = robustness.with_texts(data, [changed(text, "typos") for text in own], "typos")
    first = FirstStage(HashingEncoder(dim=64))
    clean, worse = (first.search(task, each, 8192, False) for each in (data, other))
    fresh = FirstStage(HashingEncoder(dim=64)).search(task, other, 8192, False)
    ranks = [[one.rank.tolist() for one in found] for found in (clean, worse, fresh)]
    assert ranks[1] == ranks[2] != ranks[0]


def test_without_resamples_and_without_rules(suite: Suite) -> None:
    few = suite.tasks[:1]
    (score,) = suites.evaluate_suite(HashingEncoder(), Suite(tasks=few), resamples=0).tasks
    assert score.details["perturbed"]["typos"]["interval"] is None
    plain = few[0].model_copy(update={"perturb": None})
    (score,) = suites.evaluate_suite(HashingEncoder(), Suite(tasks=(plain,)), resamples=0).tasks
    assert "perturbed" not in score.details


def test_changed_texts_are_foreseen(suite: Suite) -> None:
    some = Suite(tasks=suite.tasks[:2])
    data = suites.load_data(some)
    encoder = HashingEncoder()
    ahead = forecast(encoder, some, data)
    encoder.calls.clear()
    suites.evaluate_suite(encoder, some, data=data, resamples=0)
    plain = Suite(tasks=tuple(task.model_copy(update={"perturb": None}) for task in some.tasks))
    assert ahead.texts > forecast(encoder, plain, data).texts


def test_drops_are_shown(scores: Scores) -> None:
    from embedkit.publish import details
    from tests.publish.records import record

    console = Console(width=160, color_system=None)
    with console.capture() as captured:
        console.print(suites.table(scores))
    text = captured.get()
    drop = scores.tasks[0].details["perturbed"]["typos"]
    assert "Texts changed by rule" in text and f"{drop['drop']:+.2f}" in text
    plain = suites.plain(scores)
    tables = dict(details.sections(record(scores_before=plain, scores_after=plain)))["Robustness"]
    assert tables[0].rows[0][0] == "typos" and tables[0].title == "sts, spearman"
    assert f"{drop['drop']:+.2f}" in tables[0].rows[0]


def test_unknown_rules_and_none_are_refused() -> None:
    for rules in (("typo",), (), ("case", "case")):
        with pytest.raises(ValueError, match="perturb"):
            StsTask(name="t", files=("a",), perturb=rules)
