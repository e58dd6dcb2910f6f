"""The objects that travel between the parts. Data only: no behaviour that needs a model or a process group.

Shapes use N = examples in the global batch, n = examples of this process, S = slots per example
(1 query + P positives + M negatives), R = rows really encoded by this process, d = embedding dimension.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import Tensor

PAD_ID = 0
"""Text id that stands for "no text" in id tensors; `text_id` never returns it."""


ROLES = ("query", "document")
"""Whose prompt a text gets; positives and negatives are documents."""


class Encodes(Protocol):
    """What evaluation and mining need of a model; `embedkit.model.running.encoder.Encoder` is one.

    It may also have `similarity`, what it compares embeddings by (else ``cosine``: or ``dot``, ``euclidean``,
    ``manhattan``), and `longest`, the tokens of a text that it has room for (else without a limit).
    """

    def encode(
        self,
        texts: Sequence[str],
        *,
        role: str = "query",
        max_length: int | None = None,
        batch_tokens: int = 8192,
        progress: bool = False,
    ) -> np.ndarray:
        """float32 [len(texts), d]."""
        ...

    def fingerprint(self) -> str:
        """Content hash of weights and settings."""
        ...


@dataclass(frozen=True)
class Example:
    """One training example with its roles named.

    Attributes:
        query: the anchor text.
        positives: texts that match the query. For unlabelled text it is empty: the views make the positives.
        negatives: texts given as hard negatives of this query.
        scores: graded targets: one of a (query, positive) pair, or a teacher's, one per ``[positive, *negatives]``.
        label: class of the query.
        known: ids (`embedkit.data.sources.text_id`) of every text known to match this query anywhere in the
            source, the given positives included. They are never used as negatives.
        origin: ``file:line`` or ``dataset[index]``, for error messages.
        weights: factors of its loss: one, or one per positive; empty for 1.
        cluster: which rows it may or may not share a batch with, for the laying out; memory: whether it is replayed.
    """

    query: str
    positives: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()
    label: int | None = None
    known: tuple[int, ...] = ()
    origin: str = ""
    weights: tuple[float, ...] = field(default=(), repr=False)
    cluster: int | None = field(default=None, repr=False)
    memory: bool | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Row:
    """One text that the model will see: its slot in the example block and its role (for prompts).

    A reranker sees it together with `query`; for an encoder that is None.
    """

    text: str
    example: int
    slot: int
    role: str  # "query" or "document"
    original: str | None = None  # before its view's transforms; None: the text itself
    query: str | None = None

    @property
    def words(self) -> str:
        """What the model reads, for error reports."""
        return self.text if self.query is None else f"{self.query} | {self.text}"


@dataclass
class RowBatch:
    """This process's share of one global batch, tokenised, ready for the encoder.

    Attributes:
        input_ids: token ids per row, unpadded, R lists.
        features: other per-row values of the tokenizer (``token_type_ids`` as lists, ``prompt_length`` as int).
        position: [R] int64; row r belongs at flat position ``example * S + slot`` of the [n * S, d] block.
        micro_batches: row indices of each micro-batch; together they hold every row once.
        n, positives, negatives: n, P and M.
        query_id [n], positive_id [n, P], negative_id [n, M], known_id [n, K]: text ids, `PAD_ID` = none.
        score [n, C], label [n], weight [n], memory [n]: targets and marks; None where the source has none.
        variant: [R] int64; rows of different variants (dropout rate, tower) never share a micro-batch.
        cut: [R] per row None, or a bool array that broadcasts to [tokens, width] and is True where the output of the
            embedding layer is zeroed; None when nothing is.
        order: [R] per row None, or the permuted positions [tokens] of its tokens; None when no row has any.
        offset: place of the first own example in the global batch; draws per example depend on it, not on processes.
        source: index of the data source the batch came from; the same on all processes.
        step: global step of the batch, seeds everything random on the batch side.
        origins: [n] where each example came from, for error reports.
        texts: R texts as the encoder gets them, for error reports.
        paired: whether every row is a text read together with its query: slot 0 of an example then has no row.
        originals: R texts before their views' transforms, for losses that restore them.
    """

    input_ids: list[list[int]]
    features: dict[str, list[Any]]
    position: np.ndarray
    micro_batches: list[np.ndarray]
    n: int
    positives: int
    negatives: int
    query_id: Tensor
    positive_id: Tensor
    negative_id: Tensor
    known_id: Tensor
    score: Tensor | None = None
    label: Tensor | None = None
    weight: Tensor | None = None
    variant: np.ndarray | None = None
    cut: list[np.ndarray | None] | None = None
    order: list[np.ndarray | None] | None = None
    offset: int = 0
    source: int = 0
    step: int = 0
    origins: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    originals: list[str] = field(default_factory=list)
    paired: bool = False
    memory: Tensor | None = None

    @property
    def slots(self) -> int:
        return 1 + self.positives + self.negatives

    @property
    def tokens(self) -> int:
        """Real tokens, padding not counted."""
        return sum(len(ids) for ids in self.input_ids)


@dataclass(frozen=True)
class Embeddings:
    """What an objective sees: one global batch of embeddings, gathered from all processes.

    Not normalised: the objective normalises when its similarity is the cosine.

    Attributes:
        query: [N, d].
        positive: [N, P, d]; P = 1 for pairs, P = views - 1 for dropout views, P = 0 when there is none.
        negative: [N, M, d]; the examples' own explicit negatives, zeros where `negative_mask` is False.
        negative_mask: [N, M] bool.
        query_id [N], positive_id [N, P], negative_id [N, M]: text ids (int64), `PAD_ID` = none.
        known_id: [N, K] text ids known to match query i; never negatives of i.
        score: [N, C] graded targets, or None; label: [N] classes, or None.
        weight: [N] example weights, or None for all ones; memory: [N] bool, which are replayed rows, or None.
        guide: the same texts as a frozen guide sees them, in the same slots; its own dimension, no gradient.
        target: the same texts as the encoder's slowly moving copy sees them (`embedkit.train.target`); no gradient.
        step: seeds batch-side randomness, equal on all processes.
        paired: whether a reranker read every text together with its query: `positive` [N, P, 1] and `negative`
            [N, M, 1] are then its scores, and `query` holds nothing.
    """

    query: Tensor
    positive: Tensor
    negative: Tensor
    negative_mask: Tensor
    query_id: Tensor
    positive_id: Tensor
    negative_id: Tensor
    known_id: Tensor
    score: Tensor | None = None
    label: Tensor | None = None
    weight: Tensor | None = None
    guide: Embeddings | None = None
    target: Embeddings | None = None
    step: int = 0
    paired: bool = False
    memory: Tensor | None = None

    def __len__(self) -> int:
        return self.query.shape[0]

    def truncate(self, dim: int) -> Embeddings:
        """The first `dim` coordinates of every embedding (Matryoshka)."""
        return replace(
            self,
            query=self.query[..., :dim],
            positive=self.positive[..., :dim],
            negative=self.negative[..., :dim],
        )


@dataclass(frozen=True)
class LossOut:
    """What an objective returns.

    For ``scope = "row"``: `value` [m] is one loss per row of the block it was asked for and `weight` [m] its
    weight in the average, without gradient; the step divides the sum of ``value * weight`` by the sum of weights
    over all rows of all processes. For ``scope = "batch"``: `value` is a scalar over everything and `weight`
    is None.

    `metrics` are means over the block (row scope) or the batch; floats or 0-d tensors without gradient.
    """

    value: Tensor
    weight: Tensor | None = None
    metrics: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StepResult:
    """One step as the trainer reports it: global loss, metrics, and what it cost."""

    loss: float
    metrics: dict[str, float]
    rows: int
    tokens: int
    padded_tokens: int
    micro_batches: int
    graph: str


@dataclass(frozen=True)
class Interval:
    """A point estimate with a bootstrap percentile interval at `level`; at level 1 it holds everything possible."""

    value: float
    low: float
    high: float
    level: float = 0.95


@dataclass(frozen=True)
class TaskScore:
    """Scores of one task.

    Attributes:
        task: name in the suite.
        type: ``sts``, ``retrieval``, ``mteb``, or another that a task of a suite has.
        main: name of the metric in `metrics` that stands for the task.
        metrics: all metrics, on the scale 0..100; ranks as they are.
        interval: bootstrap interval of the main metric.
        units: per-unit values for a later paired comparison. sts: ``cosine`` and ``gold`` [pairs], ``subset``
            [pairs] codes; pair_classification: ``similarity`` and ``match`` [pairs]; mteb: none; all others: one array
            [items], or [items, draws], per metric. Not part of the plain-data form.
        details: counts, subsets, intervals of the other metrics, files with their hashes, settings.
        insight: what a report shows besides, see `embedkit.evaluation.insight`; empty unless it was asked for. Not
            part of the plain-data form.
    """

    task: str
    type: str
    main: str
    metrics: dict[str, float]
    interval: Interval | None = None
    units: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)
    details: dict[str, Any] = field(default_factory=dict)
    insight: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)


@dataclass(frozen=True)
class Scores:
    """Scores of one model on one suite.

    Attributes:
        model: path or id as given.
        fingerprint: content hash of the weights and settings; two models with one name differ here.
        suite: name of the suite.
        tasks: one entry per task.
        selection: name of the metric used to choose checkpoints, e.g. ``"average"`` or ``"STS-B/spearman"``.
        average: mean of the tasks' main metrics.
        interval: bootstrap interval of `average`, the units of every task drawn independently.
        failed: tasks that could not be measured and are in no number here, with the reason.
        seconds: wall time.
        versions: library versions.
    """

    model: str
    fingerprint: str
    suite: str
    tasks: tuple[TaskScore, ...]
    selection: str
    average: float
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)
    interval: Interval | None = None
    failed: dict[str, str] = field(default_factory=dict)


LOGGED = frozenset(
    {"loss", "learning_rate", "grad_norm", "epoch", "step", "tokens", "padding", "seconds", "elapsed", "total_flos"}
)
"""What a line of `RunRecord.curve` holds besides the objective's metrics."""


@dataclass
class RunRecord:
    """Everything needed to understand a run later: written as ``run.json`` in the run folder.

    Attributes:
        recipe_hash: stable hash of the resolved recipe.
        recipe: the resolved recipe as plain data.
        versions: Python, embedkit and library versions; machine in words.
        data: per source: id or path, content hash, rows, skipped rows with reasons.
        inputs: content hash of everything that the run is made from, by its key in the recipe and its name.
        plan: the plan printed before step 0.
        seed: the seed.
        started, finished: ISO times, UTC.
        updates: updates done.
        failed: why the run ended before its end, or what failed after its training; empty when nothing did.
        timings, energy: seconds by stage; joules of the training where the machine counts them (`embedkit.run.energy`).
        curve: logged training metrics, one dict per logging step.
        evaluations: (step, metrics) of every evaluation during training.
        scores_before, scores_after: `Scores` as plain data, or None.
        comparison: paired comparison after - before per task, as plain data.
        best_step: step of the chosen checkpoint, or None.
        forecast: seconds foreseen before training, in all (``seconds``), for ``training`` and for ``evaluation``; and
            what it really took (``actual``). Empty for a run of seconds.
        resumed_from: step numbers at which the run was resumed.
        warnings: what a reader should know.
        mining: per version of every source's mined negatives what was measured, see `embedkit.run.mining`.
        model: what the saved model is (`embedkit.publish.facts.ModelFacts`), and ``card``: the name that its card loads
            it by, and that card's SHA-256.
        stages: of a recipe that has some: for each ``name``, ``folder``, ``kind`` (train or merge), ``updates``,
            ``seconds``, and ``after``, the scores of its model as plain data or None.
        published: where the recipe's `publish` block pushed it: ``to``, ``url`` and ``commit``.
    """

    recipe_hash: str
    recipe: dict[str, Any]
    versions: dict[str, str] = field(default_factory=dict)
    data: list[dict[str, Any]] = field(default_factory=list)
    inputs: dict[str, dict[str, str]] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    started: str = ""
    finished: str = ""
    updates: int | None = None
    failed: str = ""
    timings: dict[str, float] = field(default_factory=dict)
    energy: dict[str, float] = field(default_factory=dict)
    curve: list[dict[str, float]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    scores_before: dict[str, Any] | None = None
    scores_after: dict[str, Any] | None = None
    comparison: list[dict[str, Any]] = field(default_factory=list)
    best_step: int | None = None
    forecast: dict[str, float] = field(default_factory=dict)
    resumed_from: list[int] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    mining: list[dict[str, Any]] = field(default_factory=list)
    model: dict[str, Any] = field(default_factory=dict)
    published: dict[str, Any] = field(default_factory=dict)
    stages: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Groups:
    """The group of each item of a task: `codes` [items] are places among `names`, the values of `column`."""

    column: str
    names: tuple[str, ...]
    codes: np.ndarray


@dataclass(frozen=True)
class RetrievalData:
    """Queries, documents and judgements of a retrieval task.

    Attributes:
        queries: query id -> text; only queries with at least one judgement above 0.
        corpus: document id -> text (title and text joined by a space).
        qrels: query id -> {document id: graded relevance}.
        digest: content hash; groups: of the queries, where the task asks for some.
    """

    queries: dict[str, str]
    corpus: dict[str, str]
    qrels: dict[str, dict[str, int]]
    digest: str = ""
    groups: Groups | None = None
