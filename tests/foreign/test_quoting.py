"""Foreign texts in messages: short, quoted, without secrets, also where they are cut."""

from __future__ import annotations

import pytest

from embedkit.foreign.quoting import listed, named, quoted
from embedkit.foreign.showing import visible

TOKEN = "hf_" + "aB3dE5fG7h" * 3


def test_lists_of_names_are_bounded() -> None:
    assert listed(["query", "sent 0", "x_1"]) == "query, 'sent 0', x_1"
    assert listed(["a\x1b", "\u202ez", "b" * 5000]) == r"'a\x1b', '\u202ez', '" + "b" * 60 + "'..."
    assert listed(f"c{i}" for i in range(5000)).endswith("c19 and 4,980 more")


@pytest.mark.parametrize("before", range(0, 70, 7))
def test_a_cut_leaves_no_part_of_a_secret(before: int) -> None:
    for name in (f"{'x' * before} {TOKEN} {'y' * 100}", f"{'x' * before} {TOKEN}", TOKEN):
        for text in (quoted(name), named(name), listed([name])):
            assert TOKEN[:8] not in text


def test_what_acts_on_a_terminal_is_quoted() -> None:
    for character in "\x00\x1b\x7f\x9b\u202e\u200b\ufeff\u2028\ud800\U000e0041":
        assert visible(named(f"a{character}")) == named(f"a{character}")
