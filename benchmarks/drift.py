"""Where a short unsupervised SimCSE takes a base: score on a dev set along the training, one setting changed at a time.

    python -m benchmarks.drift --base ENCODER --data DIR [--steps 60] [--seeds 3]

Every training is plain SimCSE on the same sentences, at a constant rate and without a head; the first line has the
settings of `SETTINGS[""]`, each other line changes what it names. Scores are 100 x Spearman's correlation on pairs of
STS-B dev, so that a setting may be chosen by them and the tests stay unseen. What changed from the start has 95 %
intervals, over pairs (paired bootstrap) and over seeds (Student's t); geometry is that of the same pairs. DIR as in
`benchmarks.objectives`.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, set_seed

from benchmarks.compare.__main__ import absolute, quiet
from benchmarks.compare.page import interval, rows
from benchmarks.compare.quote import SIGNS
from benchmarks.compare.summary import Run, paired
from benchmarks.objectives.cells import BOOTSTRAP_SEED, RESAMPLES, Bench, Place
from benchmarks.objectives.data import Sizes
from benchmarks.objectives.kinds import KINDS
from embedkit.disk.folders import RunFolder
from embedkit.evaluation import stats
from embedkit.evaluation.suite import evaluate_suite
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Recipe
from embedkit.run.build import build_trainer
from embedkit.run.data import load_sources
from embedkit.train.distributed import Comm

SETTINGS: dict[str, dict[str, dict[str, Any]]] = {
    "": {
        "model": {"pooling": "mean"},
        "objective": {"name": "infonce", "temperature": 0.05},
        "train": {"learning_rate": 1e-4},
        "views": {"count": 2},
    },
    "temperature 0.2": {"objective": {"temperature": 0.2}},
    "rate 2e-5": {"train": {"learning_rate": 2e-5}},
    "four times the batch": {"batch": {"times": 4}},
    "dropout 0.02": {"model": {"dropout": 0.02}},
    "dropout 0, words left out": {
        "model": {"dropout": 0.0},
        "views": {"transforms": [[{"name": "delete_words", "rate": 0.2}]] * 2},
    },
    "dropout 0.1, words left out": {"views": {"transforms": [[{"name": "delete_words", "rate": 0.2}]] * 2}},
    "pooling cls": {"model": {"pooling": "cls"}},
    "pooling first_last_mean": {"model": {"pooling": "first_last_mean"}},
}
SHAPE = ("alignment", "uniformity", "mean_cosine", "rankme")


class Along(TrainerCallback):
    """Measures after some updates.

    Args:
        measure: what is known of the model now.
        at: numbers of updates.
    """

    def __init__(self, measure: Callable[[], Run], at: set[int]) -> None:
        self.measure, self.at = measure, at
        self.found: list[Run] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step in self.at:
            self.found.append(self.measure())


def recipe(bench: Bench, text: Path, name: str, seed: int, steps: int) -> Recipe:
    """Plain SimCSE with one of `SETTINGS`."""
    changed = SETTINGS[name]
    blocks = {key: {**block, **changed.get(key, {})} for key, block in SETTINGS[""].items()}
    batch = bench.batch * changed.get("batch", {}).get("times", 1)
    blocks["model"] |= {"base": bench.base, "max_length": bench.length}
    blocks["train"] |= {"steps": steps, "batch_size": batch, "schedule": "constant", "warmup": 0.1, "seed": seed}
    blocks["train"] |= {"device": bench.device, "log_every": steps}
    return Recipe.model_validate({**blocks, "data": {"sources": [{"path": str(text)}]}, "eval": {"suite": None}})


def along(place: Place, name: str, seed: int, at: list[int]) -> list[Run]:
    """Score, its resamples and geometry of one training, before it and after each of `at` updates."""
    bench = place.bench
    made = recipe(bench, place.folder / place.kind.train, name, seed, at[-1])
    set_seed(seed)
    encoder = Encoder.load(made.model, device=bench.device, seed=seed)

    def measure() -> Run:
        found = evaluate_suite(encoder, place.suites["dev"], resamples=0, data=place.read["dev"], geometry=True)
        (task,) = found.tasks
        shape = task.details["geometry"]
        draws = {task.task: stats.draws(task, RESAMPLES, BOOTSTRAP_SEED)[task.main]}
        return {"average": found.average, "seed": seed, **{part: shape[part] for part in SHAPE}}, draws

    start, watch = measure(), Along(measure, set(at))
    with tempfile.TemporaryDirectory() as folder:
        sources = load_sources(made, RunFolder(Path(folder)), say=lambda line: None)
        trainer = build_trainer(made, sources, encoder, Path(folder), Comm(), callbacks=[watch])
        trainer._save_checkpoint = lambda *args, **kwargs: None  # type: ignore[method-assign]
        trainer.train()
    return [start, *watch.found]


def line(name: str, runs: list[list[Run]]) -> list[str]:
    """A row of the table: the scores along the training, what changed with its intervals, and the geometry."""
    means = [statistics.mean(run[0]["average"] for run in column) for column in zip(*runs, strict=True)]
    change = paired([(run[-1], run[0]) for run in runs])
    assert change is not None
    shapes = [[statistics.mean(run[place][0][part] for run in runs) for place in (0, -1)] for part in SHAPE]
    moved = [f"{before:.3g} -> {after:.3g}" for before, after in shapes]
    value = f"{change['value']:+.2f}{SIGNS[change['verdict']]}"
    return [name or "nothing", *(f"{mean:.2f}" for mean in means), value, interval(change["pairs"]),
            interval(change["seeds"]), *moved]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="encoder folder or Hub id")
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets")
    parser.add_argument("--work", type=Path, default=Path("runs") / "drift", help="prepared files")
    parser.add_argument("--steps", type=int, default=60, help="updates (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="sentences per update (default: %(default)s)")
    parser.add_argument("--max-length", type=int, default=32, help="tokens (default: %(default)s)")
    parser.add_argument("--dev", type=int, default=1000, help="pairs (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default: %(default)s)")
    args = parser.parse_args()
    quiet(None)
    most = max(setting.get("batch", {}).get("times", 1) for setting in SETTINGS.values())
    bench = Bench(
        absolute(args.base), args.data.resolve(), args.work.resolve(), args.steps, args.batch, args.max_length,
        sizes=Sizes(train=most * args.steps * args.batch, dev=args.dev, test=100),
    )  # fmt: skip
    place = Place(bench, KINDS["unlabelled"])
    at = sorted({args.steps // 6, args.steps // 3, 2 * args.steps // 3, args.steps})
    head = ["changed", "start", *map(str, at), "change", "pairs", "seeds", *SHAPE]
    print(rows(head, []), flush=True)
    for name in SETTINGS:
        runs = [along(place, name, seed, at) for seed in range(1, args.seeds + 1)]
        print("| " + " | ".join(line(name, runs)) + " |", flush=True)


if __name__ == "__main__":
    main()
