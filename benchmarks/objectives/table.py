"""The table of objectives: which train on which kind of data, and why the others do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from embedkit.errors import RecipeError
from embedkit.recipe.reading.catalogue import Shown, catalogue

DEFAULT = Path(__file__).with_name("objectives.yaml")
REFERENCE = "infonce"
"""The row that the others are compared with, in scores, time and memory."""
BASE = "untrained"
"""The row of the base as it is."""
NEW = "not measured yet"
"""Of an objective that could train on the rows and that the table does not name."""


@dataclass(frozen=True)
class Row:
    """One objective on one kind of data.

    Attributes:
        name: in folders and on the page; the objective's, unless `objective` is another.
        objective: as a recipe says it; "" is `name`.
        options: of the objective; what is not named keeps its default.
        roles: columns of the kind's training file, where they are not those of the kind.
        share: rows per update, as a share of the kind's batch.
        why: the reason of options, roles or share.
    """

    name: str
    objective: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    share: float = 1.0
    why: str = ""

    @property
    def block(self) -> dict[str, Any]:
        """As a recipe's ``objective``."""
        return {"name": self.objective or self.name, **self.options}


@dataclass(frozen=True)
class Part:
    """The table of one kind of data.

    Attributes:
        rows: the objectives that are trained, in order.
        left_out: objective -> reason, for those whose needs the data would meet.
    """

    rows: tuple[Row, ...]
    left_out: Mapping[str, str]


def read(path: Path = DEFAULT) -> dict[str, Part]:
    """The table, shape of data by shape of data.

    Raises:
        RecipeError: the file is not there, or an entry has keys that do not exist.
    """
    try:
        found = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"cannot be read: {error.strerror}", str(path), "give a table with --table") from error
    return {
        shape: Part(_rows(shape, part.get("rows", {}), path), part.get("left_out", {})) for shape, part in found.items()
    }


def _rows(shape: str, entries: Mapping[str, Any], path: Path) -> tuple[Row, ...]:
    known = set(Row.__dataclass_fields__) - {"name"}
    for name, entry in entries.items():
        if unknown := set(entry or {}) - known:
            raise RecipeError(f"{shape}.{name}: unknown keys {sorted(unknown)}", str(path), f"keys: {sorted(known)}")
    return tuple(Row(name=name, **(entry or {})) for name, entry in entries.items())


def choose(part: Part, names: Sequence[str]) -> list[Row]:
    """The rows called `names` (all when empty), the reference first.

    Raises:
        RecipeError: the reference is not in the table, or a name is not in any place of it.
    """
    wanted = {*(names or [row.name for row in part.rows]), REFERENCE}
    if REFERENCE not in {row.name for row in part.rows}:
        raise RecipeError(f"the table has no {REFERENCE}", "table", "add it: the others are compared with it")
    return sorted((row for row in part.rows if row.name in wanted), key=lambda row: row.name != REFERENCE)


def unfit(shown: Shown, roles: frozenset[str]) -> str | None:
    """Why an objective has no place among rows with these roles; None where it could train on them."""
    if shown.scope == "wrapper":
        return "a wrapper: it changes how others are applied"
    if shown.data == "any":
        return "not a loss on embeddings"
    needed = {role.strip() for role in shown.data.split(",")}
    if missing := sorted(needed - roles):
        return f"needs {', '.join(missing)}"
    return "does not read the scores; infonce stands for these" if "score" in roles - needed else None


def reasons(part: Part, roles: frozenset[str]) -> dict[str, str]:
    """Every objective of the catalogue that is not trained on rows with these roles, with the reason."""
    trained = {row.objective or row.name for row in part.rows}
    found = {}
    for shown in catalogue():
        if shown.name not in trained:
            reason = part.left_out.get(shown.name) or unfit(shown, roles)
            found[shown.name] = reason or NEW
    return found
