"""Rules about rerankers: what of a recipe is about embeddings, and which objectives take scores of pairs."""

from __future__ import annotations

from collections.abc import Iterator

from embedkit.recipe.kinds import PairTask, RerankingTask
from embedkit.recipe.model import Model
from embedkit.recipe.objectives.base import ObjectiveConfig, leaves
from embedkit.recipe.objectives.candidates import CandidateConfig
from embedkit.recipe.objectives.wrappers import Sum
from embedkit.recipe.planning.context import Context, objective_path, problem
from embedkit.recipe.reading.problems import Problem
from embedkit.recipe.suite import RetrievalTask, StsTask
from embedkit.recipe.views import Views

OF_ENCODERS = (
    *("from_scratch", "pooling", "pooling_layer", "normalize", "prompts", "template", "include_prompt_in_pooling"),
    *("head", "lora", "soft_prompts", "bidirectional", "towers", "frozen_tower", "keep_tower", "rationale"),
)
"""Keys of `model` that a reranker has no use for."""
RANKING = (
    "bce, lce, listnet, ranknet, lambda_loss, margin_ranking, score_mse, margin_mse, kl, symmetric_kl, or their sum"
)
SHARP = 0.5
"""Cosines lie in -1..1: divided by more than this they leave a softmax nearly even."""


def _reranks(c: Context) -> bool:
    return c.recipe.model.kind == "reranker"


def model_is_a_reranker(c: Context) -> Iterator[Problem]:
    if not _reranks(c):
        return
    for key in OF_ENCODERS:
        if getattr(c.recipe.model, key) != Model.model_fields[key].get_default(call_default_factory=True):
            what = "is about embeddings or the making of an encoder, and a reranker reads query and document together"
            yield problem(("model", key), what, "leave it out")


def question_is_for_a_causal_model(c: Context) -> Iterator[Problem]:
    if c.recipe.model.question is None:
        return
    made_for = ((c.saved.config.get("architectures") if c.saved is not None else None) or [None])[0]
    if not _reranks(c):
        what = "is asked about a query and a document, which a reranker reads together"
        yield problem(("model", "question"), what, "set model.kind: reranker, or leave it out")
    elif made_for is not None and not str(made_for).endswith("ForCausalLM"):
        what = f"is answered by a causal language model, and the base is a {made_for}"
        yield problem(("model", "question"), what, "leave it out, or take another base")


def blocks_are_those_of_a_reranker(c: Context) -> Iterator[Problem]:
    if not _reranks(c):
        return
    recipe = c.recipe
    given = {
        "views": recipe.views != Views(),
        "mining": recipe.mining is not None,
        "heads": bool(recipe.heads),
        "guide": recipe.guide is not None,
        "auxiliary": bool(recipe.auxiliary),
    }
    for key in (key for key, there in given.items() if there):
        cure = "mine before: `embedkit mine`" if key == "mining" else "leave it out"
        yield problem((key,), "needs embeddings, and a reranker has none", cure)
    for source in c.sources:
        if source.config.clusters is not None and source.config.clusters.kmeans is not None:
            path = ("data", "sources", source.index, "clusters", "kmeans")
            yield problem(
                path, "needs embeddings of the base, and a reranker has none", "name a column in roles.cluster"
            )
        if source.config.debias is not None:
            where = ("data", "sources", source.index, "debias")
            yield problem(where, "makes triplets with embeddings, and a reranker has none", "leave it out")


def pairs_have_two_texts(c: Context) -> Iterator[Problem]:
    for source in c.sources if _reranks(c) else ():
        if source.unlabelled:
            what = f"{source.name} gives texts alone, and a reranker reads a query with a document"
            yield problem(("data", "sources", source.index), what, "give query and positive columns")


def objectives_take_scores(c: Context) -> Iterator[Problem]:
    for source in c.sources if _reranks(c) else ():
        for config in _others(source.objective):
            what = f"objective {config.name} compares embeddings, and a reranker gives scores of pairs"
            yield problem(objective_path(source), what, f"use one of {RANKING}")


def _others(config: ObjectiveConfig) -> Iterator[ObjectiveConfig]:
    """What in an objective does not take scores of pairs; a wrapper other than a sum changes embeddings."""
    if isinstance(config, Sum):
        for inner in config.inner():
            yield from _others(inner)
    elif not config.takes_pairs:
        yield config


def first_stage_fits(c: Context) -> Iterator[Problem]:
    stage = c.recipe.eval.first_stage
    if stage is not None and not _reranks(c):
        yield problem(("eval", "first_stage"), "an encoder is a first stage itself", "leave it out")
    if not _reranks(c) or c.suite is None:
        return
    for task in c.suite.tasks:
        if isinstance(task, RetrievalTask) and stage is None:
            what = f"task {task.name}: a reranker puts the results of a search in order, and there is none"
            yield problem(("eval", "first_stage"), what, "name a bi-encoder: `first_stage: {model: ...}`")
        elif not isinstance(task, (RetrievalTask, RerankingTask, PairTask, StsTask)):
            what = f"task {task.name}: a reranker has no embeddings, which tasks of type {task.type} need"
            yield problem(("eval", "suite"), what, "leave it out")


def masked_lm_is_an_encoders(c: Context) -> Iterator[Problem]:
    if _reranks(c) and c.recipe.eval.masked_lm is not None:
        yield problem(("eval", "masked_lm"), "a reranker trains no masked language model", "leave it out")


def cosines_are_sharpened(c: Context) -> Iterator[Problem]:
    for source in () if _reranks(c) else c.sources:
        for leaf in leaves(source.objective):
            soft = isinstance(leaf, CandidateConfig) and leaf.similarity == "cos" and leaf.temperature > SHARP
            if soft and leaf.name not in ("margin_ranking", "score_mse"):
                assert isinstance(leaf, CandidateConfig)
                what = f"{leaf.name} divides cosines by {leaf.temperature:g}: in -1..1 it sees hardly any difference"
                yield problem((*objective_path(source), "temperature"), what, "about 0.05 for an encoder")


REFUSALS = [
    model_is_a_reranker,
    question_is_for_a_causal_model,
    blocks_are_those_of_a_reranker,
    pairs_have_two_texts,
    objectives_take_scores,
    first_stage_fits,
    masked_lm_is_an_encoders,
]
WARNINGS = [cosines_are_sharpened]
