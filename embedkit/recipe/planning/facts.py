"""What can be known about a recipe's data and model without loading either: headers, row counts, config.json."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

from embedkit import paths
from embedkit.recipe.debias import Debias
from embedkit.recipe.memory import EncoderSize
from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.planning.contents import Contents
from embedkit.recipe.schema import Recipe, Role, Source

ROLES = get_args(Role)
COUNT_LIMIT = 2 * 2**30
"""Larger files are not read to count their lines."""
_ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".txt": "txt"}
_PEEK = 1000
_PLURALS = {"positives": "positive", "negatives": "negative", "scores": "score"}


@dataclass(frozen=True)
class SourceFacts:
    """What is known about a source before it is loaded.

    Attributes:
        index: place in `data.sources`.
        name: as messages call it.
        config: the source.
        objective: the objective its batches get.
        columns: its columns; None where unknown.
        roles: roles it gives; None where unknown.
        rows: None where unknown.
        negatives: explicit negatives per row; None where unknown.
        missing: a local path that matches no file.
        read: roles of its rows as they are read, where others are made of them before training; None elsewhere.
        made: roles that the views make of an unlabelled text.
        contents: what its rows hold; None where unknown.
    """

    index: int
    name: str
    config: Source
    objective: ObjectiveConfig
    columns: frozenset[str] | None = None
    roles: frozenset[str] | None = None
    rows: int | None = None
    negatives: int | None = None
    missing: bool = False
    read: frozenset[str] | None = None
    made: frozenset[str] = frozenset({"query", "positive"})
    contents: Contents | None = None

    @property
    def unlabelled(self) -> bool:
        return self.roles is not None and "text" in self.roles

    def gives(self, role: str) -> bool | None:
        """Whether the source gives a role; None where that is unknown. Views of a text give more."""
        if self.roles is None:
            return True if role in self.config.roles else None
        return role in self.roles or (self.unlabelled and role in self.made)


@dataclass(frozen=True)
class _Head:
    """Columns of a source and its first rows, where they come with the columns."""

    columns: tuple[str, ...] = ()
    rows: tuple[dict[str, Any], ...] = ()


def source_facts(
    recipe: Recipe, rows: Sequence[int | None] | None = None, contents: Sequence[Contents | None] | None = None
) -> list[SourceFacts]:
    """Look at every source without loading it.

    Args:
        recipe: the recipe.
        rows: known numbers of rows, which replace counting.
        contents: what the rows of each source hold, where they were read.
    """
    found = []
    for index, source in enumerate(recipe.data.sources):
        facts = _facts(source, count=rows is None)
        if rows is not None:
            facts["rows"] = rows[index]
        elif facts.get("rows") is not None and source.limit is not None:
            facts["rows"] = min(facts["rows"], source.limit)
        if source.streaming:
            facts["rows"] = None
        if facts.get("roles") is None and "text" in source.roles:
            facts["roles"] = frozenset({"text", "label"} & set(source.roles))  # which exclude all others
        if source.debias is not None:
            facts |= _debiased(source.debias, facts, known=rows is not None)
        objective = source.objective or recipe.objective
        made = frozenset({"query", "positive"} | ({"score"} if recipe.views.pairing == "tension" else set()))
        held = None if contents is None else contents[index]
        found.append(SourceFacts(index, source_name(source), source, objective, made=made, contents=held, **facts))
    return found


def _debiased(debias: Debias, facts: dict[str, Any], known: bool) -> dict[str, Any]:
    """What becomes of a text source of which triplets are made. Sentences that are left out are not known before."""
    roles = facts.get("roles")
    made = {"query", "positive"} | ({"negative"} if debias.negatives else set()) | ({"label"} & (roles or set()))
    rows = facts.get("rows") if known or debias.no_positive == "self" else None
    return {"read": roles, "roles": frozenset(made), "negatives": debias.negatives, "rows": rows}


def source_name(source: Source) -> str:
    if source.name is not None:
        return source.name
    return source.hub or source.path or ("pydocs" if source.pydocs is not None else "rows")


def model_facts(recipe: Recipe, config: dict[str, Any] | None = None) -> EncoderSize | None:
    """Sizes of the encoder: from `config`, else from ``config.json`` of a local folder, else unknown.

    Args:
        recipe: the recipe.
        config: a model's ``config.json`` as a mapping.
    """
    if config is not None:
        return EncoderSize.of(config)
    folder = paths.folder(recipe.model.base)
    return None if folder is None else folder_facts(folder)


def folder_facts(folder: Path) -> EncoderSize | None:
    """Sizes of a saved model, Hugging Face or sentence-transformers; None where ``config.json`` does not say."""
    modules = _json(folder / "modules.json") or []
    inner = folder / modules[0]["path"] if modules and modules[0].get("path") else folder
    config = _json(inner / "config.json")
    if not isinstance(config, dict):
        return None
    limit = (_json(inner / "sentence_bert_config.json") or {}).get("max_seq_length")
    dense = [_json(folder / m["path"] / "config.json") or {} for m in modules if m["type"].endswith("Dense")]
    dims = [d["out_features"] for d in dense if "out_features" in d]
    return EncoderSize.of(config, limit, dims[-1] if dims else None)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _facts(source: Source, count: bool) -> dict[str, Any]:
    if source.pydocs is not None:
        return {"roles": frozenset({"query", "positive"}), "negatives": 0}
    if source.rows is not None:
        return {**_from_head(source, _of_rows(source.rows)), "rows": len(source.rows)}
    if source.path is None:
        return {}
    files = paths.locate(source.path, "files").places
    if not files:
        return {"missing": True}
    kind = file_format(files[0], source.format)
    facts = _from_head(source, _head(files[0], kind, source.encoding)) if kind else {}
    counts = [count_rows(f, kind) for f in files] if count and not source.streaming else [None]
    return {**facts, "rows": None if None in counts else sum(c for c in counts if c is not None)}


def _from_head(source: Source, head: _Head) -> dict[str, Any]:
    if not head.columns:
        return {}
    columns = role_columns(head.columns, source.roles)
    names = columns.get("negative", ())
    most = max((sum(_length(row.get(name)) for name in names) for row in head.rows), default=len(names))
    return {"columns": frozenset(head.columns), "roles": frozenset(columns), "negatives": most}


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (list, tuple)) else 1


def role_columns(columns: Sequence[str], explicit: Mapping[Role, str | tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Columns by role: those named, else those that bear a role's own name. Bare text and query exclude each other.

    The loading of sources decides the same and refuses what is ambiguous; here nothing is refused.
    """
    found = {str(role): (given,) if isinstance(given, str) else tuple(given) for role, given in explicit.items()}
    taken = {name for names in found.values() for name in names}
    for column in columns:
        role = _PLURALS.get(column, column)
        if role in ROLES and role not in found and column not in taken:
            found[role] = (column,)
    pairs = {"query", "positive", "negative", "score"}
    if "text" in found and "text" not in explicit and (pairs & set(explicit) or "query" in found):
        del found["text"]
    return {role: names for role, names in found.items() if "text" not in found or role not in pairs}


def file_format(path: Path, asked: str = "auto") -> str | None:
    """The format of a file by its ending, ``.gz`` left aside; None where the ending says nothing."""
    if asked != "auto":
        return asked
    endings = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
    return _ENDINGS.get(endings[-1]) if endings else None


def _head(path: Path, kind: str, encoding: str) -> _Head:
    """Columns and first rows of a file. A broken file has none here: loading reports it, with its line."""
    if kind == "txt":
        return _Head(("text",))
    if kind == "parquet":
        import pyarrow.parquet

        return _Head(tuple(pyarrow.parquet.read_schema(path).names))
    try:
        with _open(path, "rt", encoding="utf-8-sig" if encoding.lower() == "utf-8" else encoding) as file:
            if kind == "jsonl":
                return _of_rows([_parsed(line) for line in islice(file, _PEEK)])
            rows = csv.reader(file) if kind == "csv" else csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
            return _Head(tuple(next(rows, [])))
    except (ValueError, LookupError, OSError, EOFError, zlib.error):
        return _Head()


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:  # a bad row: loading names its line, or skips it
        return None


def _of_rows(rows: Sequence[Any]) -> _Head:
    objects = tuple(row for row in rows[:_PEEK] if isinstance(row, dict))
    return _Head(tuple(dict.fromkeys(key for row in objects for key in row)), objects)


def _open(path: Path, mode: Literal["rt", "rb"], **options: Any) -> Any:
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    if packed:
        return gzip.open(path, mode, **options)
    return path.open(mode, **options)


def count_rows(path: Path, kind: str | None) -> int | None:
    """Rows of a file: its lines without header and blank end, or the footer of Parquet; None if too large."""
    if kind == "parquet":
        import pyarrow.parquet

        return int(pyarrow.parquet.read_metadata(path).num_rows)
    packed = path.suffix == ".gz"
    if kind is None or path.stat().st_size > (COUNT_LIMIT // 8 if packed else COUNT_LIMIT):
        return None
    lines, last = 0, b"\n"
    try:
        with _open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                lines += chunk.count(b"\n")
                last = chunk[-1:]
    except (OSError, EOFError, zlib.error):  # a broken gzip stream
        return None
    return max(0, lines + (last != b"\n") - (kind in ("csv", "tsv")))
