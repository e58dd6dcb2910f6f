"""A recipe's `train` and `eval` blocks as training arguments of transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformerTrainingArguments

from embedkit.model.running.encoder import pick_device
from embedkit.recipe.schema import Recipe
from embedkit.train.distributed import Comm
from embedkit.train.optimizers import Optimization

_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def optimization(recipe: Recipe) -> Optimization:
    """What a recipe says of the optimiser."""
    train = recipe.train
    return Optimization(train.optimizer, train.betas, train.objective_learning_rate, train.layer_decay)


def training_arguments(recipe: Recipe, folder: Path, steps: int, comm: Comm) -> SentenceTransformerTrainingArguments:
    """Build the arguments.

    Args:
        recipe: the resolved recipe.
        folder: where checkpoints go.
        steps: updates of the run.
        comm: `batch_size` is over all its processes.
    """
    train, evaluation = recipe.train, recipe.eval
    save_every = train.save_every or evaluation.every or steps
    options: dict[str, Any] = {
        "output_dir": str(folder),
        "per_device_train_batch_size": train.batch_size // comm.world,
        "gradient_accumulation_steps": train.accumulation,
        "max_steps": steps,
        "learning_rate": train.learning_rate,
        "weight_decay": train.weight_decay,
        "warmup_steps": round(train.warmup * steps),
        "lr_scheduler_type": _SCHEDULES[train.schedule],
        "max_grad_norm": train.max_grad_norm,
        **optimization(recipe).arguments(),
        "seed": train.seed,
        "data_seed": train.seed,
        "use_cpu": pick_device(train.device).type == "cpu",
        "logging_steps": train.log_every,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": save_every,
        "save_total_limit": None,  # `embedkit.train.checkpoint.prune` does that, and never removes the newest
        "report_to": list(train.report_to) or "none",
        "average_tokens_across_devices": False,
        "remove_unused_columns": False,
        "disable_tqdm": True,
    }
    if evaluation.every is not None:
        options |= {
            "eval_strategy": "steps",
            "eval_steps": evaluation.every,
            "metric_for_best_model": f"eval_{evaluation.select}",
            "greater_is_better": True,
        }
    return SentenceTransformerTrainingArguments(**options)
