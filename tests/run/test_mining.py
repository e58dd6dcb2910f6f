"""Mining while training: what is searched when, what a step sees, and that nothing of it is lost by a kill."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from embedkit.data.text import text_id
from embedkit.disk.files import sha256
from embedkit.errors import DataError, TrainingError
from embedkit.mining.schedule import schedule
from embedkit.mining.table import MinedTable
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from embedkit.train.pipeline import Pipeline
from embedkit.types import RowBatch
from tests.run.mined import STEPS, go, material, recipe
from tests.tiny import tiny_bert

pytestmark = pytest.mark.cpu
MODES = ["sync", "background"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return material(tmp_path_factory.mktemp("mining"))


@pytest.fixture(scope="module")
def batches(folder: Path) -> dict[str, list[RowBatch]]:
    """The rows of every update of an uncut run in each mode, whose folders are ``sync`` and ``background``."""
    seen: dict[str, list[RowBatch]] = {}
    for mode in MODES:
        seen[mode] = []
        batch = Pipeline.batch

        def watched(pipeline: Pipeline, step: int, k: int, mode: str = mode) -> RowBatch:
            seen[mode].append(batch(pipeline, step, k))  # noqa: B023
            return seen[mode][-1]

        Pipeline.batch = watched  # type: ignore[method-assign]
        try:
            go(folder, mode, recipe({"mode": mode}))
        finally:
            Pipeline.batch = batch  # type: ignore[method-assign]
    return seen


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model" / "model.safetensors")


def assert_same(run: Path, other: Path) -> None:
    a, b = weights(run), weights(other)
    assert a.keys() == b.keys() and not [n for n in a if not torch.equal(a[n], b[n])]


def record(run: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((run / "run.json").read_text())
    return found


def texts(folder: Path) -> tuple[list[str], list[str], dict[str, set[str]]]:
    """Queries, documents, and the positives of each query."""
    pairs = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    rows = [json.loads(line) for line in (folder / "corpus.jsonl").read_text().splitlines()]
    whole = {r["text"]: f"{r['title']} {r['text']}".strip() for r in rows}  # a document is also its text without title
    known: dict[str, set[str]] = {}
    for pair in pairs:
        known.setdefault(pair["query"], set()).add(whole.get(pair["positive"], pair["positive"]))
    positives = (text for answers in known.values() for text in sorted(answers))
    return list(known), list(dict.fromkeys([*whole.values(), *positives])), known


def by_hand(folder: Path, model: Path) -> dict[str, list[str]]:
    """The four nearest documents of every query among its twelve nearest, its positives left out."""
    queries, documents, known = texts(folder)
    encoder = Encoder.load(Model(base=str(model)), device="cpu")
    q, d = (encoder.encode(t, role=r, normalize=True) for t, r in ((queries, "query"), (documents, "document")))
    found = {}
    for query, scores in zip(queries, q @ d.T, strict=True):
        nearest = [documents[i] for i in np.argsort(-scores)[:12]]
        found[query] = [text for text in nearest if text not in known[query] and text != query][:4]
    return found


@pytest.mark.parametrize(
    ("mode", "used"), [("sync", [0, 2, 4, 6]), pytest.param("background", [0, 4, 6], marks=pytest.mark.slow)]
)
def test_every_version_is_of_the_model_at_its_update(
    folder: Path, batches: dict[str, list[RowBatch]], mode: str, used: list[int]
) -> None:
    run, lag = folder / mode, 2 if mode == "background" else 0
    versions = record(run)["mining"]
    assert isinstance(versions, list)
    assert [(v["version"], v["used"]) for v in versions] == list(enumerate(used))
    assert [v["searched"] for v in versions] == [0, *(u - lag for u in used[1:])]
    assert all(0 <= v["suspects"] <= 1 and v["index"]["recall"] == 1 for v in versions)
    assert versions[0]["changed"] == 1 and 0 < versions[1]["changed"] < 1
    for v in versions:
        update = v["searched"]
        model = run / "checkpoints" / f"checkpoint-{update}" if update else folder / "tiny"
        expected = by_hand(folder, model)
        following = [u for u in used if u > v["used"]]
        for step in range(v["used"], min(following, default=STEPS)):
            batch = batches[mode][step]
            allowed = {text_id(q): {text_id(t) for t in found} for q, found in expected.items()}
            for query, negatives in zip(batch.query_id.tolist(), batch.negative_id.tolist(), strict=True):
                assert len(set(negatives)) == 2 and set(negatives) <= allowed[query]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("step", [4, *(pytest.param(s, marks=pytest.mark.slow) for s in (2, 6))])
def test_a_resumed_run_is_the_uncut_one(
    folder: Path, batches: dict[str, list[RowBatch]], tmp_path: Path, mode: str, step: int
) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder / mode, run)
    shutil.rmtree(run / "model")
    for path in (run / "checkpoints").glob("checkpoint-*"):
        if int(path.name[11:]) > step:
            shutil.rmtree(path)
    if mode == "sync":
        shutil.rmtree(run / "mined")  # all that is needed is in the checkpoint
    go(folder, str(run), recipe({"mode": mode}), resume=True)
    assert_same(run, folder / mode)
    versions = record(run)["mining"]
    assert isinstance(versions, list) and [v["version"] for v in versions] == list(range(len(versions)))


@pytest.mark.parametrize(
    ("mode", "moment"),
    [
        ("sync", "hand-over"),
        *(pytest.param("sync", moment, marks=pytest.mark.slow) for moment in ("search", "table", "step")),
        *(pytest.param("background", moment, marks=pytest.mark.slow) for moment in ("hand-over", "step")),
    ],
)
def test_after_kill_nine(
    folder: Path, batches: dict[str, list[RowBatch]], tmp_path: Path, mode: str, moment: str
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-m", "tests.run.mined", str(folder), str(out), mode, moment]
    assert subprocess.run(command, check=False).returncode == -9
    assert not (out / "model").exists()
    go(folder, str(out), recipe({"mode": mode}), resume=True)
    assert_same(out, folder / mode)


@pytest.mark.slow
def test_a_search_that_is_killed_is_begun_again(
    folder: Path, batches: dict[str, list[RowBatch]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process dies: the run ends with its last words, and the resumed one is the uncut one."""
    from embedkit.mining import background

    start = background.Background.start

    def killed(self: background.Background, where: Path) -> None:
        start(self, where)
        assert self._process is not None
        self._process.kill()

    monkeypatch.setattr(background.Background, "start", killed)
    out = tmp_path / "run"
    with pytest.raises(TrainingError, match="exit code -9") as error:
        go(folder, str(out), recipe({"mode": "background"}))
    assert "sync" in error.value.cure and "exit code -9" in str(record(out)["failed"])
    monkeypatch.undo()
    go(folder, str(out), recipe({"mode": "background"}), resume=True)
    assert_same(out, folder / "background")


def test_a_search_that_fails_says_why(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from embedkit.mining import background

    prepare = background.Background.prepare

    def damaged(self: background.Background, where: Path, *rest: object) -> None:
        prepare(self, where, *rest)  # type: ignore[arg-type]
        (where / "model" / "model.safetensors").write_bytes(b"no weights")

    monkeypatch.setattr(background.Background, "prepare", damaged)
    with pytest.raises(TrainingError, match="safetensors"):
        go(folder, str(tmp_path / "run"), recipe({"mode": "background"}))


def test_a_copy_that_is_gone_is_an_error(folder: Path, batches: dict[str, list[RowBatch]], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder / "background", run)
    for path in [run / "model", run / "mined", *(run / "checkpoints").glob("checkpoint-[68]")]:
        shutil.rmtree(path)
    with pytest.raises(TrainingError, match="copy of the model"):
        go(folder, str(run), recipe({"mode": "background"}), resume=True)


def test_the_search_repeats_to_the_last_bit(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which way of exact search is the fastest is measured, and would differ between a run and its resumption."""
    from embedkit.vectors.index import exact

    def timed(*rest: object) -> None:
        raise AssertionError("the way was chosen by time")

    monkeypatch.setattr(exact, "_PROBES_WORTH", 0)
    monkeypatch.setattr(exact, "faster", timed)
    assert go(folder, str(tmp_path / "run"), recipe({"strategy": "static"})).mining


def test_a_corpus_that_is_not_whole(folder: Path, tmp_path: Path) -> None:
    good = (folder / "corpus.jsonl").read_text().splitlines()
    (folder / "holes.jsonl").write_text("\n".join([*good, '{"_id": "x", "title": "", "text": ""}']) + "\n")
    lines: list[str] = []
    made = recipe({"strategy": "static", "corpus": "holes.jsonl"})
    found = go(folder, str(tmp_path / "run"), made, said=lines)
    assert any(w.startswith("mining.corpus: 1 rows left out: no text") for w in found.warnings)
    assert found.mining[0]["index"]["rows"] == len(texts(folder)[1])
    with pytest.raises(DataError, match=r"nowhere\.jsonl"):
        go(folder, str(tmp_path / "other"), recipe({"corpus": "nowhere.jsonl"}))


def test_a_positive_without_its_title_is_no_negative(folder: Path, batches: dict[str, list[RowBatch]]) -> None:
    """The corpus has titles, the pairs do not: the document is a positive all the same."""
    _, documents, known = texts(folder)
    titled = [query for query, answers in known.items() if any(text.startswith("go ") for text in answers)]
    assert titled and not any(text[3:] in documents for q in titled for text in known[q] if text.startswith("go "))
    for batch in batches["sync"]:
        for query, negatives in zip(batch.query_id.tolist(), batch.negative_id.tolist(), strict=True):
            own = next(q for q in known if text_id(q) == query)
            assert not {text_id(text) for text in known[own]} & set(negatives)


def test_filters_of_the_recipe_are_used(folder: Path, tmp_path: Path) -> None:
    made = recipe({"strategy": "static", "filters": ["rank=3:", "score=-1:0.95"], "choose": "even"})
    found = go(folder, str(tmp_path / "run"), made)
    table = MinedTable.read(tmp_path / "run" / "mined" / "update-000000" / "mined-0.safetensors", 29)
    there = table.rows >= 0
    assert table.rank[there].min() >= 3 and table.scores[there].max() < 0.95
    removed = found.mining[0]["removed"]
    assert removed.keys() > {"known positives", "same text"} and removed["score window"] > 0


@pytest.mark.slow
def test_a_guide_beside_the_recipe_is_found_in_both_processes(folder: Path, tmp_path: Path) -> None:
    """The first search is made in the training, the second beside it; both know where the recipe is."""
    tiny_bert(folder / "guide", seed=5)
    made = recipe({"mode": "background", "filters": ["guide=guide"]})
    made = made.model_copy(update={"train": made.train.model_copy(update={"steps": 6})})
    found = go(folder, str(tmp_path / "run"), made)
    assert [v["used"] for v in found.mining] == [0, 4]
    assert all(v["removed"]["guide absolute-margin 0"] > 0 for v in found.mining)
    saved = [path.read_text() for path in (tmp_path / "run").rglob("recipe.yaml")]
    assert saved and all('guide=guide"' in text or "guide=guide]" in text for text in saved)
    weights = found.inputs["mining.filters.0.guide"]
    assert weights["model.safetensors"] == sha256(folder / "guide" / "model.safetensors")[:16]


def test_the_forecast_knows_the_searches_that_are_waited_for(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from embedkit.evaluation.forecast import Forecast
    from embedkit.mining.making import made_strategy, settings_of
    from embedkit.mining.online import OnlineNegatives
    from embedkit.recipe.mining import Mining
    from embedkit.run import mining
    from tests.mining.worlds import World, miner

    monkeypatch.setattr(mining, "forecast", lambda *rest: Forecast(10.0, 0.0, 5, 5))
    encoder = Encoder.load(Model(base=str(folder / "tiny")), device="cpu")

    def foreseen(done: int, **block: object) -> float:
        made = Mining.model_validate({"refresh": {"every": 2}, **block})
        strategy = made_strategy(settings_of(made))
        turns = schedule(made.first, 2, 2 if made.mode == "background" else 0, STEPS)
        return mining.foresee(
            OnlineNegatives({0: miner(tmp_path)}, strategy, turns, tmp_path, lambda: World().by), encoder, done
        )

    assert foreseen(0) == 40 and foreseen(3) == 20 and foreseen(7) == 0
    assert foreseen(0, mode="background") == 10 and foreseen(0, strategy="conan") == 10


def test_before_its_first_search_a_run_has_the_negatives_of_its_data(folder: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    found = go(folder, str(tmp_path / "run"), recipe({"from": 5, "refresh": {"every": 2}}), said=lines)
    assert [v["searched"] for v in found.mining] == [5, 7]
    assert sum(line.startswith("negatives    version") for line in lines) == 2
    assert any("mined every 2 updates from update 5 on" in line for line in lines)


def test_static_searches_once_and_a_table_of_other_data_is_refused(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    found = go(folder, str(run), recipe({"strategy": "static"}))
    assert [v["version"] for v in found.mining] == [0]
    table = run / "checkpoints" / "checkpoint-8" / "embedkit" / "mined" / "mined-0.safetensors"
    assert len(MinedTable.read(table, 29)) == 29
    shutil.rmtree(run / "model")
    other = MinedTable.read(table, 29)
    MinedTable(other.rows[:9], other.scores[:9], other.rank[:9], other.positive_score[:9]).write(table)
    with pytest.raises(TrainingError, match="9 queries"):
        go(folder, str(run), recipe({"strategy": "static"}), resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["conan", {"name": "curriculum", "first": [5, 12], "last": [1, 8]}])
def test_strategies_resume_too(folder: Path, tmp_path: Path, strategy: object) -> None:
    made = recipe({"strategy": strategy, "mode": "background"})
    go(folder, str(tmp_path / "whole"), made)
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for path in [tmp_path / "cut" / "model", *(tmp_path / "cut" / "checkpoints").glob("checkpoint-[68]")]:
        shutil.rmtree(path)
    go(folder, str(tmp_path / "cut"), made, resume=True)
    assert_same(tmp_path / "cut", tmp_path / "whole")
