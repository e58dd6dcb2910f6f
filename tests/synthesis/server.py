"""An OpenAI-compatible server on the loopback: its answers depend on the prompt alone, its failures are scripted."""

from __future__ import annotations

import json
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.workers import PATIENCE

REFUSAL = "I'm sorry, but I can't help with that."


def reply_to(prompt: str) -> str:
    """What a model might say to embedkit's own prompts: mostly good answers, some refusals, some nonsense."""
    number = zlib.crc32(prompt.encode())
    if found := re.search(r"^Query: (.*)\n+Document: (.*)", prompt, re.MULTILINE):
        return judged(*found.groups(), graded="one number" in prompt)
    if found := re.search(r"^First sentence: .*", prompt, re.MULTILINE):
        return "about half" if number % 11 == 0 else f"{number % 5 / 5:.1f}"
    if number % 17 == 0:
        return REFUSAL
    if found := re.search(r"^Sentence with gaps: (.*)", prompt, re.MULTILINE):
        return found[1].replace("<mask>", f"word{number % 7}", 1 if number % 13 == 0 else -1)
    if found := re.match(r"Write (\d+) sentences", prompt):
        lines = [f"{i}. Sentence {number % 1000} has number {i}." for i in range(1, int(found[1]) + 1)]
        return "\n".join(["Here they are:", *lines])
    if found := re.search(r"^Document: (.*)", prompt, re.MULTILINE):
        return f"What is said {number % 1000} about {found[1].split()[0]}?"
    text = re.findall(r"^Sentence: (.*)", prompt, re.MULTILINE)[-1]
    return f'"answer {number % 1000} to {text}"'


def judged(query: str, document: str, *, graded: bool) -> str:
    """How a model might judge: by a number of the two texts."""
    number = zlib.crc32(f"{query} {document}".encode())
    if number % 13 == 0:
        return REFUSAL
    if number % 11 == 0:
        return "It depends."
    return f"{number % 5 / 5:.1f}" if graded else ("Yes.", "no", "**No**, it does not.")[number % 3]


@dataclass
class Server:
    """What the server was asked, and what it is to do wrong.

    Attributes:
        failures: each next request takes one: a status, or ``text`` (not JSON), ``shape`` (JSON of another shape),
            ``drop`` (the connection ends), ``hang`` (no answer ever), ``length``, ``filter``, ``refusal``,
            ``nothing`` (content null).
        together: no request is answered before so many have been under way at once.
        stop_after: requests after so many wait until `go_on`.
        echo: whether every answer repeats the request's headers.
        usage: whether answers count tokens (characters).
    """

    url: str = ""
    failures: list[Any] = field(default_factory=list)
    together: int = 1
    stop_after: int | None = None
    echo: bool = False
    usage: bool = True
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    most_at_once: int = 0
    _now: int = 0
    closing: threading.Event = field(default_factory=threading.Event)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def prompts(self) -> list[str]:
        """The prompts asked for, in order."""
        return [request["messages"][-1]["content"] for request in self.requests]

    def begin(self, body: dict[str, Any], headers: dict[str, str]) -> Any:
        with self._changed:
            self.requests.append(body)
            self.headers.append(headers)
            number = len(self.requests)
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            failure = self.failures.pop(0) if self.failures else None
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._may_answer(number), PATIENCE)
            return failure

    def _may_answer(self, number: int) -> bool:
        return self.most_at_once >= self.together and (self.stop_after is None or number <= self.stop_after)

    def end(self) -> None:
        with self._changed:
            self._now -= 1

    def go_on(self) -> None:
        """Answer what waits, and everything from now on."""
        with self._changed:
            self.together, self.stop_after = 1, None
            self._changed.notify_all()


class Handler(BaseHTTPRequestHandler):
    state: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        failure = self.state.begin(body, dict(self.headers))
        self.state.end()  # before the answer goes out: with it, the client may send its next request
        self.answer(body, failure)

    def answer(self, body: dict[str, Any], failure: Any) -> None:
        if self.path != "/v1/chat/completions":
            self.send(404, {"error": {"message": f"no such path {self.path}"}})
        elif isinstance(failure, tuple):
            self.send(*failure)
        elif isinstance(failure, int):
            said = f"status {failure}" + (f" {dict(self.headers)}" if self.state.echo else "")
            self.send(failure, {"error": {"message": said}}, retry=failure == 429)
        elif failure == "drop":
            self.close_connection = True
        elif failure == "hang":
            self.state.closing.wait(PATIENCE)
        elif failure == "text":
            self.send(200, "<html>not JSON</html>")
        elif failure == "shape":
            self.send(200, {"choices": []})
        else:
            self.send(200, self.completion(body, failure))

    def completion(self, body: dict[str, Any], failure: Any) -> dict[str, Any]:
        prompt = body["messages"][-1]["content"]
        text: str | None = reply_to(prompt)
        if self.state.echo:
            text = f"{text} {dict(self.headers)}"
        message: dict[str, Any] = {"role": "assistant", "content": text}
        if failure == "refusal":
            message = {"role": "assistant", "content": None, "refusal": "No."}
        if failure == "nothing":
            message["content"] = None
        finish = {"length": "length", "filter": "content_filter"}.get(str(failure), "stop")
        answer: dict[str, Any] = {"choices": [{"index": 0, "message": message, "finish_reason": finish}]}
        if self.state.usage:
            answer["usage"] = {"prompt_tokens": len(prompt), "completion_tokens": len(text or "")}
        return answer

    def send(self, status: int, content: Any, *, retry: bool = False) -> None:
        raw = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        if retry:
            self.send_header("Retry-After", "0.01")
        if 300 <= status < 400:
            self.send_header("Location", "http://127.0.0.1:9/elsewhere")
        try:
            self.end_headers()
            self.wfile.write(raw)
        except ConnectionError:
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        return


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port of the loopback."""
    state = Server()
    handler = type("Bound", (Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        http.daemon_threads = True
        state.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            state.closing.set()
            state.go_on()
            http.shutdown()
            thread.join()
