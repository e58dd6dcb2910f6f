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
from embedkit.model.running.reranker import Trained, load
from embedkit.recipe.schema import DEFAULT_MODEL, Recipe
from embedkit.run.build import build_trainer
from embedkit.train.distributed import Comm
from embedkit.types import RowBatch

MakeLoss = Callable[[SentenceTransformer], torch.nn.Module]
Gradients = tuple[float, float, float, float]
"""Our loss, the rival's loss, ``|g - h| / |h|`` over all parameters, and the cosine of g and h."""


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
    encoder = load(made.model, device=made.train.device)
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
    if made.model.pooling is not None:
        model[1].pooling_mode = made.model.pooling
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
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments

    model = stock(made)
    texts = [row["text"] for row in made.data.sources[0].rows or ()]
    loss = (make_loss or ranking_loss(made, mini_batch))(model)
    data = columns or {"anchor": texts, "positive": texts}
    return timed(SentenceTransformerTrainer, SentenceTransformerTrainingArguments, made, out, model, loss, data)


def timed(
    trainer: type, arguments: type, made: Recipe, out: Path, model: Any, loss: torch.nn.Module, columns: dict[str, Any]
) -> list[float]:
    """Run one of sentence-transformers' trainers with the settings of a recipe; seconds per update.

    Args:
        trainer: its class.
        arguments: the class of its arguments.
        made: batch, steps, rate, seed, device and precision are taken from it.
        out: a folder.
        model: what is trained.
        loss: of that model.
        columns: the data, in the order in which the loss reads it.
    """
    from datasets import Dataset

    times = StepTimes()
    args = arguments(
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
    trainer(model=model, args=args, train_dataset=Dataset.from_dict(columns), loss=loss, callbacks=[times]).train()
    return times.seconds


def gradients(made: Recipe, out: Path, *, mini_batch: int | None = None) -> Gradients:
    """Both sides' SimCSE on one batch; see `apart`."""

    def theirs(encoder: Trained, batch: RowBatch) -> torch.Tensor:
        pairs = zip(batch.texts, batch.position, strict=True)
        texts = [text for text, position in pairs if position % batch.slots == 0]
        features = [_on_device(encoder.st.preprocess(texts), encoder.device) for _ in range(2)]
        return ranking_loss(made, mini_batch)(encoder.st)(features, torch.zeros(0))

    return apart(made, out, theirs)


def apart(made: Recipe, out: Path, theirs: Callable[[Trained, RowBatch], torch.Tensor]) -> Gradients:
    """Loss of both sides on one batch with dropout off, and the relative distance of their gradients.

    Args:
        made: our side.
        out: a folder.
        theirs: ``(model, batch) -> loss`` by sentence-transformers, on the same weights.
    """
    encoder = load(made.model.model_copy(update={"dropout": 0.0}), device=made.train.device)
    source = load_source(made.data.sources[0])
    trainer = build_trainer(made, [source], encoder, out, Comm())
    encoder.module.train()
    batch = trainer.pipeline.batch(0, 0)
    mine = trainer.engine(batch).loss
    trainer.engine.finish(list(encoder.module.parameters()))
    named = {n: p for n, p in encoder.st.named_parameters() if p.requires_grad}
    g = {n: p.grad.clone() for n, p in named.items() if p.grad is not None}
    encoder.st.zero_grad(set_to_none=True)

    value = theirs(encoder, batch)
    value.backward()
    trainer.engine.finish(list(encoder.module.parameters()))  # a sparse gradient of the token table becomes dense
    h = {n: p.grad for n, p in named.items() if p.grad is not None}
    ours_flat = torch.cat([g[n].flatten() for n in h])
    theirs_flat = torch.cat([h[n].flatten() for n in h])
    distance = float((ours_flat - theirs_flat).norm() / theirs_flat.norm())
    cosine = float(torch.nn.functional.cosine_similarity(ours_flat.double(), theirs_flat.double(), dim=0))
    return mine, float(value.detach()), distance, cosine


def check_equal(found: Gradients) -> None:
    """Print what `apart` found; an assertion where the two sides differ."""
    from common import console  # by this name to scripts alone; benchmarks.compare imports this file as its package's

    mine, theirs, distance, cosine = found
    console.print(
        f"dropout off, fp32: loss {mine:.7f} against {theirs:.7f}; gradient: relative distance {distance:.1e}, "
        f"cosine {cosine:.9f}"
    )
    assert abs(mine - theirs) < 1e-4 * max(1.0, abs(theirs)) and distance < 1e-3, "the two sides differ"


def _on_device(features: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: v.to(device) if isinstance(v, torch.Tensor) else v for name, v in features.items()}
