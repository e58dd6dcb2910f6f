"""Rules about sparse encoders (SPLADE): what of a recipe is about dense embeddings, and what keeps words few."""

from __future__ import annotations

from collections.abc import Iterator

from embedkit.recipe.model import Model
from embedkit.recipe.objectives.base import leaves
from embedkit.recipe.objectives.decorrelation import VICReg
from embedkit.recipe.objectives.flops import Flops
from embedkit.recipe.objectives.wrappers import Matryoshka
from embedkit.recipe.planning.context import Context, objective_path, problem
from embedkit.recipe.reading.problems import Problem
from embedkit.recipe.suite import RetrievalTask

OF_DENSE = (
    *("from_scratch", "pooling", "pooling_layer", "normalize", "template", "include_prompt_in_pooling", "head", "lora"),
    *("soft_prompts", "bidirectional", "towers", "frozen_tower", "keep_tower", "rationale"),
)
"""Keys of `model` that a sparse encoder has no use for."""


def _sparse(c: Context) -> bool:
    return c.recipe.model.kind == "sparse"


def base_is_of_its_kind(c: Context) -> Iterator[Problem]:
    if c.saved is None:
        return
    made_for = str((c.saved.config.get("architectures") or [""])[0])
    if c.saved.is_multi_vector:
        what = "is a late-interaction model with a vector for each token, which embedkit does not train"
        yield problem(("model", "base"), what, "train it with sentence-transformers' MultiVectorEncoder")
    elif c.saved.is_sparse and not _sparse(c):
        yield problem(("model", "kind"), "the base is a sparse encoder", "set model.kind: sparse")
    elif _sparse(c) and not made_for.endswith("ForMaskedLM"):
        what = f"a sparse encoder reads the masked-LM head, and the base is a {made_for or 'model without one'}"
        yield problem(("model", "base"), what, "take a masked language model, e.g. distilbert-base-uncased")


def model_is_sparse(c: Context) -> Iterator[Problem]:
    for key in OF_DENSE if _sparse(c) else ():
        if getattr(c.recipe.model, key) != Model.model_fields[key].get_default(call_default_factory=True):
            what = (
                "is about dense embeddings, and a sparse encoder has the weights that its masked-LM head gives to words"
            )
            yield problem(("model", key), what, "leave it out")


def blocks_are_those_of_a_sparse_encoder(c: Context) -> Iterator[Problem]:
    if not _sparse(c):
        return
    recipe = c.recipe
    given = {"mining": recipe.mining is not None, "heads": bool(recipe.heads), "auxiliary": bool(recipe.auxiliary)}
    for key in (key for key, there in given.items() if there):
        cure = "mine before, with a dense encoder: `embedkit mine`" if key == "mining" else "leave it out"
        yield problem((key,), "needs dense embeddings, and a sparse encoder has none", cure)
    if recipe.eval.masked_lm is not None:
        yield problem(("eval", "masked_lm"), "measures the auxiliary masked language model", "leave it out")
    for source in c.sources:
        path, clusters = ("data", "sources", source.index), source.config.clusters
        if clusters is not None and clusters.kmeans is not None and clusters.model is None:
            what = "needs dense embeddings of the base, and a sparse encoder has none"
            yield problem((*path, "clusters", "kmeans"), what, "name another model in clusters.model")
        if source.config.debias is not None and source.config.debias.guide is None:
            what = "makes triplets with dense embeddings of the base, and a sparse encoder has none"
            yield problem((*path, "debias"), what, "name another model in debias.guide")


def objectives_suit_words(c: Context) -> Iterator[Problem]:
    for source in c.sources if _sparse(c) else ():
        if isinstance(source.objective, Matryoshka):
            what = "the first coordinates of a sparse encoder are the first words of its vocabulary"
            yield problem(objective_path(source), what, "use the inner objective")
        for leaf in leaves(source.objective):
            if type(leaf).__module__ == VICReg.__module__:
                what = f"{leaf.name} compares every coordinate with every other, which are words of the vocabulary here"
                yield problem(objective_path(source), what, "use an objective on similarities, as infonce")


def tasks_are_retrieval(c: Context) -> Iterator[Problem]:
    for task in c.suite.tasks if _sparse(c) and c.suite is not None else ():
        if not isinstance(task, RetrievalTask):
            what = f"task {task.name}: a sparse encoder is measured on retrieval, not on {task.type}"
            yield problem(("eval", "suite"), what, "leave it out")


def something_keeps_words_few(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        terms = [leaf for leaf in leaves(source.objective) if isinstance(leaf, Flops)]
        if _sparse(c) and not any(term.query or term.document for term in terms):
            cure = "add a term `{weight: 1.0, objective: {name: flops}}` to a sum"
            yield problem(objective_path(source), "nothing keeps the weights of words at 0", cure)
        elif terms and not _sparse(c):
            what = "flops keeps coordinates at 0, and those of a dense embedding never are"
            yield problem(objective_path(source), what, "set model.kind: sparse, or leave the term out")


def products_are_trained(c: Context) -> Iterator[Problem]:
    for source in c.sources if _sparse(c) else ():
        for leaf in leaves(source.objective):
            if leaf.compares == "cosine":
                what = f"{leaf.name} trains the cosine, and an inverted index adds products"
                yield problem(objective_path(source), what, "set similarity: dot, and a temperature of about 1")


REFUSALS = [
    base_is_of_its_kind,
    model_is_sparse,
    blocks_are_those_of_a_sparse_encoder,
    objectives_suit_words,
    tasks_are_retrieval,
]
WARNINGS = [something_keeps_words_few, products_are_trained]
