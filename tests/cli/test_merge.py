"""``embedkit merge``: plain models in, a plain model out; a greedy soup; what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Model
from tests.cli.conftest import Done
from tests.tiny import tiny_bert

Run = Callable[..., Done]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    made = []
    for seed in range(3):
        base = tiny_bert(folder / f"bert-{seed}", seed=seed)
        Encoder.load(Model(base=str(base), pooling="mean"), device="cpu").save(folder / f"m{seed}")
        made.append(folder / f"m{seed}")
    return made


def test_the_mean_of_two_models(embedkit: Run, work: Path, models: list[Path]) -> None:
    a, b = models[:2]
    done = embedkit("merge", str(a), str(b), "--weights", "3,1", "--out", "soup")
    assert done.code == 0, done.err
    assert "0.75 x" in done.out
    x, y, found = (load_file(folder / "model.safetensors") for folder in (a, b, Path("soup")))
    for name in x:
        assert np.allclose(found[name], 0.75 * x[name] + 0.25 * y[name], atol=1e-7), name
    assert SentenceTransformer("soup", device="cpu").encode(["ba de"]).shape == (1, 32)
    again = embedkit("merge", str(a), str(b), "--out", "soup")
    assert again.code == 1 and "is there already" in again.err


def test_a_greedy_soup_is_never_worse_than_its_best_model(embedkit: Run, work: Path, models: list[Path]) -> None:
    names = [str(m) for m in models]
    done = embedkit("merge", *names, "--method", "greedy", "--suite", "mini:mini-sts", "--out", "soup")
    assert done.code == 0, done.err
    scores = {
        line.rpartition(": ")[0]: float(line.rpartition(": ")[2])
        for line in done.out.splitlines()
        if ": " in line and line.rpartition(": ")[2].replace(".", "").isdigit()
    }
    assert scores["merged"] >= max(scores[name] for name in names)
    assert (Path("soup") / "modules.json").is_file()


def test_what_is_refused(embedkit: Run, work: Path, models: list[Path]) -> None:
    a, b, c = map(str, models)
    for words in (["--method", "best"], ["--method", "greedy"], ["--weights", "1,x"], ["--weights", "1"]):
        done = embedkit("merge", a, b, *words, "--out", "soup")
        assert done.code == 2 and "cure" in done.err, words
    assert embedkit("merge", a, b, c, "--method", "slerp", "--out", "soup").code == 2
    assert embedkit("merge", a, "nowhere/at-all", "--out", "soup", "--offline").code == 2
    assert not Path("soup").exists() and not list(Path().glob(".*soup*"))
