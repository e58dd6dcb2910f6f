"""Tasks of mteb with the data of local files: official ones without the Hub, and one's own by its abstract classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedkit.errors import RecipeError
from embedkit.evaluation.content import Columns, Content
from embedkit.evaluation.mteb.catalogue import is_official, official
from embedkit.foreign.quoting import listed, quoted
from embedkit.recipe.mteb import ClassificationFiles, MtebTask, MultilabelFiles

SPLIT, SUBSET = "test", "default"


@dataclass(frozen=True)
class Kind:
    """What mteb calls a kind of ours.

    Attributes:
        type: of the metadata.
        base: name of the abstract class in `mteb.abstasks`.
        main: its main metric.
    """

    type: str
    base: str
    main: str


KINDS: Mapping[str, Kind] = {
    "sts": Kind("STS", "AbsTaskSTS", "spearman"),
    "retrieval": Kind("Retrieval", "AbsTaskRetrieval", "ndcg_at_10"),
    "reranking": Kind("Reranking", "AbsTaskRetrieval", "map_at_1000"),
    "classification": Kind("Classification", "AbsTaskClassification", "accuracy"),
    "multilabel": Kind("MultilabelClassification", "AbsTaskMultilabelClassification", "accuracy"),
    "clustering": Kind("Clustering", "AbsTaskClustering", "v_measure"),
    "pair_classification": Kind("PairClassification", "AbsTaskPairClassification", "similarity_ap"),
    "bitext": Kind("BitextMining", "AbsTaskBitextMining", "f1"),
}


def made(task: MtebTask, content: Content | None) -> Any:
    """A task of mteb, with its data where the files are local; inside `catalogue.undisturbed`.

    Raises:
        RecipeError: no such official task, one of another kind or with several parts, or a name that is taken.
    """
    if task.task is None:
        assert content is not None
        found = _own(task, content)
        subset, split = SUBSET, SPLIT
    else:
        found = official(task)
        if content is None:
            return found
        subset, split = _only_part(task, found)
        revision = {**found.metadata.dataset, "revision": f"local-{content.digest}"}
        found.metadata = found.metadata.model_copy(update={"dataset": revision})
    _fill(found, content, subset, split)
    return found


def _own(task: MtebTask, content: Content) -> Any:
    import mteb.abstasks as abstasks
    from mteb.abstasks.task_metadata import TaskMetadata
    from mteb.languages import check_language_code

    if is_official(task.name):
        cure = f"for its data from local files add `task: {task.name}`, else choose another name"
        raise RecipeError(f"{quoted(task.name)} is a task of mteb", f"task {task.name}", cure)
    assert task.data is not None
    named = task.data.kind
    kind = KINDS[named]
    try:
        metadata = TaskMetadata(
            name=task.name,
            description=f"Local files, {named}.",
            type=kind.type,
            category="t2c" if "Classification" in kind.type or kind.type == "Clustering" else "t2t",
            modalities=["text"],
            dataset={"path": f"local/{task.name}", "revision": f"local-{content.digest}"},
            eval_splits=[SPLIT],
            eval_langs=[task.language],
            main_score=kind.main,
            reference=None,
            is_public=False,
        )
        check_language_code(task.language)
    except ValueError as error:
        cure = "e.g. eng-Latn: ISO 639-3 and ISO 15924"
        raise RecipeError(f"mteb does not take this task: {error}", f"task {task.name}", cure) from error
    made_class = type("Own" + kind.base, (getattr(abstasks, kind.base),), {"metadata": metadata, **_settings(task)})
    found = made_class()
    if named == "clustering":
        size = len(content.test["text"])
        found.max_fraction_of_documents_to_embed, found.max_documents_per_cluster = None, min(16_384, size)
    return found


def _settings(task: MtebTask) -> dict[str, Any]:
    if isinstance(task.data, (ClassificationFiles, MultilabelFiles)):
        return {"samples_per_label": task.data.samples_per_label, "n_experiments": task.data.experiments}
    return {}


def _only_part(task: MtebTask, found: Any) -> tuple[str, str]:
    """The subset and split of an official task that local files stand for.

    Raises:
        RecipeError: it has several, or is of another kind.
    """
    where = f"task {task.name}"
    assert task.data is not None
    own, kinds = task.data.kind, [name for name in KINDS if _is_of(found, name)]
    if own not in kinds:
        cure = f"kind: {kinds[0]}" if kinds else "take it from the Hub, without `data`"
        raise RecipeError(f"{task.task} is of type {found.metadata.type}, not of kind {own}", where, cure)
    subsets, splits = list(found.hf_subsets), list(found.eval_splits)
    if len(subsets) != 1 or len(splits) != 1:
        parts = subsets if len(subsets) != 1 else splits
        what = f"{task.task} has {len(parts)} parts ({listed(parts)}), local files stand for one"
        raise RecipeError(what, where, "take it from the Hub, or measure a part as a task of your own, without `task`")
    return subsets[0], splits[0]


def _is_of(found: Any, kind: str) -> bool:
    import mteb.abstasks as abstasks

    if kind in ("retrieval", "reranking"):
        return isinstance(found, abstasks.AbsTaskRetrieval) and (found.metadata.type == "Reranking") == (
            kind != "retrieval"
        )
    if kind == "classification" and isinstance(found, abstasks.AbsTaskMultilabelClassification):
        return False
    return isinstance(found, getattr(abstasks, KINDS[kind].base))


def _fill(found: Any, content: Content, subset: str, split: str) -> None:
    from datasets import Dataset, DatasetDict

    if content.retrieval is not None:
        data = content.retrieval
        found.dataset = {
            subset: {
                split: {
                    "corpus": Dataset.from_dict({"id": list(data.corpus), "text": list(data.corpus.values())}),
                    "queries": Dataset.from_dict({"id": list(data.queries), "text": list(data.queries.values())}),
                    "relevant_docs": data.qrels,
                    "top_ranked": content.candidates,
                }
            }
        }
    else:
        parts = {split: Dataset.from_dict(_named(found, content.test))}
        if content.train:
            parts[found.train_split] = Dataset.from_dict(_named(found, content.train))
        found.dataset = {subset: DatasetDict(parts)}
    found.data_loaded = True


def _named(found: Any, columns: Columns) -> dict[str, list[Any]]:
    """Columns under the names that the task reads them by."""
    pair = getattr(found, "column_names", None) or (
        getattr(found, "input1_column_name", "sentence1"),
        getattr(found, "input2_column_name", "sentence2"),
    )
    names = {
        "first": pair[0],
        "second": pair[1],
        "score": "score",
        "text": getattr(found, "input_column_name", "text"),
        "label": getattr(found, "label_column_name", "label"),
    }
    return {names[name]: values for name, values in columns.items()}
