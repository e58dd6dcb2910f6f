"""The recipe that `embedkit start` writes."""

from __future__ import annotations

import json
import math
from pathlib import Path

UPDATES, BATCH, EPOCHS = 60, 64, 5
"""At least so many updates of so many questions, in at most so many rounds."""


def recipe_text(*, model: str, rows: int, seed: int, device: str, test: Path | None) -> str:
    """InfoNCE with mined negatives, measured before and after on the test questions.

    Args:
        model: base; a folder, or a Hub id.
        rows: pairs to train on.
        seed: of the training.
        device: of the training.
        test: BEIR folder with real questions, measured beside the made ones.
    """
    batch = max(2, min(BATCH, rows // 2))
    epochs = min(EPOCHS, max(1, math.ceil(UPDATES * batch / rows)))
    tasks = ["{type: retrieval, name: made-questions, folder: test, metric: ndcg@10}"]
    if test is not None:
        tasks.append(
            f"{{type: retrieval, name: real-questions, folder: {_text(str(test.resolve()))}, metric: ndcg@10}}"
        )
    base = str(Path(model).resolve()) if Path(model).is_dir() else model
    return f"""# Written by `embedkit start`. Change it and train again: embedkit train recipe.yaml --out again
model:
  base: {_text(base)}
  max_length: 256
data:
  sources:
    - path: mined.parquet      # a question, a passage that answers it, hard negatives
negatives: {{per_query: 2}}
objective: {{name: infonce, temperature: 0.05}}
train:
  batch_size: {batch}
  epochs: {epochs}
  learning_rate: 3e-5
  warmup: 0.1
  seed: {seed}
  device: {device}
eval:
  suite: {{name: start, tasks: [{", ".join(tasks)}]}}
"""


def _text(value: str) -> str:
    """A text as YAML and JSON both write it."""
    return json.dumps(value, ensure_ascii=False)
