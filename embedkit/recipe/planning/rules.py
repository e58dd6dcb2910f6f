"""What `check` refuses and what it warns of: one small function per rule, in two lists.

A rule gets the `Context` and yields problems; it says nothing about what it cannot know (the columns of a Hub
dataset). A new method appends its rules to the lists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from embedkit.recipe.planning import (
    rules_companions,
    rules_contents,
    rules_data,
    rules_lexical,
    rules_machine,
    rules_mining,
    rules_model,
    rules_objective,
    rules_parts,
    rules_rationale,
    rules_reranker,
    rules_secrets,
    rules_statistics,
    rules_train,
    rules_views,
)
from embedkit.recipe.planning.context import Context
from embedkit.recipe.reading.problems import Problem

Rule = Callable[[Context], Iterator[Problem]]

_FAMILIES = (
    rules_data,
    rules_contents,
    rules_companions,
    rules_lexical,
    rules_machine,
    rules_mining,
    rules_model,
    rules_objective,
    rules_parts,
    rules_rationale,
    rules_reranker,
    rules_secrets,
    rules_statistics,
    rules_train,
    rules_views,
)
REFUSALS: list[Rule] = [rule for family in _FAMILIES for rule in family.REFUSALS]
"""The recipe cannot do what it says."""
WARNINGS: list[Rule] = [rule for family in _FAMILIES for rule in family.WARNINGS]
"""The recipe can run, but probably not as meant."""


def apply(rules: list[Rule], context: Context) -> list[Problem]:
    """The problems that the rules find, each once."""
    return list(dict.fromkeys(problem for rule in rules for problem in rule(context)))
