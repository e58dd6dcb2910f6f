"""Foreign text made fit to be seen: names of files, columns and keys, answers of servers, messages of libraries.

Whatever comes from a file, a server or a library passes `shown` before it is printed or logged, so that it can neither
steer a terminal, turn the order of letters, hide in no width, stand for lines of its own, nor give a secret away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from embedkit.foreign.redacting import redact

if TYPE_CHECKING:
    import logging

ELLIPSIS = "..."
LONGEST = 4000
"""Characters of one message; names of files and keys may be as long as a page."""
_UNSEEN = (
    "\\x00-\\x1f\\x7f-\\x9f"  # C0, DEL, C1
    "\\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\uffa0"  # fillers, no width
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb\ufffe\uffff"  # no width, line ends, direction
    "\ud800-\udfff"  # halves of characters
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff"  # formats, tags
)
"""What acts on a terminal or cannot be seen. Variation selectors stay: emoji and Japanese names have them."""
_ACTING = re.compile(f"[{_UNSEEN}]")
_ACTING_IN_LINES = re.compile(f"\r\n|(?![\n\t])[{_UNSEEN}]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\r\n": "\n"}


def visible(text: str, *, lines: bool = False) -> str:
    """`text` with escapes such as ``\\x1b`` and ``\\u202e`` for characters that act on a terminal or cannot be seen.

    The escapes are those of Python, JSON (below U+10000) and YAML.

    Args:
        text: any text; what is visible already comes back as it is.
        lines: keep line ends and tabs.
    """
    if text.isascii() and text.isprintable():
        return text
    return (_ACTING_IN_LINES if lines else _ACTING).sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    found = match[0]
    if found in _SHORT:
        return _SHORT[found]
    code = ord(found)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def is_unicode(text: str) -> bool:
    """Whether UTF-8 can say a text: there are no lone surrogates in it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shown(text: object, *, lines: bool = False, most: int | None = None) -> str:
    """Foreign text as it may be printed, logged or put into a report: one line, visible, without secrets.

    Args:
        text: anything with a text form.
        lines: it may have several lines; line ends and tabs stay.
        most: characters; what is longer ends with an ellipsis.
    """
    clear = visible(str(redact(str(text))), lines=lines)
    return clear if most is None or len(clear) <= most else clear[: most - len(ELLIPSIS)] + ELLIPSIS


def shown_deep(value: Any) -> Any:
    """Plain data with every text in it, keys included, as `shown` gives it; tuples come back as lists."""
    return _visible_deep(redact(value))


def _visible_deep(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {_visible_deep(key): _visible_deep(inside) for key, inside in value.items()}
    if isinstance(value, (list, tuple)):
        return [_visible_deep(inside) for inside in value]
    return value


def as_json(value: Any, *, indent: int | None = 1, allow_nan: bool = True) -> str:
    """Plain data as JSON that reads back the same but for secrets, with escapes for what `visible` would not show.

    Letters beyond ASCII stand as they are.
    """
    import json

    text = json.dumps(redact(value), ensure_ascii=False, indent=indent, allow_nan=allow_nan)
    return _ACTING_IN_LINES.sub(lambda match: json.dumps(match[0])[1:-1], text)


def logger(name: str) -> logging.Logger:
    """The logger of a module of embedkit; every message is as `shown` gives it, whatever handler writes it."""
    import logging

    found = logging.getLogger(name)
    if _show not in found.filters:
        found.addFilter(_show)
    return found


def _show(record: logging.LogRecord) -> bool:
    """Put the finished message into the place of its parts."""
    record.msg, record.args = shown(record.getMessage(), most=LONGEST), ()
    if record.exc_info and not record.exc_text:
        from traceback import format_exception

        record.exc_text = shown("".join(format_exception(*record.exc_info)).rstrip("\n"), lines=True)
    return True
