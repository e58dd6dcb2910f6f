"""Filters by name, as the command line and recipes write them: ``NAME=ARG``, with further settings after commas."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NoReturn

from embedkit.disk import paths
from embedkit.errors import RecipeError
from embedkit.foreign.quoting import did_you_mean, quoted

WHERE = "mining.filters"
RuleKind = Literal["below", "margin", "absolute-margin"]
_SETTING = re.compile(r"[a-z][a-z-]*=.*", re.DOTALL)
_WHOLE = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Rule:
    """Which scores are low enough for a negative, of a query whose (lowest) positive scores p.

    ``below``: s < number. ``margin``: s < p - (1 - number) |p|, which is number * p for a positive p (TopK-PercPos of
    NV-Retriever, arXiv 2407.15831). ``absolute-margin``: s < p - number (TopK-MarginPos).
    """

    kind: RuleKind
    number: float

    @property
    def relative(self) -> bool:
        """Whether it compares with the positive's score."""
        return self.kind != "below"

    def __str__(self) -> str:
        return f"{self.kind} {self.number:g}"


@dataclass(frozen=True)
class Named:
    """A filter that was named.

    Attributes:
        name: one of `FILTERS`.
        value: what ARG begins with; a path of a recipe knows where it leads (`embedkit.disk.paths`).
        settings: the rest of it; a rule stands under ``rule``.
    """

    name: str
    value: Any
    settings: Mapping[str, Any] = field(default_factory=dict)


class _Wrong(Exception):
    """What is expected where something else stands."""


@dataclass(frozen=True)
class Kind:
    """A filter that can be named.

    Attributes:
        form: how ARG is written, for a person.
        help: what the filter does.
        read: the value of ARG's beginning.
        default: that value where there is no ARG; None: it must be given.
        settings: further ones, each with what reads it.
        rule: of those that compare scores: the default, ``None`` where one must be given; ``no`` for the others.
        leads: the settings that are paths, ARG's beginning by the filter's own name, and what they lead to.
    """

    form: str
    help: str
    read: Callable[[str], Any]
    default: str | None = None
    settings: Mapping[str, Callable[[str], Any]] = field(default_factory=dict)
    rule: Rule | Literal["no"] | None = "no"
    leads: Mapping[str, paths.Kind] = field(default_factory=dict)


def _number(low: float = -math.inf, high: float = math.inf, *, open_low: bool = False) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            found = float(text) if text.isascii() and "_" not in text else math.nan
        except ValueError:
            found = math.nan
        if not math.isfinite(found) or not low <= found <= high or (open_low and found == low):
            bounds = "" if low == -math.inf else f" {'above' if open_low else 'from'} {low:g} to {high:g}"
            raise _Wrong(f"a number{bounds}")
        return found

    return read


def _count(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        found = int(text) if _WHOLE.fullmatch(text) else -1
        if not low <= found <= high:
            raise _Wrong(f"a whole number from {low} to {high}")
        return found

    return read


def _window(read: Callable[[str], Any], example: str) -> Callable[[str], tuple[Any, Any]]:
    """Two ends, either of which may be left out."""

    def both(text: str) -> tuple[Any, Any]:
        low, colon, high = text.partition(":")
        if not colon or not (low or high):
            raise _Wrong(f"two ends, e.g. {example}")
        first, last = (read(end) if end else None for end in (low, high))
        if first is not None and last is not None and first > last:
            raise _Wrong(f"ends that rise, e.g. {example}")
        return first, last

    return both


def _text(what: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not text.strip():
            raise _Wrong(what)
        return text.strip()

    return read


_SHARE, _ANY = _number(0, 1, open_low=True), _number()
RULES: dict[str, Callable[[str], float]] = {"below": _ANY, "margin": _SHARE, "absolute-margin": _ANY}
FILTERS: dict[str, Kind] = {
    "rank": Kind(
        "FIRST:LAST",
        "ranks of the unfiltered list that may become negatives, both included, e.g. 50:100 or 10:",
        _window(_count(1, 10**9), "50:100"),
    ),
    "score": Kind(
        "LEAST:MOST",
        "similarities from LEAST to below MOST, e.g. :0.8",
        _window(_ANY, "0.2:0.8"),
    ),
    "margin": Kind(
        "SHARE",
        "similarities below this share of the query's lowest positive, e.g. 0.95 (NV-Retriever)",
        _SHARE,
    ),
    "absolute-margin": Kind("X", "similarities more than X below the query's lowest positive, e.g. 0.1", _ANY),
    "near-duplicates": Kind(
        "JACCARD",
        "no document that shares this much of its word triples with a positive or a higher candidate, e.g. 0.8 "
        "(needs the extra dedup; words=N for other than triples)",
        _number(0, 1, open_low=True),
        default="0.8",
        settings={"words": _count(1, 100)},
    ),
    "cross-encoder": Kind(
        "MODEL",
        "what a cross-encoder gives a probability below 0.1 (RocketQA)",
        _text("a folder or Hub id of a cross-encoder"),
        settings={"batch": _count(1, 65_536)},
        rule=Rule("below", 0.1),
        leads={"cross-encoder": "folder"},
    ),
    "scores": Kind(
        "FILE",
        "the same by a file of scores (columns query_id, document_id, score); a rule is needed",
        _text("a Parquet or JSONL file"),
        rule=None,
        leads={"scores": "files"},
    ),
    "guide": Kind(
        "MODEL",
        "what another embedding model finds less similar than the query's lowest positive (GISTEmbed)",
        _text("a folder or Hub id of an embedding model"),
        rule=Rule("absolute-margin", 0.0),
        leads={"guide": "folder"},
    ),
    "judge": Kind(
        "MODEL",
        "what a language model says does not answer the query; with a rule, what it gives a low grade from 0 to 1. "
        "endpoint=URL,key-env=NAME for a server; prompts=FILE",
        _text("a folder or Hub id of a causal LM; with endpoint, the server's name of it"),
        settings={
            "endpoint": _text("an address"),
            "key-env": _text("the name of an environment variable"),
            "prompts": _text("a file of prompts"),
            "concurrency": _count(1, 4096),
        },
        rule=Rule("below", 0.5),
        leads={"judge": "folder", "prompts": "file"},
    ),
}
"""All filters that can be named, in the order of what they cost."""
SYNTH = Kind(
    "MODEL",
    "a language model writes a query for each document: a folder or Hub id, or with endpoint=URL a server's name of it",
    _text("a folder or Hub id of a causal LM; with endpoint, the server's name of it"),
    settings={
        **FILTERS["judge"].settings,
        "limit": _count(1, 10**12),
        "price-in": _number(0, 10**9),
        "price-out": _number(0, 10**9),
    },
)
"""What writes queries for `embedkit mine`."""
RULE_HELP = (
    "Filters that score take a rule after a comma: below=X, margin=SHARE or absolute-margin=X, e.g. "
    "guide=MODEL,margin=0.95."
)


def parse(text: str, where: str = WHERE) -> Named:
    """Read ``NAME=ARG``, e.g. ``margin=0.95`` or ``cross-encoder=MODEL,absolute-margin=0.2``.

    Args:
        text: as the user wrote it; the paths of a settled one lead where they led.
        where: for messages.

    Raises:
        RecipeError: no such filter, setting or value.
    """
    named = _parsed(text, where)
    if not isinstance(text, paths.Holding):
        return named
    inside = dict(text.inside)
    return replace(named, value=inside.pop(named.name, named.value), settings={**named.settings, **inside})


def parse_synth(arg: str, where: str) -> Named:
    """Read what writes queries: ``MODEL,endpoint=URL,...``.

    Raises:
        RecipeError: no such setting or value.
    """
    return _named("synth", SYNTH, ":", arg, where)


def _parsed(text: str, where: str) -> Named:
    name, given, arg = text.partition("=")
    name = name.strip()
    if name not in FILTERS:
        hint = did_you_mean(name, list(FILTERS))
        raise RecipeError(f"no filter is called {quoted(name)}", where, f"{hint}known: {', '.join(FILTERS)}")
    return _named(name, FILTERS[name], given, arg, where)


def _named(name: str, kind: Kind, given: str, arg: str, where: str) -> Named:
    known = {**kind.settings, **(RULES if kind.rule != "no" else {})}
    value, found = _settings(name, arg, known, where)
    if not given or not value:
        if kind.default is None or given:
            raise RecipeError(f"{name}: nothing is given", where, f"{name}{given or '='}{kind.form}: {kind.help}")
        value = kind.default
    settings = {key: _read(f"{name}: {key}", known[key], text, where) for key, text in found.items()}
    return Named(name, _read(name, kind.read, value, where), _with_rule(name, kind, settings, where))


def parse_all(texts: Sequence[str], where: str = WHERE) -> list[Named]:
    """Every one, in order.

    Raises:
        RecipeError: as `parse`.
    """
    return [parse(text, where) for text in texts]


def paths_of(text: str) -> dict[str, tuple[str, paths.Kind]]:
    """The paths in a filter and what they lead to, each by the name of its setting; none of a filter that is wrong."""
    try:
        named = _parsed(text, WHERE)
    except RecipeError:
        return {}
    found: dict[str, tuple[str, paths.Kind]] = {}
    for part, kind in FILTERS[named.name].leads.items():
        if part != named.name and part in named.settings:
            found[part] = (named.settings[part], kind)
        elif part == named.name and "endpoint" not in named.settings:  # the name that a server knows is no path
            found[part] = (named.value, kind)
    return found


def with_paths(text: str, changed: Mapping[str, str]) -> str:
    """The filter with other paths in the place of those that `paths_of` gives under the same names."""
    name, _, arg = text.partition("=")
    kind = FILTERS[name.strip()]
    value, found = _settings(name, arg, {**kind.settings, **RULES}, WHERE)
    settings = [f"{key}={changed.get(key, old)}" for key, old in found.items()]
    return ",".join([f"{name}={changed.get(name.strip(), value)}", *settings])


def _settings(name: str, arg: str, known: Mapping[str, Any], where: str) -> tuple[str, dict[str, str]]:
    """The beginning of ARG, and what follows it."""
    value, *parts = arg.split(",")
    found: dict[str, str] = {}
    for part in parts:
        key, _, text = part.partition("=")
        if not found and not _SETTING.fullmatch(part):
            value = f"{value},{part}"  # a path may hold a comma
            continue
        if key not in known:
            cure = f"{did_you_mean(key, list(known))}known: {', '.join(known)}" if known else "leave it out"
            raise RecipeError(f"{name} has no setting {quoted(key)}", where, cure)
        if key in found:
            raise RecipeError(f"{name}: {key} is given twice", where, "give it once")
        found[key] = text
    return value.strip(), found


def _read(what: str, read: Callable[[str], Any], text: str, where: str) -> Any:
    try:
        return read(text)
    except _Wrong as wrong:
        raise RecipeError(f"{what}: {wrong} is expected, found {quoted(text)}", where, "write it anew") from None


def _with_rule(name: str, kind: Kind, settings: dict[str, Any], where: str) -> dict[str, Any]:
    given = [key for key in RULES if key in settings]
    if kind.rule == "no":
        return settings
    if len(given) > 1:
        _refuse(name, f"{' and '.join(given)} are two rules", where)
    rest = {key: value for key, value in settings.items() if key not in RULES}
    if given:
        chosen: RuleKind = given[0]  # type: ignore[assignment]
        return {**rest, "rule": Rule(chosen, settings[given[0]]), "ruled": True}
    if kind.rule is None:
        _refuse(name, "no rule says which scores are low enough", where)
    return {**rest, "rule": kind.rule, "ruled": False}


def _refuse(name: str, what: str, where: str) -> NoReturn:
    raise RecipeError(f"{name}: {what}", where, "give one of " + ", ".join(f"{key}=X" for key in RULES))
