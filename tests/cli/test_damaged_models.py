"""Damaged models through every verb that reads one: an exit code, file and field, no traceback, nothing done before."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done
from tests.model import damaged
from tests.synthesis.causal import tiny_lm

Run = Callable[..., Done]

EVAL = ("--suite", "suite.yaml", "--resamples", "0")
VERBS: dict[str, tuple[str, ...]] = {
    "train": ("train", "r.yaml", "model.base=broken", "--out", "run"),
    "sample": ("check", "r.yaml", "model.base=broken", "--sample", "8"),
    "eval": ("eval", "broken", *EVAL),
    "compare": ("eval", "tiny", "--compare", "broken", *EVAL[:-1], "100"),
    "whiten": ("whiten", "broken", "--text", "text.txt", "--dim", "4", "--out", "white"),
    "guide": ("train", "r.yaml", "objective={name: infonce, guide: absolute}", "guide.model=broken", "--out", "run"),
}
WHERE = {"compare": "--compare", "guide": "guide.model", "eval": "MODEL", "whiten": "MODEL"}
DAMAGES = ["a header of 2^60 bytes", "modules is null", "another prefix", "no tokenizer", "more tokens than rows"]


def fails_well(done: Done, *words: str) -> None:
    assert done.code == 2, done.err
    for word in words:
        assert word in done.err
    assert "Traceback" not in done.err and "cure: " in done.err


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("name", DAMAGES)
def test_every_verb_says_what_is_wrong(verb: str, name: str, embedkit: Run, work: Path) -> None:
    folder = damaged.sound(work / "sound").rename(work / "broken")
    damaged.ALL[name][0](folder)
    if verb == "sample" and name == "another prefix":
        return  # only loading the weights tells
    done = embedkit(*VERBS[verb])
    fails_well(done, *damaged.ALL[name][1], WHERE.get(verb, "model.base") + ": ")
    assert "average" not in done.out and not Path("white").exists()
    assert not Path("run/eval").exists() and not Path("run/model").exists()


@pytest.mark.parametrize("name", [*damaged.OF_SMALL_FILES, *damaged.OF_FOLDERS])
def test_a_check_reads_no_more_than_headers_and_says_it_too(name: str, embedkit: Run, work: Path) -> None:
    if name == "a class that nobody has":
        pytest.skip("only importing it tells")
    folder = damaged.sound(work / "sound").rename(work / "broken")
    damaged.ALL[name][0](folder)
    fails_well(embedkit("check", "r.yaml", "model.base=broken"), *damaged.ALL[name][1])


@pytest.mark.parametrize("key", ["guide.model", "model.base"])
def test_a_check_looks_over_guides_too(key: str, embedkit: Run, work: Path) -> None:
    folder = damaged.sound(work / "sound").rename(work / "broken")
    guided = ("check", "r.yaml", "objective={name: infonce, guide: absolute}", "guide.model=tiny", f"{key}=broken")
    assert embedkit(*guided).code == 0
    damaged.ALL["weights are a pointer"][0](folder)
    fails_well(embedkit(*guided), "Git LFS pointer", f"{key}: ")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damaged.text("model.safetensors", damaged.POINTER), "Git LFS pointer"),
        (damaged.text("config.json", "null"), "an object is expected"),
        (damaged.tensors(lambda state: {f"other.{k}": v for k, v in state.items()}), "are not in the weights"),
        (damaged.field("config.json", n_layer=1), "layers beyond the 1"),
        (damaged.without("tokenizer.json"), "tokenizer"),
        (damaged.field("config.json", vocab_size=100), "by its config.json"),
        (damaged.pickled({"a": damaged.Foreign()}), "hold more than tensors"),
        (damaged.field("config.json", model_type="own", auto_map={"AutoConfig": "own.Own"}), "no code of its own"),
    ],
    ids=["pointer", "null", "prefix", "layers", "tokenizer", "rows", "pickle", "code"],
)
def test_a_local_model_of_synth(damage: damaged.Damage, words: str, embedkit: Run, work: Path) -> None:
    damage(tiny_lm(work / "lm"))
    done = embedkit("synth", "claif", "--text", "text.txt", "--limit", "2", "--out", "o.jsonl", "--model", "lm")
    fails_well(done, words, "--model: ")
    assert not Path("o.jsonl").exists()


def test_the_result_of_a_run_is_read_with_care(embedkit: Run, work: Path) -> None:
    assert embedkit("train", "r.yaml", "train.steps=1", "--out", "run").code == 0
    shutil.copytree("run/model", "broken")
    damaged.ALL["another prefix"][0](Path("broken"))
    fails_well(embedkit("eval", "broken", *EVAL), "are not in the weights", "MODEL: ")
