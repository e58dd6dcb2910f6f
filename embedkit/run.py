"""From a recipe to a trained, measured model: the only module that knows all layers."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedkit import paths
from embedkit.errors import EmbedkitError, TrainingError
from embedkit.measuring import Measuring
from embedkit.recipe.load import dump, recipe_hash
from embedkit.recipe.plan import Plan, plan
from embedkit.recipe.schema import Model, Recipe
from embedkit.types import RunRecord, Scores
from embedkit.workspace import RunFolder, now, quiet_libraries, versions

if TYPE_CHECKING:
    from embedkit.data.sources import LoadedSource
    from embedkit.model.encoder import Encoder
    from embedkit.recipe.suite import Suite
    from embedkit.train.distributed import Comm
    from embedkit.train.trainer import Trainer

logger = logging.getLogger(__name__)
Say = Callable[[Any], None]


@dataclass
class _Run:
    """What the stages of one run hand to each other."""

    recipe: Recipe
    base: Path
    folder: RunFolder
    comm: Comm
    record: RunRecord
    say: Say
    progress: bool
    measuring: Measuring
    sources: list[LoadedSource] = field(default_factory=list)

    @property
    def first(self) -> bool:
        return self.comm.rank == 0

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.record.timings[stage] = round(self.record.timings.get(stage, 0) + time.perf_counter() - start, 3)

    def write_record(self) -> None:
        if self.first:
            self.folder.write_record(self.record)


def train(
    recipe: Recipe,
    out: str | Path,
    *,
    resume: bool = False,
    recipe_path: Path | None = None,
    say: Say = print,
    progress: bool = True,
) -> RunRecord:
    """Train, measure and write a run.

    The folder gets ``recipe.yaml`` (every default explicit), ``checkpoints/``, ``model/`` (loads with plain
    ``SentenceTransformer``), ``eval/before`` and ``eval/after``, ``run.json`` and ``report/``.

    Args:
        recipe: what to do.
        out: the run's folder.
        resume: go on from the newest whole checkpoint in `out`; start anew when there is none.
        recipe_path: paths in the recipe are relative to its folder.
        say: receives lines and rich tables for the terminal (process 0 only).
        progress: show progress bars.

    Returns:
        The run record, also written as ``run.json``.

    Raises:
        RecipeError: the plan refuses the recipe.
        DataError: bad data.
        TrainingError: non-finite loss, or a checkpoint of another recipe.
    """
    run = _start(recipe, Path(out), resume, recipe_path, say, progress)
    with run.timed("data"):
        run.sources = _sources(run)
    _record_data(run)
    _plan(run)
    with run.timed("model"):
        encoder = _encoder(run)
        trainer = _trainer(run, encoder)  # before any evaluation: what cannot be built should say so at once
    with run.timed("evaluation before"):
        before = _measure(run, encoder, "before") if recipe.eval.before else None
    run.write_record()
    run.record.warnings += [w for auxiliary in trainer.engine.auxiliaries for w in auxiliary.warnings]
    run.measuring.masked_lm(trainer.engine.auxiliaries, run.record, 0, run.say)
    with run.timed("training"):
        _fit(run, trainer, resume)
    _record_data(run)
    run.record.curve = [h for h in trainer.state.log_history if "loss" in h]
    run.record.evaluations += [h for h in trainer.state.log_history if any(k.startswith("eval_") for k in h)]
    if trainer.guards.collapsed_at is not None:
        run.record.warnings.append(f"the embeddings began to collapse at step {trainer.guards.collapsed_at}")
    if recipe.eval.every is not None and recipe.eval.keep == "best":
        run.record.best_step = trainer.load_best()
    run.measuring.masked_lm(trainer.engine.auxiliaries, run.record, trainer.state.global_step, run.say)
    if recipe.model.towers == 2 and run.first:
        encoder, which = run.measuring.kept_tower(encoder)
        run.record.warnings.append(which)
    if run.first:
        with run.timed("saving"):
            _save_model(run, encoder)
            for auxiliary in trainer.engine.auxiliaries:
                auxiliary.export(run.folder.root)
    with run.timed("evaluation after"):
        after = _measure(run, encoder, "after")
    _finish(run, before, after)
    return run.record


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
    say: Say = print,
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
        say: receives the table.
        progress: show progress bars.
    """
    from embedkit.evaluation import suite as suites
    from embedkit.model.encoder import Encoder

    quiet_libraries()
    folder = Path(data) if data is not None else None
    loaded = suites.load_suite(suite, Path.cwd(), folder)

    def score(name: str) -> Scores:
        return suites.evaluate_suite(
            Encoder.load(Model(base=name)),
            loaded,
            data_dir=folder,
            base_dir=Path.cwd(),
            resamples=resamples,
            seed=seed,
            batch_tokens=batch_tokens,
            model_name=name,
            progress=progress,
            geometry=geometry,
        )

    scores = score(model)
    other = score(compare) if compare else None
    comparison = suites.compare(other, scores, resamples=resamples, seed=seed) if other else None
    if out is not None:
        suites.write_scores(scores, Path(out))
        if other is not None:
            suites.write_scores(other, Path(out) / "compare")
    say(suites.table(scores, other, comparison) if other else suites.table(scores))
    return scores


# Stages -------------------------------------------------------------------------------------------------------


def _start(recipe: Recipe, out: Path, resume: bool, recipe_path: Path | None, say: Say, progress: bool) -> _Run:
    from accelerate import PartialState

    from embedkit.train.distributed import Comm

    quiet_libraries()
    PartialState(cpu=recipe.train.device == "cpu")  # joins the process group when started by torchrun or accelerate
    comm = Comm.current()
    folder = RunFolder(out.resolve())
    yaml = dump(recipe)
    if folder.trained and folder.recipe.is_file() and folder.recipe.read_text(encoding="utf-8") != yaml:
        raise TrainingError(
            "this folder holds the run of another recipe",
            str(folder.recipe),
            "resume with the run's own recipe and overrides, or choose another --out",
        )
    record = RunRecord(recipe_hash=recipe_hash(recipe), recipe=recipe.model_dump(mode="json"), seed=recipe.train.seed)
    known = folder.read_record() if resume else None
    if known is not None:
        record.timings, record.resumed_from, record.started = known.timings, known.resumed_from, known.started
    record.started = record.started or now()
    record.versions = versions()
    comm.barrier()
    if comm.rank == 0:
        folder.checkpoints.mkdir(parents=True, exist_ok=True)
        folder.recipe.write_text(yaml, encoding="utf-8")
    base = recipe_path.parent if recipe_path is not None else Path.cwd()
    first = comm.rank == 0
    measuring = Measuring(recipe, base)
    return _Run(recipe, base, folder, comm, record, say if first else _silent, progress and first, measuring)


def _sources(run: _Run) -> list[LoadedSource]:
    from embedkit.preparing import load_sources

    with _process_zero_first(run.comm):
        return load_sources(run.recipe, run.base, run.folder, _model(run), say=run.say, progress=run.progress)


def _record_data(run: _Run) -> None:
    """Ids, rows and skipped rows of the sources; called after training too, because a stream skips as it reads."""
    run.record.data = [
        {"name": s.name, "rows": s.rows, "digest": s.digest, "skipped": dict(s.skipped), "roles": sorted(s.roles)}
        | s.made
        for s in run.sources
    ]
    run.record.warnings = [w for w in run.record.warnings if " rows skipped: " not in w]
    for s in run.sources:
        run.record.warnings += [f"{s.name}: {count} rows skipped: {why}" for why, count in s.skipped.items()]


def _plan(run: _Run) -> Plan:
    from embedkit.model.resolve import local_copy
    from embedkit.recipe.planning.facts import folder_facts

    found = local_copy(_model(run).base, run.recipe.model.revision)
    made = plan(
        run.recipe,
        processes=run.comm.world,
        rows=[s.rows for s in run.sources],
        model_config=folder_facts(found) if found is not None else None,
        base_dir=run.base,
    )
    for line in made.lines():
        run.say(line)
    made.refuse()
    run.record.plan = {**asdict(made), "lines": made.lines()}
    run.record.warnings.extend(f"{w.what} ({w.cure})" for w in made.warnings)
    return made


def _model(run: _Run) -> Model:
    """The `model` block; as with data, a path starts at the recipe's folder, else at the working folder."""
    model = run.recipe.model
    return model.model_copy(update={"base": paths.folder_or_id(model.base, run.base)})


def _encoder(run: _Run) -> Encoder:
    from transformers import set_seed

    from embedkit.model.encoder import Encoder

    train_ = run.recipe.train
    set_seed(train_.seed)
    with _process_zero_first(run.comm):
        return Encoder.load(_model(run), device=train_.device, seed=train_.seed)


def _trainer(run: _Run, encoder: Encoder) -> Trainer:
    from embedkit.assembly import build_trainer
    from embedkit.train.callbacks import ProgressBar

    return build_trainer(
        run.recipe,
        run.sources,
        encoder,
        run.folder.checkpoints,
        run.comm,
        base_dir=run.base,
        evaluate=run.measuring.during if run.recipe.eval.every is not None else None,
        callbacks=[ProgressBar()] if run.progress else [],
    )


def _measure(run: _Run, encoder: Encoder, when: str) -> Scores | None:
    """Evaluate on process 0, or read what an interrupted run measured already."""
    from embedkit.evaluation import suite as suites

    config = run.recipe.eval
    scores = None
    if config.suite is not None and run.first:
        target = run.folder.scores(when)
        if when == "before" and (target / "scores.json").is_file():
            scores = suites.load_scores(target)
        else:
            name = f"{run.recipe.model.base} {when} training"
            scores = run.measuring.score(encoder, config.suite, name, config.resamples, run.progress)
            suites.write_scores(scores, target)
    run.comm.barrier()
    return scores


def _fit(run: _Run, trainer: Trainer, resume: bool) -> None:
    from embedkit.train import checkpoint

    if run.first:
        checkpoint.discard_staging(run.folder.checkpoints)
    run.comm.barrier()
    found = checkpoint.find_checkpoints(run.folder.checkpoints) if resume else []
    if found:
        step = checkpoint.step_of(found[-1])
        run.say(f"resuming from update {step}")
        run.record.resumed_from.append(step)
    trainer.train(resume_from_checkpoint=str(found[-1]) if found else None)


def _save_model(run: _Run, encoder: Encoder) -> None:
    """Write the model and read it back with plain sentence-transformers: same embeddings, or an error."""
    import numpy as np

    from embedkit.model.loading import load_saved

    encoder.save(run.folder.model)
    probe = ["A short sentence.", "And a second one, which is a little longer than the first."]
    plain = load_saved(run.folder.model, encoder.device)
    got = plain.encode(probe, prompt_name="query", convert_to_numpy=True)
    want = encoder.encode(probe, role="query")
    if not np.allclose(got, want, atol=1e-5):
        worst = float(np.abs(got - want).max())
        raise EmbedkitError(
            f"the saved model gives other embeddings than the trained one (difference {worst:.2g})",
            str(run.folder.model),
            "the checkpoint of the last update is good; please report this",
        )


def _finish(run: _Run, before: Scores | None, after: Scores | None) -> None:
    from embedkit.evaluation import suite as suites
    from embedkit.publish.report import summary_table, write_report

    if not run.first:
        return
    record = run.record
    record.scores_before = suites.plain(before) if before else None
    record.scores_after = suites.plain(after) if after else None
    if before and after:
        compared = suites.compare(before, after, resamples=run.recipe.eval.resamples, seed=run.recipe.train.seed)
        record.comparison = [asdict(c) for c in compared]
    record.finished = now()
    run.write_record()
    try:
        page = write_report(run.folder.root)
        run.say(f"report: {page}")
    except Exception as error:  # a report that fails must not lose a run; the record and the weights are written
        logger.exception("the report could not be written")
        record.warnings.append(f"the report could not be written: {error}")
        run.write_record()
    run.say(summary_table(record))
    run.say(f"model: {run.folder.model}")


# Small things -------------------------------------------------------------------------------------------------


@contextmanager
def _process_zero_first(comm: Comm) -> Iterator[None]:
    """Process 0 downloads and fills caches, the others read them afterwards."""
    if comm.rank != 0:
        comm.barrier()
    yield
    if comm.rank == 0:
        comm.barrier()


def _silent(line: Any) -> None:
    """Only process 0 speaks."""
