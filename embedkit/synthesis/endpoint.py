"""An OpenAI-compatible endpoint: ``POST URL/chat/completions``, several at once, with retries.

The standard library's HTTP client, because which one comes with huggingface_hub depends on its version (httpx, then
httpx2), and because a request that takes seconds gains nothing from a pool of connections.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import ssl
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from embedkit import showing
from embedkit.errors import EmbedkitError, RecipeError
from embedkit.synthesis.calls import Call, Finish, Reply

logger = showing.logger(__name__)

TRANSIENT = frozenset({408, 409, 425, 429})
"""Statuses below 500 that may go away."""
LONGEST_WAIT = 120.0
"""Seconds that one wait before a retry takes at most, whatever the server asks for."""
SHORTEST_SECRET = 8
"""Characters; servers without keys are given words such as EMPTY, which texts may hold."""
PATH = "/chat/completions"
_FINISH: dict[Any, Finish] = {"length": "length", "content_filter": "refused"}


class _Transient(Exception):
    """A failure that may go away; `after` is what the server said about when, in seconds."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to a place the user did not name."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Endpoint:
    """A chat model behind HTTP.

    Args:
        url: base address, e.g. ``http://localhost:8000/v1``; without credentials or query.
        model: name that the server knows it by.
        key_env: environment variable that holds the key. If it is not set no key is sent. The key is nowhere but in
            the header of the requests: whatever the server sends back is freed of it before anything looks at it.
        concurrency: requests under way at once.
        retries: further attempts after 408, 409, 425, 429, 5xx, a timeout, a lost connection or a malformed answer.
        timeout: seconds without a byte from the server.
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
        body: dict[str, Any] | None = None,
        backoff: float = 1.0,
    ) -> None:
        self.url = address(url)
        self.model, self.body = model, body or {}
        self.concurrency, self.attempts, self.timeout, self.backoff = concurrency, retries + 1, timeout, backoff
        self.identity = {"endpoint": self.url, "model": model, "body": self.body}
        self.retries = 0
        self._key_env, self._key = key_env, _key(key_env)
        self._opener = urllib.request.build_opener(_NoRedirects)
        self._give_up = threading.Event()
        self._lock = threading.Lock()

    def answer(self, calls: Sequence[Call]) -> Iterator[tuple[int, Reply]]:
        """Index and reply of every call, as they come.

        After a failure no new request is sent; what comes back from those under way is still given out.

        Raises:
            EmbedkitError: the server refuses (a wrong key, an unknown model), or a call failed at every attempt.
        """
        waiting = iter(enumerate(calls))
        running: dict[Future[Reply], int] = {}
        failure: EmbedkitError | None = None
        with ThreadPoolExecutor(self.concurrency, thread_name_prefix="endpoint") as pool:
            try:
                while True:
                    while failure is None and len(running) < self.concurrency and (item := next(waiting, None)):
                        running[pool.submit(self._ask, item[1])] = item[0]
                    if not running:
                        break
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        index = running.pop(future)
                        error = future.exception()
                        if error is None:
                            yield index, future.result()
                        elif isinstance(error, EmbedkitError):
                            failure = failure or error
                            self._give_up.set()
                        else:
                            raise error
            finally:
                if running:  # interrupted: nobody waits for a retry
                    self._give_up.set()
        if failure is not None:
            raise failure

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
        request = urllib.request.Request(self.url, json.dumps(self._body(call)).encode(), headers, method="POST")  # noqa: S310 (checked in address)
        try:
            with self._opener.open(request, timeout=self.timeout) as response:
                return self._reply(self._clean(response.read()))
        except urllib.error.HTTPError as error:
            with error:
                return self._refused(error, self._clean(error.read()))
        except (OSError, http.client.HTTPException) as error:  # URLError and timeouts are OSErrors
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise EmbedkitError(f"its certificate is not trusted: {reason}", self.url, "check the URL") from error
            raise _Transient(f"{type(reason).__name__}: {reason}") from error

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

    def _clean(self, raw: bytes) -> str:
        text = raw.decode("utf-8", "replace")
        if len(self._key) >= SHORTEST_SECRET:
            for written in (self._key, self._key.replace("/", "\\/")):
                text = text.replace(written, "[key]")
        return text

    def _reply(self, text: str) -> Reply:
        try:
            answer = json.loads(text)
            choice = answer["choices"][0]
            message = choice["message"]
            content, refusal = message.get("content"), message.get("refusal")
            finish = _FINISH.get(choice.get("finish_reason"), "stop")
            usage = answer.get("usage") or {}
            tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise _Transient(f"a malformed answer: {_short(text)}") from error
        if refusal:
            content, finish = str(refusal), "refused"
        if content is None:  # a filter, or a model that spent all its tokens on thinking
            content = ""
        if not isinstance(content, str):
            raise _Transient(f"a malformed answer: {_short(text)}")
        return Reply(content, finish, *(t if isinstance(t, int) else None for t in tokens))

    def _refused(self, error: urllib.error.HTTPError, text: str) -> Reply:
        """What a status other than 200 means: a filter's answer, a reason to try again, or the end."""
        code = _code(text)
        if code == "content_filter":
            return Reply("", "refused", 0, 0)
        what = f"HTTP {error.code}: {_short(text) or error.reason}"
        if (error.code in TRANSIENT or error.code >= 500) and code != "insufficient_quota":
            raise _Transient(what, _seconds(error.headers.get("Retry-After")))
        key = f"{self._key_env} is {'set' if self._key else 'not set'}"
        cures = {401: f"check the key ({key})", 403: f"check the key ({key})", 404: "check the URL and --model"}
        cures |= dict.fromkeys((301, 302, 303, 307, 308), "give the final address: keys do not follow redirects")
        raise EmbedkitError(
            what, self.url, cures.get(error.code, "see the server's message; --body changes the request")
        )


def address(url: str) -> str:
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
    return url.rstrip("/").removesuffix(PATH) + PATH


def _key(name: str) -> str:
    """The key in an environment variable; empty if it is not set.

    Raises:
        RecipeError: it cannot stand in a header. The message does not show it, the HTTP library's would.
    """
    found = os.environ.get(name, "").strip()
    if not found.isascii() or any(c.isspace() or not c.isprintable() for c in found):
        raise RecipeError("holds white space or characters that no key has", f"${name}", "set it again")
    return found


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 300 else f"{line[:300]}..."


def _code(text: str) -> str:
    try:
        return str(json.loads(text)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        return ""


def _seconds(header: str | None) -> float | None:
    """``Retry-After`` in seconds; a date is not read, the exponential wait serves as well."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None
