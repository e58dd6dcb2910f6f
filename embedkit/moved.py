"""Names of modules that have moved, which scripts of others may still import: each gives the new one, and a warning."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_ROOMS = {
    "model.changing": "adapters bidirectional dropout heads whitening",
    "model.reading": "fingerprint loading probing resolve templates tokens",
    "model.running": "attention encoder inference packing perturb towers",
    "auxiliary": "denoising generator language_head masking mlm replaced_tokens",
}
MOVED = {
    **{f"embedkit.model.{name}": f"embedkit.{room}.{name}" for room, names in _ROOMS.items() for name in names.split()},
    "embedkit.assembly": "embedkit.run.build",
    "embedkit.data.readers": "embedkit.inputs.records",
    "embedkit.evaluation.mteb.content": "embedkit.evaluation.content",
    "embedkit.limits": "embedkit.foreign.limits",
    "embedkit.measuring": "embedkit.run.measuring",
    "embedkit.model.auxiliary": "embedkit.auxiliary.base",
    "embedkit.paths": "embedkit.disk.paths",
    "embedkit.preparing": "embedkit.run.data",
    "embedkit.publish.redact": "embedkit.foreign.redacting",
}
"""Old name -> new name."""


class _Finder:
    """Asked last, when nothing else has a module of the name; finder and loader in one."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in MOVED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        new = MOVED[spec.name]
        warnings.warn(f"{spec.name} is {new} now", DeprecationWarning, stacklevel=2)
        module = importlib.import_module(new)
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: Any) -> None:
        """It has run; the import system wrote the old name's specification into it."""
        module.__spec__ = module.__spec__.loader_state


def forward() -> None:
    """Have the old names found."""
    sys.meta_path.append(_Finder())
