"""What the plan says of a step is what the step does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from embedkit.data.sources import load_source
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.plan import plan
from embedkit.recipe.schema import Recipe
from embedkit.run.build import build_trainer
from embedkit.train.distributed import Comm
from tests.tiny import sentences, tiny_bert

TEXTS = sentences(48, seed=5)
PAIRS = [{"query": a, "positive": b} for a, b in zip(TEXTS[::2], TEXTS[1::2], strict=True)]
CASES: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "pairs": (PAIRS, {}),
    "triplets": ([{**row, "negative": [f"{row['query']} not", "no"]} for row in PAIRS], {}),
    "two negatives": (
        [{**row, "negative": [f"{row['query']} not", f"no {row['positive']}"]} for row in PAIRS],
        {"negatives": {"per_query": 2}},
    ),
    "all positives": (
        [{"query": text, "positive": [f"{text} b", f"{text} c"]} for text in TEXTS],
        {"objective": {"name": "symile"}},
    ),
    "views": ([{"text": text} for text in TEXTS], {"views": {"count": 3}}),
    "supcon on labels": (
        [{"query": text, "label": i % 3} for i, text in enumerate(TEXTS)],
        {"objective": {"name": "supcon"}},
    ),
    "supcon on labels and views": (
        [{"text": text, "label": i % 3} for i, text in enumerate(TEXTS)],
        {"objective": {"name": "supcon"}},
    ),
    "scores": ([{**row, "score": i / 24} for i, row in enumerate(PAIRS)], {"objective": {"name": "cosent"}}),
    "scores with negatives": (
        [{**row, "score": i / 24, "negative": "no"} for i, row in enumerate(PAIRS)],
        {"objective": {"name": "cosent"}},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_rows_of_a_step(name: str, tmp_path: Path) -> None:
    rows, blocks = CASES[name]
    train = {"batch_size": 6, "steps": 1, "device": "cpu"}
    model = {"base": str(tiny_bert(tmp_path / "base"))}
    data = {"sources": [{"rows": rows}], "one_positive": "all" if "all" in name else "sample"}
    made = Recipe.model_validate({"model": model, "data": data, "train": train, **blocks})
    sources = [load_source(source) for source in made.data.sources]
    planned = plan(made, rows=[s.rows for s in sources]).sources[0]
    t = build_trainer(made, sources, Encoder.load(made.model, device="cpu"), tmp_path / "run", Comm())
    batch = t.pipeline.batch(0, 0)
    assert planned.rows_per_step == len(batch.input_ids)
    assert (planned.positives, planned.negatives) == (batch.positives, batch.negatives)
