"""`stages:` of a recipe: each over the common part, overrides for all and for one, what is refused, YAML and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from embedkit.errors import RecipeError
from embedkit.recipe.load import LoadedStages, dump, load, load_any, load_recipe
from embedkit.recipe.reading.dump import dump_stages, stages_hash
from embedkit.recipe.stages import Staged
from tests.recipe.conftest import Write

THREE = """
model: {base: some/model, revision: abc, pooling: cls}
data: {sources: [{path: pairs.jsonl}]}
train: {batch_size: 32, steps: 4}
stages:
  - name: weak
  - name: hard
    negatives: {per_query: 2}
    train: {learning_rate: 1e-5}
  - name: soup
    merge: {of: [weak, hard, base], weights: [1, 2, 1]}
"""


def staged(path: str | Path, *overrides: str) -> Staged:
    found = load_any(path, overrides)
    assert isinstance(found, LoadedStages)
    return found.staged


def test_each_stage_is_a_recipe_over_the_common_part(write: Write) -> None:
    weak, hard, soup = staged(write(THREE)).steps
    assert (weak.name, weak.begins, hard.begins) == ("weak", None, 0)
    assert weak.recipe.negatives.per_query is None and hard.recipe.negatives.per_query == 2
    assert (weak.recipe.train.learning_rate, hard.recipe.train.learning_rate) == (2e-5, 1e-5)
    assert hard.recipe.train.batch_size == 32 and hard.recipe.model.pooling == "cls"
    assert weak.recipe.model.revision == "abc" and hard.recipe.model.revision is None
    again = staged(write(THREE + "  - {name: again, from: weak}\n  - {name: anew, from: base}\n", "b.yaml")).steps
    assert [step.begins for step in again] == [None, 0, 1, 0, None]
    assert soup.merge is not None and soup.merge.of == ("weak", "hard", "base")


def test_a_stage_with_a_base_of_its_own_does_not_go_on(write: Write) -> None:
    path = write(THREE.replace("negatives:", "model: {base: other/model}\n    negatives:"))
    assert staged(path).steps[1].begins is None
    assert staged(write(THREE, "b.yaml"), "stages.hard.model.base=x/y").steps[1].begins is None


def test_overrides_reach_all_stages_or_one(write: Write) -> None:
    path = write(THREE)
    seeds = [step.recipe.train.seed for step in staged(path, "train.seed=7").steps]
    assert seeds == [7, 7, 7]
    one = staged(path, "stages.hard.train.steps=9", "stages.0.train.steps=2").steps
    assert [step.recipe.train.steps for step in one][:2] == [2, 9]
    merge = staged(path, "stages.soup.merge.weights=[1, 1, 0]").steps[2].merge
    assert merge is not None and merge.weights == (1, 1, 0)
    assert staged(path, "train.learning_rate=1e-3").steps[1].recipe.train.learning_rate == 1e-3


def test_yaml_and_back_with_the_same_hash(write: Write) -> None:
    before = staged(write(THREE + "  - {name: again, from: weak}\n"), "train.seed=7")
    again = staged(write(dump_stages(before), "again.yaml"))
    assert [s.recipe for s in again.steps] == [s.recipe for s in before.steps]
    assert [(s.merge, s.begins) for s in again.steps] == [(s.merge, s.begins) for s in before.steps]
    assert stages_hash(again) == stages_hash(before) != stages_hash(staged(write(THREE, "c.yaml")))


def test_stages_may_be_extended(write: Write) -> None:
    write(THREE, "below/three.yaml")
    found = staged(write("extends: below/three.yaml\ntrain: {steps: 6}\n"))
    assert [step.recipe.train.steps for step in found.steps] == [6, 6, 6]


def test_a_recipe_without_stages_is_what_it_was(write: Write) -> None:
    path = write("data: {sources: [{path: pairs.jsonl}]}\n")
    assert "stages" not in dump(load_recipe(path))
    with pytest.raises(RecipeError, match="3 stages"):
        load(write(THREE, "three.yaml"))


@pytest.mark.parametrize(
    ("written", "line", "words"),
    [
        ("stages: weak", 3, "expected a list of stages"),
        ("stages: []", 3, "expected a list of stages"),
        ("stages: [3]", 3, "a stage needs a name"),
        ("stages:\n  - train: {steps: 2}", 4, "a stage needs a name"),
        ("stages:\n  - name: A B", 4, "a stage needs a name"),
        ("stages:\n  - name: ../x", 4, "a stage needs a name"),
        ("stages:\n  - name: a\n  - name: a", 5, "two stages are called"),
        ("stages:\n  - name: a\n    trian: {steps: 2}", 5, "stage a: trian: unknown key"),
        ("stages:\n  - name: a\n  - name: b\n    train: {steps: -1}", 6, "stage b: train.steps"),
        ("stages:\n  - name: a\n  - name: b\n    merge: {of: [a, c]}", 6, "'c' is no earlier stage"),
        ("stages:\n  - name: a\n  - name: b\n    merge: {of: [a]}", 6, "stage b: of"),
        ("stages:\n  - name: a\n    from: b\n  - name: b", 5, "'b' is no earlier stage"),
        ("stages:\n  - name: a\n    from: base\n    model: {base: x}", 5, "of its own as well"),
        ("stages:\n  - name: a\n  - name: b\n    merge: {of: [a, base], weights: [1]}", 6, "1 weights for 2"),
        ("stages:\n  - name: a\n  - name: b\n    merge: {of: [a, base], weights: [1, -1]}", 6, "shares"),
        ("stages:\n  - name: a\n  - name: b\n    merge: {of: [a, base, a], method: slerp}", 6, "slerp"),
    ],
)
def test_what_is_wrong_is_said_with_stage_and_line(write: Write, written: str, line: int, words: str) -> None:
    path = write(f"data: {{sources: [{{path: p.jsonl}}]}}\nmodel: {{base: some/model}}\n{written}\n")
    with pytest.raises(RecipeError) as caught:
        load_any(path)
    assert words in str(caught.value) and f":{line}" in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("stages.hrd.train.steps=2", "did you mean 'hard'"),
        ("stages.hard=2", "no key of it"),
        ("stages.9.train.steps=2", "no such stage"),
        ("stages.hard.train.stps=2", "stage hard: train.stps: unknown key"),
    ],
)
def test_overrides_that_reach_nothing(write: Write, override: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        load_any(write(THREE), [override])
