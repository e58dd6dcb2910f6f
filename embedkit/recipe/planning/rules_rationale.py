"""Rules about rationales, which a causal language model writes before a text is embedded, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from embedkit.recipe.auxiliary import Grace
from embedkit.recipe.objectives.wrappers import Nothing
from embedkit.recipe.planning.context import Context, objective_path, problem
from embedkit.recipe.reading.problems import Problem
from embedkit.recipe.schema import Recipe

PLAIN = "set model.rationale.tokens: 0 to train without rationales"


def tokens_of(recipe: Recipe) -> int:
    """Tokens that the model writes about a text at most."""
    return 0 if recipe.model.rationale is None else recipe.model.rationale.tokens


def written(recipe: Recipe, slots: Iterator[tuple[int, int]]) -> Iterator[str]:
    """What is written in an update and in an evaluation, in words.

    Args:
        recipe: the recipe.
        slots: positives and negatives per example of each source.
    """
    tokens, train = tokens_of(recipe), recipe.train
    grace = next((a for a in recipe.auxiliary if isinstance(a, Grace)), None)
    if not tokens:
        return
    if grace is not None:
        each = max((2 * grace.rollouts + min(1, negatives) for _, negatives in slots), default=2 * grace.rollouts)
        many = train.batch_size * train.accumulation * each
        yield f"written: {many:,} rationales per update, together at most {many * tokens:,} tokens, one after another"
    yield f"written: at most {tokens} tokens for every text that is encoded, in evaluation and in use"


def rationale_stands_alone(c: Context) -> Iterator[Problem]:
    model = c.recipe.model
    if model.rationale is None:
        return
    for key, given in {
        "bidirectional": model.bidirectional,
        "soft_prompts": model.soft_prompts is not None,
        "towers": model.towers > 1,
        "from_scratch": model.from_scratch,
    }.items():
        if given:
            yield problem(("model", key), "does not go with a rationale", "leave it or model.rationale out")
    if model.prompts.query or model.prompts.document:
        what = "a prompt stands before the template, and what is before a text is left out by its number of tokens"
        yield problem(("model", "prompts"), what, "put its words into model.template")


def rationale_leaves_room(c: Context) -> Iterator[Problem]:
    length, tokens, model = c.recipe.model.max_length, tokens_of(c.recipe), c.model
    if not tokens or length is None or model is None or not model.positions:
        return
    if length + tokens > model.positions:
        what = f"{length} tokens and a rationale of {tokens} are more than the {model.positions} positions"
        yield problem(("model", "max_length"), what, f"at most {max(0, model.positions - tokens)}, less the template")


def grace_has_something_to_train(c: Context) -> Iterator[Problem]:
    grace = any(isinstance(a, Grace) for a in c.recipe.auxiliary)
    if grace and not tokens_of(c.recipe):
        what = "grace trains what the model writes about a text, and it writes nothing"
        cure = "set model.rationale.tokens above 0, or `objective: infonce` and `auxiliary: []`"
        yield problem(("model", "rationale"), what, cure)
    for source in c.sources if grace else ():
        if source.gives("positive") is False:
            what = "grace rewards a document by its query, and the source has none"
            yield problem(("data", "sources", source.index), what, "give query and positive, or text")
        elif source.unlabelled and c.recipe.views.count != 2:
            what = "grace takes two rationales of the same text for a pair"
            yield problem(("views", "count"), what, "set it to 2")
        elif c.slots(source)[0] > 1:
            what = "grace pairs a query with one document"
            yield problem(("data", "one_positive"), what, "set it to sample, first or rotate")


def embeddings_with_rationale_are_trained(c: Context) -> Iterator[Problem]:
    if not tokens_of(c.recipe):
        return
    for source in c.sources:
        if not isinstance(source.objective, Nothing):
            what = (
                f"objective {source.objective.name} trains embeddings without a rationale, and they are used with one"
            )
            yield problem(objective_path(source), what, f"none, with auxiliary grace; or {PLAIN}")


REFUSALS = [
    rationale_stands_alone,
    rationale_leaves_room,
    grace_has_something_to_train,
    embeddings_with_rationale_are_trained,
]
WARNINGS: list[Callable[[Context], Iterator[Problem]]] = []
