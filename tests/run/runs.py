"""A tiny run in a folder of its own, for tests of its beginning and its end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from embedkit.recipe.schema import Recipe
from embedkit.run import train
from embedkit.types import RunRecord
from tests.tiny import sentences, tiny_bert


def material(folder: Path) -> Path:
    """A model, texts and an evaluation file; returns the folder."""
    tiny_bert(folder / "tiny")
    texts = sentences(48)
    (folder / "a.txt").write_text("\n".join(texts[:32]) + "\n")
    (folder / "b.txt").write_text("\n".join(texts[32:]) + "\n")
    rows = [f"{texts[i]}\t{texts[i + 1] if i % 2 else texts[i] + ' bade'}\t{i % 5}" for i in range(20)]
    (folder / "sts.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *rows]) + "\n")
    (folder / "suite.yaml").write_text("name: mine\ntasks: [{type: sts, name: A, files: [sts.tsv]}]\n")
    (folder / "r.yaml").write_text("")
    return folder


def recipe(eval_: dict[str, Any] | None = None, **train_: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "model": {"base": "tiny", "pooling": "mean"},
            "data": {"sources": [{"path": "[ab].txt"}]},
            "train": {"batch_size": 8, "steps": 4, "device": "cpu", **train_},
            "eval": {"suite": "suite.yaml", "resamples": 100, **(eval_ or {})},
        }
    )


def go(folder: Path, made: Recipe, *, resume: bool = False, said: list[str] | None = None) -> RunRecord:
    """Train into ``run``."""
    lines: list[str] = [] if said is None else said
    return train(
        made,
        folder / "run",
        resume=resume,
        recipe_path=folder / "r.yaml",
        say=lambda line: lines.append(str(line)),
        progress=False,
    )


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))
    return found
