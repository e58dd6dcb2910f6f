from __future__ import annotations

import pytest
import torch

from embedkit.errors import RecipeError
from embedkit.train.distributed import Comm, join


def test_alone_without_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    assert join("cpu") == Comm(0, 1)


@pytest.mark.parametrize(("device", "devices"), [("cuda", 1), ("cuda", 3), ("mps", 1)])
def test_more_processes_than_devices_are_refused(monkeypatch: pytest.MonkeyPatch, device: str, devices: int) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: devices)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(RecipeError, match=f"4 processes share {devices} {device} device") as caught:
        join(device)
    assert caught.value.where == "--nproc" and f"--nproc {devices}," in caught.value.cure
