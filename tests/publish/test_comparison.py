"""The page that compares runs: real ones, whose differences are those of `embedkit eval --compare`."""

from __future__ import annotations

import json
import re
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedkit.disk.locks import hold_folder
from embedkit.errors import BusyError, DataError, EmbedkitError, RecipeError, RecordError
from embedkit.evaluation import suite as suites
from embedkit.publish import compared, overlay
from embedkit.publish.comparison import table, write_comparison
from embedkit.recipe.load import load
from embedkit.run import evaluate
from embedkit.run.evaluating import Evaluated
from embedkit.types import RunRecord
from tests.publish import records
from tests.publish.conftest import run
from tests.publish.test_report import ATTACK, Page

TASKS = ["Near or far", "dev", "average"]


@pytest.fixture(scope="module")
def fast(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Beside the run of all rooms one that learns faster."""
    folder = tmp_path_factory.mktemp("others") / "fast"
    changes = ("train.learning_rate=5e-3", "train.steps=3", "eval.before=false", "card=null")
    run(trained.parent, *changes, out=str(folder))
    return folder


def copy_of(run: Path, target: Path, **record: Any) -> Path:
    """A run's record, changed, and what its evaluation kept."""
    shutil.copytree(run / "eval", target / "eval")
    shutil.copy(run / "recipe.yaml", target)
    found = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (target / "run.json").write_text(json.dumps({**found, **record}), encoding="utf-8")
    return target


def edit_scores(folder: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    file = folder / "eval" / "after" / "scores.json"
    found = json.loads(file.read_text(encoding="utf-8"))
    edit(found)
    file.write_text(json.dumps(found), encoding="utf-8")


@pytest.fixture(scope="module")
def two(trained: Path, fast: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The page of two runs, and its data."""
    return write_comparison([trained, fast], tmp_path_factory.mktemp("two") / "comparison")


def page_of(page: Path) -> Page:
    return Page(page.read_text(encoding="utf-8"))


def test_the_differences_are_those_of_eval_compare(trained: Path, fast: Path, two: tuple[Path, dict[str, Any]]) -> None:
    suite = load(trained.parent / "r.yaml").recipe.eval.suite
    assert suite is not None
    found: list[Evaluated] = []
    evaluate(
        str(fast / "model"),
        suites.load_suite(suite, trained.parent),
        compare=str(trained / "model"),
        say=lambda _: None,
        progress=False,
        answer=found.append,
    )
    (against,) = two[1]["comparisons"]
    assert [c["task"] for c in against["tasks"]] == TASKS
    for here, there in zip(against["tasks"], found[0].plain()["comparison"], strict=True):
        assert here["difference"] == pytest.approx(there["difference"], abs=1e-6)
        assert (here["permutation"], here["p"]) == pytest.approx((there["permutation"], there["p"]))
        assert here["before"] != here["after"]
    assert against["verdict"] == found[0].plain()["verdict"] and against["comparable"]
    words = against["sentence"]
    assert re.match(r"(Whether )?fast is (better|worse) than run\b", words) and "the average of 2 tasks" in words


def test_only_what_differs_is_told(two: tuple[Path, dict[str, Any]]) -> None:
    page, found = two
    assert found["recipes"] == {
        "train.steps": {"A": 2, "B": 3},
        "train.learning_rate": {"A": 2e-5, "B": 5e-3},
        "eval.before": {"A": True, "B": False},
        **{key: values for key, values in found["recipes"].items() if key.partition(".")[0] == "card"},
    }
    assert found["recipes"]["card"] == {"B": None} and "A" in found["recipes"]["card.title"]
    assert found["contents"] == {} and found["same_data"]
    text = page_of(page).text
    assert "train.learning_rate A 2e-05 B 0.005" in text
    assert "card B null" in text and "card.title A Words of two syllables" in text
    assert "What differs in the recipes? train.steps, train.learning_rate, eval.before, card " in text
    assert "The same training data? Yes, by content." in text
    assert "model.base" not in text and "batch_size" not in text
    first, second = found["runs"]
    assert first["model"]["dimensions"] == 32 and first["model"]["prompt of a query"] == "query: "
    assert first["model"]["content after training"] != second["model"]["content after training"]
    assert (first["cost"]["updates"], second["cost"]["updates"]) == (2, 3)
    assert 0 < first["cost"]["tokens"] < second["cost"]["tokens"] and first["cost"]["training"] > 0
    assert first["cost"]["evaluation"] > 0 and first["cost"]["all"] > first["cost"]["training"]


def test_scores_and_verdicts_stand_in_page_markdown_and_table(two: tuple[Path, dict[str, Any]]) -> None:
    page, found = two
    text = page_of(page).text
    markdown = (page.parent / "report.md").read_text(encoding="utf-8")
    shown = str(table(found))
    change = found["comparisons"][0]["tasks"][1]
    value = f"{change['difference']['value']:+.2f}"
    span = f"{change['difference']['low']:+.2f} to {change['difference']['high']:+.2f}"
    assert f"B fast ndcg@10 {change['after']:.2f}" in text and f"{value} {span} {change['permutation']:.3f}" in text
    assert f"| dev | B fast | ndcg@10 | {change['after']:.2f} |" in markdown and f"| {value} | {span} |" in markdown
    assert value in shown and span in shown
    assert json.loads((page.parent / "comparison.json").read_text(encoding="utf-8")) == found
    plots = {path.stem for path in page.parent.glob("*.svg")}
    assert {"scores", "loss", "metrics"} <= plots
    assert plots == set(re.findall(r"\]\(([\w-]+)\.svg\)", markdown))


def test_the_page_needs_nothing_from_outside_and_names_no_place(two: tuple[Path, dict[str, Any]]) -> None:
    page, found = two
    parsed = page_of(page)
    assert {tag for tag, _ in parsed.tags} & {"script", "link", "iframe", "object", "img"} == set()
    loaded = [v for _, attrs in parsed.tags for k, v in attrs.items() if k in ("src", "href", "xlink:href") and v]
    assert [v for v in loaded if not v.startswith("#")] == []
    ids = [attrs["id"] for _, attrs in parsed.tags if "id" in attrs]
    assert len(ids) == len(set(ids)) > 30
    for text in (page.read_text(encoding="utf-8"), json.dumps(found), (page.parent / "report.md").read_text()):
        assert str(page.parents[1]) not in text and "/tmp/" not in text


def test_it_is_written_over_with_the_same(trained: Path, fast: Path, two: tuple[Path, dict[str, Any]]) -> None:
    page, _ = two
    before = {path.name: path.read_bytes() for path in page.parent.iterdir()}
    write_comparison([trained, fast], page.parent)
    assert {path.name: path.read_bytes() for path in page.parent.iterdir()} == before


def test_other_data_is_not_comparable(trained: Path, fast: Path, tmp_path: Path) -> None:
    """One task of two has other pairs: the other one is compared, the average is not, and there is no verdict."""
    elsewhere = copy_of(fast, tmp_path / "elsewhere", inputs={"eval.suite": {"sts.tsv": "1234"}})
    edit_scores(elsewhere, lambda found: found["tasks"][0]["details"].update(digest="of other pairs"))
    page, found = write_comparison([trained, elsewhere, fast], tmp_path / "out")
    other, same = found["comparisons"]
    assert not other["comparable"] and other["verdict"] is None and list(other["apart"]) == ["Near or far"]
    assert [c["task"] for c in other["tasks"]] == ["dev"]
    assert same["comparable"] and len(same["tasks"]) == 3 and same["tasks"][1] == other["tasks"][0]
    assert found["contents"]["eval.suite"]["B"] == {"sts.tsv": "1234"}
    text = page_of(page).text
    assert "elsewhere and run are not comparable as a whole. Near or far:" in text
    assert "had other data or another main metric for the first model" in text
    cells = [re.search(rf"{task} .*?B elsewhere (.*?) C fast", text.split("Results")[1]) for task in TASKS]
    assert [bool(cell and cell[1].endswith("not comparable")) for cell in cells] == [True, False, True]
    assert str(table(found)).count("not comparable") == 2


def test_a_run_that_was_not_measured_is_not_comparable(trained: Path, fast: Path, tmp_path: Path) -> None:
    unmeasured = copy_of(fast, tmp_path / "unmeasured", scores_after=None, comparison=[])
    entrants = compared.read([trained, unmeasured])
    for pair in (entrants, entrants[::-1]):
        (against,) = compared.against_first(pair)
        assert against.comparison == () and against.verdict == ""
        names = " and ".join(own.name for own in pair[::-1])
        assert against.sentence == f"{names} are not comparable: unmeasured was not measured after training."
    assert compared.score_of(entrants[0].record)["dev"][0] == "ndcg@10"


def without_samples(folder: Path) -> None:
    (folder / "eval" / "after" / "samples.npz").unlink()


def without_scores(folder: Path) -> None:
    (folder / "eval" / "after" / "scores.json").unlink()


def of_another_model(folder: Path) -> None:
    edit_scores(folder, lambda found: found.update(fingerprint="0" * 64))


def without_digests(folder: Path) -> None:
    edit_scores(folder, lambda found: [task["details"].pop("digest") for task in found["tasks"]])


def with_a_failed_task(folder: Path) -> None:
    edit_scores(folder, lambda found: found.update(failed={"SciFact": "no such file"}))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without_samples, "lack their per-unit values"),
        (without_scores, "second has kept no values per query or pair"),
        (of_another_model, "second keeps the scores of another model than its record tells of"),
        (without_digests, "do not say what data they are of"),
        (with_a_failed_task, "SciFact: could not be measured: no such file"),
    ],
)
def test_scores_that_cannot_be_paired_are_told(
    trained: Path, fast: Path, tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    second = copy_of(fast, tmp_path / "second")
    damage(second)
    (against,) = compared.against_first(compared.read([trained, second]), resamples=100)
    assert against.verdict == "" and "not comparable" in against.sentence and said in against.sentence
    assert len(against.comparison) == (2 if damage is with_a_failed_task else 0)


def test_what_is_damaged_is_an_error_and_nothing_is_written(trained: Path, fast: Path, tmp_path: Path) -> None:
    second = copy_of(fast, tmp_path / "second")
    (second / "eval" / "after" / "scores.json").write_text("{")
    with pytest.raises(DataError, match="not the scores of an evaluation"):
        write_comparison([trained, second], tmp_path / "out")
    (second / "run.json").write_text("{")
    with pytest.raises(RecordError, match="cut or damaged"):
        write_comparison([trained, second], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_is_refused(trained: Path, fast: Path, tmp_path: Path) -> None:
    a, b, out = trained, fast, tmp_path / "out"
    with pytest.raises(RecipeError, match="two runs or more"):
        write_comparison([a], out)
    with pytest.raises(RecipeError, match="the same run is given twice"):
        write_comparison([a, b, a.parent / "." / a.name], out)
    with pytest.raises(RecipeError, match=f"{compared.MOST + 1} runs do not fit"):
        write_comparison([tmp_path / str(i) for i in range(compared.MOST + 1)], out)
    with pytest.raises(RecordError, match="no run record here"):
        write_comparison([a, tmp_path], out)
    (tmp_path / "seeds" / "seed-42").mkdir(parents=True)
    (tmp_path / "seeds" / "seed-42" / "run.json").touch()
    with pytest.raises(RecordError, match=r"a run for each seed: give them, .*seeds/seed-42"):
        write_comparison([a, tmp_path / "seeds"], out)
    assert not out.exists()
    out.mkdir()
    (out / "index.html").write_text("mine")
    with pytest.raises(EmbedkitError, match="holds something else than a comparison"):
        write_comparison([a, b], out)
    assert [path.name for path in out.iterdir()] == ["index.html"] and (out / "index.html").read_text() == "mine"
    with hold_folder(tmp_path / "held", "testing"), pytest.raises(BusyError):
        write_comparison([a, b], tmp_path / "held")


def test_bare_records_make_a_page(tmp_path: Path) -> None:
    """Nothing but their recipes; the plots of an earlier comparison go."""
    out = tmp_path / "out"
    out.mkdir()
    for name in ("comparison.json", *(f"{plot}.svg" for plot in overlay.NAMES)):
        (out / name).touch()
    runs = [records.write(tmp_path / name, RunRecord(recipe_hash="0", recipe={})) for name in "ab"]
    page, _ = write_comparison(runs, tmp_path / "out")
    text = page_of(page).text
    assert "b and a are not comparable: a was not measured after training; b was not measured" in text
    assert "Nowhere: every value is the same" in text and "Results" not in text and "Plots" not in text
    assert "a, is not finished: what stands here may change." in text
    assert {path.name for path in out.iterdir()} == {"index.html", "report.md", "comparison.json"}


def test_texts_stay_texts_and_what_is_nobody_s_business_is_not_passed_on(tmp_path: Path) -> None:
    token = "hf_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7cF0"
    made = records.record(failed=f"{ATTACK} with {token} at /home/someone/private/key.pem")
    made.versions = {ATTACK: ATTACK, "machine": ATTACK}
    made.recipe["model"]["base"] = "/home/someone/models/base"
    made.recipe[ATTACK] = made.data[0]["name"] = ATTACK
    assert made.scores_after is not None
    made.scores_after["tasks"][0]["task"] = ATTACK
    runs = [records.kept(tmp_path / "a", records.record()), records.kept(tmp_path / "<b>b | b", made)]
    page, _ = write_comparison(runs, tmp_path / "out")
    parsed = page_of(page)
    assert {tag for tag, _ in parsed.tags} & {"script", "b b"} == set()
    assert parsed.text.count('<script>alert("x")</script>') > 5 and "{{ 7 * 7 }}" in parsed.text
    assert "B, <b>b | b, failed: <script>" in parsed.text and "…/base" in parsed.text
    markdown = (page.parent / "report.md").read_text(encoding="utf-8")
    assert "<script>" not in markdown and "&lt;b&gt;b \\| b" in markdown
    for path in page.parent.iterdir():
        text = path.read_text(encoding="utf-8")
        assert token not in text and "someone" not in text and str(tmp_path) not in text, path.name


def test_names_have_as_many_parts_as_tell_them_apart(tmp_path: Path) -> None:
    roots = [tmp_path / "x" / "run", tmp_path / "y" / "run", tmp_path / "other"]
    assert compared._names(roots) == ["x/run", "y/run", "other"]
    assert compared._names([tmp_path / "run", tmp_path / "x" / "run"])[1] == "x/run"


def test_twelve_runs_are_told_apart_in_every_plot() -> None:
    own = compared.Entrant("A", "x" * 99, Path(), RunRecord("0", {}), None, "")
    looks = [overlay.look(i, own) for i in range(compared.MOST)]
    assert len({(look.colour, look.dash) for look in looks}) == compared.MOST <= len(string.ascii_uppercase)
    assert len({look.marker for look in looks}) == compared.MOST
    assert all(len(look.label) <= overlay.NAME + 3 for look in looks)
