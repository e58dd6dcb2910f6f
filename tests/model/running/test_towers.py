"""Two towers: apart in training, one of them is the result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from embedkit.model.running.encoder import Encoder
from embedkit.model.running.towers import candidates
from embedkit.run import train
from embedkit.train.distributed import Comm
from tests.tiny import sentences, tiny_bert
from tests.train.runs import state, trainer
from tests.train.views import recipe

Load = Callable[..., Encoder]


def test_the_second_tower_is_a_copy_of_its_own(load: Load) -> None:
    encoder = load(towers=2, head={"keep": False})
    first, second = encoder.tower(0), encoder.tower(1)
    texts = sentences(5)
    assert np.array_equal(first.encode(texts), second.encode(texts))
    assert first.fingerprint() == second.fingerprint()
    ours = {p.data_ptr() for p in first.st.parameters()}
    assert ours.isdisjoint(p.data_ptr() for p in second.module.parameters())
    with torch.no_grad():
        next(p for n, p in second.st.named_parameters() if "layer.1" in n and n.endswith("weight")).mul_(2)
    assert first.fingerprint() != second.fingerprint()
    assert not np.array_equal(first.encode(texts), second.encode(texts))
    assert load().tower(1).module.second is None


@pytest.mark.parametrize(
    ("keep", "evaluated", "names"),
    [
        ("first", True, ["first"]),
        ("second", False, ["second"]),
        ("best", True, ["first", "second"]),
        ("best", False, ["first"]),
    ],
)
def test_which_may_be_kept(load: Load, keep: str, evaluated: bool, names: list[str]) -> None:
    encoder = load(towers=2)
    assert [name for name, _ in candidates(encoder, keep, evaluated=evaluated)] == names  # type: ignore[arg-type]
    assert candidates(load(), keep, evaluated=evaluated)[0][0] == "first" or keep == "second"  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("base"))


def test_towers_train_apart_and_resume_bit_for_bit(base: Path, tmp_path: Path) -> None:
    asked = recipe(base, "tension", steps=6, save_every=3, keep_checkpoints=3, optimizer="rmsprop", learning_rate=1e-3)
    whole = trainer(asked, tmp_path / "whole", Comm())
    whole.train()
    want = state(whole)
    first = {n: v for n, v in want.items() if n.startswith("encoder.st.") and "layer" in n}
    assert any(not torch.equal(v, want[n.replace("encoder.st.", "encoder.second.st.")]) for n, v in first.items())
    resumed = trainer(asked, tmp_path / "again", Comm())
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    got = state(resumed)
    assert got.keys() == want.keys() and all(torch.equal(got[n], want[n]) for n in want)


@pytest.mark.parametrize("keep", ["first", "second", "best"])
def test_a_run_keeps_one(base: Path, tmp_path: Path, keep: str) -> None:
    asked = recipe(base, "tension", steps=2, learning_rate=1e-2, save_every=2)
    texts = sentences(12, seed=9)
    lines = [f"{i / 6}\t{a}\t{b}" for i, (a, b) in enumerate(zip(texts[::2], texts[1::2], strict=True))]
    gold = tmp_path / "sts.tsv"
    gold.write_text("\n".join(["score\tsentence1\tsentence2", *lines]))
    suite = {"name": "dev", "tasks": [{"type": "sts", "name": "dev", "files": [str(gold)]}]}
    data = asked.model_dump(mode="json") | {"eval": {"suite": suite, "every": 1, "resamples": 100, "before": False}}
    data["model"]["keep_tower"] = keep
    record = train(type(asked).model_validate(data), tmp_path / "run", say=lambda line: None, progress=False)
    said = [w for w in record.warnings if "of two towers is kept" in w]
    assert len(said) == 1
    assert said[0].startswith("the") and (keep == "best" or f"the {keep} of" in said[0])
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert record.scores_after is not None
    if keep == "best":
        assert "first " in said[0] and "second " in said[0]
