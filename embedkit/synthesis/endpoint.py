"""An OpenAI-compatible endpoint: ``POST URL/chat/completions``, several at once, with retries."""

from __future__ import annotations

import http.client
import json
import logging
import os
import queue
import ssl
import threading
import urllib.parse
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from embedkit.errors import EmbedkitError, RecipeError
from embedkit.foreign import showing
from embedkit.foreign.parsing import from_json
from embedkit.foreign.redacting import redact, secrets
from embedkit.synthesis.calls import Call, Finish, Reply
from embedkit.synthesis.connection import Answer, Watch, post

logger = showing.logger(__name__)

TRANSIENT = frozenset({408, 409, 425, 429})
"""Statuses below 500 that may go away."""
LONGEST_WAIT = 120.0
"""Seconds that one wait before a retry takes at most, whatever the server asks for."""
SHORTEST_SECRET = 8
"""Characters; servers without keys are given words such as EMPTY, which texts may hold."""
MOST = 8 * 2**20
"""Bytes of one answer; a long one has some ten thousand."""
PATH = "/chat/completions"
_FINISH: dict[Any, Finish] = {"length": "length", "content_filter": "refused"}


class _Transient(Exception):
    """A failure that may go away; `after` is what the server said about when, in seconds."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class Endpoint:
    """A chat model behind HTTP.

    Args:
        url: base address, e.g. ``http://localhost:8000/v1``; without credentials or query.
        model: name that the server knows it by.
        key_env: environment variable that holds the key. If it is not set no key is sent. The key is nowhere but in
            the header of the requests: whatever the server sends back is freed of it before anything looks at it. So
            it is with secrets in `body`.
        concurrency: requests under way at once.
        retries: further attempts after 408, 409, 425, 429, 5xx, a timeout, a lost connection or a malformed answer.
        timeout: seconds without a byte from the server.
        deadline: seconds that one request takes at most, whatever the server sends.
        body: fields laid over the request's; None removes one.
        backoff: seconds before the first retry; doubled for each further one, up to `LONGEST_WAIT`.

    Raises:
        RecipeError: the address is no HTTP address, or holds credentials.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_env: str = "OPENAI_API_KEY",
        concurrency: int = 8,
        retries: int = 6,
        timeout: float = 120.0,
        deadline: float = 600.0,
        body: dict[str, Any] | None = None,
        backoff: float = 1.0,
    ) -> None:
        self.url = address(url)
        self.model, self.body = model, body or {}
        self.concurrency, self.attempts, self.backoff = concurrency, retries + 1, backoff
        self.timeout, self.deadline = timeout, deadline
        self.identity = {"endpoint": self.url, "model": model, "body": redact(self.body)}
        self.retries = 0
        self._key_env, self._key = key_env, key_in(key_env)
        self._secrets = _forms([self._key, *secrets(self.body)])
        self._give_up = threading.Event()
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()
        self._stopped = False

    def answer(self, calls: Sequence[Call]) -> Generator[tuple[int, Reply], None, None]:
        """Index and reply of every call, as they come.

        After a failure no new request is sent; what comes back from those under way is still given out. Where nobody
        asks for more (an interruption), requests under way are ended, whatever they wait for.

        Raises:
            EmbedkitError: the server refuses (a wrong key, an unknown model), or a call failed at every attempt.
        """
        waiting = iter(enumerate(calls))
        todo: queue.SimpleQueue[tuple[int, Call] | None] = queue.SimpleQueue()
        done: queue.SimpleQueue[tuple[int, Reply | BaseException]] = queue.SimpleQueue()
        workers = [
            threading.Thread(target=self._work, args=(todo, done), name=f"endpoint-{i}", daemon=True)
            for i in range(min(self.concurrency, len(calls)))
        ]  # daemons: the end of the process does not wait for a server
        for worker in workers:
            worker.start()
        running, failure = 0, None
        try:
            while True:
                while failure is None and running < self.concurrency and (item := next(waiting, None)):
                    todo.put(item)
                    running += 1
                if not running:
                    break
                index, found = done.get()
                running -= 1
                if isinstance(found, Reply):
                    yield index, found
                elif isinstance(found, EmbedkitError):
                    failure = failure or found
                    self._give_up.set()
                else:
                    raise found
        finally:
            if running:
                self._stop()
            for _ in workers:
                todo.put(None)
        for worker in workers:
            worker.join()
        if failure is not None:
            raise failure

    def _work(
        self,
        todo: queue.SimpleQueue[tuple[int, Call] | None],
        done: queue.SimpleQueue[tuple[int, Reply | BaseException]],
    ) -> None:
        while (item := todo.get()) is not None:
            try:
                done.put((item[0], self._ask(item[1])))
            except BaseException as error:
                done.put((item[0], error))

    def _stop(self) -> None:
        """End what is under way, and what would begin."""
        self._give_up.set()
        with self._lock:
            self._stopped = True
            for watch in self._watches:
                watch.end()

    @contextmanager
    def _watching(self) -> Iterator[Watch]:
        watch = Watch(self.deadline)
        try:
            with self._lock:
                self._watches.add(watch)
                if self._stopped:
                    watch.end()
            yield watch
        finally:
            with self._lock:
                self._watches.discard(watch)
            watch.close()

    def _ask(self, call: Call) -> Reply:
        for attempt in range(1, self.attempts + 1):
            try:
                return self._once(call)
            except _Transient as problem:
                if attempt == self.attempts or self._give_up.is_set():
                    tries = "attempt" if attempt == 1 else "attempts"
                    raise EmbedkitError(
                        f"no answer after {attempt} {tries}: {problem}",
                        self.url,
                        "run the same command again later: what was answered is kept; or fewer at once (--concurrency)",
                    ) from problem
                delay = self._delay(attempt, call.seed, problem.after)
                with self._lock:
                    self.retries += 1
                    first = self.retries == 1
                logger.log(
                    logging.WARNING if first else logging.INFO, "%s: %s; again in %.1f s", self.url, problem, delay
                )
                self._give_up.wait(delay)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _delay(self, attempt: int, seed: int, after: float | None) -> float:
        """Seconds to wait. Half of an exponential delay is spread by the call's seed, so that calls turned away
        together do not come back together."""
        if after is not None:
            return min(after, LONGEST_WAIT)
        spread = 0.5 + 0.5 * ((seed * 2654435761 + attempt * 40503) % 1000) / 1000
        return float(min(self.backoff * 2 ** (attempt - 1) * spread, LONGEST_WAIT))

    def _once(self, call: Call) -> Reply:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "embedkit"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        sent = json.dumps(self._body(call)).encode()
        with self._watching() as watch:
            try:
                answer = post(self.url, sent, headers, timeout=self.timeout, most=MOST, watch=watch)
            except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
                reason = getattr(error, "reason", error)
                if isinstance(reason, ssl.SSLCertVerificationError):
                    what = f"its certificate is not trusted: {reason}"
                    raise EmbedkitError(what, self.url, "check the URL") from error
                words = self._late if watch.late else _short(self._free(f"{type(reason).__name__}: {reason}"))
                raise _Transient(words) from None  # the cause may hold what the server said, and with it the key
        if watch.late:
            raise _Transient(self._late)
        if len(answer.body) > MOST:
            raise _Transient(f"an answer of more than {MOST // 2**20} MB")
        text = self._free(answer.body.decode("utf-8", "replace"))
        return self._reply(text) if 200 <= answer.status < 300 else self._refused(answer, text)

    @property
    def _late(self) -> str:
        return f"no whole answer in {self.deadline:g} s"

    def _body(self, call: Call) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": role, "content": content} for role, content in call.messages],
            "temperature": call.temperature,
            "top_p": call.top_p,
            "max_tokens": call.max_tokens,
            "seed": call.seed,
        }
        return {name: value for name, value in (body | self.body).items() if value is not None}

    def _free(self, text: str) -> str:
        """A text of the server without the key."""
        for written in self._secrets:
            text = text.replace(written, "[key]")
        return text

    def _reply(self, text: str) -> Reply:
        try:
            answer = from_json(text)
            choice = answer["choices"][0]
            message = choice["message"]
            content, refusal = message.get("content"), message.get("refusal")
            finish = _FINISH.get(choice.get("finish_reason"), "stop")
            usage = answer.get("usage") or {}
            tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise _Transient(f"a malformed answer: {_short(text)}") from None
        if refusal:
            content, finish = "", "refused"
        if content is None:  # a filter, or a model that spent all its tokens on thinking
            content = ""
        if not isinstance(content, str):
            raise _Transient(f"a malformed answer: {_short(text)}")
        content = self._free(content)  # JSON may write any letter as an escape
        return Reply(content, finish, *(t if type(t) is int and 0 <= t < 2**53 else None for t in tokens))

    def _refused(self, answer: Answer, text: str) -> Reply:
        """What a status other than 200 means: a filter's answer, a reason to try again, or the end."""
        code = _code(text)
        if code == "content_filter":
            return Reply("", "refused", 0, 0)
        what = f"HTTP {answer.status}: {_short(text or self._free(answer.reason))}"
        if (answer.status in TRANSIENT or answer.status >= 500) and code != "insufficient_quota":
            raise _Transient(what, _seconds(answer.headers.get("Retry-After")))
        key = f"{self._key_env} is {'set' if self._key else 'not set'}"
        cures = {401: f"check the key ({key})", 403: f"check the key ({key})", 404: "check the URL and --model"}
        cures |= dict.fromkeys((301, 302, 303, 307, 308), "give the final address: keys do not follow redirects")
        raise EmbedkitError(
            what, self.url, cures.get(answer.status, "see the server's message; --body changes the request")
        )


def address(url: str, path: str = PATH) -> str:
    """The address to post to.

    Raises:
        RecipeError: not http or https, or it holds credentials or a query, which would end up in files and logs.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number; the message would show it, and it may be part of a key
        good = False
    if not good:
        raise RecipeError("not an HTTP address", "--endpoint", "e.g. http://localhost:8000/v1")
    if "@" in url or parts.query or parts.fragment:
        raise RecipeError(
            "the address holds credentials, a query or a fragment",
            "--endpoint",
            "put the key into an environment variable and name that with --key-env",
        )
    return url.rstrip("/").removesuffix(path) + path


def key_in(name: str) -> str:
    """The key in an environment variable; empty if it is not set.

    Raises:
        RecipeError: it cannot stand in a header. The message does not show it, the HTTP library's would.
    """
    found = os.environ.get(name, "").strip()
    if not found.isascii() or any(c.isspace() or not c.isprintable() for c in found):
        raise RecipeError("holds white space or characters that no key has", f"${name}", "set it again")
    return found


def _forms(found: Sequence[str]) -> list[str]:
    """The ways to write secrets that a server could send back, the longest first; short ones are words."""
    forms = set()
    for secret in found:
        if len(secret) >= SHORTEST_SECRET:
            forms |= {secret, json.dumps(secret)[1:-1], secret.replace("/", "\\/"), urllib.parse.quote(secret, safe="")}
    return sorted(forms, key=len, reverse=True)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:300]}..."


def _code(text: str) -> str:
    try:
        return str(from_json(text)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def _seconds(header: str | None) -> float | None:
    """``Retry-After`` in seconds; a date is not read, the exponential wait serves as well."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None
