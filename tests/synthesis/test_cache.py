"""Answers survive: round trip, torn lines, foreign lines, keys that tell everything apart."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from embedkit.errors import DataError
from embedkit.synthesis.cache import Cache
from embedkit.synthesis.calls import Call, Reply, key

CALL = Call("fill", (("user", "Fill <mask>."),), 0.7, 0.9, 64, True, 5)
MODEL = {"local": "abc", "dtype": "auto"}


def test_answers_come_back_in_a_new_process(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.cache"
    replies = {"1": Reply("Grüße\n\u2028\U0001f600 \ud800", "length", 3, 4), "2": Reply("", "refused"), "3": Reply("x")}
    cache = Cache(path)
    for name, reply in replies.items():
        cache.add(name, reply)
        assert cache.get(name) == reply
    cache.close()
    again = Cache(path)
    assert len(again) == 3 and "4" not in again and again.torn == 0
    assert {name: again.get(name) for name in replies} == replies


def test_a_line_cut_at_any_byte_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.cache"
    cache = Cache(path)
    cache.add("1", Reply('with "quotes" and } braces }\n', "stop", 1, 1))
    first = path.stat().st_size
    cache.add("2", Reply("}", "stop", 1, 1))
    cache.close()
    whole = path.read_bytes()
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        torn = Cache(path)
        assert ("1" in torn) is (size >= first - 1)
        assert ("2" in torn) is (size >= len(whole) - 1)
        torn.add("3", Reply("new", "stop", 2, 2))
        torn.close()
        assert path.read_bytes()[:size] == whole[:size], "append only"
        after = Cache(path)
        assert after.get("3").text == "new"
        assert {"1", "2"} & set(torn._places) == {"1", "2"} & set(after._places)


ANSWER = b'{"key": "1", "text": "a", "finish": "stop", "tokens": [1, 2]}\n'


def test_lines_of_something_else_behind_an_answer_are_passed_over_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.cache"
    path.write_bytes(ANSWER + b'[1]\n{"other": 1}\nplain\n\n\xff\xfe\n{"key": "2"}\n' + b"[" * 200_000 + b"\n")
    cache = Cache(path)
    assert (len(cache), cache.torn) == (1, 6)
    cache.add("1", Reply("a"))
    assert Cache(path).get("1") == Reply("a")


@pytest.mark.parametrize(
    "content",
    [
        b"[1]\n" + ANSWER,
        b"plain text\n",
        b"\n",
        b"\x00" * 100,
        b'{"text": "a sentence"}\n',
        b'{"key": "a", "value": "b"}\n' + ANSWER,
        b'{"key": "a", "text": "b", "finish": "stop"}\n',
        b'{"key": "a", "text": "b", "finish": "stop", "tokens": [1]}',
        b"x" * 10_000_000,
    ],
)
def test_what_is_no_cache_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match="is no cache of answers"):
        Cache(path)
    assert path.read_bytes() == content


def test_devices_and_pipes_are_no_caches() -> None:
    with pytest.raises(DataError, match="is no regular file"):
        Cache(Path(os.devnull))


def test_nothing_is_made_before_there_is_an_answer(tmp_path: Path) -> None:
    Cache(tmp_path / "sub" / "a.cache").close()
    assert not (tmp_path / "sub").exists()
    with pytest.raises(DataError, match="is a folder"):
        Cache(tmp_path)


def test_the_key_tells_models_prompts_sampling_and_seeds_apart() -> None:
    others = [
        replace(CALL, messages=(("system", "Fill <mask>."),)),
        replace(CALL, messages=(("user", "Fill <mask>!"),)),
        replace(CALL, temperature=0.8),
        replace(CALL, top_p=1.0),
        replace(CALL, max_tokens=65),
        replace(CALL, one_line=False),
        replace(CALL, seed=6),
    ]
    keys = {key(MODEL, call) for call in [CALL, *others]} | {key({**MODEL, "local": "abd"}, CALL)}
    assert len(keys) == len(others) + 2
    assert key(MODEL, CALL) == key(dict(reversed(MODEL.items())), replace(CALL, kind="paraphrase"))
