"""The endpoint: what is sent, retries, what ends a run, how many at once, and no key anywhere."""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from embedkit.errors import EmbedkitError, RecipeError
from embedkit.synthesis.calls import Call, Reply
from embedkit.synthesis.endpoint import LONGEST_WAIT, Endpoint, address
from tests.synthesis.server import Server, reply_to
from tests.workers import PATIENCE

CALL = Call("fill", (("system", "Be brief."), ("user", "Sentence: one two")), 0.7, 0.9, 64, True, 5)
KEY = "sk-test/0123456789abcdef"


def calls(count: int) -> list[Call]:
    return [replace(CALL, messages=(("user", f"Sentence: number {i}"),), seed=i) for i in range(count)]


def endpoint(server: Server, **options: Any) -> Endpoint:
    return Endpoint(server.url, "tiny", **{"backoff": 0.005, "timeout": PATIENCE} | options)


def ask(server: Server, *asked: Call, **options: Any) -> list[Reply]:
    replies = dict(endpoint(server, **options).answer(asked or [CALL]))
    return [replies[i] for i in range(len(replies))]


def test_what_is_sent_and_read(server: Server) -> None:
    (reply,) = ask(server)
    assert server.requests == [
        {
            "model": "tiny",
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Sentence: one two"}],
            "temperature": 0.7,
            "top_p": 0.9,
            "max_tokens": 64,
            "seed": 5,
        }
    ]
    text = reply_to("Sentence: one two")
    assert reply == Reply(text, "stop", len("Sentence: one two"), len(text))
    assert "Authorization" not in server.headers[0]


def test_the_body_can_be_changed(server: Server) -> None:
    ask(server, body={"max_tokens": None, "max_completion_tokens": 9, "temperature": 1})
    sent = server.requests[0]
    assert "max_tokens" not in sent and sent["max_completion_tokens"] == 9 and sent["temperature"] == 1
    plain, changed = endpoint(server), endpoint(server, body={"temperature": 1})
    assert plain.identity != changed.identity, "another body gives other answers"


@pytest.mark.parametrize("failure", [429, 408, 500, 502, 503, "text", "shape", "drop"])
def test_what_may_go_away_is_tried_again(server: Server, failure: Any) -> None:
    server.failures = [failure, failure]
    client = endpoint(server)
    ((_, reply),) = client.answer([CALL])
    assert reply.text == reply_to("Sentence: one two")
    assert (client.retries, len(server.requests)) == (2, 3)


def test_a_silent_server_is_given_up_on_and_asked_again(server: Server) -> None:
    server.failures = ["hang"]
    client = endpoint(server, timeout=1.0, retries=1000)
    assert len(dict(client.answer([CALL]))) == 1
    assert len(server.requests) == client.retries + 1 >= 2, "a slow machine may need more than one retry"


def test_attempts_are_bounded_and_what_came_before_is_given_out(server: Server) -> None:
    server.failures = [None, None, 503, 503, 503]
    client = endpoint(server, concurrency=1, retries=2)
    got = []
    with pytest.raises(EmbedkitError, match=r"no answer after 3 attempts: HTTP 503.*status 503") as error:
        for index, _ in client.answer(calls(5)):
            got.append(index)
    assert got == [0, 1] and len(server.requests) == 5
    assert "what was answered is kept" in error.value.cure


def test_no_server_is_an_error_with_the_address() -> None:
    with pytest.raises(EmbedkitError, match=r"127.0.0.1:9/v1/chat/completions: no answer after 2 attempts: Connection"):
        list(Endpoint("http://127.0.0.1:9/v1", "m", retries=1, backoff=0.001).answer([CALL]))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 301, 307])
def test_what_will_not_go_away_ends_at_once(server: Server, status: int) -> None:
    server.failures = [status]
    with pytest.raises(EmbedkitError, match=f"HTTP {status}") as error:
        ask(server)
    assert len(server.requests) == 1 and error.value.cure
    if status in (401, 403):
        assert "OPENAI_API_KEY is not set" in error.value.cure


def test_a_used_up_quota_is_not_waited_for(server: Server) -> None:
    server.failures = [(429, {"error": {"code": "insufficient_quota", "message": "pay"}})]
    with pytest.raises(EmbedkitError, match="HTTP 429"):
        ask(server)


def test_filters_and_refusals_are_answers(server: Server) -> None:
    server.failures = [(400, {"error": {"code": "content_filter"}}), "filter", "refusal", "length", "nothing"]
    finishes = [reply.finish for reply in ask(server, *calls(5), concurrency=1)]
    assert finishes == ["refused", "refused", "refused", "length", "stop"]


def test_tokens_may_be_unknown(server: Server) -> None:
    server.usage = False
    assert ask(server)[0].prompt_tokens is None


def test_requests_at_once_are_bounded_and_used(server: Server) -> None:
    server.together = 4
    replies = ask(server, *calls(30), concurrency=4)
    assert [reply.text for reply in replies] == [reply_to(f"Sentence: number {i}") for i in range(30)]
    assert server.most_at_once == 4


def test_waits_double_differ_and_obey_the_server() -> None:
    client = Endpoint("http://localhost/v1", "m")
    waits = [[client._delay(attempt, seed, None) for attempt in range(1, 12)] for seed in range(50)]
    for row in waits:
        assert all(0.5 * min(2**k, 240) <= wait <= min(2**k, LONGEST_WAIT) for k, wait in enumerate(row))
    assert len({row[3] for row in waits}) > 25
    assert client._delay(1, 0, 7.5) == 7.5
    assert client._delay(1, 0, 1e9) == LONGEST_WAIT


def test_nobody_sleeps_after_the_end(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call is refused for good while another waits for its retry: that wait is cut short."""
    server.failures = [503, 401]
    monkeypatch.setattr("embedkit.synthesis.endpoint.LONGEST_WAIT", PATIENCE)
    client = endpoint(server, concurrency=2, backoff=PATIENCE)
    start = time.perf_counter()
    with pytest.raises(EmbedkitError):
        list(client.answer(calls(2)))
    assert time.perf_counter() - start < PATIENCE / 2, "the shortest wait before a first retry"
    assert not [t for t in threading.enumerate() if t.name.startswith("endpoint")]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8000/v1", "http://localhost:8000/v1/chat/completions"),
        ("https://api.example.com/v1/", "https://api.example.com/v1/chat/completions"),
        ("http://h/v1/chat/completions", "http://h/v1/chat/completions"),
    ],
)
def test_addresses(url: str, expected: str) -> None:
    assert address(url) == expected


@pytest.mark.parametrize(
    "url", ["localhost:8000", "file:///etc/passwd", "http://", f"http://me:{KEY}@h/v1", f"http://h?k={KEY}"]
)
def test_addresses_that_are_refused_without_showing_them(url: str) -> None:
    with pytest.raises(RecipeError) as error:
        address(url)
    assert KEY not in str(error.value)


def test_the_key_is_sent_and_shown_nowhere(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    caplog.set_level(logging.DEBUG)
    server.echo = True
    server.failures = [429]
    (reply,) = ask(server, key_env="MY_KEY")
    assert server.headers[1]["Authorization"] == f"Bearer {KEY}"
    assert "Bearer [key]" in reply.text, "the server repeated the header"
    server.failures = [403]
    with pytest.raises(EmbedkitError) as error:
        ask(server, key_env="MY_KEY")
    assert "'Authorization': '[redacted]'" in str(error.value) and "MY_KEY is set" in error.value.cure
    client = endpoint(server, key_env="MY_KEY")
    assert "again in" in caplog.text
    for shown in (str(error.value), repr(error.value), caplog.text, json.dumps(client.identity), reply.text):
        assert KEY not in shown and KEY.replace("/", "\\/") not in shown


@pytest.mark.parametrize("key", ["sk-0123\n456789", "sk-\u00e4bcdefgh", "sk 0123456789"])
def test_a_key_that_cannot_be_sent_is_not_shown(server: Server, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(RecipeError, match=r"\$OPENAI_API_KEY") as error:
        endpoint(server)
    assert key not in str(error.value)
