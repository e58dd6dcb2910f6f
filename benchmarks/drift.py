"""Where a short unsupervised SimCSE takes a base: score on a dev set along the training, one setting changed at a time.

    python -m benchmarks.drift --base ENCODER --data DIR [--steps 60] [--seeds 2]

Every training is plain SimCSE on the same sentences, at a constant rate and without a head; the first line has the
settings of `SETTINGS[""]`, each other line changes what it names. Scores are 100 x Spearman's correlation on pairs of
STS-B dev, so that a setting may be chosen by them and the tests stay unseen. DIR as in `benchmarks.objectives`.
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
from benchmarks.objectives.cells import Bench, Place
from benchmarks.objectives.data import Sizes
from benchmarks.objectives.kinds import KINDS
from embedkit.disk.folders import RunFolder
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
    },
    "temperature 0.2": {"objective": {"temperature": 0.2}},
    "temperature 1": {"objective": {"temperature": 1.0}},
    "rate 2e-5": {"train": {"learning_rate": 2e-5}},
    "dropout 0.02": {"model": {"dropout": 0.02}},
    "pooling cls": {"model": {"pooling": "cls"}},
    "pooling first_last_mean": {"model": {"pooling": "first_last_mean"}},
}


class Along(TrainerCallback):
    """Scores after some updates.

    Args:
        measure: gives the score now.
        at: numbers of updates.
    """

    def __init__(self, measure: Callable[[], float], at: set[int]) -> None:
        self.measure, self.at = measure, at
        self.scores: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step in self.at:
            self.scores.append(self.measure())


def recipe(bench: Bench, text: Path, name: str, seed: int, steps: int) -> Recipe:
    """Plain SimCSE with one of `SETTINGS`."""
    blocks = {key: {**block, **SETTINGS[name].get(key, {})} for key, block in SETTINGS[""].items()}
    blocks["model"] |= SETTINGS[name].get("model", {}) | {"base": bench.base, "max_length": bench.length}
    blocks["train"] |= {"steps": steps, "batch_size": bench.batch, "schedule": "constant", "warmup": 0.1, "seed": seed}
    blocks["train"] |= {"device": bench.device, "log_every": steps}
    return Recipe.model_validate({**blocks, "data": {"sources": [{"path": str(text)}]}, "eval": {"suite": None}})


def along(place: Place, name: str, seed: int, at: list[int]) -> list[float]:
    """The scores of one training, before it and after each of `at` updates."""
    bench = place.bench
    made = recipe(bench, place.folder / place.kind.train, name, seed, at[-1])
    set_seed(seed)
    encoder = Encoder.load(made.model, device=bench.device, seed=seed)

    def measure() -> float:
        return evaluate_suite(encoder, place.suites["dev"], resamples=0, data=place.read["dev"]).average

    start, watch = measure(), Along(measure, set(at))
    with tempfile.TemporaryDirectory() as folder:
        sources = load_sources(made, RunFolder(Path(folder)), say=lambda line: None)
        trainer = build_trainer(made, sources, encoder, Path(folder), Comm(), callbacks=[watch])
        trainer._save_checkpoint = lambda *args, **kwargs: None  # type: ignore[method-assign]
        trainer.train()
    return [start, *watch.scores]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="encoder folder or Hub id")
    parser.add_argument("--data", type=Path, required=True, help="folder of the sets")
    parser.add_argument("--work", type=Path, default=Path("runs") / "drift", help="prepared files")
    parser.add_argument("--steps", type=int, default=60, help="updates (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="sentences per update (default: %(default)s)")
    parser.add_argument("--max-length", type=int, default=32, help="tokens (default: %(default)s)")
    parser.add_argument("--dev", type=int, default=1000, help="pairs (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=2, help="how many (default: %(default)s)")
    args = parser.parse_args()
    quiet(None)
    bench = Bench(
        absolute(args.base), args.data.resolve(), args.work.resolve(), args.steps, args.batch, args.max_length,
        sizes=Sizes(train=args.steps * args.batch, dev=args.dev, test=100),
    )  # fmt: skip
    place = Place(bench, KINDS["unlabelled"])
    at = sorted({args.steps // 6, args.steps // 3, 2 * args.steps // 3, args.steps})
    print(f"{'changed':26s} start  " + "  ".join(f"{n:4d}" for n in at) + "   change, seed by seed", flush=True)
    for name in SETTINGS:
        runs = [along(place, name, seed, at) for seed in range(1, args.seeds + 1)]
        means = [statistics.mean(values) for values in zip(*runs, strict=True)]
        changes = " ".join(f"{run[-1] - run[0]:+.2f}" for run in runs)
        print(f"{name or 'nothing':26s} " + "  ".join(f"{value:.2f}" for value in means) + f"   {changes}", flush=True)


if __name__ == "__main__":
    main()
