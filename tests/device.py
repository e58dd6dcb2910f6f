"""Where the tests of `train`, `model` and `auxiliary` put their models: the CPU, or what EMBEDKIT_TEST_DEVICE names.

Tests marked `cpu` are about what a CPU alone does (packed rows, its dropout, gloo) and are skipped elsewhere.
"""

from __future__ import annotations

import os

DEVICE = os.environ.get("EMBEDKIT_TEST_DEVICE", "cpu")
