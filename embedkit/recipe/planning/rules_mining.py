"""Rules about negatives that are mined during training."""

from __future__ import annotations

from collections.abc import Iterator

from embedkit.recipe.objectives.base import leaves, needs
from embedkit.recipe.planning.context import Context, objective_path, place, problem
from embedkit.recipe.reading.problems import Problem


def something_is_mined(c: Context) -> Iterator[Problem]:
    if c.recipe.mining is not None and not any(source.mined for source in c.sources):
        what = "negatives are mined for queries with positives, and no source gives both"
        yield problem(("mining",), what, "remove it, or name the columns in roles")


def mined_rows_are_all_known(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        if source.mined and source.config.streaming:
            what = "negatives are searched for among all documents, and a stream never has them all"
            yield problem(place(source, "streaming"), what, "remove it, or mining")


def mined_negatives_have_no_scores(c: Context) -> Iterator[Problem]:
    for source in c.sources:
        if source.mined and {"score", "negative"} <= set(needs(source.objective)):
            names = ", ".join(leaf.name for leaf in leaves(source.objective))
            what = f"objective {names} needs a teacher's score of every negative, and mined ones have none"
            yield problem(objective_path(source), what, "mine once with `embedkit mine`, score, then train on the file")


def copies_have_one_tower(c: Context) -> Iterator[Problem]:
    mining = c.recipe.mining
    if mining is not None and mining.mode == "background" and c.recipe.model.towers > 1:
        yield problem(("mining", "mode"), "a search in the background has a model of one tower", "set it to sync")


def mined_negatives_are_used(c: Context) -> Iterator[Problem]:
    mining, asked = c.recipe.mining, c.recipe.negatives.per_query
    if mining is None:
        return
    if asked == 0:
        yield problem(("negatives", "per_query"), "negatives are mined, and none is used", "set it to 1 or more")
    elif asked is not None and asked > mining.keep:
        what = f"{asked} negatives per query and update, of {mining.keep} that are kept"
        yield problem(("mining", "keep"), what, f"set it to {asked} or more")


def mining_begins_in_time(c: Context) -> Iterator[Problem]:
    mining = c.recipe.mining
    if mining is not None and c.updates is not None and mining.first >= c.updates:
        what = f"negatives are mined from update {mining.first:,} on, and the run has {c.updates:,}"
        yield problem(("mining", "from"), what, "begin earlier")


REFUSALS = [
    something_is_mined,
    mined_rows_are_all_known,
    mined_negatives_have_no_scores,
    copies_have_one_tower,
]
WARNINGS = [mined_negatives_are_used, mining_begins_in_time]
