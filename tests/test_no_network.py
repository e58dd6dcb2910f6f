"""The guard of conftest.py itself: hosts elsewhere are refused, the loopback and Unix sockets are not."""

from __future__ import annotations

import socket
import urllib.request

import pytest

from tests.conftest import NetworkForbidden


def test_an_address_elsewhere_is_refused() -> None:
    # 192.0.2.1 is reserved for documentation: nothing answers there even if the guard were broken.
    with socket.socket() as s, pytest.raises(NetworkForbidden):
        s.connect(("192.0.2.1", 80))


def test_a_name_elsewhere_is_refused_before_it_is_looked_up() -> None:
    with pytest.raises(NetworkForbidden):
        urllib.request.urlopen("http://host.invalid/")


def test_the_loopback_works() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        accepted, _ = server.accept()
        client.sendall(b"x")
        assert accepted.recv(1) == b"x"
        accepted.close()
