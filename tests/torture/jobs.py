"""The commands that are killed, and what each of them must leave behind, whole, whenever that happens."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pyarrow import parquet
from safetensors.numpy import load_file

from tests.tiny import sentences, tiny_bert

Facts = dict[str, object]
"""What a finished command made, comparable with ``==``."""


@dataclass(frozen=True)
class Job:
    """One command.

    Attributes:
        name: for the table.
        arguments: of ``embedkit``; `{out}` stands for the place of the result.
        again: what goes on after a kill, where that differs.
        once: it refuses to run where its result is, which is then whole.
        made: the finished result as facts.
        whole: raises where something half-written lies at the place of the result.
    """

    name: str
    arguments: tuple[str, ...]
    made: Callable[[Path], Facts]
    whole: Callable[[Path], None]
    again: tuple[str, ...] = ()
    once: bool = False


def material(folder: Path) -> None:
    """A model, pairs, a corpus, queries, texts and a recipe that mines while it trains."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_bert(folder / "tiny")
    texts = sentences(600, seed=5, shortest=6)
    _rows(folder / "pairs.jsonl", [{"query": t[: len(t) // 2], "positive": t} for t in texts[:96]])
    _rows(folder / "corpus.jsonl", [{"_id": f"d{i}", "text": t} for i, t in enumerate(texts)])
    (folder / "texts.txt").write_text("\n".join(sentences(4000, seed=6, shortest=6)) + "\n", encoding="utf-8")
    beir = folder / "set"
    (beir / "qrels").mkdir(parents=True)
    _rows(beir / "corpus.jsonl", [{"_id": f"d{i}", "title": "", "text": t} for i, t in enumerate(texts)])
    _rows(beir / "queries.jsonl", [{"_id": f"q{i}", "text": texts[i][:20]} for i in range(40)])
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(40))
    (beir / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")
    (folder / "suite.yaml").write_text(
        "name: set\ntasks:\n  - {type: retrieval, name: set, folder: set, ks: [1, 10]}\n", encoding="utf-8"
    )
    (folder / "train.yaml").write_text(RECIPE, encoding="utf-8")
    (folder / "stages.yaml").write_text(RECIPE + STAGED, encoding="utf-8")


RECIPE = """\
model: {base: tiny, pooling: mean}
data: {sources: [{path: pairs.jsonl}]}
negatives: {per_query: 2}
mining: {refresh: {every: 8}, depth: 12, keep: 4, corpus: corpus.jsonl}
train: {batch_size: 16, steps: 24, device: cpu, learning_rate: 1.0e-3, log_every: 4, save_every: 4, keep_checkpoints: 2}
eval: {suite: suite.yaml, every: 8}
"""


STAGED = """\
stages:
  - {name: weak, mining: null, negatives: {per_query: 0}, train: {steps: 12}}
  - {name: hard, train: {steps: 12}}
  - {name: soup, merge: {of: [weak, hard, base]}}
"""


def _rows(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _trained(out: Path) -> Facts:
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    weights = load_file(out / "model" / "model.safetensors")
    return {
        "weights": {name: value.tobytes() for name, value in weights.items()},
        "losses": [line["loss"] for line in record["curve"] if "loss" in line],
        "after": json.loads((out / "eval" / "after" / "scores.json").read_text(encoding="utf-8"))["average"],
        "report": (out / "report" / "index.html").is_file(),
    }


def _checkpoints_are_whole(out: Path) -> None:
    for folder in (out / "checkpoints").glob("checkpoint-*"):
        load_file(folder / "model.safetensors")
        json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
    for name in ("run.json", "eval/before/scores.json", "eval/after/scores.json"):
        if (out / name).is_file():
            json.loads((out / name).read_text(encoding="utf-8"))
    if (out / "model").is_dir():
        load_file(out / "model" / "model.safetensors")


def _stages_are_whole(out: Path) -> None:
    for folder in (out, *(out / "stages").glob("*")):
        _checkpoints_are_whole(folder)


def _mined(out: Path) -> Facts:
    return {"rows": parquet.read_table(out).to_pylist()}


def _parquet_is_whole(out: Path) -> None:
    if out.exists():
        parquet.read_table(out)


def _encoded(out: Path) -> Facts:
    return {path.name: np.load(path).tobytes() for path in sorted(out.glob("vectors-*.npy"))}


def _shards_are_whole(out: Path) -> None:
    for path in out.glob("vectors-*.npy"):
        assert np.isfinite(np.load(path)).all(), path


def _evaluated(out: Path) -> Facts:
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))
    return {"average": scores["average"], "tasks": [task["metrics"] for task in scores["tasks"]]}


def _scores_are_whole(out: Path) -> None:
    if (out / "scores.json").exists():
        _evaluated(out)


FILES = ("--queries", "pairs.jsonl", "--corpus", "corpus.jsonl", "--store", "{out}.store")
STAGES = ("train", "stages.yaml", "--out", "{out}")
MINE = ("mine", "--model", "tiny", *FILES, "--depth", "20", "--keep", "4", "--out", "{out}.parquet")
ENCODE = ("encode", "tiny", "--texts", "texts.txt", "--shards", "8", "--out", "{out}")
TRAIN = ("train", "train.yaml", "--out", "{out}")
EVAL = ("eval", "tiny", "--suite", "suite.yaml", "--out", "{out}")
JOBS = (
    Job("train", TRAIN, _trained, _checkpoints_are_whole, again=(*TRAIN, "--resume")),
    Job("stages", STAGES, _trained, _stages_are_whole, again=(*STAGES, "--resume")),
    Job("mine", MINE, _mined, _parquet_is_whole, once=True),
    Job("encode", ENCODE, _encoded, _shards_are_whole),
    Job("eval", EVAL, _evaluated, _scores_are_whole),
)
