"""`embedkit whiten` from files to a model that plain sentence-transformers loads; its errors; `eval --geometry`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embedkit.disk.locks import hold_file
from embedkit.model.running.encoder import Encoder
from tests.cli.conftest import Done
from tests.tiny import sentences

Run = Callable[..., Done]


def test_whiten_measures_before_and_after(embedkit: Run, work: Path) -> None:
    from sentence_transformers import SentenceTransformer

    done = embedkit("whiten", "tiny", "--text", "text.txt", "--dim", "8", "--suite", "suite.yaml", "--out", "white")
    assert done.code == 0, done.err
    assert "pca whitening over 64 texts: 32 -> 8 dimensions" in done.out
    assert "same resamples" in done.out and "uniformity" in done.out
    model = SentenceTransformer("white", device="cpu")
    got = model.encode(sentences(64))
    assert got.shape == (64, 8)
    np.testing.assert_allclose(np.cov(got, rowvar=False), np.eye(8), atol=1e-2)
    before, after = (json.loads(Path("white/eval", when, "scores.json").read_text()) for when in ("before", "after"))
    shapes = [scores["tasks"][0]["details"]["geometry"]["dim"] for scores in (before, after)]
    assert shapes == [32, 8]
    assert after["tasks"][0]["details"]["geometry"]["mean_cosine"] < 0.1


def test_several_files_and_a_limit(embedkit: Run, work: Path) -> None:
    (work / "more.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in sentences(20, seed=1)))
    args = ("--text", "text.txt", "--text", "more.jsonl", "--dim", "4")
    assert "over 84 texts" in embedkit("whiten", "tiny", *args, "--out", "a").out
    assert "over 70 texts" in embedkit("whiten", "tiny", *args, "--limit", "70", "--out", "b").out
    assert "over 30 texts" in embedkit("whiten", "tiny", *args, "--limit", "30", "--out", "c").out


def test_pooling_kind_and_normalize(embedkit: Run, work: Path) -> None:
    from sentence_transformers import SentenceTransformer

    options = ("--kind", "zca", "--pooling", "first_last_mean", "--normalize", "--eps", "1e-6")
    done = embedkit("whiten", "tiny", "--text", "text.txt", *options, "--out", "white")
    assert done.code == 0, done.err
    names = [type(module).__name__ for module in SentenceTransformer("white", device="cpu")]
    assert names == ["Transformer", "WeightedLayerPooling", "Pooling", "Dense", "Normalize"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--text", "no.txt"), 3, "no.txt"),
        (("--text", "text.txt", "--limit", "20"), 3, "20 texts cannot whiten 32 dimensions"),
        (("--text", "text.txt", "--dim", "33"), 2, "33 dimensions asked of embeddings that have 32"),
        (("--text", "text.txt", "--kind", "zca", "--dim", "8"), 2, "ZCA keeps all 32"),
        (("--text", "text.txt", "--kind", "ica"), 2, "--kind: there is no 'ica'"),
        (("--text", "text.txt", "--role", "both"), 2, "one of query, document"),
        (("--text", "text.txt", "--pooling", "first"), 2, "--pooling: there is no 'first'"),
        (("--text", "pairs.jsonl"), 3, "no column `text`"),
        (("--text", "text.txt", "--suite", "nothing"), 2, "no such suite"),
        (("--text", "text.txt", "--suite", "suite.yaml", "--data", "no"), 3, "no: there is no such folder"),
        (("--text", "text.txt", "--data", "."), 2, "--data: is for the files of a suite"),
        (("--text", "same.txt", "--dim", "8"), 3, "only 1 directions vary"),
    ],
)
def test_errors(embedkit: Run, work: Path, arguments: tuple[str, ...], code: int, message: str) -> None:
    (work / "pairs.jsonl").write_text('{"query": "a", "positive": "b"}\n')
    (work / "same.txt").write_text("ba de fi\nku la\n" * 30)
    done = embedkit("whiten", "tiny", *arguments, "--out", "white")
    assert done.code == code and message in done.err, done
    assert not (work / "white").exists()


WHITEN = ("whiten", "tiny", "--text", "text.txt", "--dim", "8", "--out", "white")


def test_two_at_once(embedkit: Run, work: Path) -> None:
    with hold_file(work.resolve() / "white", "whitening"):
        done = embedkit(*WHITEN)
    assert done.code == 1 and f"process {os.getpid()} has been whitening here since" in done.err, done.err
    assert not (work / "white").exists()
    assert embedkit(*WHITEN).code == 0
    assert not list(work.glob(".embedkit*")), "no lock and nothing unfinished stays"


def test_a_folder_that_is_there_is_whole(embedkit: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends in the middle of writing leaves nothing under the model's name, and is no obstacle later."""
    save = Encoder.save

    def cut(self: Encoder, folder: Path) -> None:
        save(self, folder)
        (Path(folder) / "1_Pooling" / "config.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "save", cut)
        embedkit(*WHITEN)
    assert not (work / "white").exists()
    (work / ".embedkit-white-model").mkdir()  # of a process that was killed
    (work / ".embedkit-white-model" / "model.safetensors").write_text("half")
    (work / "white").mkdir()
    assert embedkit(*WHITEN).code == 0
    assert (work / "white" / "1_Pooling" / "config.json").is_file() and not list(work.glob(".embedkit*"))


def test_a_filled_folder_is_left_alone(embedkit: Run, work: Path) -> None:
    (work / "white").mkdir()
    (work / "white" / "keep").write_text("")
    done = embedkit("whiten", "tiny", "--text", "text.txt", "--out", "white")
    assert done.code == 1 and "not empty" in done.err


def test_eval_shows_and_writes_the_geometry(embedkit: Run, work: Path) -> None:
    done = embedkit("eval", "tiny", "--suite", "suite.yaml", "--geometry", "--resamples", "0", "--out", "scores")
    assert done.code == 0, done.err
    assert "uniformity" in done.out
    found = json.loads(Path("scores/scores.json").read_text())["tasks"][0]["details"]["geometry"]
    assert found["dim"] == 32 and 0 <= found["alignment"] <= 4 and found["uniformity"] < 0
    assert "uniformity" not in embedkit("eval", "tiny", "--suite", "suite.yaml", "--resamples", "0").out
