"""Rules about objectives, weighting and negatives."""

from __future__ import annotations

from collections.abc import Iterator

from embedkit.recipe.objectives.anchors import LabelAnchors
from embedkit.recipe.objectives.base import ObjectiveConfig, leaves, needs
from embedkit.recipe.objectives.cacr import CACR
from embedkit.recipe.objectives.contrastive import InfoNCE
from embedkit.recipe.objectives.debiased import Debiased
from embedkit.recipe.objectives.mixing import MixedNegatives, MoCHi
from embedkit.recipe.objectives.penalty import CLP
from embedkit.recipe.objectives.pull import CosinePull
from embedkit.recipe.objectives.storm import STORM
from embedkit.recipe.objectives.wrappers import Matryoshka
from embedkit.recipe.planning.context import Context, objective_path, problem
from embedkit.recipe.planning.facts import SourceFacts
from embedkit.recipe.pool import seen
from embedkit.recipe.reading.problems import Problem
from embedkit.recipe.weighting import Hardness

NARROW = 0.5
"""A gap in cosines that many pairs of a trained encoder have between a positive and its negatives."""


def _infonce(c: Context) -> Iterator[tuple[SourceFacts, InfoNCE]]:
    for source in c.sources:
        for leaf in leaves(source.objective):
            if isinstance(leaf, InfoNCE):
                yield source, leaf


def queries_see_negatives(c: Context) -> Iterator[Problem]:
    for source, leaf in _infonce(c):
        p, m = c.slots(source)
        for softmax in seen(leaf, c.pool, p, m):
            if softmax.total == 0 and source.gives("negative") is not None:
                shared = "" if c.recipe.negatives.across_processes else " on each process"
                what = (
                    f"a {softmax.anchor} of {source.name} sees no negatives: {c.pool} example(s) in the pool{shared}, "
                )
                what += f"{m} explicit negatives per query, in_batch_negatives {str(leaf.in_batch_negatives).lower()}"
                cure = "raise train.batch_size, set in_batch_negatives: true, or give a negative column"
                yield problem(objective_path(source), what, cure)


def negatives_not_switched_off(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        if "negative" in needs(source.objective) and c.recipe.negatives.per_query == 0:
            what = f"objective {source.objective.name} needs explicit negatives"
            yield problem(("negatives", "per_query"), what, "leave it out, or set it to 1 or more")


def positives_are_enough(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        taken = c.slots(source)[0]
        known = source.unlabelled or c.recipe.data.one_positive != "all" or source.positives is not None
        for leaf in leaves(source.objective):
            if known and 0 < taken < leaf.least:
                what = f"objective {leaf.name} needs {leaf.least} positives or more per row, and a step takes {taken}"
                cure = f"set views.count to {leaf.least + 1} or more"
                if not source.unlabelled:
                    cure = "name several columns in roles.positive, or one of lists, and set data.one_positive: all"
                yield problem(objective_path(source), what, cure)


def negatives_have_a_place(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        taken = c.slots(source)[1]
        for leaf in leaves(source.objective):
            if taken and not leaf.explicit:
                what = f"objective {leaf.name} has no place for explicit negatives, and a step takes {taken} per row"
                yield problem(("negatives", "per_query"), what, "set it to 0")


def mixing_has_two_negatives(c: Context) -> Iterator[Problem]:
    for source, leaf in _infonce(c):
        if isinstance(leaf, MixedNegatives) and 0 < c.slots(source)[1] < 2:
            what = f"objective {leaf.name} mixes two or more hard negatives of a row, and a step takes 1 per query"
            yield problem(("negatives", "per_query"), what, "set it to 2 or more")


def penalty_has_negatives_in_twos(c: Context) -> Iterator[Problem]:
    for source, leaf in _infonce(c):
        taken, given = c.slots(source)[1], source.negatives
        if isinstance(leaf, CLP) and (taken % 2 or (given is not None and 0 < taken < given)):
            what = f"objective {leaf.name} takes negatives in twos, a text and its query; a step takes {taken} per row"
            what += f" of {given}, at random" if given is not None and taken < given else ""
            yield problem(("negatives", "per_query"), what, "set it to the length of the list, an even number")


def mixing_has_a_choice(c: Context) -> Iterator[Problem]:
    """The hardest of a batch are few of it: measured with 32 in batches of 16, MoCHi lost to InfoNCE."""
    for source, leaf in _infonce(c):
        if not isinstance(leaf, MoCHi):
            continue
        (softmax,) = seen(leaf.model_copy(update={"directions": ("q-d",)}), c.pool, *c.slots(source))
        sees = softmax.total
        fewer = min(c.pool, sees)
        if leaf.hardest >= fewer > 0:
            what = f"mochi mixes the {leaf.hardest} hardest negatives, and a query of {source.name} sees {sees} "
            what += f"in a pool of {c.pool} examples: unknown matches are among them, and are made harder still"
            below = f"set it below {fewer}, or " if fewer > 1 else ""
            cure = f"{below}give a query more negatives (train.batch_size, negatives.per_query), or take infonce"
            yield problem((*objective_path(source), "hardest"), what, cure)


def hard_negative_weight_has_negatives(c: Context) -> Iterator[Problem]:
    for source, leaf in _infonce(c):
        if leaf.hard_negative_weight and c.slots(source)[1] == 0 and source.gives("negative") is False:
            what = f"{source.name} gives no explicit negatives for it to act on"
            path = (*objective_path(source), "hard_negative_weight")
            yield problem(path, what, "set it to 0, or name a column in roles.negative")


def views_have_a_choice(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        for leaf in leaves(source.objective):
            if isinstance(leaf, CACR) and c.slots(source)[0] == 1:
                what = "with one positive its weight is 1, and the attraction is the mean squared distance"
                yield problem(objective_path(source), what, "set views.count to 3 or more, or give more positives")


def weighting_applies(c: Context) -> Iterator[Problem]:
    if not c.recipe.weighting:
        return
    names = ", ".join(w.name for w in c.recipe.weighting)
    for source in c.sources:
        if not any(leaf.reweightable for leaf in leaves(source.objective)):
            what = f"{names} cannot reweight objective {source.objective.name} of {source.name}"
            yield problem(("weighting",), what, "remove the weighting, or use an objective with a softmax (infonce)")


def hardness_has_negatives(c: Context) -> Iterator[Problem]:
    for index, piece in enumerate(c.recipe.weighting):
        if isinstance(piece, Hardness) and piece.on == "own" and all(s.gives("negative") is False for s in c.sources):
            what = "acts on explicit negatives, and no source gives any"
            yield problem(("weighting", index), what, "set `on: all`, or name a column in roles.negative")


def matryoshka_fits(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        for inner in _matryoshkas(source.objective):
            if c.model is not None and c.recipe.model.head is None and max(inner.dims) > c.model.dim:
                what = f"matryoshka dim {max(inner.dims)} is larger than the model's {c.model.dim}"
                yield problem(objective_path(source), what, f"use dims up to {c.model.dim}")


def matryoshka_not_on_a_dropped_head(c: Context) -> Iterator[Problem]:
    head = c.recipe.model.head
    for source in c.sources:
        if head is not None and not head.keep and next(_matryoshkas(source.objective), None) is not None:
            what = "matryoshka orders the output of the head, which is dropped after training"
            yield problem(("model", "head", "keep"), what, "set keep: true, or remove the head")


def parameters_have_one_size(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        for wrapper in _matryoshkas(source.objective):
            for leaf in leaves(wrapper):
                if leaf.sized:
                    what = f"{leaf.name} has parameters of the embedding's size, and {wrapper.name} cuts embeddings"
                    yield problem(objective_path(source), what, f"take {leaf.name} out of {wrapper.name}")


def rows_have_losses(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        for leaf in leaves(source.objective):
            if isinstance(leaf, STORM):
                inner, why = leaf.objective, ""
                if inner.inner() or isinstance(inner, STORM):
                    why = "is made of several objectives"
                elif inner.scope != "row":
                    why = "has one loss over the whole batch"
                elif inner.remembers:
                    why = "remembers one batch after the other, and storm shows it halves"
                if why:
                    what = f"storm weighs rows by their losses, and {inner.name} {why}"
                    yield problem(objective_path(source), what, "take infonce, or another with one loss per row")


def pull_has_a_counterpart(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        if not c.recipe.auxiliary and all(isinstance(leaf, CosinePull) for leaf in leaves(source.objective)):
            what = "cosine_pull alone draws all texts into one point"
            cure = "put it beside another term: {name: sum, terms: [{objective: supcon}, {objective: cosine_pull}]}"
            yield problem(objective_path(source), what, cure)


def anchors_have_angles(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        texts = None if source.config.label_texts is None else source.config.label_texts.texts
        for leaf in leaves(source.objective):
            if isinstance(leaf, LabelAnchors) and leaf.angle_weight and texts is not None and len(texts) < 3:
                what = f"{source.name} has {len(texts)} label texts, and the angle of two is always the same"
                yield problem((*objective_path(source), "angle_weight"), what, "set it to 0")


def anchors_are_label_texts(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        if source.config.label_texts is None and any(isinstance(o, LabelAnchors) for o in leaves(source.objective)):
            what = f"label_anchors contrasts the texts of labels, and {source.name} makes none"
            yield problem(
                objective_path(source), what, "let it make them: `label_texts: {template: ...}` of the source"
            )


def temperature_fits_dot(c: Context) -> Iterator[Problem]:
    for source, leaf in _infonce(c):
        if leaf.similarity == "dot" and leaf.temperature < 1 and c.recipe.model.normalize is not True:
            what = f"dot products of unnormalised embeddings divided by {leaf.temperature:g} saturate the softmax"
            yield problem((*objective_path(source), "similarity"), what, "use cos, or a temperature of 1 or more")


def debiased_does_not_saturate(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        for leaf in leaves(source.objective):
            if isinstance(leaf, Debiased) and leaf.gap < NARROW:
                what = f"tau_plus {leaf.tau_plus:g} at temperature {leaf.temperature:g}: negatives get no gradient "
                what += f"where the positive's cosine is more than {leaf.gap:.2g} above theirs (metric `saturated`)"
                cure = "raise the temperature, or set tau_plus: 0"
                yield problem((*objective_path(source), "tau_plus"), what, cure)


def learning_rate_has_parameters(c: Context) -> Iterator[Problem]:
    learned = any(leaf.learns for s in c.sources for leaf in leaves(s.objective))
    built_in = all(leaf.__module__.startswith("embedkit.") for s in c.sources for leaf in leaves(s.objective))
    if c.recipe.train.objective_learning_rate is not None and built_in and not learned:
        what = "the objective has no parameters of its own"
        yield problem(("train", "objective_learning_rate"), what, "remove it, or set learn_temperature: true")


def batch_scope_ignores_blocks(c: Context) -> Iterator[Problem]:
    scopes = {leaf.scope for s in c.sources for leaf in leaves(s.objective)}
    if c.recipe.train.rows_per_block is not None and scopes == {"batch"}:
        yield problem(
            ("train", "rows_per_block"), "objectives over the whole batch are not cut into blocks", "remove it"
        )


def _matryoshkas(config: ObjectiveConfig) -> Iterator[Matryoshka]:
    if isinstance(config, Matryoshka):
        yield config
    for inner in config.inner():
        yield from _matryoshkas(inner)


REFUSALS = [
    queries_see_negatives,
    negatives_not_switched_off,
    negatives_have_a_place,
    positives_are_enough,
    mixing_has_two_negatives,
    penalty_has_negatives_in_twos,
    hard_negative_weight_has_negatives,
    weighting_applies,
    hardness_has_negatives,
    matryoshka_fits,
    parameters_have_one_size,
    rows_have_losses,
    pull_has_a_counterpart,
    anchors_have_angles,
    matryoshka_not_on_a_dropped_head,
]
WARNINGS = [
    anchors_are_label_texts,
    mixing_has_a_choice,
    views_have_a_choice,
    temperature_fits_dot,
    debiased_does_not_saturate,
    learning_rate_has_parameters,
    batch_scope_ignores_blocks,
]
