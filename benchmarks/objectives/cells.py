"""One cell of the comparison: objective, kind of data, learning rate, seed. Trained, measured, written down."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmarks.compare import study
from benchmarks.objectives.cost import Cost
from benchmarks.objectives.data import Given, Kind, Sizes
from benchmarks.objectives.table import BASE, Row
from embedkit.disk.folders import RunFolder
from embedkit.errors import EmbedkitError
from embedkit.evaluation import stats
from embedkit.evaluation.geometry import geometry
from embedkit.evaluation.suite import evaluate_suite, load_data, load_suite
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Recipe
from embedkit.recipe.suite import Suite
from embedkit.run.build import build_trainer
from embedkit.run.data import load_sources
from embedkit.train.distributed import Comm

RESAMPLES, BOOTSTRAP_SEED = 1000, 0
MEASURED = ("alignment", "uniformity", "rankme")
POSITIVES = 150
"""Pairs of query and document that the geometry of a search is measured on."""


@dataclass(frozen=True)
class Bench:
    """What all cells of one comparison share.

    Attributes:
        base: the encoder, absolute or a Hub id.
        data: folder of the sets.
        work: results and prepared files lie below it.
        steps, batch, length: updates, rows per update, tokens of a text.
        warmup: share of the updates.
        sizes: how much of each set is used.
        device: of trainings and evaluations.
    """

    base: str
    data: Path
    work: Path
    steps: int
    batch: int
    length: int
    warmup: float = 0.1
    sizes: Sizes = field(default_factory=Sizes)
    device: str = "cpu"

    @cached_property
    def origin(self) -> dict[str, Any]:
        """The base in words: name, content hash, size."""
        encoder = self.encoder()
        return {
            "name": Path(self.base).name if Path(self.base).exists() else self.base,
            "fingerprint": encoder.fingerprint()[:16],
            "parameters": sum(p.numel() for p in encoder.st.parameters()),
            "dim": encoder.dim,
        }

    def encoder(self, seed: int = 0) -> Encoder:
        """The base as it is."""
        from transformers import set_seed

        from embedkit.recipe.schema import Model

        set_seed(seed)
        made = Model(base=self.base, pooling="mean", max_length=self.length)
        return Encoder.load(made, device=self.device, seed=seed)


class Place:
    """The files of one kind of data, made once, and its suites, read once.

    Args:
        bench: the comparison.
        kind: the kind of data.
    """

    def __init__(self, bench: Bench, kind: Kind) -> None:
        self.bench, self.kind = bench, kind
        self.folder = bench.work / "data" / kind.name
        if not self.folder.is_dir():
            part = self.folder.with_name(f"{kind.name}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            kind.make(part, Given(bench.data, bench.sizes, bench.base, bench.length))
            part.replace(self.folder)
        self.suites = {part: self._suite(part) for part in ("dev", "test")}
        self.read = {part: load_data(suite) for part, suite in self.suites.items()}

    def _suite(self, part: str) -> Suite:
        tasks = [{**task, "max_length": self.bench.length} for task in getattr(self.kind, part)]
        return load_suite(Suite.model_validate({"name": self.kind.name, "tasks": tasks}), self.folder)

    @cached_property
    def digests(self) -> dict[str, Any]:
        """Content hashes of what is trained and measured on."""
        train = hashlib.sha256((self.folder / self.kind.train).read_bytes()).hexdigest()[:16]
        parts = {part: [data.digest for data in read] for part, read in self.read.items()}
        return {**({} if self.kind.train.endswith(".parquet") else {"train": train}), **parts}

    def recipe(self, row: Row, rate: float, seed: int) -> Recipe:
        """The recipe of a cell."""
        bench = self.bench
        roles = row.roles or self.kind.roles
        return Recipe.model_validate(
            {
                "model": {"base": bench.base, "pooling": "mean", "max_length": bench.length},
                "data": {"sources": [{"path": str(self.folder / self.kind.train), "roles": dict(roles)}]},
                "negatives": {"per_query": self.kind.negatives},
                "objective": row.block,
                "train": {
                    "steps": bench.steps,
                    "batch_size": round(bench.batch * self.kind.share * row.share),
                    "learning_rate": rate,
                    "warmup": bench.warmup,
                    "seed": seed,
                    "device": bench.device,
                    "log_every": bench.steps,
                },
                "eval": {"suite": None, "before": False, "keep": "last"},
            }
        )

    def settings(self, row: Row | None, rate: float, seed: int, part: str) -> dict[str, Any]:
        """What decides the result of a cell, without paths."""
        bench = self.bench
        return {
            "base": bench.origin["fingerprint"],
            "digests": self.digests,
            "length": bench.length,
            "part": part,
            "sizes": asdict(bench.sizes),
            **({} if row is None else self._trained(row, rate, seed)),
        }

    def _trained(self, row: Row, rate: float, seed: int) -> dict[str, Any]:
        found = self.recipe(row, rate, seed).model_dump(mode="json")
        return {"objective": found["objective"], "train": found["train"], "roles": dict(row.roles or self.kind.roles)}

    def cell(self, name: str, rate: float, seed: int | None, part: str) -> Path:
        """Where the result of a cell lies."""
        last = f"{part}-{rate:g}" if part == "dev" else f"{part}-{seed}"
        return self.bench.work / self.kind.name / name / (part if name == BASE else last)


class Cells:
    """Cells of one kind of data, each done once: what is on disk is read, what was just trained is not trained again.

    Args:
        place: the kind's files.
        profiled: seed of the trainings whose memory is taken.
        say: receives a line for every cell.
    """

    def __init__(self, place: Place, profiled: int, say: Callable[[str], None] = print) -> None:
        self.place, self.profiled, self.say = place, profiled, say
        self._kept: dict[tuple[str, float, int], tuple[Encoder, dict[str, Any]]] = {}

    def result(self, row: Row | None, rate: float, seed: int, part: str) -> dict[str, Any]:
        """The result of a cell, from disk or measured now.

        Args:
            row: the objective; None: the base as it is.
            rate: learning rate.
            seed: of the order of the data, dropout and new weights.
            part: ``dev`` or ``test``.
        """
        name = BASE if row is None else row.name
        folder, wanted = self.place.cell(name, rate, seed, part), self.place.settings(row, rate, seed, part)
        found = study.finished(folder, wanted)
        if found is None:
            start = time.perf_counter()
            found = self._measured(row, rate, seed, part, wanted, folder)
            label = f"{self.place.kind.name} {name} {part}" + (f" rate {rate:g} seed {seed}" if row else "")
            score = found.get("failed") or f"{found['average']:.2f}"
            self.say(f"{label}: {score}  ({time.perf_counter() - start:.0f} s)")
        return found

    def forget(self) -> None:
        """Let go of the models of a row that is finished."""
        self._kept.clear()

    def _measured(
        self, row: Row | None, rate: float, seed: int, part: str, wanted: dict[str, Any], folder: Path
    ) -> dict[str, Any]:
        try:
            encoder, facts = self._encoder(row, rate, seed)
            found, draws = measure(self.place, encoder, part)
        except EmbedkitError as error:
            found, facts, draws = {"failed": study.without_folders(error.what)}, {}, {}
        found |= {"settings": wanted, "rate": rate, "seed": seed, "facts": facts}
        study.write(folder, found, draws)
        return found

    def _encoder(self, row: Row | None, rate: float, seed: int) -> tuple[Encoder, dict[str, Any]]:
        if row is None:
            return self.place.bench.encoder(), {}
        key = (row.name, rate, seed)
        if key not in self._kept:
            self._kept[key] = train(self.place, row, rate, seed, profile=seed == self.profiled)
        return self._kept[key]


def train(place: Place, row: Row, rate: float, seed: int, *, profile: bool) -> tuple[Encoder, dict[str, Any]]:
    """The trained encoder, and what its training cost.

    Raises:
        EmbedkitError: the recipe or its data are refused, or the loss is not finite.
    """
    made, start = place.recipe(row, rate, seed), time.process_time()
    encoder, cost = place.bench.encoder(seed), Cost(2 if profile else None)
    with tempfile.TemporaryDirectory() as folder:
        sources = load_sources(made, RunFolder(Path(folder)), say=lambda line: None)
        trainer = build_trainer(made, sources, encoder, Path(folder), Comm(), callbacks=[cost])
        trainer._save_checkpoint = lambda *args, **kwargs: None  # type: ignore[method-assign]
        trainer.train()
    logs = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    facts = {"seconds": cost.seconds, "peak": cost.peak, "losses": logs, "processor": time.process_time() - start}
    return encoder, facts


def measure(place: Place, encoder: Encoder, part: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores, and for a test its geometry and its resamples."""
    suite, data, test = place.suites[part], place.read[part], part == "test"
    pairs = suite.tasks[0].type == "sts"
    scores = evaluate_suite(encoder, suite, resamples=0, data=data, geometry=test and pairs)
    found: dict[str, Any] = {
        "average": scores.average,
        "scores": {task.task: task.metrics[task.main] for task in scores.tasks},
    }
    if not test:
        return found, {}
    shapes = [task.details["geometry"] for task in scores.tasks] if pairs else [asdict(_shape(encoder, data[0]))]
    found["geometry"] = {name: sum(shape[name] for shape in shapes) / len(shapes) for name in MEASURED}
    return found, {task.task: stats.draws(task, RESAMPLES, BOOTSTRAP_SEED)[task.main] for task in scores.tasks}


def _shape(encoder: Encoder, data: Any) -> Any:
    """Geometry of queries and one relevant document of each."""
    asked = list(data.queries)[:POSITIVES]
    relevant = [next(d for d, grade in data.qrels[query].items() if grade > 0) for query in asked]
    return geometry(encoder, [(data.queries[q], data.corpus[d]) for q, d in zip(asked, relevant, strict=True)])
