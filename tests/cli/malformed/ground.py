"""Sound inputs of every kind, made once by the real commands; cases spoil copies of them."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from tests.cli.conftest import Done
from tests.model import damaged
from tests.tiny import sentences

TEXTS = sentences(8, seed=5, shortest=3)
QUERIES = [" ".join(text.split()[:3]) for text in sentences(24, seed=3, shortest=6)[:6]]
CORPUS = sentences(24, seed=3, shortest=6)
CPU = ("--device", "cpu", "--offline")
ENCODE = ("encode", "tiny", "--out", "out", *CPU, "--texts")
EVAL = ("eval", "tiny", "--resamples", "0", "--offline", "--suite")
MINE = ("mine", "--model", "tiny", "--keep", "2", "--depth", "8", "--out", "m.parquet", *CPU)
FILES = ("--queries", "q.jsonl", "--corpus", "c.jsonl")
TRAIN = ("train", "run.yaml", "--out", "run", "--offline")
RUN = """\
model: {base: tiny, pooling: mean}
data: {sources: [{path: text.txt}]}
objective: {name: infonce, learn_temperature: true}
train: {batch_size: 8, steps: 4, log_every: 1, save_every: 2, device: cpu, learning_rate: 1e-3}
eval: {suite: suite.yaml, resamples: 100}
"""


def lines(rows: Sequence[object]) -> str:
    """As JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def files(root: Path, material: Path) -> None:
    """What `Case.needs` may name and no command makes, in `root`, which is the working folder."""
    for path in material.iterdir():
        (root / path.name).symlink_to(path) if path.is_dir() else shutil.copy(path, root)
    rows = [{"text": text, "id": f"d{i}"} for i, text in enumerate(TEXTS)]
    Path("texts.jsonl").write_text(lines(rows))
    Path("texts.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    for name, separator in (("texts.csv", ","), ("texts.tsv", "\t")):
        Path(name).write_text("".join(separator.join(row) + "\n" for row in [("text", "id"), *map(dict.values, rows)]))
    Path("texts.jsonl.gz").write_bytes(gzip.compress(lines(rows).encode(), mtime=0))
    parquet.write_table(pa.table({"text": TEXTS, "id": [row["id"] for row in rows]}), "texts.parquet")
    Path("run.yaml").write_text(RUN)
    _retrieval()


def made(root: Path, embedkit: Callable[..., Done]) -> None:
    """What commands make: a run and one that was cut off, negatives with their store, vectors, and a model with more
    modules than the tiny one."""
    damaged.sound(root / "made").rename(root / "sound")
    for command in (
        (*TRAIN,),
        (*MINE, *FILES, "--store", "store"),
        ("encode", "tiny", "--texts", "c.jsonl", "--ids", "_id", "--out", "vec", *CPU),
    ):
        done = embedkit(*command)
        assert done.code == 0, done.err
    shutil.copytree("run", "other")
    shutil.copytree("run", "cut")
    for name in ("checkpoints/checkpoint-4", "model", "report", "eval/after"):
        shutil.rmtree(f"cut/{name}")
    Path("cut/run.json").unlink()


def _retrieval() -> None:
    """A BEIR folder and a suite of it; the same texts as files for mining."""
    Path("beir/qrels").mkdir(parents=True)
    corpus = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(CORPUS)]
    queries = [{"_id": f"q{i}", "text": text} for i, text in enumerate(QUERIES)]
    Path("beir/corpus.jsonl").write_text(lines(corpus))
    Path("beir/queries.jsonl").write_text(lines(queries))
    judged = [f"q{i}\td{j}\t{gain}" for i in range(len(QUERIES)) for j, gain in ((i, 2), (i + 7, 1), (i + 9, 0))]
    Path("beir/qrels/test.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
    Path("beir.yaml").write_text("name: own\ntasks: [{type: retrieval, name: R, folder: beir}]\n")
    Path("c.jsonl").write_text(lines([{"_id": f"d{i}", "text": text} for i, text in enumerate(CORPUS)]))
    Path("q.jsonl").write_text(
        lines([{"id": f"q{i}", "query": q, "positive": CORPUS[i]} for i, q in enumerate(QUERIES)])
    )


@cache
def reference(text: str) -> np.ndarray:
    """[32] the vector of a text, by the model itself."""
    found: np.ndarray = _encoder().encode([text], role="document")[0]
    return found


@cache
def _encoder() -> Any:
    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.schema import Model

    return Encoder.load(Model(base="tiny"), device="cpu")


def vectors(folder: Path, out: str = "out") -> np.ndarray:
    """[n, 32] what `embedkit encode` wrote."""
    return np.concatenate([np.load(path) for path in sorted((folder / out).glob("vectors-*.npy"))])


def assert_vectors(found: np.ndarray, texts: Sequence[str]) -> None:
    """One vector for each of the texts, in their order."""
    assert len(found) == len(texts), f"{len(found)} vectors of {len(texts)} texts"
    for number, (vector, text) in enumerate(zip(found, texts, strict=True)):
        assert np.allclose(vector, reference(text), atol=1e-5), f"vector {number} is not that of {text!r:.60}"
