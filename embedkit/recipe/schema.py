"""The recipe: what a person may ask for, with types, bounds, defaults and the reason for each.

Blocks stand in the order of the walk: model, data, views, negatives, mining, heads, guide, objective, auxiliary,
weighting, train, eval, card, publish.
No torch here: `embedkit check` reads this and nothing heavier.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from embedkit.errors import RecipeError
from embedkit.foreign.limits import BATCH, SEED, WIDTH
from embedkit.inputs.decoding import codec_of
from embedkit.recipe.auxiliary import AnyAuxiliary
from embedkit.recipe.base import LONG_TEXTS, Block, Leads, invalid
from embedkit.recipe.clusters import Clusters
from embedkit.recipe.debias import Debias
from embedkit.recipe.grades import Grades
from embedkit.recipe.hand_over import Card, Publish
from embedkit.recipe.heads import AnyHead
from embedkit.recipe.mining import Mining
from embedkit.recipe.objectives.base import AnyObjective
from embedkit.recipe.objectives.contrastive import InfoNCE
from embedkit.recipe.pydocs import PydocsSource
from embedkit.recipe.suite import SuiteRef
from embedkit.recipe.views import Views
from embedkit.recipe.weighting import AnyWeighting

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
Pooling = Literal["cls", "mean", "max", "lasttoken", "weightedmean", "first_last_mean"]


class Prompts(Block):
    """Text put before the input, by role; stored in the model and used at inference."""

    model_config = LONG_TEXTS

    query: str | None = Field(None, description="Before queries. None keeps the model's own prompt.")
    document: str | None = Field(None, description="Before positives and negatives. None keeps the model's own prompt.")


class Head(Block):
    """A head after pooling: Linear + Tanh as in SimCSE, initialised N(0, 0.02) with bias 0."""

    dim: int | None = Field(None, gt=0, le=WIDTH, description="Output size; the embedding size when absent.")
    activation: Literal["tanh", "identity"] = Field("tanh", description="After the linear layer.")
    keep: bool = Field(
        False,
        description="False: used in training only and dropped at test (unsup SimCSE). True: part of the model.",
    )


class Lora(Block):
    """Low-rank adapters through peft (extra: lora)."""

    r: int = Field(16, gt=0, le=WIDTH, description="Rank.")
    alpha: int = Field(32, gt=0, description="Scale; the update is multiplied by alpha / r.")
    dropout: float = Field(0.0, ge=0, lt=1, description="On the input of the adapters.")
    target_modules: tuple[str, ...] | Literal["all-linear"] = Field(
        "all-linear", description="Names of the modules to adapt."
    )


class SoftPrompts(Block):
    """Deep soft prompts (P-tuning v2, PromCSE): keys and values before every layer's own; all else is frozen."""

    length: int = Field(16, gt=0, le=512, description="Prompt positions per layer. They take places of the input.")
    dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="On the prompts, per row. None takes the backbone's hidden dropout (0 if it has none).",
    )


class Demonstration(Block):
    """A text with its one-word answer, put before the input's own template."""

    model_config = LONG_TEXTS

    text: str = Field(description="Put into the template as it is.")
    word: str = Field(description="The answer.")


class Template(Block):
    """Words around every input, read at its last token (PromptEOL); stored in the model and used at inference."""

    model_config = LONG_TEXTS

    text: str = Field(
        'This sentence : "{text}" means in one word:"', description="`{text}` once, where the input goes."
    )
    demonstrations: tuple[Demonstration, ...] = Field(
        (), description='In-context examples, each followed by its word and `".`.'
    )
    clean: Literal["none", "promptEOL"] = Field(
        "none",
        description="At inference only. promptEOL: a final period where no . ? \" ' ends the input, single quotes "
        "for double ones, a final question mark becomes a period.",
    )

    @model_validator(mode="after")
    def _one_place(self) -> Template:
        if self.text.count("{text}") != 1:
            raise invalid(
                "the template needs `{text}` exactly once", 'e.g. `This sentence : "{text}" means in one word:"`'
            )
        return self


class Model(Block):
    """The encoder."""

    base: Annotated[str, Leads("folder")] = Field(
        DEFAULT_MODEL,
        description="A local folder, or a Hub id. Resolved in this order: folder, Hub or its cache, the `offline` "
        "extra (all-MiniLM-L6-v2 only).",
    )
    revision: str | None = Field(None, description="Branch, tag or commit on the Hub.")
    from_scratch: bool = Field(
        False,
        description="True: take only the configuration and the tokenizer of the base; all weights are new, drawn with "
        "train.seed (for pretraining).",
    )
    pooling: Pooling | None = Field(
        None,
        description="None keeps what a sentence-transformers model has; a plain encoder then gets `mean`, "
        "a plain causal language model `lasttoken`. With a template None is `lasttoken`.",
    )
    pooling_layer: int | None = Field(
        None,
        ge=0,
        description="Layer whose output is pooled, 0 for the embedding layer (TransliCo: 8). None: the last. Layers "
        "above it still run.",
    )
    normalize: bool | None = Field(
        None, description="Whether the saved model L2-normalises. None keeps the model's own setting."
    )
    max_length: int | None = Field(
        None,
        gt=2,
        description="Tokens kept per text. None keeps the model's setting. The words of a template do not count.",
    )
    prompts: Prompts = Prompts()
    template: Template | None = None
    include_prompt_in_pooling: bool | None = Field(
        None, description="Whether prompt tokens count in pooling. None keeps the model's own setting."
    )
    head: Head | None = None
    dropout: float | None = Field(None, ge=0, lt=1, description="Overrides every dropout of the backbone.")
    freeze: tuple[str, ...] = Field(
        (),
        description="Parts that do not train: `embeddings`, `layers:0-3`, `all`, or a parameter-name prefix.",
    )
    lora: Lora | None = None
    soft_prompts: SoftPrompts | None = None
    bidirectional: bool = Field(
        False, description="Let every token of a causal language model attend to the whole text (LLM2Vec, KaLM)."
    )
    towers: Literal[1, 2] = Field(
        1,
        description="2: positives and negatives are encoded by a second copy of the model, trained on its own.",
    )
    frozen_tower: Literal["query", "document"] | None = Field(
        None, description="Of two towers, the one that stays as it is, without gradient (LiT); the other is the result."
    )
    keep_tower: Literal["first", "second", "best"] = Field(
        "best",
        description="Which of two towers becomes the result. best: by the metric of `eval.select`, where something is "
        "evaluated during training, else the first.",
    )
    attention: Literal["sdpa", "eager", "flash_attention_2"] | None = Field(
        None,
        description="Attention implementation of transformers; None lets it choose. flash_attention_2 is for CUDA and "
        "`train.precision: bf16`; the model is then evaluated in bf16 too.",
    )
    trust_remote_code: bool = Field(False, description="Run code that comes with the model. Only for code you read.")


Role = Literal["query", "positive", "negative", "score", "label", "text", "weight", "grade", "cluster"]


class Source(Block):
    """One data source. Exactly one of hub, path, pydocs, rows."""

    name: str | None = Field(None, description="For logs; made from the origin when absent.")
    hub: Annotated[str | None, Leads("folder")] = Field(None, description="Dataset id on the Hub.")
    config: str | None = Field(None, description="Configuration of the Hub dataset.")
    split: str = Field("train", description="Split of the Hub dataset.")
    revision: str | None = Field(None, description="Revision of the Hub dataset.")
    path: Annotated[str | None, Leads("files")] = Field(
        None,
        description="JSONL, CSV, TSV, Parquet or plain text, any of them gzipped; glob patterns allowed. "
        "Relative to the recipe file, else to the working folder.",
    )
    format: Literal["auto", "jsonl", "csv", "tsv", "parquet", "txt"] = Field("auto", description="By ending.")
    pydocs: PydocsSource | None = None
    rows: tuple[dict[str, Any], ...] | None = Field(None, description="Rows written in the recipe or given in Python.")
    roles: dict[Role, str | tuple[str, ...]] = Field(
        default_factory=dict,
        description="role: column. Never guessed from column order; a column named as a role needs no entry. "
        "`negative` may name several columns; list-valued columns are taken whole.",
    )
    weight: float | None = Field(
        None,
        gt=0,
        description="Share of steps, relative to the other sources; the number of rows when absent.",
    )
    grades: Grades | None = Field(None, description="From grades (role `grade`) to weights. None: as they are.")
    clusters: Clusters | None = None
    limit: int | None = Field(None, gt=0, description="Keep the first rows only.")
    streaming: bool = Field(False, description="Read as a stream with a shuffle buffer; rows are never all in memory.")
    shuffle_buffer: int = Field(10_000, gt=0, description="Rows in the shuffle buffer of a stream.")
    on_bad_row: Literal["error", "skip"] = Field(
        "error", description="error: stop and list the first five with file:line. skip: leave out and count."
    )
    encoding: str = Field(
        "utf-8", description="Of text files: utf-8, latin-1, utf-16, ... A byte order mark is removed."
    )
    debias: Debias | None = Field(None, description="Make triplets of unlabelled text before training.")
    objective: AnyObjective | None = Field(None, description="Overrides the recipe's objective for this source.")

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, value: str) -> str:
        try:
            codec_of(value)
        except RecipeError as error:
            raise invalid(error.what, error.cure) from error
        return value

    @model_validator(mode="after")
    def _one_origin(self) -> Source:
        given = [k for k in ("hub", "path", "pydocs", "rows") if getattr(self, k) is not None]
        if len(given) != 1:
            got = ", ".join(given) or "none"
            cure = f"keep one of {got}" if given else "add e.g. `path: FILE`"
            raise invalid(f"a source needs exactly one of hub, path, pydocs, rows; got {got}", cure)
        return self


class Data(Block):
    """Where the examples come from."""

    sources: tuple[Source, ...] = Field(min_length=1)
    one_positive: Literal["sample", "first"] = Field(
        "sample", description="Of several positives of one example: draw one per step, or always the first."
    )


class Guide(Block):
    """A frozen encoder whose embeddings of the same texts an objective may read (DCLR, GISTEmbed)."""

    model: Annotated[str, Leads("folder")] = Field(description="A local folder or a Hub id, resolved as model.base is.")
    revision: str | None = Field(None, description="Branch, tag or commit on the Hub.")
    pooling: Pooling | None = Field(None, description="As model.pooling.")
    max_length: int | None = Field(None, gt=2, description="Tokens kept per text. None keeps the model's setting.")
    trust_remote_code: bool = Field(False, description="As model.trust_remote_code.")


class Negatives(Block):
    """What a query is contrasted with."""

    per_query: int | None = Field(
        None,
        ge=0,
        description="Explicit negatives used per query and step. None: 1 if the data has negatives, else 0. "
        "A query with more draws from them; with fewer, the missing ones are masked.",
    )
    across_processes: bool = Field(True, description="Negatives of all processes are shared, with exact gradients.")


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
        "adamw_torch_fused", description="Name of a transformers optimiser, e.g. adamw_torch, adafactor, sgd."
    )
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="Autocast of the encoder; the objective stays in fp32."
    )
    graph: Literal["auto", "keep", "reforward"] = Field(
        "auto",
        description="keep: hold the encoder's graph for all rows. reforward: encode twice, memory of one "
        "micro-batch (GradCache). auto: keep when it is estimated to fit. The gradient is the same.",
    )
    tokens_per_micro_batch: int = Field(
        2048, ge=16, description="Padded tokens per micro-batch; rows are sorted by length first."
    )
    rows_per_block: int | None = Field(
        None,
        gt=0,
        description="Rows of logits held at once; None bounds logits memory at 64 MiB.",
    )
    seed: int = Field(42, ge=0, le=SEED, description="Of the order of the data, dropout and new weights.")
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
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
    patience: int | None = Field(None, gt=0, description="Stop after this many evaluations without improvement.")
    before: bool = Field(True, description="Evaluate the untrained model too, and compare.")
    resamples: int = Field(1000, ge=100, le=100_000, description="Bootstrap resamples.")
    batch_tokens: int = Field(8192, ge=16, description="Padded tokens per batch when encoding.")


class Recipe(Block):
    """A whole training run."""

    plugins: tuple[str, ...] = Field(
        (), description="Python modules to run once the recipe is read, which is said; they may register objectives."
    )
    model: Model = Model()
    data: Data
    views: Views = Views()
    negatives: Negatives = Negatives()
    mining: Mining | None = None
    heads: tuple[AnyHead, ...] = Field(
        (), description="Layers over the whole gathered batch before the objective, in order; training only."
    )
    guide: Guide | None = None
    objective: AnyObjective = InfoNCE()
    auxiliary: tuple[AnyAuxiliary, ...] = Field((), description="Losses on the encoder's side: mlm, ...")
    weighting: tuple[AnyWeighting, ...] = ()
    train: Train = Train()
    eval: Eval = Eval()
    card: Card | None = Field(None, description="What the model's card says in its owner's words.")
    publish: Publish | None = Field(None, description="Push the model to the Hub at the end. None: not.")
