"""JSON that others wrote, or a broken disk gives back: whatever is wrong with it, there is one kind of error."""

from __future__ import annotations

import json
from typing import Any


def from_json(text: str | bytes) -> Any:
    """What a JSON document says.

    Args:
        text: the document.

    Raises:
        ValueError: it is none: another encoding than UTF-8, 16 or 32, a number of too many digits, nesting without
            end (of which Python's own reader raises a RecursionError).
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("lists and objects are nested too deeply") from error
