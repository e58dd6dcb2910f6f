"""One HTTP request whose answer is bounded in size and time, and that can be ended from another thread.

The standard library's client, because which one comes with huggingface_hub depends on its version (httpx, then httpx2),
and because a request that takes seconds gains nothing from a pool of connections.
"""

from __future__ import annotations

import http.client
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What a server sent.

    Attributes:
        status: of HTTP.
        reason: the words behind it.
        headers: of the answer.
        body: at most one byte more than was allowed.
    """

    status: int
    reason: str
    headers: Any
    body: bytes


class Watch:
    """Ends one request: after some seconds, or when another thread says so.

    A server that sends a byte now and then keeps any read from ever timing out, so the connection itself is shut down;
    whoever reads from it is then told that it is closed.

    Args:
        seconds: how long the request may take from now on.

    Attributes:
        late: its time is over.
    """

    def __init__(self, seconds: float) -> None:
        self.late = self._ended = False
        self._connection: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def hold(self, connection: socket.socket) -> None:
        """`connection` belongs to the request. A duplicate is kept: TLS takes the original's place over."""
        with self._lock:
            self.release()
            self._connection = connection.dup()
        if self._ended:
            self.end()

    def end(self) -> None:
        """End the request, also one that has not begun."""
        with self._lock:
            self._ended = True
            if self._connection is not None:
                with suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """The request is over."""
        self._timer.cancel()
        with self._lock:
            self.release()

    def release(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _expire(self) -> None:
        self.late = True
        self.end()


class _Request(urllib.request.Request):
    watch: Watch


class _Http(http.client.HTTPConnection):
    watch: Watch

    def connect(self) -> None:
        super().connect()
        self.watch.hold(self.sock)


class _Https(http.client.HTTPSConnection, _Http):
    """HTTPSConnection.connect calls that of `_Http` for the connection, then begins TLS on it."""


def _made(kind: type[_Http], watch: Watch) -> Callable[..., _Http]:
    def make(*args: Any, **kwargs: Any) -> _Http:
        made = kind(*args, **kwargs)
        made.watch = watch
        return made

    return make


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, req: Any) -> Any:
        return self.do_open(_made(_Http, req.watch), req)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: Any) -> Any:
        return self.do_open(_made(_Https, req.watch), req)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to a place the user did not name."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@cache
def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirects, _HttpHandler, _HttpsHandler)


def post(url: str, body: bytes, headers: dict[str, str], *, timeout: float, most: int, watch: Watch) -> Answer:
    """Send `body`; give out whatever answer comes, of any status.

    Args:
        url: http or https.
        body: to send.
        headers: to send.
        timeout: seconds without a byte.
        most: bytes of the answer's body; of a larger one `most` + 1 are read.
        watch: ends the request; not closed.

    Raises:
        OSError, http.client.HTTPException: no answer.
    """
    request = _Request(url, body, headers, method="POST")
    request.watch = watch
    try:
        response = _opener().open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        response = error
    with response:
        return Answer(response.status or 0, str(response.reason), response.headers, response.read(most + 1))
