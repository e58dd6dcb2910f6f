"""The two trainers that are compared: embedkit's, and sentence-transformers' own, on the same model and text."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from transformers import TrainerCallback

from embedkit.data.sources import load_source
from embedkit.model.reading.devices import wait
from embedkit.model.reading.resolve import resolve
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.schema import DEFAULT_MODEL, Recipe
from embedkit.run.build import build_trainer
from embedkit.train.distributed import Comm

MakeLoss = Callable[[SentenceTransformer], torch.nn.Module]


class StepTimes(TrainerCallback):
    """Seconds from the end of one update to the end of the next, the device's work included; the first is a warm-up."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._last: float | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        wait(args.device)
        now = time.perf_counter()
        if self._last is not None:
            self.seconds.append(now - self._last)
        self._last = now


def recipe(
    texts: Sequence[str],
    *,
    batch: int,
    steps: int,
    max_length: int,
    base: str | None = None,
    blocks: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    **train: Any,
) -> Recipe:
    """Unsupervised SimCSE, on all-MiniLM-L6-v2 unless `base` is another; `blocks` of another method take its place."""
    return Recipe.model_validate(
        {
            "model": {"base": base or DEFAULT_MODEL, "max_length": max_length, **(model or {})},
            "data": {"sources": [{"name": "text", "rows": [{"text": t} for t in texts]}]},
            "objective": {"name": "infonce", "temperature": 0.05},
            "train": {"batch_size": batch, "steps": steps, "device": "cpu", "save_every": 10**9, **train},
            **(blocks or {}),
        }
    )


def ours(made: Recipe, out: Path) -> list[float]:
    """Run embedkit's trainer; seconds per update."""
    times = StepTimes()
    encoder = Encoder.load(made.model, device=made.train.device)
    source = load_source(made.data.sources[0])
    trainer = build_trainer(made, [source], encoder, out, Comm(), callbacks=[times])
    trainer._save_checkpoint = lambda *args, **kwargs: None  # type: ignore[method-assign]
    trainer.train()
    return times.seconds


def stock(made: Recipe) -> SentenceTransformer:
    """The model as sentence-transformers loads it, with none of embedkit's changes (packed rows, CPU dropout)."""
    options: dict[str, Any] = {"dtype": torch.float32}
    if made.model.attention is not None:
        options["attn_implementation"] = made.model.attention
    model = SentenceTransformer(resolve(made.model.base).target, device=made.train.device, model_kwargs=options)
    model.max_seq_length = made.model.max_length
    return model


def ranking_loss(made: Recipe, mini_batch: int | None = None) -> MakeLoss:
    """sentence-transformers' SimCSE: MultipleNegativesRankingLoss, or with a mini-batch the cached one."""
    from sentence_transformers import losses

    scale = 1 / made.objective.temperature  # type: ignore[attr-defined]
    if mini_batch is None:
        return lambda model: losses.MultipleNegativesRankingLoss(model, scale=scale)
    return lambda model: losses.CachedMultipleNegativesRankingLoss(model, scale=scale, mini_batch_size=mini_batch)


def rival(
    made: Recipe,
    out: Path,
    *,
    mini_batch: int | None = None,
    make_loss: MakeLoss | None = None,
    columns: dict[str, list[Any]] | None = None,
) -> list[float]:
    """Run sentence-transformers' trainer with its own loss for the same recipe; seconds per update.

    Args:
        made: the recipe; batch, steps, length and learning rate are taken from it.
        out: a folder.
        mini_batch: see `ranking_loss`.
        make_loss: another loss.
        columns: its data; None gives each text twice.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

    times = StepTimes()
    model = stock(made)
    texts = [row["text"] for row in made.data.sources[0].rows or ()]
    loss = (make_loss or ranking_loss(made, mini_batch))(model)
    args = SentenceTransformerTrainingArguments(
        output_dir=str(out),
        per_device_train_batch_size=made.train.batch_size,
        max_steps=made.train.steps or 1,
        learning_rate=made.train.learning_rate,
        use_cpu=made.train.device == "cpu",
        bf16=made.train.precision == "bf16",
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        seed=made.train.seed,
    )
    data = Dataset.from_dict(columns or {"anchor": texts, "positive": texts})
    trainer = SentenceTransformerTrainer(model=model, args=args, train_dataset=data, loss=loss, callbacks=[times])
    trainer.train()
    return times.seconds


def gradients(made: Recipe, out: Path, *, mini_batch: int | None = None) -> tuple[float, float, float, float]:
    """Loss of both sides on one batch with dropout off, and the relative distance of their gradients.

    Returns:
        Our loss, the rival's loss, ``|g - h| / |h|`` over all parameters, and the cosine of g and h.
    """
    from sentence_transformers import losses

    encoder = Encoder.load(made.model.model_copy(update={"dropout": 0.0}), device=made.train.device)
    source = load_source(made.data.sources[0])
    trainer = build_trainer(made, [source], encoder, out, Comm())
    encoder.module.train()
    batch = trainer.pipeline.batch(0, 0)
    mine = trainer.engine(batch).loss
    trainer.engine.finish(list(encoder.module.parameters()))
    named = {n: p for n, p in encoder.st.named_parameters() if p.requires_grad}
    g = {n: p.grad.clone() for n, p in named.items() if p.grad is not None}
    encoder.st.zero_grad(set_to_none=True)

    texts = [text for text, position in zip(batch.texts, batch.position, strict=True) if position % batch.slots == 0]
    scale = 1 / made.objective.temperature  # type: ignore[attr-defined]
    loss = (
        losses.MultipleNegativesRankingLoss(encoder.st, scale=scale)
        if mini_batch is None
        else losses.CachedMultipleNegativesRankingLoss(encoder.st, scale=scale, mini_batch_size=mini_batch)
    )
    features = [_on_device(encoder.st.preprocess(texts), encoder.device) for _ in range(2)]
    value = loss(features, torch.zeros(0))
    value.backward()
    trainer.engine.finish(list(encoder.module.parameters()))  # a sparse gradient of the token table becomes dense
    h = {n: p.grad for n, p in named.items() if p.grad is not None}
    ours_flat = torch.cat([g[n].flatten() for n in h])
    theirs = torch.cat([h[n].flatten() for n in h])
    distance = float((ours_flat - theirs).norm() / theirs.norm())
    cosine = float(torch.nn.functional.cosine_similarity(ours_flat.double(), theirs.double(), dim=0))
    return mine, float(value.detach()), distance, cosine


def _on_device(features: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: v.to(device) if isinstance(v, torch.Tensor) else v for name, v in features.items()}
