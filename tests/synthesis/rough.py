"""A server that answers with whatever bytes, in whatever time, as a script says that is told the request's head."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

Script = Callable[[str], Iterator[bytes]]
"""From the head of a request to the bytes that go out, piece by piece."""


@dataclass
class Rough:
    """Attributes:
    url: of the server.
    asked: requests so far.
    over: set when the server ends; a script waits for it between two pieces.
    """

    url: str = ""
    asked: int = 0
    over: threading.Event = field(default_factory=threading.Event)


@contextmanager
def rough(make: Callable[[Rough], Script]) -> Iterator[Rough]:
    """The server, on a free port of the loopback."""
    state = Rough()
    script = make(state)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        state.url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        threads = [threading.Thread(target=_accept, args=(listening, state, script), daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            yield state
        finally:
            state.over.set()
            listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket, state: Rough, script: Script) -> None:
    while not state.over.is_set():
        with suppress(OSError):
            connection, _ = listening.accept()
            with connection:
                head = _request(connection)
                state.asked += 1
                for piece in script(head):
                    connection.sendall(piece)


def _request(connection: socket.socket) -> str:
    """The head of a request, after its body was read."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += _received(connection)
    head, _, body = raw.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += _received(connection)
    return head.decode()


def _received(connection: socket.socket) -> bytes:
    found = connection.recv(65536)
    if not found:
        raise ConnectionError("the client has gone")
    return found


def whole(body: bytes, status: str = "200 OK") -> bytes:
    """An answer of HTTP."""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


def says(text: str) -> bytes:
    """The body of a completion."""
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).encode()
