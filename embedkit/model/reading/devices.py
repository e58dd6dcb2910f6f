"""What the host and a device exchange; whoever waits for a GPU leaves it idle while the host goes on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def send(values: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """Values of the host on the device.

    A GPU that is still computing is not waited for, as torch's own copies do: CUDA copies what is not pinned into a
    buffer of its own before it returns, so the values may change afterwards.
    """
    tensor = values if isinstance(values, Tensor) else torch.from_numpy(values)
    return tensor.to(device, non_blocking=device.type == "cuda")


def works_behind(device: torch.device) -> bool:
    """Whether the host may do something else while the device is at work on what it was given."""
    return device.type == "cuda"


def wait(device: torch.device) -> None:
    """Return when the device has done all that it was given; a CPU has."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def wide(device: torch.device | str) -> torch.dtype:
    """The widest float of a device: sums for a reader are made in it."""
    return torch.float32 if torch.device(device).type == "mps" else torch.float64
