"""JSON that is none: one kind of error, whatever is wrong with it."""

from __future__ import annotations

import pytest

from embedkit.foreign.parsing import from_json


@pytest.mark.parametrize(
    "text",
    ["", '{"a": 1', "[" * 20_000, "[" * 20_000 + "]" * 20_000, '{"a":' * 20_000, b'{"a": "\xff"}', "9" * 5000, b"\0"],
    ids=["empty", "cut", "brackets", "closed brackets", "objects", "no UTF-8", "digits", "NUL"],
)
def test_what_is_no_json(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        from_json(text)


def test_what_is_json() -> None:
    assert from_json(b'{"a": [1, 2.5, null, "\xc3\xa9"]}') == {"a": [1, 2.5, None, "é"]}
    assert from_json("[" * 200 + "]" * 200)
