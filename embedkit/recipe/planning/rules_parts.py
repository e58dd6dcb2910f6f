"""Rules about what stands beside the objective: views, guide, auxiliary losses."""

from __future__ import annotations

from collections.abc import Iterator

from embedkit.recipe.objectives.base import asks_guide, leaves
from embedkit.recipe.objectives.wrappers import Nothing
from embedkit.recipe.planning.context import Context, objective_path, problem
from embedkit.recipe.reading.problems import Problem


def guide_is_given(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        if asks_guide(source.objective) and c.recipe.guide is None:
            asking = [leaf.name for leaf in leaves(source.objective) if leaf.needs_guide] or [source.objective.name]
            what = f"objective {asking[0]} asks a guide, and the recipe has none"
            yield problem(objective_path(source), what, "add `guide: {model: FOLDER_OR_ID}`")


def something_trains(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        if isinstance(source.objective, Nothing) and not c.recipe.auxiliary:
            what = f"objective none of {source.name} leaves nothing to train on"
            yield problem(objective_path(source), what, "add an entry to `auxiliary`, e.g. {name: mlm}")


def text_has_a_positive(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        wanted = any("positive" in leaf.roles() for leaf in leaves(source.objective))
        if source.unlabelled and c.recipe.views.count == 1 and wanted:
            what = f"one view of a text has no positive, and objective {source.objective.name} needs one"
            yield problem(("views", "count"), what, "set it to 2")


def guide_is_asked(c: Context) -> Iterator[Problem]:
    every = [leaf for s in c.sources for leaf in leaves(s.objective)]
    known = all(leaf.__module__.startswith("embedkit.") for leaf in every)
    if c.recipe.guide is not None and known and not any(asks_guide(s.objective) for s in c.sources):
        yield problem(("guide",), "no objective asks the guide, which costs a pass over every text", "remove it")


def language_model_is_trained(c: Context) -> Iterator[Problem]:
    if c.recipe.eval.masked_lm is not None and not any(a.name in ("mlm", "mntp") for a in c.recipe.auxiliary):
        what = "masked-LM loss is measured with auxiliary mlm, and the recipe has none"
        yield problem(("eval", "masked_lm"), what, "add `{name: mlm}` to auxiliary, or remove eval.masked_lm")


def next_tokens_of_a_causal_model(c: Context) -> Iterator[Problem]:
    if any(a.name == "mntp" for a in c.recipe.auxiliary) and not c.recipe.model.bidirectional:
        saved = None if c.saved is None else c.saved.config.get("is_causal")
        if saved is not False:
            what = "mntp teaches a causal language model to read in both directions, and its mask stays on"
            yield problem(("model", "bidirectional"), what, "set it to true, or use auxiliary mlm for an encoder")


def damaged_for_denoising(c: Context) -> Iterator[Problem]:
    if any(a.name == "tsdae" for a in c.recipe.auxiliary) and not any(c.recipe.views.transforms):
        what = "auxiliary tsdae rebuilds damaged texts, and no view damages them"
        yield problem(("views", "transforms"), what, "use `transforms: [[{name: delete_words, rate: 0.6}]]`")


def auxiliaries_have_their_rows(c: Context) -> Iterator[Problem]:
    if c.recipe.train.encode_once and c.recipe.auxiliary:
        what = f"auxiliary {c.recipe.auxiliary[0].name} reads every row of a batch, and equal texts would have one"
        yield problem(("train", "encode_once"), what, "leave it out, or remove the auxiliary losses")


REFUSALS = [
    auxiliaries_have_their_rows,
    language_model_is_trained,
    next_tokens_of_a_causal_model,
    guide_is_given,
    something_trains,
    text_has_a_positive,
]
WARNINGS = [damaged_for_denoising, guide_is_asked]
