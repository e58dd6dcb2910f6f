"""The shape of the code, read from its source: layers, what stays light, sizes, one home for each option."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from embedkit.recipe import registry

PACKAGE = Path(__file__).resolve().parent.parent / "embedkit"
LAYERS = [
    {"types", "errors", "versions", "moved", "foreign", "disk", "inputs", "terminal"},
    {"recipe"},
    {"data", "model", "objectives", "spread"},
    {"vectors"},
    {"auxiliary"},
    {"train", "mining", "evaluation", "synthesis"},
    {"publish"},
    {"run"},
    {"cli"},
    {"__main__"},
]
"""Lowest first. A part may import parts of lower layers, and none of its own layer but itself (the lowest excepted)."""
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}
HEAVY = {"torch", "transformers", "sentence_transformers", "datasets", "accelerate", "faiss", "peft", "numpy", "scipy"}
LIGHT = {"recipe", *LAYERS[0]}
LINES, FUNCTION_LINES = 400, 60
MODULES = sorted(PACKAGE.rglob("*.py"))


@dataclass(frozen=True)
class Import:
    """An imported module, where, and whether only a type checker sees it."""

    target: str
    line: int
    typing_only: bool


def imports(path: Path) -> list[Import]:
    """All imports of a module, those inside functions included."""
    found: list[Import] = []
    package = path.relative_to(PACKAGE.parent).with_suffix("").parts[:-1]

    def visit(node: ast.AST, typing_only: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for child in node.body:
                visit(child, True)
            for child in node.orelse:
                visit(child, typing_only)
            return
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno, typing_only) for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            found.extend(Import(f"{module}.{alias.name}", node.lineno, typing_only) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child, typing_only)

    visit(ast.parse(path.read_text(encoding="utf-8")), False)
    return found


def part_of(path: Path) -> str:
    """The part of embedkit that a module belongs to; empty for the package's own ``__init__``."""
    first = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    return "" if first == "__init__" else first


def part_of_import(target: str) -> str | None:
    """The part that an import reaches; None for other packages and for names of embedkit's ``__init__``."""
    names = target.split(".")
    return names[1] if names[0] == "embedkit" and len(names) > 1 and names[1] in RANK else None


def show(path: Path, line: int) -> str:
    return f"{path.relative_to(PACKAGE.parent)}:{line}"


def test_every_part_has_a_layer() -> None:
    parts = {part_of(path) for path in MODULES} - {""}
    assert parts <= set(RANK), f"give {parts - set(RANK)} a place in LAYERS"
    assert len(MODULES) > 40, "the walk does not find the modules"


def test_imports_only_go_down() -> None:
    wrong = []
    for path in MODULES:
        own = part_of(path)
        for found in imports(path):
            other = part_of_import(found.target)
            if other is None or other == own:
                continue
            if own == "" or RANK[other] > RANK[own] or RANK[other] == RANK[own] > 0:
                wrong.append(f"{show(path, found.line)}: {own or 'embedkit'} imports {found.target}")
    assert not wrong, "\n".join(wrong)


def test_no_module_reaches_itself() -> None:
    """No circles, whether an import stands at the top, in a function or for a type checker: the shared name goes below
    both."""
    names = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in MODULES}
    reached: dict[str, set[str]] = {name: set() for name in names}
    for path in MODULES:
        own = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        for found in imports(path):
            target = found.target if found.target in names else found.target.rpartition(".")[0]
            if target in names and target != own:
                reached[own].add(target)
    order: list[str] = []
    while ready := [n for n in reached if not reached[n] - set(order) and n not in order]:
        order += ready
    circular = sorted(set(reached) - set(order))
    assert not circular, "in or above a circle: " + ", ".join(
        f"{n} -> {sorted(reached[n] - set(order))}" for n in circular
    )


def test_the_walk_sees_every_way_to_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above would pass if the walk were blind."""
    module = tmp_path / "embedkit" / "recipe" / "x.py"
    module.parent.mkdir(parents=True)
    module.write_text(
        "import embedkit.run\n"
        "from embedkit import train\n"
        "from ..model import encoder\n"
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import torch\n"
        "def f():\n    from embedkit.data.views import expand\n"
    )
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path / "embedkit")
    found = imports(module)
    assert {part_of_import(i.target) for i in found} == {"run", "train", "model", "data", None}
    assert [i.typing_only for i in found if i.target == "torch"] == [True]


def test_reading_a_recipe_needs_nothing_heavy() -> None:
    wrong = [
        f"{show(path, found.line)}: {found.target}"
        for path in MODULES
        if part_of(path) in LIGHT
        for found in imports(path)
        if found.target.split(".")[0] in HEAVY and not found.typing_only
    ]
    assert not wrong, "\n".join(wrong)


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def test_modules_are_short() -> None:
    sizes = {show(path, 1): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert not {name: size for name, size in sizes.items() if size > LINES}


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring, which may be as long as it needs."""
    first = function.body[0]
    documented = ast.get_docstring(function, clean=False) is not None
    return (
        (function.end_lineno or 0) - function.lineno + 1 - (((first.end_lineno or 0) - first.lineno + 1) * documented)
    )


def test_functions_fit_on_a_screen() -> None:
    sizes = {f"{show(path, f.lineno)} {f.name}": code_lines(f) for path in MODULES for f in functions(path)}
    assert not {name: size for name, size in sizes.items() if size > FUNCTION_LINES}


def registered() -> list[tuple[registry.Kind, str]]:
    kinds: tuple[registry.Kind, ...] = ("objective", "weighting", "head", "view")
    return [(kind, name) for kind in kinds for name in registry.names(kind)]


def test_all_names_are_registered() -> None:
    assert len(registered()) >= 12


def own_parameters(target: type) -> dict[str, inspect.Parameter]:
    """By name; those of the base class too where the class hands the rest (``**options``) on to it."""
    given = inspect.signature(target.__init__).parameters.values()  # type: ignore[misc]
    found = {p.name: p for p in given if p.name != "self" and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    handed_on = any(p.kind is p.VAR_KEYWORD for p in given) and target.__base__ is not None
    return (own_parameters(target.__base__) if handed_on and "__init__" in vars(target) else {}) | found


@pytest.mark.parametrize(("kind", "name"), registered())
def test_options_are_the_parameters_of_the_class(kind: registry.Kind, name: str) -> None:
    """A default stands in the schema and in the class; they cannot differ."""
    entry = registry.lookup(kind, name)
    config, target = registry.resolve(entry.config), registry.resolve(entry.target)
    parameters = own_parameters(target)
    extra = {"weighting"} if kind == "objective" and config.reweightable else set()
    assert set(parameters) == set(config.model_fields) - {"name"} | extra
    for key, parameter in parameters.items():
        if key in extra:
            continue
        default = config.model_fields[key].get_default(call_default_factory=True, validated_data={})
        assert same_default(parameter.default, default), f"{name}.{key}: {parameter.default!r} is not {default!r}"


def same_default(of_class: Any, of_schema: Any) -> bool:
    if of_schema is PydanticUndefined:
        return of_class is inspect.Parameter.empty
    if of_schema == {}:  # a class must not share a mutable default
        return of_class is None
    return of_class == of_schema and type(of_class) is type(of_schema)
