"""Documents cut into passages: nothing lost, nothing longer than asked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedkit.data.passages import passages, texts_of
from embedkit.errors import DataError


def test_paragraphs_stay_together_as_far_as_they_fit() -> None:
    body = "# One\n\na b c\n\nd e\n\nf g h i\n\n## Two\n\nj"
    assert passages(body, 7) == ["# One\n\na b c\n\nd e", "f g h i", "## Two\n\nj"]


def test_a_long_paragraph_is_cut_between_sentences_and_a_long_sentence_between_words() -> None:
    assert passages("A b c. D e? F g h i j k l.", 5) == ["A b c. D e?", "F g h i j", "k l."]


@given(st.lists(st.sampled_from(["a", "bb.", "# c", "\n\n", "\n", "d!", "  "]), max_size=60), st.integers(1, 9))
def test_every_word_is_there_once_and_no_part_is_too_long(words: list[str], most: int) -> None:
    body = " ".join(words)
    parts = passages(body, most)
    assert " ".join(parts).split() == body.split()
    assert all(0 < len(part.split()) <= most for part in parts)


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".git").mkdir()
    for name, text in (
        ("b/second.md", "\ufeff# The *title*\r\n\r\nText."),
        ("a.txt", "no heading\n# later"),
        ("c.pdf", "%PDF"),
        ("empty.rst", " \n"),
        (".git/x.txt", "hidden"),
    ):
        (tmp_path / name).write_bytes(text.encode())
    left: Counter[str] = Counter()
    found = list(texts_of(tmp_path, left))
    assert [(t.name, t.title) for t in found] == [("a.txt", ""), ("b/second.md", "The *title*")]
    assert left == {"files that end with .pdf": 1, "files without text": 1}


@pytest.mark.parametrize("content", [b"caf\xe9 au lait", b"a\x00b", b"\x1f\x8b\x08 no gzip"])
def test_a_file_that_is_no_text_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.txt"):
        list(texts_of(tmp_path, Counter()))
