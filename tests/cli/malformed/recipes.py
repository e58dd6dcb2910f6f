"""Recipes: what is no YAML, what grows without end, wrong types, bounds, names and links."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tests.cli.conftest import Done
from tests.cli.malformed.case import RECIPE, Case, Check, Spoil
from tests.cli.malformed.mutations import bytewise, valued
from tests.model import damaged

DATA = "data: {sources: [{path: text.txt}]}\n"
CHECK = ("check", "bad.yaml")
SHOW = ("recipes", "show", "bad.yaml", "--full")
SOUND: dict[str, Any] = {
    "model": {"base": "tiny", "pooling": "mean", "max_length": 32, "prompts": {"query": "q: "}},
    "data": {"sources": [{"path": "text.txt", "limit": 60, "weight": 1.0}]},
    "objective": {"name": "infonce", "temperature": 0.05, "directions": ["q-d"]},
    "weighting": [{"name": "focal", "gamma": 0.5}],
    "train": {"batch_size": 8, "steps": 4, "learning_rate": 1e-3, "warmup": 0.1, "device": "cpu", "seed": 3},
    "eval": {"suite": {"name": "mine", "tasks": [{"type": "sts", "name": "A", "files": ["sts.tsv"]}]}, "every": 2},
}
TEXT = """\
# A comment
model: {base: tiny, pooling: mean}
data:
  sources:
    - path: text.txt
      limit: 60
train:
  batch_size: 8
  steps: 4
  learning_rate: 1e-3
eval:
  every: 2
"""

NO_YAML: dict[str, str | bytes] = {
    "empty": "",
    "only a comment": "# nothing\n",
    "a NUL byte": DATA.encode() + b"train: {seed: 1\0}\n",
    "UTF-16": DATA.encode("utf-16"),
    "UTF-16 without a mark": DATA.encode("utf-16-le"),
    "Latin-1": "model: {base: caf\xe9}\n".encode("latin-1"),
    "half of a surrogate pair": DATA.encode() + b"train: {optimizer: \xed\xa0\x80}\n",
    "a tab for indentation": f"{DATA}train:\n\tseed: 1\n",
    "an open quote": f"{DATA}model: {{base: 'tiny}}\n",
    "an open bracket": "data: {sources: [{path: text.txt}]\n",
    "a list": "- a\n- b\n",
    "a text": "data\n",
    "a number": "42\n",
    "two documents": f"{DATA}---\n{DATA}",
    "a key given twice": f"{DATA}train: {{seed: 1, seed: 2}}\n",
    "a block given twice": f"{DATA}{DATA}",
    "a number as a key": f"{DATA}1: x\n",
    "a list as a key": f"{DATA}? [a, b]\n: x\n",
    "null as a key": f"{DATA}~: x\n",
    "a merge key": f"{DATA}train: &t {{seed: 1}}\neval: {{<<: *t}}\n",
    "an object of Python": f"{DATA}train: !!python/object/apply:os.system ['true']\n",
    "a binary": f"{DATA}model: {{base: !!binary aGk=}}\n",
    "a set": f"{DATA}train: !!set {{seed}}\n",
    "a tag of its own": f"{DATA}train: !own {{seed: 1}}\n",
    "an alias of nothing": f"{DATA}train: *nothing\n",
    "an alias that contains itself": f"{DATA}train: &t {{seed: *t}}\n",
    "a list that contains itself": f"{DATA}weighting: &w [*w]\n",
    "two anchors that contain each other": f"{DATA}train: &a {{x: &b {{y: *a}}, z: *b}}\n",
    "anchors that repeat ten times each": "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)),
    "anchors that grow as texts": f"x: &x {'y' * 100_000}\nz: [{', '.join(['*x'] * 100)}]\n",
    "20,000 brackets": "data: " + "[" * 20_000,
    "20,000 closed brackets": "data: " + "[" * 20_000 + "]" * 20_000 + "\n",
    "2,000 levels by indentation": "".join(" " * i + "a:\n" for i in range(2000)),
    "a number of a million digits": f"{DATA}train: {{seed: {'1' * 1_000_000}}}\n",
    "200,000 keys": "".join(f"k{i}: 1\n" for i in range(200_000)),
    "5 MB": f"{DATA}# {'x' * 5_000_000}\n",
    "a directive that nobody knows": f"%YAML 9.9\n---\n{DATA}",
}
VALUES: dict[str, str] = {
    "an integer beyond the doubles": "train: {seed: 99999999999999999999999}",
    "a seed of 2^32": "train: {seed: 4294967296}",
    "a negative seed": "train: {seed: -1}",
    "1e999": "train: {learning_rate: 1e999}",
    "NaN": "train: {learning_rate: .nan}",
    "minus infinity": "train: {weight_decay: -.inf}",
    "infinite epochs": "train: {epochs: .inf}",
    "a batch of none": "train: {batch_size: 0}",
    "a batch of 2^70": "train: {batch_size: 1180591620717411303424}",
    "no steps": "train: {steps: 0}",
    "true for a number": "train: {steps: true}",
    "a number as text": "train: {steps: '4'}",
    "a fraction of a step": "train: {steps: 4.5}",
    "a number for a name": "model: {base: 1}",
    "an empty name": "model: {base: ''}",
    "null for a block": "train:",
    "a list for a block": "train: [1, 2]",
    "a block for a list": "weighting: {0: focal}",
    "a text for a list": "plugins: os",
    "a NUL in a path": 'model: {base: "a\\0b"}',
    "a name of 5,000 characters": f"model: {{base: {'x' * 5000}}}",
    "a key of 5,000 characters": f"{'x' * 5000}: 1",
    "a key that would clear the screen": '"\\e[2J": 1',
    "an unknown key": "lernrate: 1",
    "an unknown objective": "objective: infonse",
    "an objective that is a number": "objective: 5",
    "an objective with a number for a name": "objective: {name: 5}",
    "an objective without end": "objective: " + "{name: matryoshka, dims: [8], objective: " * 60 + "x" + "}" * 60,
    "no dims": "objective: {name: matryoshka, objective: infonce, dims: []}",
    "dims of none": "objective: {name: matryoshka, objective: infonce, dims: [0]}",
    "directions twice": "objective: {directions: [q-d, q-d]}",
    "a temperature of none": "objective: {temperature: 0}",
    "a plugin that is not there": "plugins: [no_such_module_of_mine]",
    "a plugin that is a path": "plugins: ['../../etc/passwd']",
    "views of none": "views: {count: 0}",
    "negatives below none": "negatives: {per_query: -1}",
    "a suite of no task": "eval: {suite: {tasks: []}}",
    "a suite that is nowhere": "eval: {suite: no/such.yaml}",
    "a metric that nobody measures": "eval: {suite: suite.yaml, every: 1, select: A/beauty}",
    "stages that are none": "stages: []",
    "stages by name": "stages: {a: {train: {steps: 1}}}",
    "a stage without a name": "stages: [{train: {steps: 1}}]",
    "two stages of one name": "stages: [{name: a}, {name: a}]",
    "a stage from a later one": "stages: [{name: a, from: b}, {name: b}]",
    "a merge of what is not there": "stages: [{name: a}, {name: b, merge: {of: [a, c]}}]",
    "a stage with a path for a name": "stages: [{name: ../a}]",
    "extends a list": "extends: [a.yaml]",
    "extends itself": "extends: bad.yaml",
    "extends nothing": "extends: no/such",
    "extends a folder": "extends: .",
}
WHOLE: dict[str, str] = {
    "no source": "data: {sources: []}\n",
    "a source of nothing": "data: {sources: [{name: x}]}\n",
    "a source of two kinds": "data: {sources: [{path: text.txt, hub: a/b}]}\n",
    "a source that is null": "data: {sources: [null]}\n",
    "rows that are none": "data: {sources: [{rows: []}]}\n",
    "rows that are numbers": "data: {sources: [{rows: [1, 2]}]}\n",
    "a role that nobody knows": "data: {sources: [{path: text.txt, roles: {anchor: a}}]}\n",
    "a role of numbers": "data: {sources: [{path: text.txt, roles: {query: 3}}]}\n",
    "a weight that is no number": "data: {sources: [{path: text.txt, weight: .nan}]}\n",
    "a limit below none": "data: {sources: [{path: text.txt, limit: -1}]}\n",
    "an encoding that nobody knows": "data: {sources: [{path: text.txt, encoding: rot13}]}\n",
}
OVERRIDES = {
    "nothing before the sign": "=1",
    "no sign": "train.seed",
    "a value that ends early": "objective={name: infonce",
    "a list's tenth of one": "data.sources.10.path=x",
    "through a number": "train.seed.x=1",
    "200 parts": ".".join("a" * 200) + "=1",
    "2,000 brackets": "data=" + "[" * 2000,
    "half of a surrogate pair": "train.optimizer=\udcff",
}


def cases() -> Iterator[Case]:
    for name, text in NO_YAML.items():
        content = text.encode() if isinstance(text, str) else text
        yield Case("recipe", f"YAML: {name}", damaged.data("bad.yaml", content), CHECK, RECIPE, ("text.txt",))
    for name, text in VALUES.items():
        spoil = damaged.text("bad.yaml", f"{DATA}{text}\n")
        yield Case("recipe", f"value: {name}", spoil, CHECK, RECIPE, ("text.txt", "suite.yaml", "sts.tsv"))
    for name, text in WHOLE.items():
        yield Case("recipe", f"source: {name}", damaged.text("bad.yaml", text), CHECK, RECIPE, ("text.txt",))
    for name, text in OVERRIDES.items():
        yield Case("recipe", f"override: {name}", _sound, (*CHECK, text), RECIPE, ("text.txt",))
    for name, spoil in _FILES.items():
        yield Case("recipe", f"file: {name}", spoil, CHECK, RECIPE)
    for seed in range(40):
        tree, place = valued(SOUND, seed)
        spoil, then = damaged.text("bad.yaml", _yaml(tree)), holds(tree)
        yield Case("recipe", f"changed value {seed}: {place}", spoil, SHOW, RECIPE, then=then, either=True)
    for seed in range(30):
        content = bytewise(TEXT.encode(), seed)
        spoil, then = damaged.data("bad.yaml", content), holds_text(content)
        yield Case("recipe", f"changed bytes {seed}", spoil, SHOW, RECIPE, then=then, either=True)


def _sound(folder: Path) -> None:
    (folder / "bad.yaml").write_text(DATA)


def _in_a_circle(folder: Path) -> None:
    (folder / "bad.yaml").write_text("extends: other.yaml\n")
    (folder / "other.yaml").write_text("extends: bad.yaml\n")


_FILES: dict[str, Spoil] = {
    "is not there": lambda folder: None,
    "is a folder": lambda folder: (folder / "bad.yaml").mkdir(),
    "is a link to itself": lambda folder: (folder / "bad.yaml").symlink_to("bad.yaml"),
    "is a link to nothing": lambda folder: (folder / "bad.yaml").symlink_to("nowhere"),
    "is a link that cannot be read": lambda folder: (folder / "bad.yaml").symlink_to("/proc/self/mem"),
    "is a device without end": lambda folder: (folder / "bad.yaml").symlink_to("/dev/zero"),
    "extends in a circle": _in_a_circle,
}


def _yaml(tree: Any) -> str:
    """YAML that any parser of it reads as the tree: JSON, with YAML's own words for numbers that JSON has not."""
    text = json.dumps(tree)
    for word, own in (("-Infinity", "-.inf"), ("Infinity", ".inf"), ("NaN", ".nan")):
        text = text.replace(word, own)
    return text + "\n"


def holds_text(content: bytes) -> Check:
    """The recipe that is shown has what another parser reads in these bytes."""

    def check(folder: Path, done: Done) -> None:
        try:
            tree = YAML(typ="safe", pure=True).load(content.decode("utf-8-sig"))
        except (YAMLError, UnicodeDecodeError) as error:
            raise AssertionError(f"it is no YAML: {error}") from error
        holds(tree)(folder, done)

    return check


def holds(tree: Any) -> Check:
    """The recipe that is shown in full has every value that was written."""

    def check(folder: Path, done: Done) -> None:
        _same(tree, YAML(typ="safe", pure=True).load(done.out), "")

    return check


def _same(written: Any, read: Any, where: str) -> None:
    if isinstance(written, dict) and isinstance(read, dict):
        for key, value in written.items():
            assert key in read, f"{where}.{key} is lost"
            _same(value, read[key], f"{where}.{key}")
    elif isinstance(written, list) and isinstance(read, list) and written:
        assert len(written) == len(read), f"{where}: {len(written)} entries are {len(read)}"
        for number, pair in enumerate(zip(written, read, strict=True)):
            _same(*pair, f"{where}.{number}")
    elif isinstance(written, str) and isinstance(read, dict):  # `infonce` stands for {name: infonce}
        _same(written, read.get("name"), where)
    elif isinstance(written, float) and isinstance(read, (int, float)):
        assert math.isclose(written, read, rel_tol=1e-9), f"{where}: {written} is {read}"
    else:
        assert (written or None) == (read or None), f"{where}: {written!r} is {read!r}"
        assert not isinstance(read, bool) or isinstance(written, bool), f"{where}: {written!r} is {read!r}"
