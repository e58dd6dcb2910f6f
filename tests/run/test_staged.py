"""A recipe with stages as a run: each goes on from the last, the whole is one run, finished stages are left alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from embedkit.disk.folders import RunFolder
from embedkit.errors import RecipeError, TrainingError
from embedkit.recipe.load import LoadedStages, load_any
from embedkit.recipe.stages import Staged
from embedkit.run import single as module
from embedkit.run import train
from embedkit.run.staged import _recipe
from embedkit.types import RunRecord
from tests.torture.jobs import material

STAGES = """\
model: {base: tiny, pooling: mean}
data: {sources: [{path: pairs.jsonl}]}
train: {batch_size: 16, steps: 4, device: cpu, learning_rate: 1.0e-3, log_every: 2, save_every: 2}
eval: {suite: suite.yaml, resamples: 100}
stages:
  - name: weak
  - name: hard
    negatives: {per_query: 2}
    mining: {depth: 12, keep: 4, corpus: corpus.jsonl}
  - name: soup
    merge: {of: [weak, hard, base], weights: [1, 2, 1]}
"""


def staged(folder: Path, *overrides: str) -> Staged:
    found = load_any(folder / "s.yaml", overrides)
    assert isinstance(found, LoadedStages)
    return found.staged


def go(folder: Path, out: str, *overrides: str, resume: bool = False, said: list[str] | None = None) -> RunRecord:
    lines: list[str] = [] if said is None else said
    say: Callable[[Any], None] = lambda line: lines.append(str(line))  # noqa: E731
    return train(staged(folder, *overrides), folder / out, resume=resume, say=say, progress=False)


def weights(folder: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = load_file(folder / "model" / "model.safetensors")
    return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files, and the uncut run."""
    folder = tmp_path_factory.mktemp("staged")
    material(folder)
    (folder / "s.yaml").write_text(STAGES, encoding="utf-8")
    go(folder, "whole")
    return folder


def test_the_run_is_one_of_its_stages(world: Path) -> None:
    root = world / "whole"
    record = RunFolder(root).read_record()
    assert record is not None and record.finished and not record.failed
    assert [(s["name"], s["kind"], s["updates"]) for s in record.stages] == [
        ("weak", "train", 4),
        ("hard", "train", 4),
        ("soup", "merge", 0),
    ]
    assert record.updates == 8 and [line["step"] for line in record.curve] == [1, 2, 4, 5, 6, 8]
    first, last = (RunFolder(root / "stages" / name).read_record() for name in ("1-weak", "3-soup"))
    assert first is not None and last is not None
    assert record.scores_before == first.scores_before and record.scores_after == last.scores_after
    assert record.comparison[0]["difference"]["value"] == pytest.approx(
        last.scores_after["average"] - first.scores_before["average"]  # type: ignore[index]
    )
    page = (root / "report" / "index.html").read_text(encoding="utf-8")
    assert "Stages" in page and "soup" in page and str(world) not in page
    assert str(world) not in (root / "run.json").read_text(encoding="utf-8")
    assert (root / "model" / "README.md").is_file()


def test_a_stage_begins_with_the_model_of_the_one_before(world: Path) -> None:
    hard = world / "whole" / "stages" / "2-hard"
    assert "../1-weak/model" in (hard / "recipe.yaml").read_text(encoding="utf-8")
    record = json.loads((hard / "run.json").read_text(encoding="utf-8"))
    assert record["scores_before"] is None and record["mining"]
    (world / "s.yaml").write_text(STAGES, encoding="utf-8")
    go(world, "still", "stages.hard.train.learning_rate=1e-12", "stages.hard.train.steps=1")
    before, after = (weights(world / "still" / "stages" / name) for name in ("1-weak", "2-hard"))
    assert all(np.allclose(before[name], after[name], atol=1e-9) for name in before)


def test_the_merge_is_the_weighted_mean(world: Path) -> None:
    stages = world / "whole" / "stages"
    weak, hard, soup, whole = (
        weights(p) for p in (stages / "1-weak", stages / "2-hard", stages / "3-soup", world / "whole")
    )
    base = load_file(world / "tiny" / "model.safetensors")
    for name, value in soup.items():
        want = (weak[name] + 2 * hard[name] + base[name]) / 4
        assert np.allclose(value, want, atol=1e-7) and np.array_equal(value, whole[name])


def test_finished_stages_are_not_done_again(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(world / "whole", world / "again")
    shutil.rmtree(world / "again" / "stages" / "3-soup")
    trained: list[Any] = []
    monkeypatch.setattr(module.start, "begun", lambda *args: trained.append(args))
    said: list[str] = []
    go(world, "again", resume=True, said=said)
    assert not trained and any("weak, which is finished" in line for line in said)
    assert all(np.array_equal(v, weights(world / "whole")[n]) for n, v in weights(world / "again").items())


def test_a_run_that_stops_in_the_second_stage_goes_on_there(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = module.fit.fit

    def failing(run: Any, *rest: Any) -> None:
        if run.folder.root.name == "2-hard":
            raise KeyboardInterrupt
        fit(run, *rest)

    monkeypatch.setattr(module.fit, "fit", failing)
    with pytest.raises(KeyboardInterrupt):
        go(world, "cut")
    monkeypatch.undo()
    assert not (world / "cut" / "model").exists()
    go(world, "cut", resume=True)
    assert all(np.array_equal(v, weights(world / "whole")[n]) for n, v in weights(world / "cut").items())


def test_another_recipe_is_refused(world: Path) -> None:
    with pytest.raises(TrainingError, match=r"train\.steps was 4, is 5"):
        go(world, "whole", "stages.hard.train.steps=5", resume=True)
    with pytest.raises(TrainingError, match="merged otherwise"):
        go(world, "whole", "stages.soup.merge.weights=[1, 1, 1]", resume=True)


CLUSTERED = """\
model: {base: tiny, pooling: mean}
data: {sources: [{path: pairs.jsonl}]}
train: {batch_size: 8, steps: 2, device: cpu, learning_rate: 1.0e-3}
stages:
  - name: first
  - name: second
    data: {sources: [{path: pairs.jsonl, clusters: {batches: together, kmeans: 3, model: first}}]}
  - name: third
    data: {sources: [{path: pairs.jsonl, clusters: {batches: together, kmeans: 3, model: [base, first, second]}}]}
"""


def test_names_of_stages_become_the_folders_of_their_models(tmp_path: Path) -> None:
    material(tmp_path)
    (tmp_path / "s.yaml").write_text(CLUSTERED, encoding="utf-8")
    found = staged(tmp_path)
    places = [RunFolder(tmp_path / "run" / "stages" / found.folder(i)) for i in range(3)]
    models = [_recipe(found, i, places).data.sources[0].clusters for i in range(3)]
    assert models[0] is None and models[1] is not None and models[1].model == "../1-first/model"
    assert models[2] is not None and models[2].models == ("tiny", "../1-first/model", "../2-second/model")


@pytest.mark.slow
def test_batches_are_clustered_by_the_models_of_earlier_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    material(tmp_path)
    (tmp_path / "s.yaml").write_text(CLUSTERED, encoding="utf-8")
    go(tmp_path, "run")
    folders = [tmp_path / "run" / "stages" / name / "clusters" / "source-0" for name in ("2-second", "3-third")]
    second, third = (json.loads((folder / "clusters.json").read_text(encoding="utf-8")) for folder in folders)
    assert second["models"] == ["../1-first/model"]
    assert third["models"] == ["tiny", "../1-first/model", "../2-second/model"]
    assert third["fingerprints"][1] == second["fingerprints"][0] and len(set(third["fingerprints"])) == 3
    found = [np.load(folder / "clusters.npy") for folder in folders]
    both = set(zip(*(part.tolist() for part in found), strict=True))
    assert len({t for _, t in both}) == len(both) > len(set(found[0].tolist()))  # the third's refine the second's


def test_a_later_stage_has_no_model_to_cluster_by(tmp_path: Path) -> None:
    material(tmp_path)
    (tmp_path / "s.yaml").write_text(CLUSTERED, encoding="utf-8")
    with pytest.raises(RecipeError, match="clustered by the model of third, which is not there then"):
        go(tmp_path, "run", "stages.second.data.sources.0.clusters.model=third")
