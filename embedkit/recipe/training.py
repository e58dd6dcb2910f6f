"""The `train` and `eval` blocks of a recipe: the optimisation, what is measured and which model is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import Field

from embedkit.foreign.limits import BATCH, SEED
from embedkit.recipe.base import Block, Leads
from embedkit.recipe.model import DEFAULT_MODEL
from embedkit.recipe.suite import SuiteRef


class ProGrad(Block):
    """Gradients that do not go against what the model knew (ProGrad, arXiv 2205.14865): in every tensor the part that
    goes against the gradient of `keep_start` is taken out."""

    strength: float = Field(1.0, gt=0, le=1, description="Share of that part which is taken out.")
    temperature: float = Field(0.05, gt=0, le=10, description="Of the similarities that are to stay.")
    softening: float = Field(1.0, gt=0, le=100, description="Of their distributions, as `keep_start` has it.")


class Train(Block):
    """The optimisation."""

    batch_size: int = Field(
        64, ge=1, le=BATCH, description="Examples per batch over ALL processes: every query's pool of negatives."
    )
    accumulation: int = Field(
        1,
        ge=1,
        description="Batches whose gradients are averaged per update. Adds no negatives: each batch is its own pool.",
    )
    epochs: float = Field(1.0, gt=0, description="Passes over the data; ignored when steps is given.")
    steps: int | None = Field(None, gt=0, description="Number of updates.")
    learning_rate: float = Field(2e-5, gt=0, lt=10, description="Peak, reached after the warm-up.")
    objective_learning_rate: float | None = Field(
        None,
        gt=0,
        description="For the objective's own parameters (a learned temperature); None takes learning_rate.",
    )
    weight_decay: float = Field(
        0.0, ge=0, lt=1, description="AdamW's, of the encoder's matrices; biases and norms have none."
    )
    warmup: float = Field(0.0, ge=0, le=1, description="Share of the updates spent warming up.")
    schedule: Literal["linear", "cosine", "constant"] = Field("linear", description="After the warm-up.")
    max_grad_norm: float = Field(1.0, ge=0, description="Joint clip of encoder and objective; 0 turns it off.")
    optimizer: str = Field(
        "adamw_torch_fused",
        description="lion (arXiv 2302.06675), or a transformers optimiser, e.g. adamw_torch, adafactor, sgd.",
    )
    betas: tuple[float, float] | None = Field(
        None, description="Of Adam's kin and of lion; null: 0.9, 0.999 for Adam and 0.9, 0.99 for lion."
    )
    layer_decay: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Each layer's learning rate is that of the layer above times this; learning_rate is that of the "
        "top layer, of heads and soft prompts; the embeddings are below all layers. null: one rate.",
    )
    prograd: ProGrad | None = Field(
        None, description="Take out of each gradient what goes against the model's similarities at the start."
    )
    anchor: float | None = Field(
        None,
        gt=0,
        description="Draw the encoder's weights to where they began: after each update by learning rate x this x their "
        "distance (L2-SP, arXiv 1802.01483, decoupled as AdamW's weight decay).",
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="Autocast of the encoder; the objective stays in fp32."
    )
    graph: Literal["auto", "keep", "reforward"] = Field(
        "auto",
        description="keep: hold the encoder's graph for all rows. reforward: encode twice, memory of one "
        "micro-batch (GradCache). auto: keep when it is estimated to fit. The gradient is the same.",
    )
    tokens_per_micro_batch: int | None = Field(
        None,
        ge=16,
        description="Tokens per micro-batch, padding included; rows are sorted by length first. None: 2,048 on a CPU, "
        "on a GPU 32,768, or 16,384 or 8,192 where more would take over a quarter of its memory (on Apple's 8,192).",
    )
    encode_once: bool | None = Field(
        None,
        description="Encode a text that stands in several examples of a batch once (few texts in many pairs, class "
        "texts, shared negatives): its places share a dropout mask, else the gradient is the same. In one example a "
        "text keeps a pass for each place.",
    )
    rows_per_block: int | None = Field(
        None,
        gt=0,
        description="Rows of logits held at once; None bounds logits memory at 64 MiB.",
    )
    seed: int = Field(42, ge=0, le=SEED, description="Of the order of the data, dropout and new weights.")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    deterministic: bool | None = Field(
        None,
        description="On a GPU, add up in a fixed order wherever torch can: a run repeats itself, and a resumed one "
        "goes on, bit for bit, as they do on a CPU without being asked.",
    )
    log_every: int = Field(10, gt=0, description="Updates between log lines.")
    save_every: int | None = Field(
        None,
        gt=0,
        description="Updates between checkpoints; None: at evaluations and the end. A new best evaluation (eval.keep) "
        "and an early stop leave one too.",
    )
    keep_checkpoints: int = Field(
        2, ge=1, description="How many checkpoints stay on disk. The newest and the best always do, whatever this says."
    )
    report_to: tuple[str, ...] = Field((), description="Trackers known to transformers: tensorboard, wandb, ...")
    collapse_guard: float = Field(
        0.95, gt=0, le=1, description="Warn when the mean cosine between different queries passes this."
    )


MICRO_BATCH_OF_CPU, MICRO_BATCHES_OF_GPU = 2048, (32_768, 16_384, 8192)
"""Tokens. On a CPU 1,024 to 4,096 are equally fast. A GPU is through with some thousand tokens before the host has
launched the kernels for the next: on an H200 two micro-batches of BERT-base took 1.7 times as long as one that held
the tokens of both."""
MICRO_BATCH_SHARE = 0.25
"""Share of a GPU's memory that a micro-batch may take, where there is a smaller one to choose."""


def micro_batch_tokens(train: Train, *, gpu: bool, fits: Callable[[int], bool] = lambda tokens: True) -> int:
    """Tokens per micro-batch: what the recipe says, or what suits the device.

    Args:
        train: the block.
        gpu: whether the model is on one.
        fits: whether that many tokens take little enough of its memory.
    """
    if train.tokens_per_micro_batch is not None:
        return train.tokens_per_micro_batch
    if not gpu:
        return MICRO_BATCH_OF_CPU
    return next(filter(fits, MICRO_BATCHES_OF_GPU), MICRO_BATCHES_OF_GPU[-1])


class FirstStage(Block):
    """The search whose results a reranker puts in order; measured with it on tasks of retrieval."""

    model: Annotated[str, Leads("folder")] = Field(
        DEFAULT_MODEL, description="A bi-encoder: a local folder or a Hub id, resolved as model.base is."
    )
    depth: int = Field(100, gt=0, description="Documents per query that are put in order; all others stay behind them.")
    weight: float | None = Field(
        None,
        gt=0,
        description="Order by first-stage score + weight x sigmoid(reranker's score) (LamRA). None: by the reranker "
        "alone.",
    )


class Eval(Block):
    """What is measured, when, and which number chooses the checkpoint."""

    suite: Annotated[SuiteRef | None, Leads("suite")] = Field(
        None, description="`sts`, a suite file, or tasks written here. Evaluated before and after training."
    )
    data: Annotated[str | None, Leads("folder")] = Field(
        None, description="Folder that the suite's files are relative to; default: the suite file's."
    )
    masked_lm: Annotated[str | None, Leads("files")] = Field(
        None,
        description="File of held-out texts (any format of a source; a column `text`, or one per line) on which "
        "auxiliary mlm is measured before and after training: masked-LM loss and perplexity.",
    )
    during: Annotated[SuiteRef | None, Leads("suite")] = Field(
        None, description="Smaller suite evaluated during training; default: suite."
    )
    every: int | None = Field(
        None,
        gt=0,
        description="Updates between evaluations during training; the model after the last update is evaluated too. "
        "None: only before and after.",
    )
    select: str = Field(
        "average",
        description="Metric that chooses the best checkpoint: `average`, or `TASK/METRIC` of the suite.",
    )
    keep: Literal["best", "last"] = Field(
        "best",
        description="Which model becomes the result. best: that of the best evaluation during training, whatever "
        "train.save_every is; the last one where `every` is None.",
    )
    first_stage: FirstStage | None = Field(
        None, description="Of a reranker: whose results it puts in order on tasks of retrieval."
    )
    patience: int | None = Field(None, gt=0, description="Stop after this many evaluations without improvement.")
    before: bool = Field(True, description="Evaluate the untrained model too, and compare.")
    resamples: int = Field(1000, ge=100, le=100_000, description="Bootstrap resamples.")
    batch_tokens: int = Field(8192, ge=16, description="Padded tokens per batch when encoding.")
