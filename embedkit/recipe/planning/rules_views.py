"""Rules about the views of unlabelled text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from embedkit.disk import paths
from embedkit.foreign.quoting import quoted
from embedkit.recipe.kinds import FewShotTask
from embedkit.recipe.objectives.base import leaves
from embedkit.recipe.planning.context import Context, objective_path, place, problem
from embedkit.recipe.reading.problems import Problem
from embedkit.recipe.suite import Suite
from embedkit.recipe.templates import plain
from embedkit.recipe.views import SubstituteWords, Template, TransformConfig, transforms_of, variant


def views_differ(c: Context) -> Iterator[Problem]:
    """Two views without anything random are the same; towers and pairs of different texts differ anyway."""
    views, dropout = c.recipe.views, c.recipe.model.dropout
    if views.pairing == "tension" or c.recipe.model.towers == 2 or not any(s.unlabelled for s in c.sources):
        return
    still = [view for view in range(views.count) if _is_still(transforms_of(views, view), dropout)]
    if len(still) < 2:
        return
    what = "the views of an unlabelled text differ by dropout only, and dropout is 0"
    path: tuple[str, ...] = ("model", "dropout")
    if views.transforms:
        what = f"views {', '.join(str(v + 1) for v in still)} are the same: no transform and no dropout"
        path = ("views", "transforms")
    yield problem(path, what, "give them dropout (model.dropout, or {name: dropout}) or a transform")


def _is_still(transforms: Sequence[TransformConfig], dropout: float | None) -> bool:
    """Whether a view comes out the same each time."""
    own = variant(transforms, 0, 1).dropout
    return all(t.level == "dropout" for t in transforms) and (dropout if own is None else own) == 0


def tension_has_its_objective(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        scored = any("score" in leaf.roles() for leaf in leaves(source.objective))
        if c.recipe.views.pairing == "tension" and source.unlabelled and not scored:
            what = f"pairing tension also pairs different texts, and objective {source.objective.name} does not "
            what += "look at scores: it would pull them together"
            yield problem(objective_path(source), what, "use objective: {name: contrastive_tension}")


def transforms_have_text(c: Context) -> Iterator[Problem]:
    known = all(s.roles is not None for s in c.sources)
    if c.recipe.views.transforms and known and not any(s.unlabelled for s in c.sources):
        what = "views are made of unlabelled text, and no source has the role text"
        yield problem(("views", "transforms"), what, "remove them, or name a column in roles.text")


def files_are_there(c: Context) -> Iterator[Problem]:
    for v, transforms in enumerate(c.recipe.views.transforms):
        for t, transform in enumerate(transforms):
            for key in ("synonyms", "file"):
                named = getattr(transform, key, None)
                if isinstance(transform, (SubstituteWords, Template)) and named and paths.file(named) is None:
                    yield problem(("views", "transforms", v, t, key), f"no such file: {named}", "check the path")


def demonstrations_have_labels(c: Context) -> Iterator[Problem]:
    """They are drawn from the labelled texts of the one source whose texts have views."""
    shown = [t for t in chain.from_iterable(c.recipe.views.transforms) if isinstance(t, Template) and t.demonstrations]
    sources = [s for s in c.sources if s.unlabelled]
    if not shown or not sources:
        return
    if len(sources) > 1:
        what = f"demonstrations are drawn from the source itself, and {len(sources)} sources have bare text"
        yield problem(("views", "transforms"), what, "keep one of them")
    elif sources[0].config.streaming:
        what = "demonstrations are drawn from all labelled texts, and a stream never has them"
        yield problem(place(sources[0], "streaming"), what, "remove streaming, or demonstrations")
    elif sources[0].gives("label") is False:
        what = f"demonstrations need labelled texts, and {sources[0].name} has no labels"
        yield problem(place(sources[0], "roles"), what, "name the columns: `roles: {text: COLUMN, label: COLUMN}`")


def held_out_templates_are_unseen(c: Context) -> Iterator[Problem]:
    """What training reads is not held out. Templates of files are not read here."""
    views = [t for t in chain.from_iterable(c.recipe.views.transforms) if isinstance(t, Template)]
    fixed = [s.config.templates for s in c.sources if s.config.templates is not None]
    given = [*(view.texts for view in views), *(block.texts for block in fixed)]
    known = {plain(text) for texts in given for text in texts or ()}
    for key in ("suite", "during"):
        suite = getattr(c.recipe.eval, key)
        tasks = enumerate(suite.tasks) if isinstance(suite, Suite) else ()
        for i, task in tasks:
            held_out = task.prompts.unseen if isinstance(task, FewShotTask) and task.prompts is not None else ()
            for template in held_out:
                if plain(template) in known:
                    what = f"template {quoted(template)} is held out, and training uses it"
                    yield problem(("eval", key, "tasks", i, "prompts", "unseen"), what, "remove it from one of the two")


def strength_has_a_mix(c: Context) -> Iterator[Problem]:
    """What follows the share of generated rows needs such rows, real ones beside them, and rates to act on."""
    path = ("views", "strength")
    marked = [bool(source.config.generated) for source in c.sources]
    if c.recipe.views.strength is None:
        return
    if all(marked) or not any(marked):
        what = "views are weaker the more of the mix is generated, and here all of it is"
        if not any(marked):
            what = "views are weaker the more of the mix is generated, and no source is marked as generated"
        yield problem(
            path, what, "mark the sources of generated rows, `generated: true`, beside real ones; or remove it"
        )
    if not any(t.has_rate for t in chain.from_iterable(c.recipe.views.transforms)):
        what = "no view has a transform with a rate, and the strength acts on rates alone"
        cure = "give the views some, e.g. `transforms: [[{name: dropout, rate: 0.1}], [{name: dropout, rate: 0.1}]]`"
        yield problem(path, what, cure)


def tension_is_as_published(c: Context) -> Iterator[Problem]:
    if c.recipe.views.pairing != "tension":
        return
    if c.recipe.model.towers == 1:
        what = "Contrastive Tension trains two models, and here one encodes both texts of a pair"
        yield problem(("model", "towers"), what, "set it to 2")
    if c.recipe.model.dropout != 0:
        yield problem(("model", "dropout"), "Contrastive Tension's authors train without dropout", "set it to 0")


def small_bases_fall(c: Context) -> Iterator[Problem]:
    """A base of 7.4 M weights fell under nine settings in 60 updates (methods/simcse.md), one of 22.7 M did not."""
    if c.model is None or c.model.parameters > SMALL or c.recipe.auxiliary or c.recipe.views.transforms:
        return
    for source in c.sources:
        if source.unlabelled and any(leaf.name in DROPOUT_CONTRASTS for leaf in leaves(source.objective)):
            what = "a contrast of dropout views took a base of 7.4 M weights down under all nine settings tried, and "
            what += f"this one has {c.model.parameters / 1e6:.1f} M"
            cure = "measure before and after; unsup/clear, unsup/contrastive-tension and `embedkit whiten` did better"
            yield problem(objective_path(source), what, cure)


SMALL = 15e6
"""Weights: between a base that dropout views lowered and one that they did not."""
DROPOUT_CONTRASTS = ("infonce", "dclr", "macl")
"""Those whose fall was measured."""
REFUSALS = [
    views_differ,
    tension_has_its_objective,
    transforms_have_text,
    files_are_there,
    demonstrations_have_labels,
    held_out_templates_are_unseen,
    strength_has_a_mix,
]
WARNINGS = [tension_is_as_published, small_bases_fall]
