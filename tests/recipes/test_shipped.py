"""Every shipped recipe: found recursively, counted, explained in its head, checked, and run for a few steps."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from embedkit.recipe.load import LoadedStages, dump, list_recipes, load_any, load_recipe, recipe_hash
from embedkit.recipe.plan import plan
from embedkit.recipe.reading.dump import dump_stages, stages_hash
from embedkit.recipe.schema import Recipe, Source
from tests.auxiliary.models import tiny_masked_lm, tiny_writer
from tests.model.architectures import build
from tests.tiny import sentences, tiny_bert, tiny_static

ROOT = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(str(path.relative_to(ROOT).with_suffix("")) for path in ROOT.rglob("*.yaml"))
EXPECTED = 55
FAST = {
    *("quickstart", "sts/cosent", "rerank/contrast", "multilingual/mean-shift", "fewshot/setfit", "fewshot/supcon"),
    *("retrieval/infonce", "retrieval/ance", "retrieval/prograd", "retrieval/splade", "pretrain/mlm", "pretrain/mntp"),
    "distill/static",
    *("sup/simcse", "sup/prompteol", "sup/promcse", "unsup/simcse", "unsup/diffcse", "unsup/tsdae", "unsup/moco"),
}
"""Recipes of every kind that `make test` trains for a few steps; `make test-slow` trains them all."""
STATIC, LENGTH = "distill/static", "model.max_length=32"
PYDOCS = {"packages": ["rich", "jinja2", "typer", "pydantic"], "holdout": ["jinja2"], "dev": ["typer"]}


def test_all_are_found() -> None:
    assert len(RECIPES) == len(list_recipes()) == EXPECTED, "count the new recipe here"


@pytest.mark.parametrize("name", RECIPES)
def test_head_says_method_data_command_and_measured_result(name: str) -> None:
    head = (ROOT / f"{name}.yaml").read_text(encoding="utf-8").split("\n\n")[0]
    head = "\n".join(line for line in head.splitlines() if line.startswith("#"))
    for word in ("Command", "Result"):
        assert re.search(rf"^# {word} ", head, re.MULTILINE), f"{name}: the head has no {word} line"
    assert re.search(r"^# (Paper|Method) .*(arXiv|20\d\d)", head, re.MULTILINE), f"{name}: no paper or method"
    assert re.search(r"^# (Needs|Data) ", head, re.MULTILINE), f"{name}: the head does not say what data it needs"
    assert re.search(r"^# Result +(not measured yet|.*\d)", head, re.MULTILINE), f"{name}: a result has numbers"
    assert f"embedkit train {name}" in head


STAGED = [name for name in RECIPES if isinstance(load_any(name), LoadedStages)]
SINGLE = [name for name in RECIPES if name not in STAGED]


@pytest.mark.parametrize("name", SINGLE)
def test_check_has_no_refusal_and_every_default_is_explicit(name: str, tmp_path: Path) -> None:
    recipe = runnable(name, tmp_path, tmp_path / "base")
    assert not plan(recipe).refusals
    path = tmp_path / "explicit.yaml"
    path.write_text(dump(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert recipe_hash(load_recipe(path)) == recipe_hash(recipe)


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in SINGLE]
)
def test_smoke(name: str, tmp_path: Path) -> None:
    from embedkit.run import train

    recipe = runnable(name, tmp_path, tiny_base(name, tmp_path / "base"))
    record = train(recipe, tmp_path / "run", say=lambda line: None, progress=False)
    assert record.finished and len(record.curve) == 3
    assert (tmp_path / "run" / "model" / "modules.json").is_file()
    assert (tmp_path / "run" / "report" / "index.html").is_file()
    assert record.scores_after is not None and record.comparison


@pytest.mark.parametrize("name", [STAGED[0], *(pytest.param(name, marks=pytest.mark.slow) for name in STAGED[1:])])
def test_stages(name: str, tmp_path: Path) -> None:
    """As a recipe without stages: no refusal, whole in YAML and back, and a short run with what it leaves."""
    from embedkit.run import train

    base = tiny_bert(tmp_path / "base")
    written = load_any(name)
    assert isinstance(written, LoadedStages)
    overrides = tiny(base)
    for step, part in zip(written.staged.steps, written.parts, strict=True):
        paths = source_paths(part.recipe, tmp_path)
        overrides += [f"stages.{step.name}.{override}" for override in paths]
        if part.recipe.mining is not None:
            overrides += [f"stages.{step.name}.mining.filters=[]", f"stages.{step.name}.mining.depth=12"]
        overrides += [f"stages.{step.name}.{override}" for override in generators(part.recipe, tmp_path)]
    made = load_any(name, overrides)
    assert isinstance(made, LoadedStages)
    assert not any(plan(step.recipe).refusals for step in made.staged.steps if step.merge is None)
    (tmp_path / "explicit.yaml").write_text(dump_stages(made.staged), encoding="utf-8")
    again = load_any(tmp_path / "explicit.yaml")
    assert isinstance(again, LoadedStages) and stages_hash(again.staged) == stages_hash(made.staged)
    record = train(made.staged, tmp_path / "run", say=lambda line: None, progress=False)
    assert [stage["name"] for stage in record.stages] == [step.name for step in made.staged.steps]
    assert record.scores_before is not None and record.comparison and record.finished
    assert (tmp_path / "run" / "model" / "modules.json").is_file()
    assert (tmp_path / "run" / "report" / "index.html").is_file()


def tiny_base(name: str, folder: Path) -> Path:
    """A tiny model of the kind the recipe is for: a causal or a static one where it is needed, else BERT."""
    model = load_recipe(name).model
    if name == STATIC:
        return tiny_static(folder)
    if model.lora is not None:
        pytest.importorskip("peft")
    if model.kind == "sparse":
        return tiny_masked_lm(folder)
    if model.rationale is not None:
        return tiny_writer(folder)
    if model.template is not None:
        return build("opt", folder)
    return build("llama", folder) if model.bidirectional else tiny_bert(folder)


def runnable(name: str, folder: Path, base: Path) -> Recipe:
    """The recipe as shipped, on a tiny model, made-up data with its columns, three updates."""
    shipped = load_recipe(name)
    overrides = tiny(base) + source_paths(shipped, folder)
    if name == STATIC:  # which has no length
        overrides.remove(LENGTH)
    if shipped.guide is not None:
        overrides += [f"guide.model={base}"]
    for i, head in enumerate(shipped.heads):
        if head.name == "shuffled_group_whitening":  # the tiny model has 32 dimensions
            overrides += [f"heads.{i}.groups=8"]
    if shipped.model.pooling_layer is not None:
        overrides += ["model.pooling_layer=1"]  # the tiny model has two
    for i, auxiliary in enumerate(shipped.auxiliary):
        if auxiliary.name == "mntp":  # a token of the tiny vocabulary
            overrides += [f"auxiliary.{i}.mask=bade"]
        if auxiliary.name == "grace":
            overrides += [f"auxiliary.{i}.rollouts=2", "model.rationale.tokens=6"]
            overrides += ['model.template.text="bade {text} fi :"']
    overrides += generators(shipped, folder)
    if name == "retrieval/matryoshka":  # the tiny model has 32 dimensions
        overrides += ["objective.dims=[32, 16]"]
    if name == "retrieval/distill" or shipped.model.kind == "reranker":
        overrides += ["negatives.per_query=2"]
    if shipped.eval.first_stage is not None:
        overrides += [f"eval.first_stage.model={base}", "eval.first_stage.depth=5"]
    if name == "quickstart":
        overrides += [f"eval.suite.tasks.0.pydocs={json.dumps(PYDOCS)}"]
    return load_recipe(name, overrides)


def generators(recipe: Recipe, folder: Path) -> list[str]:
    """Overrides that give detection of replaced tokens a tiny generator."""
    places = [i for i, auxiliary in enumerate(recipe.auxiliary) if auxiliary.name == "replaced_tokens"]
    return [f"auxiliary.{i}.generator={tiny_masked_lm(folder / 'generator', 'distilbert')}" for i in places]


def tiny(base: Path) -> list[str]:
    overrides = [f"model.base={base}", LENGTH, "train.batch_size=8", "train.steps=3"]
    return [*overrides, "train.device=cpu", "train.log_every=1", "train.save_every=3", "eval.resamples=100"]


def source_paths(recipe: Recipe, folder: Path) -> list[str]:
    """Overrides that give every source made-up rows."""
    overrides = []
    for i, source in enumerate(recipe.data.sources):
        if source.pydocs is not None:
            overrides += [f"data.sources.{i}.pydocs={json.dumps(PYDOCS)}"]
        else:
            path = folder / f"source-{i}.jsonl"
            path.write_text("\n".join(json.dumps(row) for row in rows(source)), encoding="utf-8")
            overrides += [f"data.sources.{i}.path={path}"]
    return overrides


def rows(source: Source, count: int = 24) -> list[dict[str, Any]]:
    """Rows of made-up sentences in the columns the source's roles name; query and positive where it names none."""
    roles = {"query": "query", "positive": "positive"} | {str(role): column for role, column in source.roles.items()}
    made: list[dict[str, Any]] = []
    for i in range(count):
        row: dict[str, Any] = {}
        columns = [
            (role, name) for role, named in roles.items() for name in ([named] if isinstance(named, str) else named)
        ]
        for k, (role, column) in enumerate(columns):
            given: dict[str, Any] = {"score": i / count, "label": f"class {i % 3}"}
            if column == "teacher_score":
                given["score"] = [1.0, 0.4, 0.2]
            row[column] = given[role] if role in given else sentences(1, seed=100 * i + k)[0]
        if "teacher_score" in row or source.path in ("mined.parquet",):
            row["negative"] = sentences(2, seed=100 * i + 50)
        made.append(row)
    return made
