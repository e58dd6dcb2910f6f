"""What measuring and a run leave: scores, the record of a run, a retrieval task's texts and judgements."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


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
