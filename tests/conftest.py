"""Tests run on one thread, reach no host but this one, and fail neither for slowness nor for how they were started; set
before anything imports torch or huggingface_hub."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.device import DEVICE, fixed_order

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["MPLBACKEND"] = "Agg"
if hasattr(signal, "SIGHUP"):  # nohup and a shell's & have them ignored, and the processes that tests start inherit it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(autouse=True, scope="session")
def repeatable() -> Any:
    with fixed_order():
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for name, device in (("cpu", "cpu"), ("gpu", "cuda")):
        elsewhere = pytest.mark.skip(reason=f"about a {name.upper()}, and the models are on {DEVICE}")
        for item in items:
            if device != DEVICE and item.get_closest_marker(name):
                item.add_marker(elsewhere)


class NetworkForbidden(RuntimeError):
    """A test tried to leave the machine. Not an OSError, so that no library takes it for an outage and retries."""


def _stays_here(family: int, address: Any) -> bool:
    if family not in (socket.AF_INET, socket.AF_INET6):
        return True
    host = address[0]
    if host in ("", "localhost", socket.gethostname()):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback or host == socket.gethostbyname(socket.gethostname())
    except (ValueError, OSError):
        return False


@pytest.fixture(autouse=True, scope="session")
def no_network() -> Any:
    """Refuse connections and name look-ups that leave the machine; gloo on the loopback goes on working."""
    connect, connect_ex, getaddrinfo = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(family: int, address: Any) -> None:
        if not _stays_here(family, address):
            raise NetworkForbidden(f"a test reached for {address!r}; tests use no network")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        check(self.family, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        check(self.family, address)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        check(socket.AF_INET, (host.decode() if isinstance(host, bytes) else host or "",))
        return getaddrinfo(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield


@pytest.fixture(autouse=True, scope="session")
def own_vectors(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Evaluations keep vectors in a folder of the tests, not in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("embedkit.evaluation.kept.cache_folder", lambda what: tmp_path_factory.getbasetemp() / what)
        yield
