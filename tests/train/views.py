"""One update of a real tiny encoder whose views are transformed, cut in any way; also the worker of two processes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from embedkit.data.sources import load_source
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import Recipe
from embedkit.run.build import build_trainer
from embedkit.train.distributed import Comm
from tests.device import DEVICE
from tests.tiny import sentences
from tests.workers import join_gloo

NT_XENT = {"name": "infonce", "temperature": 0.1, "directions": ["q-d", "d-q", "q-q", "d-d"]}
NO_DROPOUT = {"name": "dropout", "rate": 0.0}
CASES: dict[str, dict[str, Any]] = {
    "consert": {
        "views": {"transforms": [[{"name": "feature_cutoff", "rate": 0.2}], [{"name": "shuffle"}]]},
        "objective": NT_XENT,
        "model": {"dropout": 0.0},
    },
    "tokens": {
        "views": {
            "count": 3,
            "transforms": [[{"name": "token_cutoff", "rate": 0.4}], [{"name": "element_dropout", "rate": 0.3}]],
        },
        "objective": {"name": "supcon"},
        "model": {"dropout": 0.0},
    },
    "clear": {
        "views": {
            "transforms": [
                [{"name": "delete_span", "rate": 0.3}, {"name": "reorder_words", "rate": 0.6, "span": 1}],
                [{"name": "substitute_words", "rate": 0.4}, {"name": "repeat_words", "rate": 0.3}],
            ]
        },
        "objective": NT_XENT,
        "model": {"dropout": 0.0},
    },
    "rates": {  # the model has dropout 0.5, and no view runs with it
        "views": {"transforms": [[NO_DROPOUT], [{"name": "shuffle"}, NO_DROPOUT]]},
        "objective": NT_XENT,
        "model": {"dropout": 0.5},
    },
    "tension": {
        "views": {"pairing": "tension", "negatives_per_positive": 3},
        "objective": {"name": "contrastive_tension"},
        "model": {"dropout": 0.0, "towers": 2},
    },
    "locked-documents": {  # the rate of the frozen tower must not matter: it runs without dropout
        "views": {"transforms": [[NO_DROPOUT]]},
        "objective": NT_XENT,
        "model": {"dropout": 0.4, "towers": 2, "frozen_tower": "document"},
    },
    "locked-queries": {
        "views": {"transforms": [[{"name": "dropout", "rate": 0.4}], [NO_DROPOUT]]},
        "objective": {"name": "infonce"},
        "model": {"dropout": 0.4, "towers": 2, "frozen_tower": "query"},
    },
}


def recipe(base: Path, case: str, **train: Any) -> Recipe:
    """Labelled unlabelled text: twelve sentences with a class."""
    options = CASES[case]
    rows = [{"text": text, "label": i % 3} for i, text in enumerate(sentences(12, seed=7, shortest=4))]
    return Recipe.model_validate(
        {
            "model": {"base": str(base), "max_length": 24, **options["model"]},
            "data": {"sources": [{"rows": rows}]},
            "views": options["views"],
            "objective": options["objective"],
            "train": {"batch_size": 12, "steps": 1, "device": DEVICE, **train},
        }
    )


def gradients(
    base: Path, case: str, *, folder: Path, budget: int = 2048, graph: str = "keep", packs: bool = True, comm: Comm
) -> dict[str, torch.Tensor]:
    """Gradients of one update in float64; `budget` 0 asks the oracle, padded and in one piece per variant."""
    asked = recipe(base, case, graph=graph, tokens_per_micro_batch=budget or 2048)
    encoder = Encoder.load(asked.model, device=DEVICE)
    encoder.module.double()
    sources = [load_source(source) for source in asked.data.sources]
    trainer = build_trainer(asked, sources, encoder, folder, comm)
    for module in (encoder.module, encoder.module.second):
        if module is not None:
            module.packs = packs and budget > 0
    trainer.trainee.double().train()
    batch = trainer.pipeline.batch(0, 0)
    if budget:
        trainer.engine(batch)
    else:
        trainer.engine.reference(batch).backward()
    trainer.engine.finish(list(trainer.trainee.parameters()))
    return {n: p.grad for n, p in trainer.trainee.named_parameters() if p.grad is not None}


def main(rank: int, folder: str, base: str) -> None:
    join_gloo(rank, folder)
    comm = Comm.current()
    answers = {}
    for case in CASES:  # different numbers of micro-batches per process must not matter
        budget, graph = (40, "reforward") if rank == 0 else (70, "keep")
        answers[case] = gradients(Path(base), case, folder=Path(folder), budget=budget, graph=graph, comm=comm)
    torch.save(answers, f"{folder}/answers-{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
