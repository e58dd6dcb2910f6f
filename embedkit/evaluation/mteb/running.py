"""One task through `mteb.evaluate`, its results kept by what the model and the data are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedkit.data.cache import cache_folder
from embedkit.disk import files
from embedkit.errors import DataError, EmbedkitError
from embedkit.evaluation import similarity
from embedkit.evaluation.content import Content, Texts
from embedkit.evaluation.content import read as read_files
from embedkit.evaluation.mteb.catalogue import mteb, undisturbed
from embedkit.evaluation.mteb.encoder import MtebEncoder, describe, roles
from embedkit.evaluation.mteb.own import made
from embedkit.evaluation.side import Side
from embedkit.foreign import showing
from embedkit.recipe.mteb import MAIN, MtebTask
from embedkit.types import Encodes, TaskScore

logger = showing.logger(__name__)
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
META, SETTINGS = "model_meta.json", "run_settings.jsonl"
_PAIRS = ("STS", "PairClassification", "BitextMining")
_LENGTH = 300
"""Characters of a text of a task that mteb has no statistics of."""


@dataclass(frozen=True)
class MtebData:
    """The data of a task: local, or what mteb knows of the Hub's.

    Attributes:
        content: of local files; None: from the Hub, loaded when it is measured.
        digest: of the content, or the revision of the data set.
        repository: of the data set on the Hub; empty for local files.
        size: texts to encode, at most; None: unknown.
        characters: in them.
    """

    content: Content | None
    digest: str
    repository: str = ""
    size: int | None = None
    characters: int | None = None

    @property
    def texts(self) -> Texts:
        """The texts that are known, each group with its role."""
        return [] if self.content is None else self.content.texts

    @property
    def unseen(self) -> tuple[int, int]:
        """How many texts are still on the Hub, and their mean length in characters."""
        if self.content is not None or not self.size:
            return 0, 0
        return self.size, max(1, (self.characters or _LENGTH * self.size) // self.size)


@dataclass(frozen=True)
class Results:
    """Where results are kept.

    Attributes:
        name: what the model is called there.
        folder: of mteb's layout; None: ``$XDG_CACHE_HOME/embedkit/mteb``.
        copy: gets the results of this evaluation too, ready for a submission.
    """

    name: str = "model"
    folder: Path | None = None
    copy: Path | None = None

    @property
    def place(self) -> Path:
        """The folder."""
        return cache_folder("mteb") if self.folder is None else self.folder


def read(task: MtebTask) -> MtebData:
    """Read local files, or ask mteb what it knows of a data set; nothing is downloaded.

    Raises:
        RecipeError: mteb is missing, or has no such task.
        DataError: see `embedkit.evaluation.content`.
    """
    content = None if task.data is None else read_files(task.data, task.name)
    with undisturbed():
        found = made(task, content)
        if content is not None:
            return MtebData(content, content.digest, size=sum(len(texts) for texts, _ in content.texts))
        size, characters = _statistics(found)
        revision = found.metadata.dataset.get("revision") or "unknown"
        return MtebData(None, str(revision), str(found.metadata.dataset.get("path", "")), size, characters)


def _statistics(found: Any) -> tuple[int | None, int | None]:
    """Texts and characters of the parts that are measured, as mteb counted them."""
    if found.is_aggregate:
        counted = [_statistics(task) for task in found.metadata.tasks]
        known = [(n, c) for n, c in counted if n is not None and c is not None]
        return (sum(n for n, _ in known), sum(c for _, c in known)) if known else (None, None)
    stats = found.metadata.descriptive_stats
    if not stats:
        return None, None
    count = characters = 0
    for split in found.eval_splits:
        part = stats.get(split) or {}
        subsets: Mapping[str, Any] = part.get("hf_subset_descriptive_stats") or {}
        for own in [subsets[name] for name in found.hf_subsets if name in subsets] or [part]:
            count += (own.get("num_samples") or 0) * (1 + (found.metadata.type in _PAIRS))
            characters += own.get("number_of_characters") or 0
    return (count, characters) if count else (None, None)


def check_there(encoder: Encodes, tasks: Sequence[tuple[MtebTask, MtebData]], results: Results | None) -> None:
    """Without the Hub: refuse data sets that are neither in the cache nor measured already.

    Raises:
        DataError: lists what is missing and where it would have to be.
    """
    if not any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in OFFLINE):
        return
    missing = []
    for task, data in tasks:
        if data.repository and not _cached(data) and (results is None or _known(encoder, task, results) is None):
            missing.append(f"{task.name}: {data.repository} at {data.digest}, looked for in {_snapshot(data)}")
    if missing:
        what = f"{len(missing)} of {len(tasks)} tasks need data that is not here, and the Hub must not be asked"
        cure = (
            "run once without --offline where the Hub can be reached and copy its cache, "
            "or give local files: {type: mteb, task: NAME, data: {...}}"
        )
        raise DataError(what, "mteb", cure, missing)


def _snapshot(data: MtebData) -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE) / f"datasets--{data.repository.replace('/', '--')}" / "snapshots" / data.digest


def _cached(data: MtebData) -> bool:
    """Whether the files of the revision, or what was made of them, are in the caches of the Hugging Face libraries."""
    from datasets.config import HF_DATASETS_CACHE

    prepared = Path(HF_DATASETS_CACHE) / data.repository.replace("/", "___")
    return _snapshot(data).is_dir() or any(prepared.glob(f"*/*/{data.digest}"))


def _known(encoder: Encodes, task: MtebTask, results: Results) -> Any:
    """The result that is kept for this content and data, complete; else None."""
    with undisturbed():
        package = mteb()
        cache = package.ResultCache(results.place)
        content = None if task.data is None else read_files(task.data, task.name)
        found = made(task, content)
        return _kept(cache, found, describe(encoder, results.name, task.max_length))


def _kept(cache: Any, found: Any, meta: Any) -> Any:
    """What the cache has, if it is of the same data; what is damaged, incomplete or of other data is taken away.

    mteb looks at the revision of the data only where parts are missing, so that files that changed would get the
    scores of the old ones.
    """
    path = Path(cache.get_task_result_path(found.metadata.name, meta))
    if not path.is_file():
        return None
    try:
        result = cache.load_task_result(found.metadata.name, meta)
        same = result.dataset_revision == found.metadata.revision
    except Exception as error:  # whatever mteb's reader says of a damaged file: it is measured again
        logger.info("%s is measured again: %s", path, error)
        same = False
    if not same:
        path.unlink(missing_ok=True)
        return None
    return None if result.get_missing_evaluations(found) else result


def run(
    encoder: Encodes, task: MtebTask, data: MtebData, side: Side, *, batch_tokens: int, results: Results | None
) -> TaskScore:
    """Measure a model on a task of mteb, or take what is kept of the same content and data.

    Args:
        encoder: the model.
        task: what to measure.
        data: from `read`.
        side: encodes.
        batch_tokens: padded tokens per batch; recorded.
        results: where results are kept; None: nowhere.

    Raises:
        EmbedkitError: mteb fails, with its reason.
    """
    with undisturbed():
        package = mteb()
        found = made(task, data.content)
        meta = describe(encoder, "model" if results is None else results.name, task.max_length)
        cache = None if results is None else package.ResultCache(results.place)
        known = None if cache is None else _kept(cache, found, meta)
        wrapped = MtebEncoder(side, meta, similarity.chosen(None, encoder))
        try:
            result = known or _measured(package, wrapped, found, cache, batch_tokens)
        except EmbedkitError:
            raise
        except Exception as error:
            what = f"mteb could not measure it: {type(error).__name__}: {error}"
            raise EmbedkitError(
                what, f"task {task.name}", "evaluate again: what is measured already is kept"
            ) from error
    if results is not None and results.copy is not None and cache is not None:
        _copy(Path(cache.get_task_result_path(found.metadata.name, meta)), results)
    return _score(task, data, found, meta, result, side, reused=known is not None)


def _measured(package: Any, wrapped: MtebEncoder, found: Any, cache: Any, batch_tokens: int) -> Any:
    done = package.evaluate(
        wrapped,
        found,
        cache=cache,
        co2_tracker=False,
        show_progress_bar=False,
        encode_kwargs={"batch_size": 512, "batch_tokens": batch_tokens, "show_progress_bar": False},
    )
    if not done.task_results:
        reasons = "; ".join(str(error.exception) for error in done.exceptions or ())
        raise EmbedkitError(reasons or "no result", f"task {found.metadata.name}", "see the data set's page on the Hub")
    return done.task_results[0]


def _score(
    task: MtebTask, data: MtebData, found: Any, meta: Any, result: Any, side: Side, *, reused: bool
) -> TaskScore:
    entries = [entry for split in result.scores.values() for entry in split]
    shared = [
        k for k, v in entries[0].items() if k != MAIN and isinstance(v, (int, float)) and all(k in e for e in entries)
    ]
    main = float(result.get_score())
    metrics = {MAIN: 100 * main}
    for name in shared:
        values = [entry[name] for entry in entries]
        if all(isinstance(v, (int, float)) and v == v for v in values):
            metrics[name] = 100 * float(sum(values)) / len(values)
    details: dict[str, Any] = {
        "kind": found.metadata.type,
        "metric": found.metadata.main_score,
        "digest": data.digest,
        "model": meta.name,
        "revision": meta.revision,
        "mteb": result.mteb_version,
        "parts": len(entries),
        "prompts": {role: _prompt(side.encoder, role) for role in roles(found.metadata.type)},
        **({"kept": True} if reused else side.details()),
    }
    if metrics[MAIN] != metrics[MAIN]:
        raise EmbedkitError("its main score is not a number", f"task {task.name}", "look at its data")
    return TaskScore(task.name, "mteb", MAIN, metrics, details=details)


def _prompt(encoder: Any, role: str) -> str:
    return str(encoder.prompt(role)) if hasattr(encoder, "prompt") else ""


def _copy(path: Path, results: Results) -> None:
    """A task's result with the model's records into another folder of mteb's layout."""
    assert results.copy is not None
    source, target = path.parent, results.copy / path.parent.relative_to(results.place)
    for name in (path.name, META):
        if (source / name).is_file():
            files.write_bytes(target / name, (source / name).read_bytes())
    lines = (source / SETTINGS).read_text(encoding="utf-8").splitlines() if (source / SETTINGS).is_file() else []
    kept = (target / SETTINGS).read_text(encoding="utf-8").splitlines() if (target / SETTINGS).is_file() else []
    mark = f'"task": "{path.stem}"'
    own = [line for line in lines if mark in line]
    files.write_text(target / SETTINGS, "\n".join([*(line for line in kept if mark not in line), *own]) + "\n")
