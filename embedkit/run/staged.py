"""A recipe with `stages`: its runs one after the other, and the folder that holds them as one run.

RUN/stages/1-NAME, 2-NAME ... are ordinary run folders, finished ones are never run again. RUN has the last model, the
scores before the first stage and after the last, a record and a report of the whole.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

from embedkit.disk import files, paths
from embedkit.disk.folders import RunFolder
from embedkit.disk.locks import hold_folder
from embedkit.errors import RecipeError, RecordError, TrainingError
from embedkit.evaluation import suite as suites
from embedkit.foreign.redacting import PLACEHOLDER, redact
from embedkit.model.running.encoder import Encoder, pick_device
from embedkit.publish import stages
from embedkit.publish.facts import ModelFacts
from embedkit.publish.probes import TEXTS, Probes, embed, hashes
from embedkit.publish.report import summary_table
from embedkit.recipe.load import recipe_hash
from embedkit.recipe.reading.dump import dump_stages, stages_hash
from embedkit.recipe.schema import Model, Recipe, Source
from embedkit.recipe.stages import START, Staged, Step, going_on
from embedkit.run import energy, finish, merging, publishing, start
from embedkit.run.environment import now, quiet_libraries, versions
from embedkit.run.measuring import Measuring
from embedkit.run.single import train_one
from embedkit.run.state import Say
from embedkit.train.distributed import join
from embedkit.types import RunRecord, Scores


def train_stages(
    staged: Staged, out: str | Path, *, resume: bool = False, say: Say, progress: bool = True
) -> RunRecord:
    """Train every stage, each from the model of the one before, and write them as one run.

    Args:
        staged: the stages, their paths settled.
        out: the run's folder.
        resume: go on where an earlier start stopped: in the middle of a stage, or with the next one.
        say: receives lines and tables (process 0 only).
        progress: show progress bars and forecasts.

    Returns:
        The record of the whole, also written as ``run.json``.

    Raises:
        As `embedkit.run.train`.
    """
    quiet_libraries()
    folder = RunFolder(Path(out).resolve())
    comm = join(pick_device(staged.steps[0].recipe.train.device).type)
    said = say if comm.rank == 0 else start.silent
    places = [RunFolder(folder.stages / staged.folder(i)) for i in range(len(staged.steps))]
    recipes = [_recipe(staged, i, places) for i in range(len(staged.steps))]
    last = staged.steps[-1].recipe
    with ExitStack() as held:
        if comm.rank == 0:
            held.enter_context(hold_folder(folder.root, "training in stages"))
            for step, recipe, place in zip(staged.steps, recipes, places, strict=True):
                _refuse_other(step, recipe, place)
            files.sweep(folder.root)
            files.write_text(folder.recipe, dump_stages(staged))
            publishing.ready(last.publish, folder.root, said)
        comm.barrier()
        done = [_finished(place) for place in places]
        comm.barrier()
        for i, (step, recipe, place) in enumerate(zip(staged.steps, recipes, places, strict=True)):
            said(f"stage {i + 1} of {len(places)}: {step.name}{', which is finished' if done[i] else ''}")
            if done[i]:
                continue
            if step.merge is None:
                again = resume and place.recipe.is_file()
                train_one(recipe, place.root, resume=again, recipe_path=None, say=said, progress=progress)
            elif comm.rank == 0:
                _merge(staged, i, places, recipe, said, progress)
            comm.barrier()
        record = _record(staged, places)
        if comm.rank == 0:
            _finish(staged, folder, places, record, said)
            publishing.step(last.publish, folder, record, last.train.device, said)
        comm.barrier()
    return record


def _refuse_other(step: Step, recipe: Recipe, place: RunFolder) -> None:
    """Refuse a folder in which this stage was another one.

    Raises:
        TrainingError: with the differences where it is a training.
    """
    if step.merge is None:
        start.refuse_other(recipe, place)
    elif place.trained and place.recipe.read_text(encoding="utf-8", errors="replace") != _merging(step, recipe):
        cure = "resume with the run's own recipe and overrides, or choose another --out"
        raise TrainingError("this folder holds a stage that merged otherwise", str(place.recipe), cure)


def _merging(step: Step, recipe: Recipe) -> str:
    """What the folder of a merge says that it is."""
    return dump_stages(Staged((replace(step, recipe=recipe, begins=None),)))


def _recipe(staged: Staged, number: int, places: list[RunFolder]) -> Recipe:
    """The recipe of a stage's own run: where it begins with an earlier stage, its base is that one's folder as its own
    folder sees it, and what that one was measured at is not measured again. Likewise for the models of earlier stages
    that its batches are clustered by."""
    recipe = _clustered_by(staged, number, places)
    begins = staged.steps[number].begins
    if begins is not None:
        recipe = _from_stage(recipe, places[begins], places[number])
        if recipe.eval.suite == staged.steps[begins].recipe.eval.suite:
            recipe = recipe.model_copy(update={"eval": recipe.eval.model_copy(update={"before": False})})
    return recipe.model_copy(update={"publish": None})


def _from_stage(recipe: Recipe, earlier: RunFolder, place: RunFolder) -> Recipe:
    """The recipe with the model of an earlier stage as its base, written as the stage's own folder sees it."""
    return going_on(recipe, _seen(earlier, place))


def _seen(earlier: RunFolder, place: RunFolder) -> paths.Located:
    """The model of an earlier stage, written as the stage's own folder sees it."""
    here, before = place.root, earlier.model
    return paths.Located(os.path.relpath(before, here), [before], [here])


def _clustered_by(staged: Staged, number: int, places: list[RunFolder]) -> Recipe:
    """The recipe of a stage with folders in place of the stages that `clusters.model` names.

    Raises:
        RecipeError: one of them is not trained by then.
    """
    recipe, names = staged.steps[number].recipe, [step.name for step in staged.steps]

    def found(name: str | None) -> str | None:
        if name == START:
            return staged.steps[0].recipe.model.base
        if name not in names:
            return name
        if names.index(name) >= number:
            what = f"stage {names[number]}: its batches are clustered by the model of {name}, which is not there then"
            raise RecipeError(what, "clusters.model", f"name earlier stages, or {START}")
        return _seen(places[names.index(name)], places[number])

    def settled(source: Source) -> Source:
        options = source.clusters
        if options is None or options.model is None:
            return source
        several = tuple(name for name in map(found, options.models) if name is not None)
        model = several if isinstance(options.model, tuple) else several[0]
        clusters = options.model_copy(update={"model": model})
        return source.model_copy(update={"clusters": clusters})

    data = recipe.data.model_copy(update={"sources": tuple(map(settled, recipe.data.sources))})
    return recipe.model_copy(update={"data": data})


def _finished(place: RunFolder) -> bool:
    record = place.read_record()
    return record is not None and bool(record.finished) and not record.failed and place.model.is_dir()


def _merge(staged: Staged, number: int, places: list[RunFolder], recipe: Recipe, say: Say, progress: bool) -> None:
    """A stage that averages models: written, measured and recorded as a run's model is."""
    step, place = staged.steps[number], places[number]
    assert step.merge is not None
    record = RunRecord(recipe_hash(recipe), redact(recipe.model_dump(mode="json"), PLACEHOLDER), seed=recipe.train.seed)
    record.started, record.versions, record.updates = now(), versions(), 0
    start_model = _begun_with(staged)
    models = [start_model if name == START else str(places[staged.number(name)].model) for name in step.merge.of]
    with hold_folder(place.root, "merging"):
        files.write_text(place.recipe, _merging(step, recipe))
        if not place.model.is_dir():
            merging.merge(models, place.model, weights=step.merge.weights, method=step.merge.method, say=start.silent)
        shares = step.merge.weights or [1.0] * len(models)
        parts = [f"{share / sum(shares):.2f} x {name}" for share, name in zip(shares, step.merge.of, strict=True)]
        say(f"merged {', '.join(parts)}")
        encoder = Encoder.load(Model(base=str(place.model)))
        record.model = ModelFacts.of_encoder(encoder).plain()
        Probes(TEXTS, embed(encoder), hashes(place.model)).write(place.probes)
        if recipe.eval.suite is not None:
            measured = Measuring(recipe).score(
                encoder, recipe.eval.suite, f"{step.name}, merged", recipe.eval.resamples, progress
            )
            suites.write_scores(measured, place.scores("after"))
            record.scores_after = suites.plain(measured)
        record.finished = now()
        place.write_record(record)


def _begun_with(staged: Staged) -> Model:
    """What the first stage read, without what only training adds to it."""
    nothing = {"head": None, "lora": None, "soft_prompts": None, "freeze": (), "dropout": None, "towers": 1}
    return staged.steps[0].recipe.model.model_copy(update=nothing)


def _record(staged: Staged, places: list[RunFolder]) -> RunRecord:
    """One record of all stages: what each did one after the other, and the scores at both ends."""
    records = [_read(place) for place in places]
    recipe = staged.steps[-1].recipe
    plain = redact(recipe.model_dump(mode="json"), PLACEHOLDER)
    whole = RunRecord(stages_hash(staged), plain, seed=staged.steps[0].recipe.train.seed)
    whole.started, whole.finished, whole.versions = records[0].started, now(), records[-1].versions
    whole.model = records[-1].model | {
        key: records[0].model[key]
        for key in ("base", "base_revision", "license", "languages")
        if key in records[0].model
    }
    whole.plan = next((r.plan for r in reversed(records) if r.plan), {})
    updates = 0
    for i, (step, place, record) in enumerate(zip(staged.steps, places, records, strict=True)):
        whole.curve += [line | {"step": line["step"] + updates} for line in record.curve if "step" in line]
        whole.evaluations += [line | {"step": line["step"] + updates} for line in record.evaluations if "step" in line]
        whole.mining += record.mining
        whole.data += [source for source in record.data if source not in whole.data]
        whole.warnings += [f"stage {step.name}: {text}" for text in record.warnings]
        seconds = _seconds(record)
        whole.timings[f"{i + 1} {step.name}"] = seconds
        updates += record.updates or 0
        whole.stages.append(
            {
                "name": step.name,
                "folder": f"stages/{place.root.name}",
                "kind": "train" if step.merge is None else "merge",
                "updates": record.updates or 0,
                "seconds": seconds,
                "after": record.scores_after,
            }
        )
    whole.updates = updates
    trained = [record for step, record in zip(staged.steps, records, strict=True) if step.merge is None]
    whole.energy = energy.together([record.energy for record in trained])
    return whole


def _read(place: RunFolder) -> RunRecord:
    record = place.read_record()
    if record is None:
        raise RecordError("the stage left no record", str(place.root), "train again with --resume")
    return record


def _seconds(record: RunRecord) -> float:
    if record.timings:
        return round(sum(record.timings.values()), 3)
    return (datetime.fromisoformat(record.finished) - datetime.fromisoformat(record.started)).total_seconds()


def _finish(staged: Staged, folder: RunFolder, places: list[RunFolder], record: RunRecord, say: Say) -> None:
    """The last model, the scores at both ends, record, report and card in the run's own folder."""
    with files.writing(folder.root, "every stage is whole: go on with --resume"):
        shutil.rmtree(folder.unfinished_model, ignore_errors=True)
        shutil.copytree(places[-1].model, folder.unfinished_model)
        files.publish(folder.unfinished_model, folder.model)
        if places[-1].probes.is_file():
            files.write_bytes(folder.probes, places[-1].probes.read_bytes())
        before, after = (_kept(places[i], folder, when) for i, when in ((0, "before"), (-1, "after")))
    record.scores_before = suites.plain(before) if before else None
    record.scores_after = suites.plain(after) if after else None
    if before and after and [t.task for t in before.tasks] == [t.task for t in after.tasks]:
        compared = suites.compare(before, after, resamples=staged.steps[-1].recipe.eval.resamples)
        record.comparison = [asdict(c) for c in compared]
    folder.write_record(record)
    finish.write_report(folder, record, say)
    finish.write_card(folder, record, dump_stages(staged), say)
    say(stages.table(record))
    if before or after:
        say(summary_table(record))
    say(f"model: {folder.model}")


def _kept(place: RunFolder, folder: RunFolder, when: str) -> Scores | None:
    """The scores of a stage, copied to the run's own folder."""
    if not (place.scores(when) / suites.SCORES).is_file():
        return None
    found = suites.load_scores(place.scores(when))
    suites.write_scores(found, folder.scores(when))
    return found
