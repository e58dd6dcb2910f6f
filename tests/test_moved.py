"""Old names of modules still import, as the modules that they became, and say so."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from embedkit.moved import MOVED

EACH = """
import importlib, json, sys, warnings
found = {}
for old in sys.argv[1:]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = importlib.import_module(old)
    said = [(w.category.__name__, str(w.message)) for w in caught if "embedkit" in str(w.message)]
    again = importlib.import_module(module.__name__)
    found[old] = [module.__name__, module.__spec__.name, again is module, said]
print(json.dumps(found))
"""


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


def test_every_old_name_is_the_new_module() -> None:
    done = python(EACH, *MOVED)
    assert done.returncode == 0, done.stderr
    for old, (name, spec, same, said) in json.loads(done.stdout.splitlines()[-1]).items():
        assert name == spec == MOVED[old] and same, old
        assert said == [["DeprecationWarning", f"{old} is {name} now"]]


@pytest.mark.parametrize(
    "line",
    [
        "from embedkit.model.resolve import full_name; assert full_name('a') == 'sentence-transformers/a'",
        "from embedkit.model import encoder; import embedkit; assert encoder.Encoder is embedkit.Encoder",
        "import embedkit.paths; import embedkit.disk.paths; assert embedkit.paths is embedkit.disk.paths",
        "import embedkit.disk.paths; import embedkit.paths; assert embedkit.paths is embedkit.disk.paths",
    ],
)
def test_the_ways_of_importing(line: str) -> None:
    done = python(line)
    assert done.returncode == 0, done.stderr


def test_what_never_was_is_not_there() -> None:
    done = python("import embedkit.model.nothing")
    assert "ModuleNotFoundError: No module named 'embedkit.model.nothing'" in done.stderr
