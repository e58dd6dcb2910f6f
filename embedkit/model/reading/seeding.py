"""New weights from a seed of their own, and the random state of a device."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, the CPU's random numbers come from `seed`; every random state is afterwards what it was before.

    New weights are drawn on the CPU, also those of a model on a GPU, so that they are the same everywhere.
    `torch.manual_seed` would reset the generators of all devices too, and with them the dropout of a run.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def undrawn() -> Iterator[None]:
    """What is drawn or seeded inside, by Python, NumPy or torch on any device, changes nothing after it."""
    python, numbers = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)


@contextmanager
def in_a_fixed_order() -> Iterator[None]:
    """Inside, a GPU adds up in a fixed order wherever torch can, and warns where it cannot.

    Without it, sums whose order changes from run to run differ in the last bits. cuBLAS reads its setting when a
    process first uses it: ask for this before.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic
    filled, memory.fill_uninitialized_memory = memory.fill_uninitialized_memory, False
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        memory.fill_uninitialized_memory = filled


class RandomState:
    """The random state that dropout draws from, as it is now: the CPU's and the device's.

    Args:
        device: where the rows are.
    """

    def __init__(self, device: torch.device) -> None:
        self._cpu = torch.get_rng_state()
        self._module = None if device.type == "cpu" else torch.get_device_module(device)
        self._which = () if device.type == "mps" else (device,)  # there is one MPS device, and it takes no number
        self._own = None if self._module is None else self._module.get_rng_state(*self._which)

    def restore(self) -> None:
        """Draw again what was drawn since."""
        torch.set_rng_state(self._cpu)
        if self._module is not None:
            self._module.set_rng_state(self._own, *self._which)
