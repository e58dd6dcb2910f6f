"""The trainer: sentence-transformers' loop with embedkit's step, data and checkpoints."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from embedkit.disk import files
from embedkit.errors import EmbedkitError, TrainingError, WriteError
from embedkit.model.reading.devices import send, works_behind
from embedkit.model.running.reranker import Trained
from embedkit.objectives.base import Objective
from embedkit.train import checkpoint, flow
from embedkit.train.callbacks import AfterUpdate
from embedkit.train.distributed import Comm
from embedkit.train.guards import Guards
from embedkit.train.optimizers import Optimization
from embedkit.train.pipeline import Pipeline
from embedkit.train.step import Step
from embedkit.train.stopping import Stopped, Stopping
from embedkit.train.stopwatch import Stopwatch
from embedkit.train.trainee import Trainee
from embedkit.types import RowBatch, StepResult

Evaluate = Callable[[Trained, int], dict[str, float]]


class Trainer(SentenceTransformerTrainer):
    """Train an encoder with objectives on a pipeline of batches.

    Args:
        encoder: the encoder, or the reranker.
        objectives: one per data source.
        pipeline: gives batch k of update t.
        args: training arguments; `per_device_train_batch_size` is only reported.
        step: the engine.
        evaluate: ``(encoder, update) -> metrics``, called on process 0 at every evaluation.
        optimization: the optimiser, and learning rates that differ.
        collapse_guard: warn when the mean cosine between queries passes this.
        recipe_yaml: written into every checkpoint.
        callbacks: more trainer callbacks (trackers, progress).
        patience: stop after this many evaluations without improvement; None never stops early.
        keep_checkpoints: how many stay on disk; the newest always does.
        keep_best: every evaluation that is the best so far leaves a checkpoint, which always stays.
        stopping: listens to the system's signals.

    Raises:
        TrainingError: non-finite loss or gradient (the batch is on disk), or a checkpoint that does not fit.
        WriteError: a checkpoint cannot be written.
    """

    def __init__(
        self,
        encoder: Trained,
        objectives: Sequence[Objective],
        pipeline: Pipeline,
        args: SentenceTransformerTrainingArguments,
        step: Step,
        *,
        evaluate: Evaluate | None = None,
        optimization: Optimization = Optimization(),  # noqa: B008
        collapse_guard: float = 0.95,
        recipe_yaml: str = "",
        callbacks: Sequence[TrainerCallback] = (),
        patience: int | None = None,
        keep_checkpoints: int = 2,
        keep_best: bool = True,
        stopping: Stopping | None = None,
    ) -> None:
        self.encoder, self.pipeline, self.engine = encoder, pipeline, step
        self.negatives = pipeline.negatives
        self.objectives = nn.ModuleList(objectives)
        self.run_evaluation, self.recipe_yaml = evaluate, recipe_yaml
        self.optimization = optimization
        self.comm: Comm = step.comm
        self.optimizer: torch.optim.Optimizer | None
        self.control: Any
        self._since_log: list[StepResult] = []
        self._ahead: dict[int, RowBatch] = {}
        self._working, self._evaluating = Stopwatch(args.device), 0.0
        self._start = time.perf_counter()
        self.keep_checkpoints, self.keep_best, self.patience = keep_checkpoints, keep_best, patience
        self.stopping = stopping or Stopping()
        self.flow = flow.Flow(patience, lambda: self.comm.any(self.stopping.asked is not None, args.device))
        self.guards = Guards(Path(args.output_dir), collapse_guard, self.comm)
        super().__init__(
            model=encoder.st,
            args=args,
            loss=self.objectives,
            evaluator=None if evaluate is None else [],  # not None: evaluation happens, in `evaluate` below
            callbacks=[*callbacks, self.flow, *([AfterUpdate(step.remember)] if step.remembers else [])],
        )
        self.processing_class = None  # or transformers writes the tokenizer's special tokens into the model's config
        self.trainee = Trainee(encoder, objectives, step).to(args.device)
        self._parameters = list(self.trainee.parameters())
        self.remove_callback(ProgressCallback)
        self.remove_callback(PrinterCallback)

    # What sentence-transformers and transformers would do, and we do otherwise ----------------------------------

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """The card is written from the run record, after the weights are safe."""

    def get_train_dataloader(self) -> DataLoader[int]:
        """Batch numbers of one epoch; `get_batch_samples` turns the current update into rows."""
        generator = torch.Generator()  # its own, so that iterating never touches the global random state
        numbers: Any = range(self.pipeline.sampler.batches_per_epoch)
        # Batches of one number: accelerate skips batches of a resumed epoch, and cannot where there are none.
        return DataLoader(numbers, batch_size=1, collate_fn=lambda one: one[0], generator=generator)

    def get_batch_samples(
        self, epoch_iterator: Iterator[int], num_batches: int, device: torch.device
    ) -> tuple[list[RowBatch], None]:
        count = sum(1 for _ in zip(range(num_batches), epoch_iterator, strict=False))
        if self.negatives is not None and count:
            self.negatives.before(self._update)
        return [self._batch(self._update, k) for k in range(count)], None

    def _batch(self, update: int, k: int) -> RowBatch:
        made = self._ahead.pop(update, None) if k == 0 else None
        return self.pipeline.batch(update, k) if made is None else made

    def _prepare(self, update: int) -> None:
        """Make the first batch of the next update while a GPU is at work on this one; what fails, fails in its turn."""
        if self.negatives is None and works_behind(self.args.device) and update < self.state.max_steps:
            with contextlib.suppress(EmbedkitError):
                self._ahead = {update: self.pipeline.batch(update, 0)}

    def _wrap_model(self, model: nn.Module, training: bool = True, dataloader: Any = None) -> nn.Module:
        if not training:
            return model
        self.comm.broadcast([*self.trainee.parameters(), *self.trainee.buffers()])
        return self.trainee

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """With groups by layer, by decay and for the objectives (`Optimization.groups`)."""
        if self.optimizer is None:
            cls, kwargs = self.optimization.kind(self.args, self.model)
            decayed = set(self.get_decay_parameter_names(self.trainee))
            self.optimizer = cls(self.optimization.groups(self.trainee, self.args, decayed), **kwargs)
        return self.optimizer

    def floating_point_ops(self, inputs: Any) -> int:
        return 0

    # The step -------------------------------------------------------------------------------------------------

    def training_step(self, model: nn.Module, inputs: RowBatch, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward of one batch; returns its share of the update's loss."""
        self._working.start()
        model.train()
        accumulation = self.current_gradient_accumulation_steps
        result = self.engine(inputs, 1 / accumulation)
        self.guards.check_loss(result, inputs, self.state.global_step)
        self.guards.check_negatives(result.metrics, self.state.global_step)
        self._since_log.append(result)
        if self.accelerator.sync_gradients:
            self._last_batch = inputs
            result.metrics.update(self.engine.finish([p for p in self._parameters if p.requires_grad]))
            self._working.stop()
            self._prepare(self._update + 1)
        return send(torch.tensor(result.loss / accumulation), self.args.device)

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """Joint clip; gradients within the norm are left alone, which saves a pass over all of them."""
        found = [p.grad for p in self._parameters if p.grad is not None]
        norm = nn.utils.get_total_norm(found)
        if not norm <= self.args.max_grad_norm:
            nn.utils.clip_grads_with_norm_(self._parameters, self.args.max_grad_norm, norm)
        return norm

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self.guards.check_gradient(float(norm), self._last_batch, self.state.global_step)
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what the steps since the last line reported: metrics, tokens, padding."""
        if "loss" in logs and self._since_log:
            logs = {**logs, **self._drain(), "elapsed": round(self._elapsed(), 3)}
            self.guards.check_collapse(logs, self.state.global_step)
        super().log(logs, start_time)

    def _drain(self) -> dict[str, float]:
        results, self._since_log = self._since_log, []
        names = sorted({n for r in results for n in r.metrics})
        means = {}
        for n in names:
            values = [r.metrics[n] for r in results if n in r.metrics]
            means[n] = round(sum(values) / len(values), 5)
        tokens, padded = sum(r.tokens for r in results), sum(r.padded_tokens for r in results)
        return means | {
            "tokens": float(tokens),
            "seconds": round(self._working.take(), 3),
            "padding": round(1 - tokens / max(1, padded), 4),
        }

    # Evaluation -----------------------------------------------------------------------------------------------

    def evaluate(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> dict[str, float]:
        """Run the suite on process 0; every process gets the metrics.

        Stopped by the system meanwhile, or failing, the evaluation is left to the resumed run: none of it is logged.
        """
        start = time.perf_counter()
        found, error = self._evaluated()
        seconds = time.perf_counter() - start
        self._evaluating += seconds
        if found is None:
            self.flow.stop(self.control)
            if error is not None:
                if self.optimizer is not None:  # in the loop; a checkpoint that is being resumed from is there already
                    self._save_checkpoint(self.model, None)
                raise error
            return {}
        metrics = {f"{metric_key_prefix}_{k}": v for k, v in found.items()}
        self.log({**metrics, "seconds": round(seconds, 3)})
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _evaluated(self) -> tuple[dict[str, float] | None, Exception | None]:
        """The metrics, or why there are none: an error, or None where the system asked to stop."""
        error: Exception | None = None
        box: list[Any] = [None, None]
        if self.comm.rank == 0:
            training = self.model.training
            try:
                with self.stopping.at_once():
                    box[0] = {} if self.run_evaluation is None else self.run_evaluation(self.encoder, self._update)
            except Stopped:
                pass
            except Exception as caught:
                error, box[1] = caught, f"{type(caught).__name__}: {caught}"
            self.trainee.train(training)
        if self.comm.world > 1:
            torch.distributed.broadcast_object_list(box, src=0)
        if box[1] is not None and error is None:
            error = TrainingError(f"the evaluation failed in process 0: {box[1]}", f"update {self._update}")
        return box[0], error

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """Whether the model is the best so far; then, and where the training ends, a checkpoint is written."""
        better = bool(metrics) and super()._determine_best_metric(metrics, trial)
        if (better and self.keep_best) or self.control.should_training_stop:
            self.control.should_save = True
        return better

    @property
    def _update(self) -> int:
        return int(self.state.global_step)

    def _elapsed(self) -> float:
        """Seconds of training, evaluations left out; those before an interruption are in the logged lines."""
        return time.perf_counter() - self._start - self._evaluating

    # Checkpoints ----------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder = Path(self.args.output_dir)
        staging = checkpoint.staging_folder(folder, self._update)
        try:
            with files.writing(folder):
                self._write_checkpoint(staging, checkpoint.of_step(folder, self._update))
        except WriteError as error:
            shutil.rmtree(staging, ignore_errors=True)
            older = checkpoint.find_checkpoints(folder)
            whole = f"{older[-1].name} is whole: go on from it with --resume" if older else "then start again"
            what = f"the checkpoint of update {self._update} could not be written: {error.what}"
            raise WriteError(what, error.where, f"{error.cure}; {whole}") from error

    def _write_checkpoint(self, staging: Path, final: Path) -> None:
        if self.comm.rank == 0:
            shutil.rmtree(staging, ignore_errors=True)
            (staging / "embedkit").mkdir(parents=True)
            self.trainee.save(staging)
            if self.negatives is not None:
                self.negatives.save(staging / "embedkit")
            (staging / "embedkit" / "recipe.yaml").write_text(self.recipe_yaml, encoding="utf-8")
        self.comm.barrier()
        self._save_optimizer_and_scheduler(str(staging))
        self._save_rng_state(str(staging))
        self.comm.barrier()
        if self.comm.rank == 0:
            self._save_state(staging)
            files.publish(staging, final)
            checkpoint.prune(final.parent, self.keep_checkpoints, self._best)
        self.comm.barrier()

    @property
    def _best(self) -> Path | None:
        """The checkpoint of the best evaluation so far, wherever the run's folder is now."""
        step = self.state.best_global_step if self.keep_best else None
        return checkpoint.of_step(Path(self.args.output_dir), step) if step else None

    def _save_state(self, folder: Path) -> None:
        files.write_text(folder / TRAINER_STATE_NAME, json.dumps(asdict(self.state), indent=2, sort_keys=True) + "\n")

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        path = Path(checkpoint_path)
        written = path / "embedkit" / "recipe.yaml"
        text = written.read_text(encoding="utf-8", errors="replace") if written.is_file() else self.recipe_yaml
        if self.recipe_yaml and text != self.recipe_yaml:
            raise TrainingError(
                "the checkpoint was written by another recipe",
                str(written),
                "resume with the recipe of the run, or train into a new folder",
            )
        self.trainee.load(path)
        if self.negatives is not None:
            self.negatives.load(path / "embedkit")

    def _load_optimizer_and_scheduler(self, checkpoint_path: str | None) -> None:
        path = Path(checkpoint_path or "")
        for name in (checkpoint.OPTIMIZER, checkpoint.SCHEDULER):
            if checkpoint_path is not None and not (path / name).is_file():  # transformers would start anew in silence
                raise TrainingError(f"there is no {name}", str(path), checkpoint.ANOTHER)
        with checkpoint.reading(path):
            super()._load_optimizer_and_scheduler(checkpoint_path)

    def _load_rng_state(self, checkpoint_path: str | None) -> None:
        with checkpoint.reading(Path(checkpoint_path or "")):
            super()._load_rng_state(checkpoint_path)

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train; from a checkpoint after which no update is left, load only.

        An evaluation that was due at the checkpoint and is not in it, because the run was stopped, comes first.
        """
        path = Path(resume_from_checkpoint) if isinstance(resume_from_checkpoint, str) else None
        if path is not None:
            self._restore(path)
            if flow.finished(self.args, self.state, self.patience) or self.flow.stopped:
                return None
        self._start = time.perf_counter() - self._elapsed_before()
        self._evaluating = 0.0
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _restore(self, path: Path) -> None:
        """Load a checkpoint to look at: what follows from it, and what is still to be measured."""
        self.state = checkpoint.read_state(path)
        if self._best is not None and not self._best.is_dir():
            what = f"the checkpoint of the best evaluation so far is gone: {self._best.name}"
            raise TrainingError(what, str(self._best.parent), "put it back, or train into a new folder")
        measured = self.run_evaluation is None or not flow.due(self.args, self.state)
        if not measured or flow.finished(self.args, self.state, self.patience):
            self._load_from_checkpoint(str(path))
        if not measured:
            metrics = self.evaluate()
            if metrics:
                self._determine_best_metric(metrics, None)
                if self.comm.rank == 0:
                    self._save_state(path)
                self.comm.barrier()

    def _elapsed_before(self) -> float:
        return max((float(line["elapsed"]) for line in self.state.log_history if "elapsed" in line), default=0.0)

    def load_best(self) -> int:
        """Load the checkpoint of the best evaluation into the encoder; returns its update.

        Raises:
            TrainingError: nothing was evaluated, or the checkpoint is gone.
        """
        best = self._best
        if best is None:
            raise TrainingError("no evaluation chose a best model", "eval.keep", "set eval.every, or keep: last")
        if not best.is_dir():
            raise TrainingError(f"the best checkpoint is gone: {best.name}", str(best.parent), "put it back")
        self._load_from_checkpoint(str(best))
        return checkpoint.step_of(best)


def autocast(precision: str, device: torch.device) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """The encoder's forward context for ``fp32`` or ``bf16``."""
    if precision == "bf16":
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext
