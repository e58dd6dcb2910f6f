"""The trainer: sentence-transformers' loop with embedkit's step, data and checkpoints."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import EarlyStoppingCallback, TrainerCallback
from transformers import Trainer as HFTrainer
from transformers.trainer_callback import ExportableState, PrinterCallback, ProgressCallback, TrainerState

from embedkit.errors import TrainingError
from embedkit.model.changing import lora
from embedkit.model.running.encoder import Encoder
from embedkit.objectives.base import Objective
from embedkit.train import checkpoint
from embedkit.train.distributed import Comm
from embedkit.train.guards import Guards
from embedkit.train.pipeline import Pipeline
from embedkit.train.step import Step
from embedkit.types import RowBatch, StepResult

Evaluate = Callable[[Encoder, int], dict[str, float]]


class Trainee(nn.Module):
    """Encoder, objectives, batch heads and auxiliaries as one module: zeroed, clipped and counted together.

    It also stands where the trainer expects the wrapped model, so that no DistributedDataParallel is put around
    the encoder: the step sums gradients itself, once per update.
    """

    def __init__(self, encoder: Encoder, objectives: Sequence[Objective], step: Step) -> None:
        super().__init__()
        self.encoder = encoder.module
        self.objectives = nn.ModuleList(objectives)
        self.heads = nn.ModuleList(step.heads)
        self.auxiliaries = nn.ModuleList(step.auxiliaries)


class Trainer(SentenceTransformerTrainer):
    """Train an encoder with objectives on a pipeline of batches.

    Args:
        encoder: the encoder.
        objectives: one per data source.
        pipeline: gives batch k of update t.
        args: training arguments; `per_device_train_batch_size` is only reported.
        step: the engine.
        evaluate: ``(encoder, update) -> metrics``, called on process 0 at every evaluation.
        objective_learning_rate: for the objectives' parameters; None takes the encoder's.
        collapse_guard: warn when the mean cosine between queries passes this.
        recipe_yaml: written into every checkpoint.
        callbacks: more trainer callbacks (trackers, progress).
        patience: stop after this many evaluations without improvement; None never stops early.

    Raises:
        TrainingError: non-finite loss or gradient (the batch is on disk), or a checkpoint that does not fit.
    """

    def __init__(
        self,
        encoder: Encoder,
        objectives: Sequence[Objective],
        pipeline: Pipeline,
        args: SentenceTransformerTrainingArguments,
        step: Step,
        *,
        evaluate: Evaluate | None = None,
        objective_learning_rate: float | None = None,
        collapse_guard: float = 0.95,
        recipe_yaml: str = "",
        callbacks: Sequence[TrainerCallback] = (),
        patience: int | None = None,
    ) -> None:
        self.encoder, self.pipeline, self.engine = encoder, pipeline, step
        self.objectives = nn.ModuleList(objectives)
        self.run_evaluation, self.recipe_yaml = evaluate, recipe_yaml
        self.objective_learning_rate = objective_learning_rate
        self.comm: Comm = step.comm
        self.optimizer: torch.optim.Optimizer | None
        self.control: Any
        self._since_log: list[StepResult] = []
        self._seconds = 0.0
        self.guards = Guards(Path(args.output_dir), collapse_guard, self.comm)
        super().__init__(
            model=encoder.st,
            args=args,
            loss=self.objectives,
            evaluator=None if evaluate is None else [],  # not None: evaluation happens, in `evaluate` below
            callbacks=[*callbacks, *([EarlyStoppingCallback(patience)] if patience else [])],
        )
        self.trainee = Trainee(encoder, objectives, step).to(args.device)
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
        return [self.pipeline.batch(self.state.global_step, k) for k in range(count)], None

    def _wrap_model(self, model: nn.Module, training: bool = True, dataloader: Any = None) -> nn.Module:
        if not training:
            return model
        self.comm.broadcast([*self.trainee.parameters(), *self.trainee.buffers()])
        return self.trainee

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Three groups: what decays, what does not (biases, norms), objectives (no decay, own learning rate)."""
        if self.optimizer is None:
            cls, kwargs = HFTrainer.get_optimizer_cls_and_kwargs(self.args, self.model)
            decay = set(self.get_decay_parameter_names(self.trainee))
            named = [(n, p) for n, p in self.trainee.named_parameters() if p.requires_grad]
            ours = [p for n, p in named if n.startswith("objectives.")]
            named = [(n, p) for n, p in named if not n.startswith("objectives.")]
            rate = self.objective_learning_rate or self.args.learning_rate
            groups = [
                {"params": [p for n, p in named if n in decay], "weight_decay": self.args.weight_decay},
                {"params": [p for n, p in named if n not in decay], "weight_decay": 0.0},
                {"params": ours, "weight_decay": 0.0, "lr": rate},
            ]
            self.optimizer = cls([g for g in groups if g["params"]], **kwargs)
        return self.optimizer

    def floating_point_ops(self, inputs: Any) -> int:
        return 0

    # The step -------------------------------------------------------------------------------------------------

    def training_step(self, model: nn.Module, inputs: RowBatch, num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward of one batch; returns its share of the update's loss."""
        start = time.perf_counter()
        model.train()
        accumulation = self.current_gradient_accumulation_steps
        result = self.engine(inputs, 1 / accumulation)
        self.guards.check_loss(result, inputs, self.state.global_step)
        self.guards.check_negatives(result.metrics, self.state.global_step)
        self._since_log.append(result)
        if self.accelerator.sync_gradients:
            self._last_batch = inputs
            self.engine.finish([p for p in self.trainee.parameters() if p.requires_grad])
        self._seconds += time.perf_counter() - start
        return torch.tensor(result.loss / accumulation, device=self.args.device)

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        """Joint clip; gradients within the norm are left alone, which saves a pass over all of them."""
        found = [p.grad for p in self.trainee.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(found)
        if not norm <= self.args.max_grad_norm:
            nn.utils.clip_grads_with_norm_(self.trainee.parameters(), self.args.max_grad_norm, norm)
        return norm

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        self.guards.check_gradient(float(norm), self._last_batch, self.state.global_step)
        return norm

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what the steps since the last line reported: metrics, tokens, padding."""
        if "loss" in logs and self._since_log:
            logs = {**logs, **self._drain()}
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
        seconds, self._seconds = self._seconds, 0.0
        return means | {
            "tokens": float(tokens),
            "seconds": round(seconds, 3),
            "padding": round(1 - tokens / max(1, padded), 4),
        }

    # Evaluation -----------------------------------------------------------------------------------------------

    def evaluate(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> dict[str, float]:
        """Run the suite on process 0; every process gets the metrics."""
        box: list[Any] = [None]
        if self.comm.rank == 0 and self.run_evaluation is not None:
            training = self.model.training
            box = [self.run_evaluation(self.encoder, self.state.global_step)]
            self.trainee.train(training)
        if self.comm.world > 1:
            torch.distributed.broadcast_object_list(box, src=0)
        metrics = {f"{metric_key_prefix}_{k}": v for k, v in (box[0] or {}).items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    # Checkpoints ----------------------------------------------------------------------------------------------

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        folder, step = Path(self.args.output_dir), self.state.global_step
        staging, final = checkpoint.staging_folder(folder, step), folder / f"checkpoint-{step}"
        if self.comm.rank == 0:
            shutil.rmtree(staging, ignore_errors=True)
            (staging / "embedkit").mkdir(parents=True)
            self.encoder.save(staging)
            if lora.has_adapters(self.encoder.st):  # the folder holds merged weights, training goes on from both
                checkpoint.save_module(self.encoder.st, staging / "embedkit" / "adapted.safetensors")
            for name, module in self._beside_the_encoder().items():
                checkpoint.save_module(module, staging / "embedkit" / f"{name}.safetensors")
            (staging / "embedkit" / "recipe.yaml").write_text(self.recipe_yaml, encoding="utf-8")
        self.comm.barrier()
        self._save_optimizer_and_scheduler(str(staging))
        self._save_rng_state(str(staging))
        self.comm.barrier()
        if self.state.best_global_step == step:
            self.state.best_model_checkpoint = str(final)
        if self.comm.rank == 0:
            self._save_state(staging)
            checkpoint.publish(staging, final)
            best = self.state.best_model_checkpoint
            checkpoint.prune(folder, self.args.save_total_limit or 1, Path(best) if best else None)
        self.comm.barrier()

    def _save_state(self, staging: Path) -> None:
        for callback in [*self.callback_handler.callbacks, self.control]:
            if isinstance(callback, ExportableState):
                name, saved = type(callback).__name__, self.state.stateful_callbacks
                if isinstance(saved.get(name), list):
                    saved[name].append(callback.state())
                else:
                    saved[name] = callback.state()
        self.state.save_to_json(str(staging / "trainer_state.json"))

    def _load_from_checkpoint(self, checkpoint_path: str) -> None:
        path = Path(checkpoint_path)
        written = path / "embedkit" / "recipe.yaml"
        if self.recipe_yaml and written.is_file() and written.read_text(encoding="utf-8") != self.recipe_yaml:
            raise TrainingError(
                "the checkpoint was written by another recipe",
                str(written),
                "resume with the recipe of the run, or train into a new folder",
            )
        if lora.has_adapters(self.encoder.st):
            checkpoint.load_module(self.encoder.st, path / "embedkit" / "adapted.safetensors")
        else:
            super()._load_from_checkpoint(checkpoint_path)
        for name, module in self._beside_the_encoder().items():
            checkpoint.load_module(module, path / "embedkit" / f"{name}.safetensors")

    def _beside_the_encoder(self) -> dict[str, nn.Module]:
        """What trains but is no part of the model that is published, by its name in a checkpoint."""
        return {
            "head": self.encoder.head or nn.Identity(),
            "tower": self.encoder.module.second or nn.Identity(),
            "objective": self.objectives,
            "heads": self.trainee.heads,
            "auxiliary": self.trainee.auxiliaries,
        }

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Train; a checkpoint of the last update is only loaded, where transformers would look for one update more."""
        path = Path(resume_from_checkpoint) if isinstance(resume_from_checkpoint, str) else None
        if path is None or checkpoint.step_of(path) < self.pipeline.sampler.steps:
            return super().train(resume_from_checkpoint, *args, **kwargs)
        self._load_from_checkpoint(str(path))
        self.state = TrainerState.load_from_json(str(path / "trainer_state.json"))
        return None

    def load_best(self) -> int | None:
        """Load the best checkpoint into the encoder; returns its update, or None when none was chosen."""
        best = self.state.best_model_checkpoint
        if best is None:
            return None
        if not Path(best).is_dir():
            raise TrainingError(f"the best checkpoint is gone: {best}", cure="raise train.keep_checkpoints")
        self._load_from_checkpoint(best)
        return checkpoint.step_of(Path(best))


def autocast(precision: str, device: torch.device) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """The encoder's forward context for ``fp32`` or ``bf16``."""
    if precision == "bf16":
        return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext
