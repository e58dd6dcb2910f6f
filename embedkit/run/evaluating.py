"""`evaluate`: a model on a suite, and beside another model."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from embedkit.errors import about
from embedkit.recipe.load import made
from embedkit.recipe.schema import Model
from embedkit.run.environment import quiet_libraries
from embedkit.run.state import Say
from embedkit.terminal import output, times
from embedkit.types import Scores

if TYPE_CHECKING:
    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.suite import Suite


def evaluate(
    model: str,
    suite: str | Suite,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    compare: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    batch_tokens: int = 8192,
    geometry: bool = False,
    say: Say = output.say,
    progress: bool = True,
) -> Scores:
    """Evaluate a model on a suite, and compare it with another one if asked.

    Args:
        model: folder or Hub id.
        suite: built-in name, file, or `Suite`.
        data: folder that the suite's files are in.
        out: gets ``scores.json`` (and ``compare/scores.json``).
        compare: another model, evaluated on the same resamples.
        resamples: bootstrap resamples.
        seed: of the bootstrap.
        batch_tokens: padded tokens per batch.
        geometry: also measure alignment, uniformity and ranks on the STS tasks.
        say: receives the forecast and the table.
        progress: show progress bars, and say before how long it will take where that is more than seconds.
    """
    from embedkit.evaluation import suite as suites
    from embedkit.evaluation.forecast import SHORT, forecast

    quiet_libraries()
    folder = Path(data) if data is not None else None
    loaded = suites.load_suite(suite, folder)

    read = suites.load_data(loaded)

    def score(name: str, place: str) -> Scores:
        encoder = _load(name, place)
        foreseen = forecast(encoder, loaded, read, batch_tokens=batch_tokens, resamples=resamples) if progress else None
        if foreseen is not None and foreseen.seconds >= SHORT:
            say(f"{name}: {foreseen.words}")
        start = time.perf_counter()
        scores = suites.evaluate_suite(
            encoder,
            loaded,
            data=read,
            data_dir=folder,
            resamples=resamples,
            seed=seed,
            batch_tokens=batch_tokens,
            model_name=name,
            progress=progress,
            geometry=geometry,
        )
        if foreseen is not None and foreseen.seconds >= SHORT:
            say(f"took {times.duration(time.perf_counter() - start)}, the forecast was {times.about(foreseen.seconds)}")
        return scores

    if compare:
        _load(compare, "--compare")  # what does not load must say so before the other is measured
    scores = score(model, "MODEL")
    other = score(compare, "--compare") if compare else None
    comparison = suites.compare(other, scores, resamples=resamples, seed=seed) if other else None
    if out is not None:
        suites.write_scores(scores, Path(out))
        if other is not None:
            suites.write_scores(other, Path(out) / "compare")
    say(suites.table(scores, other, comparison) if other else suites.table(scores))
    return scores


def _load(name: str, place: str) -> Encoder:
    from embedkit.model.running.encoder import Encoder

    with about(place, "model.base"):
        return Encoder.load(made(Model, base=name))
