"""What a recipe will do, worked out before anything is downloaded: rows, negatives, memory, updates, refusals."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from embedkit.disk import paths
from embedkit.disk.model_files import Saved, inside, read_saved
from embedkit.recipe.memory import EncoderSize
from embedkit.recipe.objectives.base import leaves
from embedkit.recipe.planning import rules, rules_rationale, words
from embedkit.recipe.planning.contents import Contents
from embedkit.recipe.planning.context import Context
from embedkit.recipe.planning.estimate import estimate
from embedkit.recipe.planning.evaluations import evaluations
from embedkit.recipe.planning.facts import ROLES, SourceFacts, model_facts, source_facts
from embedkit.recipe.planning.result import Planned, SourcePlan
from embedkit.recipe.pool import contrasts, generated_share
from embedkit.recipe.reading.problems import Problem, raise_problems
from embedkit.recipe.reading.tree import KeyPath
from embedkit.recipe.schema import Recipe
from embedkit.recipe.suite import Suite
from embedkit.recipe.views import strength_words, strengthened, view_words


class Plan(Planned):
    """What a run will do. `lines` says it in words."""

    def refuse(self) -> None:
        """Raise a RecipeError that lists every refusal, else what keeps a file from being read; return if there is
        neither."""
        raise_problems(self.refusals)
        for error in self.unreadable:
            raise error

    def lines(self) -> list[str]:
        """The plan for a reader, warnings included; refusals are for `refuse`."""
        return words.lines(self)


def plan(
    recipe: Recipe,
    *,
    processes: int = 1,
    rows: Sequence[int | None] | None = None,
    model_config: Mapping[str, Any] | EncoderSize | None = None,
    contents: Sequence[Contents | None] | None = None,
    tokens_per_row: float | None = None,
    suite: Suite | None = None,
    where: Callable[[KeyPath], str] | None = None,
    environ: Mapping[str, str] | None = None,
    saved: Saved | None = None,
    batches: Sequence[int | None] | None = None,
) -> Plan:
    """Work out the plan of a recipe. Reads headers and counts lines of local files; downloads and loads nothing.

    Args:
        recipe: the recipe.
        processes: how many will train.
        rows: rows per source where they are known; None counts local files.
        model_config: the model's ``config.json`` or sizes; None reads them if `model.base` is a local folder.
        contents: what the rows of each source hold, where they were read.
        tokens_per_row: mean length of the texts, if measured; else the maximum length stands for it.
        suite: the suite measured during training, if it was read; None takes one that is written in the recipe.
        where: ``file:line`` of a key path, for problems.
        environ: environment variables; None takes the real ones.
        saved: what the model's small files say; None reads them if `model.base` is a local folder.
        batches: full batches in an epoch of each source, where its clusters are known.
    """
    sources = tuple(source_facts(recipe, rows, contents))
    full = [_full(recipe, s, batches[s.index] if batches else None) for s in sources]
    model = model_config if isinstance(model_config, EncoderSize) else model_facts(recipe, _dict(model_config))
    written = recipe.eval.during or recipe.eval.suite
    context = Context(
        recipe,
        processes,
        sources,
        model,
        _updates(recipe, full),
        suite or (written if isinstance(written, Suite) else None),
        os.environ if environ is None else environ,
        _saved(recipe) if saved is None else saved,
    )

    def located(found: list[Problem]) -> tuple[Problem, ...]:
        return tuple(replace(p, where=where(p.path)) if where else p for p in found)

    generated, strength = _generated(recipe, full), recipe.views.strength
    views = recipe.views if generated is None else strengthened(recipe.views, generated)
    parts = tuple(_source(context, source, count) for source, count in zip(sources, full, strict=True))
    return Plan(
        model=recipe.model.base,
        processes=processes,
        batch_size=recipe.train.batch_size,
        accumulation=recipe.train.accumulation,
        encode_once=bool(recipe.train.encode_once),
        pool=context.pool,
        updates=context.updates,
        sources=parts,
        memory=estimate(context, tokens_per_row),
        views=view_words(views, recipe.model.dropout, recipe.model.towers),
        strength=None if strength is None else strength_words(strength, generated),
        pairing=recipe.views.negatives_per_positive if recipe.views.pairing == "tension" else None,
        auxiliary=(
            *(auxiliary.words() for auxiliary in recipe.auxiliary),
            *rules_rationale.written(recipe, (context.slots(source) for source in sources)),
        ),
        evaluation=evaluations(recipe, context.updates),
        refusals=located(rules.apply(rules.REFUSALS, context)),
        warnings=located(rules.apply(rules.WARNINGS, context)),
        unreadable=tuple(s.unreadable for s in sources if s.unreadable is not None),
    )


def _saved(recipe: Recipe) -> Saved | None:
    folder = paths.folder(recipe.model.base)
    return None if folder is None else read_saved(inside(folder))


def _dict(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if config is None else dict(config)


def _source(context: Context, source: SourceFacts, full: int | None) -> SourcePlan:
    p, m = context.slots(source)
    softmaxes = contrasts(source.objective, context.pool, p, m)
    batch = context.recipe.train.batch_size
    paired = context.recipe.model.kind == "reranker"
    return SourcePlan(
        name=source.name,
        roles=None if source.roles is None else tuple(r for r in ROLES if r in source.roles),
        declared=tuple(r for r in ROLES if r in source.config.roles),
        rows=source.rows,
        batches=full,
        objective=_objective_name(source),
        scope=tuple(dict.fromkeys(o.scope for o in leaves(source.objective))),
        positives=p,
        negatives=m,
        rows_per_step=batch * (p + m if paired else 1 + p + m),
        paired=paired,
        seen=tuple(vars(s) | {"total": s.total} for s in softmaxes),
        sees=tuple(_sees(context, source)),
        made=tuple(_made(context, source)),
        maker=next((key for key in _MAKERS if getattr(source.config, key) is not None), "mining"),
    )


_MAKERS = ("debias", "pairs", "label_texts", "score_split", "templates")
"""Blocks of a source that make its rows before training."""


def _made(context: Context, source: SourceFacts) -> list[str]:
    debias, mining = source.config.debias, context.recipe.mining
    found = [] if debias is None else debias.facts(context.recipe.model.base, source.rows)
    config = source.config
    for block in (config.templates, config.pairs, config.label_texts, config.score_split):
        found += [] if block is None else block.facts()
    return [*found, *(mining.facts() if mining is not None and source.mined else [])]


def _sees(context: Context, source: SourceFacts) -> Iterator[str]:
    """Of the objectives that say so in words."""
    for leaf in leaves(source.objective):
        if what := leaf.sees(context.pool, *context.slots(source)):
            yield f"{leaf.name} sees {what}"


def _objective_name(source: SourceFacts) -> str:
    inner = [leaf.name for leaf in leaves(source.objective)]
    name = source.objective.name
    return name if inner == [name] else f"{name}({', '.join(inner)})"


def _full(recipe: Recipe, source: SourceFacts, known: int | None) -> int | None:
    """Full batches in an epoch of a source; those by clusters are known once the rows are read."""
    clusters = source.config.clusters
    counted = clusters is None or (clusters.batches == "together" and clusters.rest == "mix")
    full = known if source.rows is None or not counted else source.rows // recipe.train.batch_size
    return full if full is None else full * (source.config.repeat or 1)


def _generated(recipe: Recipe, full: Sequence[int | None]) -> float | None:
    """Share of generated rows, as the batches of `StepSampler` have it; None where it is not known."""
    sources = recipe.data.sources
    weights = [source.weight for source in sources]
    known = [share for share in (full if None in weights else weights) if share is not None]
    if len(known) < len(sources) or not sum(known):
        return None
    return generated_share(known, [source.generated for source in sources])


def _updates(recipe: Recipe, full: Sequence[int | None]) -> int | None:
    """As `StepSampler` counts them: full batches of all sources, times epochs, over accumulation."""
    if recipe.train.steps is not None:
        return recipe.train.steps
    if None in full:
        return None
    return int(recipe.train.epochs * sum(f for f in full if f is not None) + 1e-9) // recipe.train.accumulation
