"""A tiny run that mines its negatives, and the worker that tests kill."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from embedkit.recipe.schema import Recipe
from embedkit.run import train
from embedkit.types import RunRecord
from tests.tiny import sentences, tiny_bert

STEPS = 8


def material(folder: Path) -> Path:
    """A model, 32 pairs of which some share their query, and 20 more documents; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_bert(folder / "tiny")
    texts = sentences(80, seed=3)
    pairs = [{"query": texts[min(i, 28)], "positive": texts[32 + i]} for i in range(32)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    rows = [{"_id": str(i), "title": "go" if i % 2 else "", "text": text} for i, text in enumerate(texts[60:80])]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "r.yaml").write_text("")
    return folder


def recipe(mining: dict[str, Any] | None = None, **blocks: Any) -> Recipe:
    made: dict[str, Any] = {
        "model": {"base": "tiny", "pooling": "mean"},
        "data": {"sources": [{"path": "pairs.jsonl"}]},
        "negatives": {"per_query": 2},
        "mining": {"refresh": {"every": 2}, "depth": 12, "keep": 4, "corpus": "corpus.jsonl", **(mining or {})},
        "train": {
            "batch_size": 8,
            "steps": STEPS,
            "device": "cpu",
            "learning_rate": 1e-3,
            "log_every": 1,
            "save_every": 2,
            "keep_checkpoints": 9,
        },
    }
    return Recipe.model_validate(made | blocks)


def go(folder: Path, out: str, made: Recipe, *, resume: bool = False, said: list[str] | None = None) -> RunRecord:
    lines: list[str] = [] if said is None else said
    return train(
        made,
        folder / out,
        resume=resume,
        recipe_path=folder / "r.yaml",
        say=lambda line: lines.append(str(line)),
        progress=False,
    )


def kill_at(moment: str) -> None:
    """SIGKILL of this process at a moment of the second search, or of update 5."""
    from embedkit.mining import miner, online, search
    from embedkit.mining.table import MinedTable

    def dies() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    if moment == "encoding":
        encode = miner.vectors_of

        def encoding(texts: Any, *rest: Any, **options: Any) -> Any:
            found = encode(texts, *rest, **options)
            return dies() if (folder_of_searches() / "update-000002").exists() else found

        miner.vectors_of = encoding
    if moment == "table":
        write = MinedTable.write

        def writing(table: MinedTable, path: Path) -> None:
            write(table, path)
            if path.parent.name == "update-000002":
                dies()

        MinedTable.write = writing  # type: ignore[method-assign]
    if moment == "hand-over":
        read = online.read_tables

        def reading(folder: Path, miners: Any) -> Any:
            found = read(folder, miners)
            return dies() if folder.name == "update-000002" else found

        online.read_tables = reading
    if moment == "search":
        refresh = search.search

        def searching(folder: Path, *rest: Any) -> None:
            if folder.name == "update-000002":
                folder.mkdir(exist_ok=True)
            refresh(folder, *rest)

        online.search = searching
        kill_at("encoding")
    if moment == "step":
        from embedkit.train.trainer import Trainer

        step = Trainer.training_step

        def stepping(trainer: Trainer, *rest: Any, **options: Any) -> Any:
            found = step(trainer, *rest, **options)
            return dies() if trainer.state.global_step == 5 else found

        Trainer.training_step = stepping  # type: ignore[method-assign]


def folder_of_searches() -> Path:
    return Path(sys.argv[1]) / sys.argv[2] / "mined"


def main(folder: str, out: str, mode: str, moment: str) -> None:
    import torch

    torch.set_num_threads(1)
    kill_at(moment)
    go(Path(folder), out, recipe({"mode": mode}))


if __name__ == "__main__":
    main(*sys.argv[1:5])
