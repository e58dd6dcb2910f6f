"""What the Hub reads of a model: the block at the head of its card, and results for leaderboards.

The format of the block: https://huggingface.co/docs/hub/model-cards; of the results in `.eval_results`:
https://huggingface.co/docs/hub/eval-results.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from embedkit.evaluation.metrics import UNSCALED
from embedkit.publish.facts import ModelFacts
from embedkit.recipe.hand_over import Card
from embedkit.types import RunRecord

RESULTS = ".eval_results"
"""Folder of a model on the Hub with a file of results for each benchmark."""
_KINDS = {
    "sts": ("semantic-similarity", "Semantic Similarity"),
    "retrieval": ("information-retrieval", "Information Retrieval"),
    "classification": ("text-classification", "Text Classification"),
    "few_shot": ("text-classification", "Text Classification"),
    "label_prompts": ("zero-shot-classification", "Zero-Shot Classification"),
    "transfer": ("text-classification", "Text Classification"),
    "consistency": ("information-retrieval", "Information Retrieval"),
    "choice": ("text-ranking", "Text Ranking"),
    "analogy": ("feature-extraction", "Feature Extraction"),
    "no_answer": ("information-retrieval", "Information Retrieval"),
    "clustering": ("clustering", "Clustering"),
    "pair_classification": ("binary-classification", "Binary Classification"),
    "reranking": ("reranking", "Reranking"),
    "bitext": ("bitext-mining", "Bitext Mining"),
}
_NAMES = {"ndcg": "nDCG", "mrr": "MRR", "map": "MAP", "auc": "AUC", "ap": "AP", "f1": "F1"}
_PIPELINES = {"reranker": "text-ranking", "sparse": "feature-extraction"}
"""What the Hub calls the use of a model of a kind; of all others sentence-similarity."""
_TAGS = {
    "reranker": ["cross-encoder", "reranker"],
    "sparse": ["sparse-encoder", "sparse", "splade", "feature-extraction"],
}


def front_matter(facts: ModelFacts, card: Card, record: RunRecord | None, *, name: str) -> str:
    """The metadata of a card between its lines of dashes. What is not known is not in it.

    Args:
        facts: what the model is.
        card: the owner's words.
        record: of its run.
        name: of the model, for its results.
    """
    from huggingface_hub import ModelCardData

    results = list(_results(record)) if record is not None else []
    license = card.license or facts.license or None
    data = ModelCardData(
        language=languages(facts, card) or None,
        license=license,
        license_name=card.license_name,
        license_link=card.license_link,
        library_name="sentence-transformers",
        pipeline_tag=_PIPELINES.get(facts.kind, "sentence-similarity"),
        tags=tags(card, facts.kind),
        base_model=facts.base or None,
        datasets=datasets(record) or None,
        eval_results=results or None,
        model_name=name if results else None,
    )
    return f"---\n{data.to_yaml(line_break=chr(10))}\n---"


def languages(facts: ModelFacts, card: Card) -> list[str]:
    """Of the recipe's card, else of the base model's."""
    return list(card.languages or facts.languages)


def tags(card: Card, kind: str = "encoder") -> list[str]:
    """What the model is, and the owner's tags."""
    what = _TAGS.get(kind, ["feature-extraction"])
    return list(dict.fromkeys(["sentence-transformers", *what, "embedkit", *card.tags]))


def datasets(record: RunRecord | None) -> list[str]:
    """Ids on the Hub of the data that a run trained on."""
    found = [source.get("hub") for source in record.data] if record is not None else []
    return list(dict.fromkeys(name for name in found if isinstance(name, str)))


def _results(record: RunRecord) -> Iterator[Any]:
    """Every metric that was measured after training."""
    from huggingface_hub import EvalResult

    scores = record.scores_after or {}
    for task in scores.get("tasks", ()):
        kind, words = _KINDS.get(task.get("type", ""), ("sentence-similarity", "Sentence Similarity"))
        for metric, value in task["metrics"].items():
            if metric.endswith(("_all", "_mean", "_wmean")):  # the one that counts stands without its ending
                continue
            yield EvalResult(
                task_type=kind,
                task_name=words,
                dataset_type=_slug(task["task"]),
                dataset_name=task["task"],
                metric_type=metric.replace("@", "_at_"),
                metric_name=_metric(metric) + ("" if metric in UNSCALED else " (0 to 100)"),
                metric_value=round(float(value), 4),
            )


def _metric(name: str) -> str:
    """``nDCG@10`` for ``ndcg@10``."""
    kind, at, k = name.partition("@")
    return f"{_NAMES.get(kind, kind)}{at}{k}"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-") or "task"


def leaderboards(card: Card, record: RunRecord | None) -> dict[str, str]:
    """Files for the Hub's leaderboards: name in the repository -> YAML, one for each benchmark that the card names.

    Nobody but the owner knows that a task's local files are those of a benchmark, so no other task has one.
    """
    scores: Mapping[str, Any] = (record.scores_after or {}) if record is not None else {}
    tasks = {task["task"]: task for task in scores.get("tasks", ())}
    found = {}
    for benchmark in card.benchmarks:
        task = tasks.get(benchmark.task)
        if task is None or record is None:
            continue
        dataset = {"id": benchmark.dataset, "task_id": benchmark.task_id}
        if benchmark.revision is not None:
            dataset["revision"] = benchmark.revision
        entry = {"dataset": dataset, "value": round(float(task["metrics"][task["main"]]), 4)}
        if record.finished:
            entry["date"] = record.finished
        entry["notes"] = f"{task['main']}, from 0 to 100, suite {scores.get('suite', '')}"
        found[f"{RESULTS}/{_file(benchmark.task)}.yaml"] = _yaml([entry])
    return found


def _file(task: str) -> str:
    return re.sub(r"[^\w.-]+", "_", task).strip("._") or "task"


def _yaml(value: Any) -> str:
    from huggingface_hub.utils import yaml_dump

    text: str = yaml_dump(value)
    return text
