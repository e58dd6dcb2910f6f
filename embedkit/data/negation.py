"""English sentences that say the opposite, by rule."""

from __future__ import annotations

import re

_HELPERS = (
    "is are was were am be been will would can could should shall may might must has have had does do did".split()  # noqa: SIM905
)
_HELPER = re.compile(rf"\b({'|'.join(_HELPERS)})\b(?=\s+\w)", re.IGNORECASE)
_NOT = re.compile(r"\s*\b(?:not|never)\b(?=\W*$)|\b(?:not|never)\s+|\b(can)not\b|\b(\w+)n't\b", re.IGNORECASE)
_WHOLE = {"wo": "will", "ca": "can", "sha": "shall"}
"""What is left of a verb before ``n't`` that is not the verb."""


def negate(text: str) -> str:
    """A text without its first ``not``, ``never`` or ``n't``; without one, with ``not`` behind its first helping verb.

    As it was where it has neither. A helping verb at the end gets none.
    """
    if _NOT.search(text):
        return _NOT.sub(_affirmed, text, count=1)
    return _HELPER.sub(lambda found: f"{found[0]} not", text, count=1)


def _affirmed(found: re.Match[str]) -> str:
    verb = found[1] or found[2]
    if verb is None:
        return ""
    whole = _WHOLE.get(verb.lower(), verb)
    return whole.capitalize() if verb[0].isupper() else whole
