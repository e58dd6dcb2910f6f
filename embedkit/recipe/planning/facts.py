"""What can be known about a recipe's data and model without loading either: headers, row counts, config.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, get_args

from embedkit.disk import paths
from embedkit.disk.model_files import CONFIG, Find, inside, read_json, read_saved
from embedkit.errors import EmbedkitError
from embedkit.inputs import records
from embedkit.inputs.cures import PLAIN, Cures
from embedkit.inputs.texts import is_absent
from embedkit.recipe.debias import Debias
from embedkit.recipe.few_shots import LabelTexts
from embedkit.recipe.memory import EncoderSize
from embedkit.recipe.objectives.base import ObjectiveConfig
from embedkit.recipe.planning.contents import Contents
from embedkit.recipe.pool import is_mined
from embedkit.recipe.schema import Recipe, Role, Source

ROLES = get_args(Role)
COUNT_LIMIT = 2 * 2**30
"""Larger files are not read to count their lines."""
NAMED_ONLY = ("weight", "grade", "cluster", "memory")
"""Roles that no column has by its name."""
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
        negatives: explicit negatives per row, of the first rows; None where unknown.
        positives: positives per row, likewise.
        missing: a local path that matches no file.
        unreadable: why its files cannot be read, if so.
        ended: rows of a streamed file that has less than a batch; None elsewhere.
        read: roles of its rows as they are read, where others are made of them before training; None elsewhere.
        made: roles that the views make of an unlabelled text.
        mined: whether its negatives are searched for during training.
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
    positives: int | None = None
    missing: bool = False
    unreadable: EmbedkitError | None = None
    ended: int | None = None
    read: frozenset[str] | None = None
    made: frozenset[str] = frozenset({"query", "positive"})
    contents: Contents | None = None
    mined: bool = False

    @property
    def unlabelled(self) -> bool:
        return self.roles is not None and "text" in self.roles

    def gives(self, role: str) -> bool | None:
        """Whether the source gives a role; None where that is unknown. Views of a text give more."""
        if self.mined and role == "negative":
            return True
        if self.roles is None:
            return True if role in self.config.roles else None
        return role in self.roles or (self.unlabelled and role in self.made)


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
        facts = _facts(source, Cures.of_source(index), count=rows is None, batch=recipe.train.batch_size)
        if rows is not None:
            facts["rows"] = rows[index]
        elif facts.get("rows") is not None and source.limit is not None:
            facts["rows"] = min(facts["rows"], source.limit)
        if source.streaming:
            facts["rows"] = None
        if facts.get("roles") is None and "text" in source.roles:
            facts["roles"] = frozenset(
                {"text", "label", "weight", "cluster", "memory"} & set(source.roles)
            )  # which exclude all others
        if source.debias is not None:
            facts |= _debiased(source.debias, facts, known=rows is not None)
        if source.pairs is not None:
            paired = frozenset({"query", "positive", "score"})
            known = facts.get("rows") if rows is not None else None
            facts |= {"read": facts.get("read", facts.get("roles")), "roles": paired, "negatives": 0, "rows": known}
        if source.score_split is not None and facts.get("roles"):
            facts |= {"read": facts["roles"], "roles": facts["roles"] - {"score"}, "rows": None}
        if source.label_texts is not None:
            facts |= _with_label_texts(source.label_texts, facts)
        objective = source.objective or recipe.objective
        made = frozenset({"query", "positive"} | ({"score"} if recipe.views.pairing == "tension" else set()))
        held = None if contents is None else contents[index]
        roles = facts.get("roles")
        mined = recipe.mining is not None and (roles is None or is_mined(recipe, roles, objective))
        found.append(
            SourceFacts(index, source_name(source), source, objective, made=made, contents=held, mined=mined, **facts)
        )
    return found


def _debiased(debias: Debias, facts: dict[str, Any], known: bool) -> dict[str, Any]:
    """What becomes of a text source of which triplets are made. Sentences that are left out are not known before."""
    roles = facts.get("roles")
    made = {"query", "positive"} | ({"negative"} if debias.negatives else set()) | ({"label"} & (roles or set()))
    rows = facts.get("rows") if known or debias.no_positive == "self" else None
    return {"read": roles, "roles": frozenset(made), "negatives": debias.negatives, "rows": rows}


def _with_label_texts(options: LabelTexts, facts: dict[str, Any]) -> dict[str, Any]:
    """What becomes of labelled texts that get a text per label."""
    read = facts.get("read", facts.get("roles"))
    roles = {"query", "positive", "negative", "label"} | ({"weight", "cluster"} & (read or set()))
    negatives = None if options.texts is None else len(options.texts) - 1
    return {"read": read, "roles": frozenset(roles), "negatives": negatives}


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
    """Sizes of a saved model, Hugging Face or sentence-transformers; None where ``config.json`` does not say.

    Raises:
        RecipeError: one of its small files is damaged.
    """
    return encoder_size(inside(folder))


def encoder_size(find: Find) -> EncoderSize | None:
    """The same of a model whose files are asked for by name."""
    saved = read_saved(find)
    dims = []
    for module in saved.modules:
        path = find(module.file(CONFIG)) if module.type.endswith("Dense") else None
        if path is not None:
            dims.append(read_json(path, dict).get("out_features"))
    dim = dims[-1] if dims and isinstance(dims[-1], int) else None
    return EncoderSize.of(dict(saved.config), saved.max_length, dim)


def _facts(source: Source, cures: Cures, count: bool, batch: int) -> dict[str, Any]:
    if source.pydocs is not None:
        return {"roles": frozenset({"query", "positive"}), "negatives": 0}
    if source.rows is not None:
        given = source.rows[: records.PEEK]
        columns = list(dict.fromkeys(key for row in given for key in row))
        return {**_of_columns(source, columns, lambda names: given), "rows": len(source.rows)}
    if source.path is None:
        return {}
    files = paths.locate(source.path, "files").places
    return _of_files(source, files, cures, count, batch) if files else {"missing": True}


def _of_files(source: Source, files: Sequence[Path], cures: Cures, count: bool, batch: int) -> dict[str, Any]:
    """What local files say, as far as they can be read."""
    found: dict[str, Any] = {}
    try:
        forms = [records.format_of(file) if source.format == "auto" else source.format for file in files]
        columns = records.columns_of(files[0], forms[0], source.encoding, cures)

        def first(names: Sequence[str]) -> list[dict[str, Any]]:
            rows = islice(records.read(files[0], forms[0], source.encoding, names, cures), records.PEEK)
            return [row.values for row in rows if row.values is not None]

        found |= _of_columns(source, columns, first)
        if source.streaming:
            enough = min(batch, source.limit or batch)
            each = (records.read(f, form, source.encoding, cures=cures) for f, form in zip(files, forms, strict=True))
            rows = sum(1 for _ in islice(chain.from_iterable(each), enough))
            found["ended"] = rows if rows < batch else None
        elif count:
            counts = [count_rows(f, form, source.encoding, cures) for f, form in zip(files, forms, strict=True)]
            found["rows"] = None if None in counts else sum(c for c in counts if c is not None)
    except EmbedkitError as error:
        found["unreadable"] = error
    return found


def _of_columns(
    source: Source, columns: Sequence[str], first: Callable[[Sequence[str]], Sequence[Mapping[str, Any]]]
) -> dict[str, Any]:
    """Roles, and positives and negatives per row among the first rows, which `first` gives for columns it is asked."""
    if not columns:
        return {}
    roles = role_columns(columns, source.roles)
    lists = {role: [name for name in roles.get(role, ()) if name in columns] for role in ("positive", "negative")}
    asked = [name for names in lists.values() for name in names]
    rows = first(asked) if asked else ()
    most = {
        role: max((sum(_count(row.get(name)) for name in names) for row in rows), default=0)
        for role, names in lists.items()
    }
    given = {"positives": most["positive"], "negatives": most["negative"]}
    return {"columns": frozenset(columns), "roles": frozenset(roles), **given}


def _count(value: Any) -> int:
    """Texts of a field that may be a list; what is absent is none."""
    return sum(not is_absent(item) for item in (value if isinstance(value, (list, tuple)) else (value,)))


def role_columns(columns: Sequence[str], explicit: Mapping[Role, str | tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """Columns by role: those named, else those that bear a role's own name. Bare text and query exclude each other.

    The loading of sources decides the same and refuses what is ambiguous; here nothing is refused.
    """
    found = {str(role): (given,) if isinstance(given, str) else tuple(given) for role, given in explicit.items()}
    taken = {name for names in found.values() for name in names}
    for column in columns:
        role = _PLURALS.get(column, column)
        if role in ROLES and role not in NAMED_ONLY and role not in found and column not in taken:
            found[role] = (column,)
    pairs = {"query", "positive", "negative", "score", "grade"}
    if "text" in found and "text" not in explicit and (pairs & set(explicit) or "query" in found):
        del found["text"]
    return {role: names for role, names in found.items() if "text" not in found or role not in pairs}


def count_rows(path: Path, form: str, encoding: str = "utf-8", cures: Cures = PLAIN) -> int | None:
    """Rows of a file as it is read, bad ones included; None if it is too large to be read for that.

    Raises:
        DataError, RecipeError: as `embedkit.inputs.records.count`.
    """
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if form != "parquet" and path.stat().st_size > (COUNT_LIMIT // 8 if packed else COUNT_LIMIT):
        return None
    return records.count(path, form, encoding, cures)
