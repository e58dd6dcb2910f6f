"""Servers that echo keys, send too much, nest too deep or never end: errors of our own, bounded, without the key."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedkit.errors import EmbedkitError
from embedkit.synthesis import endpoint as module
from embedkit.synthesis.calls import Call, Reply
from embedkit.synthesis.endpoint import Endpoint
from tests.cli.conftest import spawn
from tests.synthesis.rough import Rough, Script, rough, says, whole

KEY = "plain/0123456789abcdef"
CALL = Call("fill", (("user", "one two"),), 0.7, 0.9, 64, True, 5)


def always(*pieces: bytes) -> Callable[[Rough], Script]:
    return lambda state: lambda head: iter(pieces)


def dripping(before: bytes, drop: bytes) -> Callable[[Rough], Script]:
    """`before`, then a drop now and then until the server ends; then an answer after all."""

    def make(state: Rough) -> Script:
        def script(head: str) -> Iterator[bytes]:
            yield before
            for _ in range(200):
                if state.over.wait(0.05):
                    return
                yield drop
            yield whole(says("late")) if before == b"" else says("late")

        return script

    return make


def ask(server: Rough, **options: Any) -> Reply:
    client = Endpoint(server.url, "m", **{"retries": 0, "timeout": 5.0, "backoff": 0.01} | options)
    ((_, reply),) = client.answer([CALL])
    return reply


ESCAPED = "".join(f"\\u{ord(c):04x}" for c in KEY)


@pytest.mark.parametrize(
    "pieces",
    [
        [whole(b"", f"400 no {KEY} here")],
        [whole(b"", f"503 no {KEY} here")],
        [f"garbage {KEY} \r\n\r\n".encode()],
        [f"HTTP/1.1 {KEY}\r\n\r\n".encode()],
        [whole(f"<html>{KEY}".encode())],
        [whole(KEY.replace("/", "%2F").encode(), "400 x")],
        [whole(json.dumps({"error": {"code": KEY, "message": KEY}}).encode(), "401 x")],
        [whole(b" " * 295 + KEY.encode(), "400 x")],
        [whole(("x" * 290 + KEY).encode(), "400 x")],
    ],
)
def test_a_key_that_comes_back_is_in_no_error_and_no_log(
    pieces: list[bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    with rough(always(*pieces)) as server, pytest.raises(EmbedkitError) as error:
        ask(server, retries=1)
    chain: BaseException | None = error.value
    said = [caplog.text]
    while chain is not None:
        said += [str(chain), repr(chain)]
        chain = chain.__cause__
    for text in said:
        assert KEY[:12] not in text and "0123456789" not in text


def test_a_key_in_escapes_is_in_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    body = says("it is HERE").replace(b"HERE", ESCAPED.encode())
    with rough(always(whole(body))) as server:
        assert ask(server).text == "it is [key]"


def test_a_secret_of_the_body_is_treated_like_the_key() -> None:
    body = {"api_key": "another-0123456789", "temperature": 1}
    with rough(always(whole(b"another-0123456789", "400 no"))) as server:
        with pytest.raises(EmbedkitError, match=r"HTTP 400: \[key\]"):
            ask(server, body=body)
        client = Endpoint(server.url, "m", body=body)
    assert client.identity["body"] == {"api_key": "[redacted]", "temperature": 1}
    assert client._body(CALL)["api_key"] == "another-0123456789", "it is sent"


@pytest.mark.parametrize(("body", "status"), [(b"x" * 9_000_000, "200 OK"), (b"x" * 9_000_000, "400 no")])
def test_an_answer_without_end_is_not_read_to_its_end(body: bytes, status: str) -> None:
    with (
        rough(always(whole(body, status))) as server,
        pytest.raises(EmbedkitError, match="an answer of more than 8 MB"),
    ):
        ask(server)


def test_the_longest_answer_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    body = says("x" * 1000)
    monkeypatch.setattr(module, "MOST", len(body))
    with rough(always(whole(body))) as server:
        assert ask(server).text == "x" * 1000
    monkeypatch.setattr(module, "MOST", len(body) - 1)
    with rough(always(whole(body))) as server, pytest.raises(EmbedkitError, match="more than"):
        ask(server)


@pytest.mark.parametrize("status", ["200 OK", "400 no"])
def test_deep_json_is_a_malformed_answer(status: str) -> None:
    with (
        rough(always(whole(b"[" * 200_000, status))) as server,
        pytest.raises(EmbedkitError, match=r"\[\[\[\[.*\.\.\."),
    ):
        ask(server)


@pytest.mark.parametrize("count", [-1, True, "3", 2**70, 1.5, [1]])
def test_counts_of_tokens_that_are_none_are_unknown(count: Any) -> None:
    body = {"choices": [{"message": {"content": "a"}}], "usage": {"prompt_tokens": count, "completion_tokens": 4}}
    with rough(always(whole(json.dumps(body).encode()))) as server:
        assert ask(server) == Reply("a", "stop", None, 4)


@pytest.mark.parametrize(
    ("before", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nX: ", b"a"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["body", "header", "continue"],
)
def test_a_request_has_its_time_however_the_bytes_drip(before: bytes, drop: bytes) -> None:
    with rough(dripping(before, drop)) as server:
        with pytest.raises(EmbedkitError, match=r"no answer after 2 attempts: no whole answer in 0\.4 s"):
            ask(server, deadline=0.4, retries=1)
        assert server.asked == 2


def test_requests_under_way_end_with_who_asked() -> None:
    """An iterator that is closed early leaves no thread and no connection behind."""

    def make(state: Rough) -> Script:
        def script(head: str) -> Iterator[bytes]:
            if state.asked == 1:
                yield whole(says("first"))
            else:
                yield from dripping(b"HTTP/1.1 200 OK\r\n\r\n", b" ")(state)(head)

        return script

    with rough(make) as server:
        client = Endpoint(server.url, "m", concurrency=3, timeout=60.0, deadline=600.0)
        answers = client.answer([CALL] * 6)
        assert next(answers)[1].text == "first"
        workers = [thread for thread in threading.enumerate() if thread.name.startswith("endpoint")]
        assert len(workers) == 3
        answers.close()
        for worker in workers:
            worker.join(30)
            assert not worker.is_alive()
        assert not server.over.is_set()


@pytest.mark.dist
@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_an_interruption_ends_the_command_while_servers_drip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("one two three four\nfive six seven eight\n")
    began = threading.Event()

    def make(state: Rough) -> Script:
        def script(head: str) -> Iterator[bytes]:
            yield b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
            if state.asked >= 2:
                began.set()
            while not state.over.wait(0.05):
                yield b" "

        return script

    with rough(make) as server:
        command = ["synth", "syncse-partial", "--text", "text.txt", "--out", "t.jsonl", "--endpoint", server.url]
        running = spawn(*command, "--model", "m", "--concurrency", "2")
        assert began.wait(120), running.communicate(timeout=5)
        os.killpg(running.pid, signal.SIGINT)
        _, err = running.communicate(timeout=60)
    assert running.returncode == 130 and "interrupted; the same command goes on" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.txt"]
