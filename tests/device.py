"""Where the tests of `train`, `model` and `auxiliary` put their models: the CPU, or what EMBEDKIT_TEST_DEVICE names.

Tests marked `cpu` are about what a CPU alone does (packed rows, its fused layers and dropout, gloo); they are skipped
on another device.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEVICE = os.environ.get("EMBEDKIT_TEST_DEVICE", "cpu")

PACKS = [pytest.param(True, marks=pytest.mark.cpu), False]
"""Whether rows are packed, as a parameter of a test: elsewhere than on a CPU they are padded."""


def preprocessed(st: SentenceTransformer, texts: Sequence[str]) -> dict[str, Any]:
    """What sentence-transformers makes of texts, where its model is; by itself it leaves that to who calls."""
    from sentence_transformers.util import batch_to_device

    return batch_to_device(st.preprocess(list(texts)), st.device)
