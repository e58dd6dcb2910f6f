"""Where the tests of `train`, `model` and `auxiliary` put their models: the CPU, or what EMBEDKIT_TEST_DEVICE names.

Tests marked `cpu` are about what a CPU alone does (packed rows, its fused layers and dropout, gloo); they are skipped
on another device.
"""

from __future__ import annotations

import os

import pytest

DEVICE = os.environ.get("EMBEDKIT_TEST_DEVICE", "cpu")

PACKS = [pytest.param(True, marks=pytest.mark.cpu), False]
"""Whether rows are packed, as a parameter of a test: elsewhere than on a CPU they are padded."""
