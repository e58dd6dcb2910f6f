"""``embedkit check``: the plan of a recipe, before anything is downloaded or trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from embedkit.cli.console import console, go_offline, say_plan
from embedkit.cli.options import AsJson, Offline, Overrides, Processes, Recipe
from embedkit.disk import paths
from embedkit.errors import about
from embedkit.foreign.showing import shown

if TYPE_CHECKING:
    from embedkit.cli.sample import Sampled
    from embedkit.recipe.load import Loaded, LoadedStages
    from embedkit.recipe.plan import Plan
    from embedkit.recipe.schema import Recipe as RecipeBlock
    from embedkit.recipe.suite import Suite


def check(
    recipe: Recipe,
    overrides: Overrides = None,
    sample: Annotated[
        int, typer.Option("--sample", min=0, metavar="N", help="Also read the first N rows of every source.")
    ] = 0,
    nproc: Processes = 1,
    offline: Offline = False,
    json: AsJson = False,
) -> None:
    """Print what a recipe would do: texts per step, negatives, memory, updates. Refuse what cannot work.

    Without --sample nothing is downloaded and no model is loaded.

    With it, lengths in tokens, truncation, duplicates and bad rows are shown.

    \b
      embedkit check unsup/simcse
      embedkit check my.yaml train.batch_size=256 objective.temperature=0.02
      embedkit check my.yaml --sample 1000 --nproc 4
    """
    go_offline(offline)
    from embedkit.foreign.showing import as_json
    from embedkit.recipe.load import LoadedStages, load_any

    loaded = load_any(recipe, overrides or ())
    if isinstance(loaded, LoadedStages):
        _check_stages(loaded, sample, nproc, json)
    else:
        made, suite = _planned(loaded, sample, nproc)
        if json:
            typer.echo(as_json(_plain(loaded, made)))
        else:
            _say(loaded, made, suite)
        made.refuse()
    if not json:
        console().print("[green]nothing speaks against it[/green]")


def _check_stages(loaded: LoadedStages, sample: int, nproc: int, json: bool) -> None:
    """Every stage as a recipe of its own.

    Raises:
        RecipeError: one of them cannot work; all before it are shown.
    """
    from embedkit.foreign.showing import as_json
    from embedkit.recipe.reading.dump import stages_hash
    from embedkit.recipe.reading.stages import naming

    plans: list[dict[str, object]] = []
    count, hashed = len(loaded.parts), stages_hash(loaded.staged)
    if not json:
        say_plan([f"{'recipe':<13}{shown(loaded.path)}, {count} stages, hash {hashed}"])
    for number, (step, part) in enumerate(zip(loaded.staged.steps, loaded.parts, strict=True), 1):
        before = None if step.begins is None or step.merge is not None else loaded.staged.steps[step.begins].name
        goes_on = "" if before is None else f", from the model of {before}"
        if not json:
            console().print(f"\n[bold]stage {number} of {count}: {step.name}[/]{goes_on}")
        if step.merge is not None:
            plans.append({"name": step.name, "merge": step.merge.model_dump(mode="json")})
            if not json:
                console().print(f"merges {', '.join(step.merge.of)} ({step.merge.method})")
            continue
        made, suite = _planned(part, sample, nproc)
        plans.append({"name": step.name, **_plain(part, made)})
        if not json:
            _say(part, made, suite)
        with naming(step.name):
            made.refuse()
    if json:
        typer.echo(as_json({"recipe": str(loaded.path), "hash": hashed, "stages": plans}))


def _planned(loaded: Loaded, sample: int, nproc: int) -> tuple[Plan, Suite | None]:
    """The plan of one recipe, and its suite where its files are there."""
    from embedkit.disk.model_files import inside, read_saved
    from embedkit.recipe.plan import plan
    from embedkit.recipe.planning.facts import folder_facts

    _look_over(loaded.recipe)
    sampled = _sampled(loaded, sample) if sample else None
    found = _model_folder(loaded)
    suite = _suite(loaded)
    made = plan(
        loaded.recipe,
        processes=nproc,
        model_config=folder_facts(found) if found is not None else None,
        saved=read_saved(inside(found)) if found is not None else None,
        contents=sampled.contents if sampled else None,
        tokens_per_row=sampled.tokens if sampled else None,
        suite=suite,
        where=loaded.where,
    )
    return made, suite


def _say(loaded: Loaded, made: Plan, suite: Suite | None) -> None:
    """The plan in words."""
    from embedkit.recipe.load import recipe_hash
    from embedkit.recipe.planning.words import facts, warnings

    head = f"{'recipe':<13}{shown(loaded.path)}, hash {recipe_hash(loaded.recipe)}"
    cost = _cost(loaded, suite) if suite is not None else []
    say_plan([head, *facts(made), *cost, *_publishing(loaded), *warnings(made)])


def _plain(loaded: Loaded, made: Plan) -> dict[str, object]:
    """The plan as plain data: its numbers, what speaks against it, and warnings with their cures."""
    from dataclasses import asdict

    from embedkit.recipe.load import recipe_hash

    plan = asdict(made)
    refusals = [{"what": p.what, "where": p.where, "cure": p.cure} for p in made.refusals]
    refusals += [{"what": e.what, "where": e.where, "cure": e.cure} for e in made.unreadable]
    warned = [{"what": w.what, "where": w.where, "cure": w.cure} for w in made.warnings]
    head = {"recipe": str(loaded.path), "hash": recipe_hash(loaded.recipe), "good": not refusals}
    kept = {key: value for key, value in plan.items() if key not in ("refusals", "warnings", "unreadable")}
    return {**head, "refusals": refusals, "warnings": warned, "plan": kept}


def _publishing(loaded: Loaded) -> list[str]:
    from embedkit.recipe.hand_over import in_words

    asked = loaded.recipe.publish
    return [] if asked is None else [f"{'publish':<13}{in_words(asked)}"]


def _look_over(recipe: RecipeBlock) -> None:
    """Damage that shows in local folders of models without loading them; a few milliseconds each."""
    from embedkit.disk.model_files import inside
    from embedkit.model.checking.folder import look_over

    for key, name, trust, weights in _models(recipe):
        folder = paths.folder(name)
        if folder is not None:
            with about(key, "model.base"):
                look_over(inside(folder), trust=trust, weights=weights)


def _models(recipe: RecipeBlock) -> Iterator[tuple[str, str, bool, bool]]:
    """Every model that a recipe names: its key, its name, whether its code is trusted and its weights are needed."""
    from embedkit.recipe.base import Leads

    model, guide = recipe.model, recipe.guide
    yield "model.base", model.base, model.trust_remote_code, not model.from_scratch
    if guide is not None:
        yield "guide.model", guide.model, guide.trust_remote_code, True
    for index, source in enumerate(recipe.data.sources):
        if source.debias is not None and source.debias.guide is not None:
            yield f"data.sources[{index}].debias.guide", source.debias.guide, False, True
    for auxiliary in recipe.auxiliary:
        for key, field in type(auxiliary).model_fields.items():
            if Leads("folder") in field.metadata:
                yield f"auxiliary.{auxiliary.name}.{key}", getattr(auxiliary, key), False, True


def _model_folder(loaded: Loaded) -> Path | None:
    from embedkit.model.reading.resolve import local_copy

    model = loaded.recipe.model
    return local_copy(model.base, model.revision)


def _sampled(loaded: Loaded, count: int) -> Sampled:
    from embedkit.cli.sample import Sampler

    return Sampler(loaded, count).run()


def _suite(loaded: Loaded) -> Suite | None:
    """The suite that is measured most often, with its files; None where there is none or its files are missing."""
    block = loaded.recipe.eval
    reference = (block.during or block.suite) if block.every is not None else block.suite
    if reference is None:
        return None
    from embedkit.errors import DataError
    from embedkit.evaluation.suite import load_suite
    from embedkit.recipe.planning.words import indented

    try:
        return load_suite(reference, block.data)
    except DataError as error:
        say_plan(indented("warning", f"{shown(loaded.where(('eval', 'suite')))}: {error}"))
        return None


def _cost(loaded: Loaded, suite: Suite) -> list[str]:
    """Texts and tokens of one evaluation, task by task."""
    from embedkit.evaluation.cost import estimate

    lines = []
    for cost in estimate(suite, loaded.recipe.model.max_length):
        if cost.texts is None:
            lines.append(f"{'':<13}{shown(cost.task)}: size unknown until it is built")
        else:
            lines.append(f"{'':<13}{shown(cost.task)}: {cost.texts:,} texts, about {cost.tokens or 0:,} tokens")
    return lines
