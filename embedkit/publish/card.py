"""The card of a model: README.md with the metadata that the Hub reads, made from the run's record."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedkit.disk import files
from embedkit.disk.model_files import reader
from embedkit.foreign.redacting import redact
from embedkit.foreign.showing import as_json, shown, shown_deep
from embedkit.publish import metadata, view
from embedkit.publish.facts import ModelFacts
from embedkit.publish.markdown import Verbatim, escaped, score, templates
from embedkit.publish.records import passed_on
from embedkit.recipe.hand_over import Card
from embedkit.types import Interval, RunRecord

NAME = "README.md"
_SYMMETRIC = {"sts", "classification", "few_shot", "transfer", "clustering", "pair_classification", "bitext"}
"""Tasks that know no documents."""
_SIMILARITIES = {"cosine": "cosine", "dot": "dot product"}


@dataclass(frozen=True)
class Sheet:
    """What a card is made of.

    Attributes:
        facts: what the model is.
        name: what `SentenceTransformer` gets in the card's code: a name on the Hub, or a folder.
        title: the heading where the recipe has none.
        record: of the run, without secrets and places; None for a model of which no run is known.
        recipe: its recipe as YAML, likewise.
    """

    facts: ModelFacts
    name: str
    title: str
    record: RunRecord | None = None
    recipe: str = ""

    @property
    def card(self) -> Card:
        """The owner's words."""
        block = None if self.record is None else self.record.recipe.get("card")
        return Card() if block is None else Card.model_validate(block)


def sheet(facts: ModelFacts, name: str, title: str, record: RunRecord | None, recipe: str, run: Path) -> Sheet:
    """What a card of a run is made of; secrets, and paths on this machine, are left out of it.

    Args:
        facts: what the model is.
        name: see `Sheet`.
        title: see `Sheet`.
        record: of the run, as it is.
        recipe: as the run's folder holds it.
        run: that folder.
    """
    facts = ModelFacts.of_record(shown_deep(facts.plain()) | {"prompts": redact(facts.prompts)})
    if record is None:
        return Sheet(facts, name, shown(title))
    return Sheet(facts, name, shown(title), *passed_on(record, recipe, run))


def render(made: Sheet) -> str:
    """The card as Markdown, metadata first."""
    environment = templates(markdown=True)
    environment.filters["ends"] = _ends
    text: str = environment.get_template("card.md.j2").render(_context(made))
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def write(made: Sheet, model: Path) -> Path:
    """Write the card, and the results that leaderboards of the Hub read, into a model's folder.

    Returns:
        The card.

    Raises:
        WriteError: it cannot be written.
    """
    for name, text in metadata.leaderboards(made.card, made.record).items():
        files.write_text(model / name, text)
    files.write_text(model / NAME, render(made))
    return model / NAME


def usage(facts: ModelFacts, name: str, *, retrieval: bool) -> str:
    """Python that loads the model with sentence-transformers and compares texts, with the model's own prompts."""
    trust = ", trust_remote_code=True" if facts.code else ""
    if facts.kind == "reranker":
        return "\n".join(
            [
                "from sentence_transformers import CrossEncoder",
                "",
                f"model = {loading(name, facts.kind)}{trust})",
                'ranked = model.rank("How long does delivery take?", [',
                '    "Parcels arrive two to four days after they were ordered.",',
                '    "The shop opens at nine in the morning.",',
                "])",
                "print(ranked)",
            ]
        )
    lines = [
        f"from sentence_transformers import {reader(facts.kind)}",
        "",
        f"model = {loading(name, facts.kind)}{trust})",
    ]
    if retrieval or facts.prompts or facts.kind == "sparse":
        lines += [
            'queries = model.encode_query(["How long does delivery take?"])',
            "documents = model.encode_document([",
            '    "Parcels arrive two to four days after they were ordered.",',
            '    "The shop opens at nine in the morning.",',
            "])",
            "print(model.similarity(queries, documents))",
        ]
        if facts.kind == "sparse":
            lines.append("print(model.decode(queries[0], top_k=10))")
    else:
        lines += [
            "embeddings = model.encode([",
            '    "How long does delivery take?",',
            '    "When will my parcel arrive?",',
            '    "The shop opens at nine in the morning.",',
            "])",
            "print(model.similarity(embeddings, embeddings))",
        ]
    return "\n".join(lines)


def _quoted(name: str) -> str:
    return as_json(name, indent=None)


def loading(name: str, kind: str = "encoder") -> str:
    """How the piece of a card begins that loads the model of a name, to be found again when it gets another one."""
    return f"{reader(kind)}({_quoted(name)}"


def _context(made: Sheet) -> dict[str, Any]:
    facts, card, record = made.facts, made.card, made.record
    lines = view.task_lines(record) if record is not None else []
    scores = (record.scores_after or record.scores_before or {}) if record is not None else {}
    types = [task.get("type") for task in scores.get("tasks", ())]
    plan = "\n".join(record.plan.get("lines", ())) if record is not None else ""
    level = next((i.level for line in lines for i in (line.difference, line.after) if i is not None), 0.95)
    return {
        "front": metadata.front_matter(facts, card, record, name=card.title or made.title),
        "title": card.title or made.title,
        "description": card.description,
        "facts": facts,
        "reranker": facts.kind == "reranker",
        "sparse": facts.kind == "sparse",
        "first_stage": _first_stage(record),
        "base": facts.base,
        "base_link": f"[{escaped(facts.base)}](https://huggingface.co/{facts.base})",
        "similarity": _SIMILARITIES.get(facts.similarity, f"similarity by {facts.similarity} distance"),
        "headline": view.headline(record) if record is not None and record.comparison else "",
        "usage": usage(facts, made.name, retrieval=not set(types) <= _SYMMETRIC),
        "packages": ["sentence-transformers", *(["embedkit-train"] if "embedkit" in facts.code else [])],
        "prompts": _prompts(facts),
        "dims": _dims(record.recipe.get("objective", {})) if record is not None else [],
        "lines": lines,
        "tasks": [line.task for line in lines[: len(types)]],
        "level": level,
        "suite": scores.get("suite", ""),
        "resamples": None if record is None else record.recipe.get("eval", {}).get("resamples"),
        "record": record,
        "recipe": made.recipe,
        "fence": "`" * (1 + max([2, *map(len, re.findall("`+", made.recipe + plan))])),
        "languages": metadata.languages(facts, card),
        **(_training(record) if record is not None else {"warnings": []}),
    }


def _training(record: RunRecord) -> dict[str, Any]:
    machine = ("machine", "embedkit")
    return {
        "what": view.what(record),
        "took": view.how_long(record),
        "data": record.data,
        "versions": [(name, version) for name, version in record.versions.items() if name not in machine],
        "warnings": record.warnings,
    }


def _first_stage(record: RunRecord | None) -> str:
    """What a reranker was measured behind, in words; empty where it was not."""
    stage = None if record is None else record.recipe.get("eval", {}).get("first_stage")
    if not stage or record is None or not (record.scores_after or record.scores_before):
        return ""
    return f"the first {stage['depth']:,} documents that {stage['model']} found for each query"


def _prompts(facts: ModelFacts) -> list[tuple[str, str]]:
    return [(role, _quoted(text)) for role, text in facts.prompts.items()]


def _dims(objective: Mapping[str, Any]) -> list[int]:
    """Sizes that a Matryoshka objective trained, largest first; of a sum those of its terms."""
    terms: Sequence[Any] = objective.get("terms") or ()
    inner = [term.get("objective") or {} for term in terms] or [objective.get("objective") or {}]
    own = objective.get("dims") or [] if objective.get("name") == "matryoshka" else []
    return sorted({*own, *(dim for part in inner if part for dim in _dims(part))}, reverse=True)


def _ends(value: Interval | None) -> str:
    """An interval behind its score."""
    if value is None or value.low == value.high:
        return ""
    return Verbatim(f" ({score(value.low)} to {score(value.high)})")
