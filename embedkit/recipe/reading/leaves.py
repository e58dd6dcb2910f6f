"""A recipe as one value per key path: how two recipes are told apart."""

from __future__ import annotations

from typing import Any


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Every value by its key path, ``data.sources.0.path``: a scalar, null, a list of such, or what is empty."""
    if isinstance(value, dict) and value:
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, (dict, list)) for item in value):
        items = [(str(index), item) for index, item in enumerate(value)]
    else:
        return {path: value} if path else {}
    return {k: v for key, item in items for k, v in leaves(item, f"{path}.{key}" if path else key).items()}
