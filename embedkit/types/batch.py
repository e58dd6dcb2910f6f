"""What training hands on: examples, batches, embeddings, losses.

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
        scores: graded targets. One value for a (query, positive) pair, or one per
            ``[positive, *negatives]`` as a teacher gives them.
        label: class of the query.
        known: ids (`embedkit.data.sources.text_id`) of every text known to match this query anywhere in the
            source, the given positives included. They are never used as negatives.
        origin: ``file:line`` or ``dataset[index]``, for error messages.
        weights: factors of its loss: one, or one per positive; empty for 1.
        cluster: which rows it may or may not share a batch with; read when the batches are laid out.
        memory: whether it is a row of an earlier task that is replayed; None where the source does not say.
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
        score [n, C], label [n], weight [n]: targets; None where the source has none.
        memory: [n] bool, which examples are replayed; None where the source does not say.
        variant: [R] int64; rows of different variants (dropout rate, tower) never share a micro-batch.
        cut: [R] per row None, or a bool array that broadcasts to [tokens, width] and is True where the output of the
            embedding layer is zeroed; None when nothing is.
        order: [R] per row None, or the permuted positions [tokens] of its tokens; None when no row has any.
        offset: place of the first own example in the global batch, so that draws per example do not depend on
            the number of processes.
        source: index of the data source the batch came from; the same on all processes.
        step: global step of the batch, seeds everything random on the batch side.
        origins: [n] where each example came from, for error reports.
        texts: R texts as the encoder gets them, for error reports.
        paired: whether every row is a text read together with its query: slot 0 of an example then has no row.
        originals: R texts before their views' transforms, for losses that restore them.
        shared: [n * S] int64; the place whose row a place has, itself where it has one of its own or none. None: no row
            stands in two places.
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
    shared: Tensor | None = None

    @property
    def slots(self) -> int:
        return 1 + self.positives + self.negatives

    def filled(self) -> tuple[Tensor, Tensor]:
        """Places of the block that have a text, and the row of each."""
        position = self.query_id.new_tensor(self.position.tolist())
        row = position.new_full((self.n * self.slots,), -1)
        row[position] = position.new_tensor(range(len(position)))
        rows = row if self.shared is None else row[self.shared]
        places = (rows >= 0).nonzero()[:, 0]
        return places, rows[places]

    def spread(self, block: Tensor) -> Tensor:
        """[n * S, d] in which every place has its embedding, of one that has those of rows at `position`."""
        return block if self.shared is None else block[self.shared.to(block.device)]

    def fold(self, gradient: Tensor) -> Tensor:
        """[n * S, d] gradient of rows, at `position`, of one of places: the transpose of `spread`."""
        if self.shared is None:
            return gradient
        return gradient.new_zeros(gradient.shape).index_add_(0, self.shared.to(gradient.device), gradient)

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
        score: [N, C] graded targets, or None.
        label: [N] classes, or None.
        weight: [N] example weights, or None for all ones.
        memory: [N] bool, which examples are replayed from an earlier task, or None.
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
