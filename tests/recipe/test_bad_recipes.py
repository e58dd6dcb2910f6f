"""Every kind of mistake in a recipe file: the place, the key, what is wrong, the nearest right thing, the cure."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from embedkit.errors import RecipeError
from embedkit.recipe.load import load_recipe, load_suite_file
from tests.recipe.conftest import DATA, Write

Refused = Callable[..., str]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # unknown keys: the nearest one, another tool's name, another block, no idea
        ("train: {learning_rat: 1e-5}", ["train.learning_rat: unknown key", "did you mean `learning_rate`? (a number"]),
        ("train: {lr: 1e-5}", ["train.lr: unknown key", "did you mean `learning_rate`?"]),
        ("train: {per_device_train_batch_size: 8}", ["`batch_size`? (a whole number, >= 1 and <= 10000000; default"]),
        ("modle: {base: x}", ["modle: unknown key", "did you mean `model`?"]),
        ("batch_size: 8", ["batch_size: unknown key", "did you mean `train.batch_size`?"]),
        ("temperature: 0.1", ["temperature: unknown key", "valid keys here: plugins, model, data"]),
        ("temperature: 0.2", ["temperature: unknown key", "card, publish, extends, stages"]),
        ("stage: [{name: a}]", ["stage: unknown key", "did you mean `stages`?"]),
        ("extend: b.yaml", ["extend: unknown key", "did you mean `extends`?"]),
        ("views: {qqq: 1}", ["views.qqq: unknown key", "valid keys here: count"]),
        ("objective: {name: cosent, temperature: 1}", ["objective.temperature: unknown key", "name, scale"]),
        ("weighting: [{name: focal, gama: 1}]", ["weighting.0.gama: unknown key", "did you mean `gamma`?"]),
        # names
        ("objective: infonse", ["objective: unknown objective 'infonse'", "did you mean 'infonce'?", "none, infonce"]),
        ("objective: {name: cosen}", ["unknown objective 'cosen'", "did you mean 'cosent'?"]),
        ("weighting: [{name: focl}]", ["weighting.0: unknown weighting 'focl'", "did you mean 'focal'?"]),
        ("weighting: [{gamma: 1}]", ["weighting.0: expected a mapping with a `name`", "known: focal, dynamic"]),
        ("objective: {name: matryoshka, objective: infonc, dims: [8]}", ["objective.objective: unknown objective"]),
        # types: nothing is turned into something else
        ("train: {batch_size: '64'}", ["train.batch_size: expected a whole number, got '64'", "remove the quotes"]),
        ("train: {batch_size: 1e3}", ["expected a whole number, got 1000.0", "write 1000"]),
        ("train: {batch_size: 64.5}", ["expected a whole number, got 64.5"]),
        ("train: {epochs: true}", ["train.epochs: expected a number, got true"]),
        ("train: {epochs: 1:30}", ["train.epochs: expected a number, got '1:30'"]),
        ("eval: {before: off}", ["eval.before: expected true or false, got 'off'", "write false"]),
        ("eval: {before: yes}", ["eval.before: expected true or false, got 'yes'", "write true"]),
        ("eval: {before: 1}", ["eval.before: expected true or false, got 1"]),
        ("model: {base: 1.50}", ["model.base: expected text, got 1.5", 'write it in quotes: "1.50"']),
        ("model: {prompts: }", ["model.prompts: expected a mapping, got null", "query, document"]),
        ("model: {prompts: hello}", ["model.prompts: expected a mapping, got 'hello'"]),
        ("model: {lora: {target_modules: 5}}", ["target_modules: expected a list of texts or all-linear, got 5"]),
        ("model: {freeze: embeddings}", ["model.freeze: expected a list of texts, got 'embeddings'"]),
        ("model: {freeze: [1]}", ["model.freeze.0: expected text, got 1"]),
        ("eval: {suite: 3}", ["eval.suite: expected text or a mapping or null, got 3"]),
        ("train: [1, 2]", ["train: expected a mapping, got [1, 2]"]),
        ("model: {pooling: maen}", ["model.pooling: expected one of cls, mean", "did you mean 'mean'?"]),
        ("objective: {directions: [q-x]}", ["objective.directions.0: expected one of q-d, d-q, q-q, d-d, got 'q-x'"]),
        # bounds
        ("train: {learning_rate: 0}", ["train.learning_rate: must be > 0, got 0", "a number, > 0 and < 10"]),
        ("train: {learning_rate: 20}", ["must be < 10, got 20"]),
        ("objective: {temperature: -1}", ["objective.temperature: must be > 0, got -1", "similarity / temperature"]),
        ("views: {count: 0}", ["views.count: must be >= 1, got 0"]),
        ("train: {epochs: 1e3, warmup: 2}", ["train.warmup: must be <= 1, got 2"]),
        ("weighting: [{name: focal, gamma: 100}]", ["weighting.0.gamma: must be <= 10, got 100"]),
        # rules between keys
        ("objective: {temperature_bounds: [1.0, 0.1]}", ["temperature_bounds must be", "change temperature_bounds:"]),
        ("objective: {name: matryoshka, objective: infonce, dims: [8, 4], weights: [1.0]}", ["2 dims but 1 weights"]),
        ("objective: {name: matryoshka, dims: [8]}", ["objective.objective: required key is missing"]),
        # suites written in the recipe
        ("eval: {suite: {tasks: [{type: sts, name: a}]}}", ["suite.tasks.0.files: required key is missing", "TSV"]),
        ("eval: {suite: {tasks: [{name: a}]}}", ["suite.tasks.0.type: required key is missing", "one of sts"]),
        ("eval: {suite: {tasks: [{type: st, name: a}]}}", ["tasks.0.type: unknown type 'st'", "did you mean 'sts'?"]),
        ("eval: {suite: {tasks: []}}", ["eval.suite.tasks:", "at least 1"]),
    ],
)  # fmt: skip
def test_one_mistake(refused: Refused, line: str, expected: list[str]) -> None:
    message = refused(f"# head\n{DATA}{line}\n")
    assert message.startswith("r.yaml:3: "), message
    for part in expected:
        assert part in message
    assert "\n  cure: " in message


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{path: x, hub: y}", ["data.sources.0: a source needs exactly one of", "got hub, path", "keep one of"]),
        ("{name: x}", ["got none", "add e.g. `path: FILE`"]),
        ("{path: x, roles: {anchor: a}}", ["roles.anchor: unknown role `anchor`", "did you mean `query`?"]),
        (
            "{path: x, roles: {negativ: a}}",
            ["unknown role `negativ`", "did you mean `negative`?", "score, label, text"],
        ),
        ("{path: x, roles: {query: 3}}", ["roles.query: expected text or a list of texts, got 3"]),
        ("{path: x, roles: {negative: [a, 3]}}", ["data.sources.0.roles.negative.1: expected text, got 3"]),
        ("{path: x, format: xml}", ["format: expected one of auto, jsonl", "got 'xml'"]),
        ("{path: x, objective: infonc}", ["data.sources.0.objective: unknown objective 'infonc'"]),
        ("{rows: 5}", ["data.sources.0.rows: expected a list of mappings or null, got 5"]),
    ],
)
def test_one_mistake_in_a_source(refused: Refused, source: str, expected: list[str]) -> None:
    message = refused(f"data:\n  sources:\n    - {source}\n")
    assert message.startswith("r.yaml:3: "), message
    for part in expected:
        assert part in message


@pytest.mark.parametrize(
    ("text", "line", "expected"),
    [
        ("train: {seed: 1}\n", 1, ["data: required key is missing", "add it"]),
        ("data: {}\n", 1, ["data.sources: required key is missing", "a list of mappings"]),
        ("data:\n  sources: []\n", 2, ["data.sources:"]),
        (f"{DATA}train:\n  seed: 1\n  epochs: 2\n  seed: 2\n", 5, ["key `seed` is given twice, first at r.yaml:3"]),
        (f"{DATA}{DATA}", 2, ["key `data` is given twice, first at r.yaml:1"]),
        (f"{DATA}train:\n\tseed: 1\n", 3, ["not valid YAML", "spaces, not tabs"]),
        (f"{DATA}model:\n  base: a: b\n", 3, ["mapping values are not allowed", "needs quotes"]),
        (f"{DATA}model: {{base: 'x\n", 3, ["not valid YAML"]),
        (f"{DATA}model: !!python/object:os.system {{}}\n", 2, ["tag !!python/object:os.system is not allowed"]),
        (f"{DATA}x: &a {{k: 1}}\ntrain:\n  <<: *a\n", 4, ["merge keys `<<` are not YAML 1.2", "extends"]),
        (f"{DATA}1: x\n", 2, ["the key 1 is not text", "quote it"]),
        (f"{DATA}train: &t {{seed: *t}}\n", 2, ["an alias that contains itself"]),
        ("- a\n- b\n", 1, ["not a mapping"]),
    ],
)
def test_not_even_yaml(refused: Refused, text: str, line: int, expected: list[str]) -> None:
    message = refused(text)
    assert message.startswith(f"r.yaml:{line}: "), message
    for part in expected:
        assert part in message
    assert "\n  cure: " in message


def test_empty_and_unreadable_files(write: Write) -> None:
    with pytest.raises(RecipeError, match=r"^r.yaml: empty"):
        load_recipe(write("# nothing\n"))
    Path("latin.yaml").write_bytes("model: {base: caf\xe9}".encode("latin-1"))
    with pytest.raises(RecipeError, match=r"^latin.yaml: not UTF-8 \(byte 17\)"):
        load_recipe("latin.yaml")


def test_all_problems_at_once_in_the_order_of_the_file(refused: Refused) -> None:
    message = refused(
        """
        data:
          sources:
            - path: a.jsonl
              roles: {anchor: a}
              limit: -1
            - hub: x
              path: y
        objective: {name: infonce, temprature: 0.1, directions: [q-x]}
        train:
          lr: 1e-5
          batch_size: "64"
        trian: {}
        """
    )
    assert message.splitlines()[0] == "8 problems"
    assert re.findall(r"^r\.yaml:(\d+): ", message, re.M) == ["4", "5", "6", "8", "8", "10", "11", "12"]
    keys = re.findall(r"^r\.yaml:\d+: ([\w.]+): ", message, re.M)
    assert keys == [
        "data.sources.0.roles.anchor",
        "data.sources.0.limit",
        "data.sources.1",
        "objective.directions.0",
        "objective.temprature",
        "train.lr",
        "train.batch_size",
        "trian",
    ]


def test_no_problem_is_invented_beside_the_real_one(refused: Refused) -> None:
    """A list whose only element is wrong is not also too short; a suite's mapping is not also 'not text'."""
    assert refused(f"{DATA}objective: {{directions: [q-x]}}\n").count("r.yaml:") == 1
    assert refused(f"{DATA}eval: {{suite: {{tasks: [{{type: sts, name: a}}]}}}}\n").count("r.yaml:") == 1
    assert refused("data: {sources: [{path: x, limit: a}]}\n").count("r.yaml:") == 1


def test_duplicate_keys_are_all_listed(refused: Refused) -> None:
    message = refused(f"{DATA}train: {{seed: 1, seed: 2}}\neval: {{every: 1, every: 2}}\n")
    assert message.startswith("2 problems")
    assert "r.yaml:2: key `seed`" in message
    assert "r.yaml:3: key `every`" in message


def test_suite_files_are_read_as_strictly(write: Write) -> None:
    path = write("name: mine\ntasks:\n  - type: sts\n    name: a\n    flies: [x.tsv]\n", "s.yaml")
    with pytest.raises(RecipeError) as caught:
        load_suite_file(path)
    assert "s.yaml:5: tasks.0.flies: unknown key\n  cure: did you mean `files`?" in str(caught.value)
    assert "s.yaml:3: tasks.0.files: required key is missing" in str(caught.value)
    path = write("name: mine\ntasks: [{type: sts, name: a, files: [x.tsv]}]\n", "good.yaml")
    assert load_suite_file(path).tasks[0].name == "a"
