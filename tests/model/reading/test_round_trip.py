"""A saved run loads with plain sentence-transformers, in a process that does not know embedkit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embedkit.model.running.encoder import Encoder
from tests.device import DEVICE
from tests.tiny import sentences

Load = Callable[..., Encoder]
TEXTS = [*sentences(12, longest=30), "", "bade"]
STOCK = """
import json, sys
import numpy as np
from sentence_transformers import SentenceTransformer

texts, jobs, device = json.load(sys.stdin)
for folder in jobs:
    model = SentenceTransformer(folder, device=device)
    np.savez(
        folder + "/stock.npz",
        query=model.encode_query(texts),
        document=model.encode_document(texts),
        named=model.encode(texts, prompt_name="document"),
        bare=model.encode(texts),
    )
assert not any(name.partition(".")[0] == "embedkit" for name in sys.modules)
"""


def combinations() -> list[dict[str, Any]]:
    """Pooling x normalisation x prompts x head, each with a length limit."""
    poolings = ("cls", "mean", "max", "lasttoken", "weightedmean", "first_last_mean")
    prompts = {"query": "bade: ", "document": "defi goku "}
    out = []
    for pooling, normalize, head in product(poolings, (False, True), (None, True, False)):
        options = {"pooling": pooling, "normalize": normalize, "prompts": prompts, "max_length": 12}
        out.append({**options, "head": None if head is None else {"keep": head, "dim": 24}})
    out.append({"prompts": {"query": "bade: "}})
    out += [{**out[0], "include_prompt_in_pooling": False}, {**out[-1], "include_prompt_in_pooling": False}]
    out.append({"lora": {"r": 2}, "normalize": True, "prompts": {"document": "defi "}})
    return out


@pytest.mark.dist
def test_plain_sentence_transformers_gives_the_same_embeddings(load: Load, tmp_path: Path) -> None:
    expected: dict[str, tuple[dict[str, Any], np.ndarray, np.ndarray]] = {}
    for i, options in enumerate(combinations()):
        if "lora" in options and not _has_peft():
            continue
        encoder = load(**options)
        with torch.no_grad():
            for parameter in encoder.module.parameters():
                parameter.mul_(1.01)
        folder = str(tmp_path / f"model{i}")
        encoder.save(folder)
        expected[folder] = (options, encoder.encode(TEXTS, role="query"), encoder.encode(TEXTS, role="document"))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", STOCK],
        input=json.dumps([TEXTS, list(expected), DEVICE]),
        text=True,
        capture_output=True,
        env=environment,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    for folder, (options, query, document) in expected.items():
        stock = np.load(Path(folder) / "stock.npz")
        for name, ours in (("query", query), ("document", document), ("named", document)):
            scale = max(1.0, float(np.abs(ours).max()))
            assert np.abs(stock[name] - ours).max() <= 1e-6 * scale, (options, name)
        if options["prompts"].get("document"):
            assert np.abs(stock["bare"] - document).max() > 1e-4, (options, "the prompt has an effect")


def _has_peft() -> bool:
    import importlib.util

    return importlib.util.find_spec("peft") is not None
