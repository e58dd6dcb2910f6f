"""A saved folder read by sentence-transformers in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tests.device import DEVICE

_SCRIPT = """
import json, sys
import numpy as np
from sentence_transformers import SentenceTransformer

texts, folders, trust, device = json.load(sys.stdin)
for folder in folders:
    model = SentenceTransformer(folder, device=device, **({"trust_remote_code": True} if trust else {}))
    np.save(folder + "/elsewhere.npy", model.encode(texts))
assert trust or not any(name.partition(".")[0] == "embedkit" for name in sys.modules)
"""


def encoded_elsewhere(folders: Iterable[Path], texts: Sequence[str], *, trust: bool = False) -> dict[Path, np.ndarray]:
    """Embeddings by plain `SentenceTransformer(folder)`; with `trust` the flag is given, and embedkit may load."""
    folders = list(folders)
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        input=json.dumps([list(texts), [str(f) for f in folders], trust, DEVICE]),
        text=True,
        capture_output=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        cwd=folders[0].parent,
    )
    assert done.returncode == 0, done.stderr
    return {folder: np.load(folder / "elsewhere.npy") for folder in folders}
