"""Where the tests of `train`, `model` and `auxiliary` put their models: the CPU, or what EMBEDKIT_TEST_DEVICE names.

Tests marked `cpu` are about what a CPU alone does (its fused layers and dropout, gloo), those marked `gpu` about what
CUDA does; they are skipped on another device.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEVICE = os.environ.get("EMBEDKIT_TEST_DEVICE", "cpu")

PACKS = [True, False] if DEVICE in ("cpu", "cuda") else [False]
"""Whether rows are packed, as a parameter of a test: elsewhere they are padded."""


def preprocessed(st: SentenceTransformer, texts: Sequence[str]) -> dict[str, Any]:
    """What sentence-transformers makes of texts, where its model is; by itself it leaves that to who calls."""
    from sentence_transformers.util import batch_to_device

    return batch_to_device(st.preprocess(list(texts)), st.device)


def fixed_order() -> AbstractContextManager[None]:
    """Inside, a GPU repeats itself bit for bit, as a CPU does."""
    from embedkit.model.reading.seeding import in_a_fixed_order

    return nullcontext() if DEVICE == "cpu" else in_a_fixed_order()
