"""The architecture, read off the imports: a part knows the layers below it, and no neighbour."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import embedkit

ROOT = Path(embedkit.__file__).parent
LAYERS = (
    {"types", "errors"},
    {"recipe", "workspace"},
    {"data", "model", "objectives"},
    {"train", "mining", "evaluation"},
    {"publish", "assembly"},
    {"run"},
    {"cli", "__main__"},
)
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}
MODULES = sorted(ROOT.rglob("*.py"))
LONGEST = 400
HEAVY = ("torch", "transformers", "sentence_transformers", "datasets", "faiss", "scipy", "matplotlib", "numpy")


def part_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported_parts(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Parts of embedkit that a module imports, anywhere in it, type checking included."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            names = [node.module or ""]
            if node.module == "embedkit":
                names = [f"embedkit.{alias.name}" for alias in node.names]
        for name in names:
            head, _, rest = name.partition(".")
            if head == "embedkit" and rest:
                yield rest.partition(".")[0], node.lineno


def test_every_part_has_a_layer() -> None:
    parts = {part_of(path) for path in MODULES} - {"__init__"}
    assert len(parts) > 8
    assert parts <= set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    part = part_of(path)
    if part == "__init__":
        return  # public names, loaded on first use
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for other, line in imported_parts(tree):
        if other not in (part, "__version__"):
            assert RANK[other] < RANK[part], f"{path}:{line}: {part} imports {other}"


def test_modules_stay_short() -> None:
    lengths = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in MODULES}
    assert {name: n for name, n in lengths.items() if n > LONGEST} == {}


@pytest.mark.parametrize("module", ["embedkit", "embedkit.types", "embedkit.recipe.load", "embedkit.recipe.plan"])
def test_reading_a_recipe_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(set(sys.modules) & set({HEAVY})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
