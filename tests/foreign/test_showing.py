"""Foreign text made fit to be seen: visible, bounded, on its line, without secrets, in messages, logs and files."""

from __future__ import annotations

import io
import json
import logging
import pickle
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table
from rich.text import Text

from embedkit.disk import files
from embedkit.errors import DataError, EmbedkitError, RecipeError, about
from embedkit.foreign import showing
from embedkit.foreign.redacting import redact
from embedkit.foreign.showing import as_json, shown, shown_deep, visible
from embedkit.terminal.screen import Screen
from embedkit.terminal.tables import Grid, name_column

ACTING = "\x1b[2J\x1b]0;t\x07\x9b31m\x7f\r\x00\u202e\u2066\u200b\ufeff\u2028\ud800\U000e0041"
SEEN = r"\x1b[2J\x1b]0;t\x07\x9b31m\x7f\r\x00\u202e\u2066\u200b\ufeff\u2028\ud800\U000e0041"
ACTS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff]")
TOKEN = "hf_" + "aB3dE5fG7h" * 3
VISIBLE_FORMATS = set(range(0x600, 0x606)) | {0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
VISIBLE_FORMATS |= set(range(0x13430, 0x13440))
"""Of category Cf, but drawn: Arabic number signs and the like, joiners of hieroglyphs."""
ROOT = Path(__file__).parents[2]


def test_what_acts_on_a_terminal_is_shown() -> None:
    assert visible(f"a{ACTING}z") == f"a{SEEN}z"
    assert visible("a\n\tb\r\nc") == r"a\n\tb\r\nc"
    assert visible("a\n\tb\r\nc\rd\x85", lines=True) == "a\n\tb\nc\\rd\\x85"
    assert visible(SEEN) == SEEN, "what is visible stays: cleaning twice is cleaning once"


def test_every_control_and_format_character_is_shown_and_every_letter_left() -> None:
    for code in range(0x110000):
        character = chr(code)
        category = unicodedata.category(character)
        if category in ("Cc", "Cf", "Cs", "Zl", "Zp") and code not in VISIBLE_FORMATS:
            assert visible(character) != character, hex(code)
        elif category[0] in "NPS" or category in ("Ll", "Lu", "Lt", "Lm", "Zs"):
            assert visible(character) == character, hex(code)


@pytest.mark.parametrize("text", ["Grüße", "日本語", "\U0001f600\ufe0f", "नमस्ते", "עברית", "a\\b", "葛\U000e0100"])
def test_words_of_all_scripts_stay(text: str) -> None:
    assert visible(text) == shown(text) == text


@given(st.text())
def test_nothing_that_acts_is_left(text: str) -> None:
    for lines in (False, True):
        clear = visible(text, lines=lines)
        assert not re.search(
            r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff]", clear
        )
        assert visible(clear, lines=lines) == clear
        clear.encode("utf-8")
    assert "\n" not in visible(text) and "\t" not in visible(text)


def test_long_text_is_cut_and_secrets_are_hidden_before_that() -> None:
    assert shown("a" * 100, most=10) == "aaaaaaa..."
    assert shown("a" * 10, most=10) == "a" * 10
    assert TOKEN[:10] not in shown(f"see {TOKEN} there", most=20)
    assert shown(f"\x1b{TOKEN}") == r"\x1b[redacted]", "an escape does not shield a token"
    assert shown(Path("a\nb")) == r"a\nb"


def test_deep_data_is_cleaned_with_its_keys() -> None:
    found = shown_deep({f"k{ACTING}": [f"v\n{TOKEN}", 1.5, None, ("x\u202e",)]})
    assert found == {f"k{SEEN}": [r"v\n[redacted]", 1.5, None, [r"x\u202e"]]}


@given(st.recursive(st.none() | st.text() | st.integers(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_json_reads_back_the_same_but_for_secrets_and_holds_nothing_that_acts(value: object) -> None:
    for indent in (None, 1):
        text = as_json(value, indent=indent)
        assert visible(text, lines=True) == text
        assert json.loads(text) == redact(value)


def test_json_files_keep_letters_and_no_secrets(tmp_path: Path) -> None:
    files.write_json(tmp_path / "a.json", {"é": ACTING, "token": "abc", "s": TOKEN})
    raw = (tmp_path / "a.json").read_bytes().decode("utf-8")
    assert "é" in raw and visible(raw, lines=True) == raw
    assert json.loads(raw) == {"é": ACTING, "token": "[redacted]", "s": "[redacted]"}


class TestErrors:
    def test_every_part_is_visible_and_one_line(self) -> None:
        error = RecipeError(f"what\n{ACTING}{TOKEN}", "where\x1b[2J\nx", "cure\u202e\ny", [f"  below\n{ACTING}"])
        lines = str(error).split("\n")
        assert lines == [
            rf"where\x1b[2J\nx: what\n{SEEN}[redacted]",
            rf"  below\n{SEEN}",
            r"  cure: cure\u202e\ny",
        ]
        assert error.args == (str(error),)

    def test_errors_below_keep_their_lines_and_survive_pickling(self) -> None:
        inner = DataError("one", "a:1", "mend it")
        error = RecipeError("2 problems", below=[inner, "three"])
        assert str(error) == "2 problems\na:1: one\n  cure: mend it\nthree"
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is RecipeError and str(again) == str(error)
        with pytest.raises(RecipeError, match="three"), about("guide", "model"):
            raise RecipeError("x", "model", below=["three"])

    def test_endless_parts_are_cut(self) -> None:
        assert len(str(EmbedkitError("a" * 10**6, "b" * 10**6, "c" * 10**6))) < 13_000


class TestLogs:
    def test_messages_are_clean_whatever_handler_writes_them(self) -> None:
        out = io.StringIO()
        handler = logging.StreamHandler(out)
        root, log = logging.getLogger(), showing.logger("embedkit.tests.showing")
        root.addHandler(handler)
        try:
            log.warning("a %s and\n%s", f"b{ACTING}", TOKEN)
            try:
                raise ValueError(f"inside \x1b[2J {TOKEN}")
            except ValueError:
                log.exception("failed")
        finally:
            root.removeHandler(handler)
        text = out.getvalue()
        assert text.splitlines()[0] == rf"a b{SEEN} and\n[redacted]"
        assert "ValueError: inside \\x1b[2J [redacted]" in text
        assert visible(text, lines=True) == text and TOKEN not in text

    def test_one_filter_however_often_it_is_asked_for(self) -> None:
        assert len(showing.logger("embedkit.tests.twice").filters) == 1
        assert len(showing.logger("embedkit.tests.twice").filters) == 1

    def test_no_module_has_a_logger_of_another_kind(self) -> None:
        asking = [
            str(path.relative_to(ROOT))
            for path in (ROOT / "embedkit").rglob("*.py")
            if "getLogger(__name__)" in path.read_text(encoding="utf-8")
        ]
        assert not asking


class TestScreen:
    def shows(self, renderable: object, *, markup: bool = True) -> str:
        screen = Screen(file=io.StringIO(), width=60, color_system="truecolor", force_terminal=True)
        screen.print(renderable, markup=markup)
        return str(screen.file.getvalue())  # type: ignore[attr-defined]

    def test_texts_tables_and_styles(self) -> None:
        table = Table(f"head{ACTING}", title=f"title{ACTING}")
        table.add_row(f"cell{ACTING}", Text(f"text{ACTING}", style="red"))
        for renderable in (f"a{ACTING}", Text(f"a{ACTING}", style="bold red"), table):
            text = re.sub(r"\x1b\[[0-9;]*m", "", self.shows(renderable))  # the styles are ours
            assert visible(text, lines=True) == text
            assert r"\x1b[2J" in re.sub(r"[\s│]", "", text)

    def test_colours_of_our_own_stay(self) -> None:
        assert "\x1b[31m" in self.shows(Text("a", style="red"))

    def test_a_plain_console_would_let_it_through(self) -> None:
        """The test above would pass if rich cleaned by itself."""
        plain = Console(file=io.StringIO(), width=60)
        plain.print("a\x1b[2J\u202e", markup=False)
        assert "\x1b" in plain.file.getvalue()  # type: ignore[attr-defined]

    def test_grids_clean_their_cells(self) -> None:
        grid = Grid([name_column("task"), name_column("metric")], title=f"t\n{ACTING}", note=f"n{ACTING}")
        grid.add(f"a\n{ACTING}", TOKEN)
        text = str(grid)
        assert visible(text, lines=True) == text and TOKEN not in text
        assert r"\x1b[2J" in text
