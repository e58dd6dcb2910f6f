"""`evaluate`: a model on a suite, and beside another model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedkit.disk.locks import hold_folder
from embedkit.disk.model_files import Saved, read_saved
from embedkit.errors import DataError, EmbedkitError, RecipeError, about, check_whole
from embedkit.evaluation import forecast as forecasts
from embedkit.evaluation import stored_table, tasks
from embedkit.evaluation import suite as suites
from embedkit.evaluation import verdict as verdicts
from embedkit.evaluation.kept import kept_of
from embedkit.evaluation.mteb.running import MtebData
from embedkit.evaluation.stored import WHERE, Form, forms
from embedkit.evaluation.stored_table import Lost
from embedkit.evaluation.two_stage import FirstStage, TwoStage
from embedkit.foreign.limits import SEED
from embedkit.model.checking.folder import files_of
from embedkit.model.reading.resolve import resolve
from embedkit.model.running.encoder import Encoder
from embedkit.model.running.late import LateInteraction
from embedkit.model.running.lexical import LexicalEncoder
from embedkit.model.running.reranker import Reranker
from embedkit.recipe import training
from embedkit.recipe.load import made
from embedkit.recipe.schema import Model
from embedkit.run.environment import quiet_libraries
from embedkit.run.state import Say
from embedkit.terminal import output, times
from embedkit.types import Scores
from embedkit.vectors import concatenated
from embedkit.vectors.concatenated import Concatenated

if TYPE_CHECKING:
    from embedkit.evaluation.tasks import TaskData
    from embedkit.recipe.suite import Suite


Measurable = Encoder | Concatenated | TwoStage


@dataclass(frozen=True)
class Evaluated:
    """What an evaluation found.

    Attributes:
        scores: of the model.
        base: of the model it was compared with, or None.
        comparison: new - base per task and on average; empty without a base.
        stored: the same model with its embeddings in fewer bytes.
    """

    scores: Scores
    base: Scores | None = None
    comparison: Sequence[suites.Comparison] = ()
    stored: Sequence[Lost] = ()

    def plain(self) -> dict[str, Any]:
        """JSON-ready data: ``scores``, and with a base ``base``, ``comparison`` and ``verdict``."""
        found: dict[str, Any] = {"scores": suites.plain(self.scores)}
        if self.base is not None:
            found |= {
                "base": suites.plain(self.base),
                "comparison": [asdict(c) for c in self.comparison],
                "verdict": verdicts.verdict(verdicts.headline(self.comparison)),
            }
        if self.stored:
            found["embeddings"] = [lost.plain() for lost in self.stored]
        return found


def evaluate(
    model: str,
    suite: str | Suite,
    *,
    data: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    compare: str | None = None,
    resamples: int = 1000,
    seed: int = 0,
    batch_tokens: int = 8192,
    geometry: bool = False,
    embeddings: str = "",
    first_stage: str | None = None,
    depth: int = 100,
    first_stage_weight: float | None = None,
    say: Say = output.say,
    progress: bool = True,
    answer: Callable[[Evaluated], None] | None = None,
) -> Scores:
    """Evaluate a model on a suite, and compare it with another one if asked.

    Vectors are kept for the next evaluation of the same weights, see `embedkit.evaluation.kept`.

    Args:
        model: folder or Hub id, or several dense encoders, as `embedkit.vectors.concatenated` names them.
        suite: built-in name, file, or `Suite`.
        data: folder that the suite's files are in.
        out: gets ``scores.json`` (and ``compare/scores.json``); tried before anything is encoded.
        overwrite: replace the scores of another model or suite that are there.
        compare: another model, evaluated on the same resamples.
        resamples: bootstrap resamples.
        seed: of the bootstrap.
        batch_tokens: padded tokens per batch.
        geometry: also measure alignment, uniformity and ranks on the STS tasks.
        embeddings: forms such as ``int8,binary,truncate=128``, each measured too and compared with the whole
            embeddings; see `embedkit.evaluation.stored`. With `out` their scores are in ``embeddings/FORM``.
        first_stage: of rerankers: a bi-encoder, folder or Hub id, whose results they put in order.
        depth: of rerankers: documents per query that they put in order.
        first_stage_weight: of rerankers: order by the first stage's score + this x sigmoid(the reranker's), see
            `embedkit.evaluation.two_stage.fused`; None: by the reranker alone.
        say: receives the forecast and the table.
        progress: show progress bars, and say before how long it will take where that is more than seconds.
        answer: receives all that was found, the comparison included.

    Raises:
        RecipeError: no such suite or model; a number out of its bounds.
        DataError: a file of the suite, or `data`, is missing or wrong.
        BusyError: another process writes to `out`.
        WriteError: nothing can be written there.
        EmbedkitError: the scores of another model or suite are there; or a task of mteb failed, which is said after
            the others are measured and written.

    Example:
        >>> scores = evaluate("runs/mine/model", "dev.yaml", say=lambda line: None, progress=False)
        >>> [task.task for task in scores.tasks], scores.tasks[1].main
        (['Near or far', 'dev'], 'ndcg@10')
        >>> scores.interval.low <= scores.average <= scores.interval.high
        True
    """
    quiet_libraries()
    _check_numbers(resamples, seed, batch_tokens, depth, bool(compare))
    asked = _forms(embeddings, resamples)
    loaded = suites.load_suite(suite, data)
    options = {"resamples": resamples, "batch_tokens": batch_tokens}
    rest = {"seed": seed, "geometry": geometry, "progress": progress}
    places = [] if out is None else [Path(out), Path(out) / "compare"]
    with ExitStack() as held:
        if places:
            held.enter_context(hold_folder(places[0], "evaluating"))
        read = suites.load_data(loaded)
        stage = _first_stage(first_stage, depth, first_stage_weight, model)
        if compare:  # what does not load, or may not be replaced, must say so before the other is measured
            _refuse_other(_load(compare, "--compare", stage, loaded), loaded, places[1:], overwrite)
        encoder = _load(model, "MODEL", stage, loaded)
        _refuse_other(encoder, loaded, places[:1], overwrite)
        _check_forms(encoder, loaded, asked)
        for line in _announced(loaded, read):
            say(line)
        scores = _score(encoder, model, loaded, read, say, options, rest | _results(model, places[:1]))
        lost = _lost(encoder, model, loaded, read, scores, asked, options, rest)
        del encoder
        other = None
        if compare:
            own = rest | _results(compare, places[1:])
            other = _score(_load(compare, "", stage, loaded), compare, loaded, read, say, options, own)
        comparison: list[suites.Comparison] = []
        if other is not None:
            comparison = suites.compare(other, scores, resamples=resamples, seed=seed, permutations=resamples)
        _hand_over((scores, other), comparison, lost, places, say)
    if comparison:
        say(verdicts.sentence(comparison, compare or "", model))
    if answer is not None:
        answer(Evaluated(scores, other, comparison, lost))
    _refuse_failed(scores, other)
    return scores


def _check_numbers(resamples: int, seed: int, batch_tokens: int, depth: int, compares: bool) -> None:
    check_whole(resamples, "resamples", 0)
    check_whole(seed, "seed", 0, SEED)
    check_whole(batch_tokens, "batch_tokens", 1)
    check_whole(depth, "depth", 1)
    if compares and not resamples:
        cure = "leave it out for 1,000, or give 100 or more"
        raise RecipeError("a comparison needs resamples, got 0", "resamples", cure)


def _hand_over(
    found: tuple[Scores, Scores | None],
    comparison: Sequence[suites.Comparison],
    lost: Sequence[Lost],
    places: Sequence[Path],
    say: Say,
) -> None:
    """Show what was found, and write it to the places of the model and of the other one where there are some."""
    scores, other = found
    say(suites.table(scores, other, comparison) if other else suites.table(scores))
    if lost:
        say(stored_table.table(lost))
    for one, place in zip(found, places, strict=False):
        if one is not None:
            suites.write_scores(one, place)
    for form in lost if places else ():
        suites.write_scores(form.scores, places[0] / "embeddings" / form.stored["form"])


def _announced(suite: Suite, data: Sequence[TaskData]) -> Iterator[str]:
    """The tasks of mteb with what is known of their size, before anything long starts."""
    for task, own in zip(suite.tasks, data, strict=True):
        if isinstance(own, MtebData):
            size = "size unknown" if own.size is None else f"{own.size:,} texts at most"
            where = "local files" if own.content is not None else f"{own.repository} at {own.digest[:12]}"
            yield f"{task.name}: {size}, {where}"


def _results(model: str, places: Sequence[Path]) -> dict[str, Any]:
    return {"results": suites.Results(model, copy=places[0] / "mteb" if places else None)}


def _refuse_failed(*found: Scores | None) -> None:
    """End with an error where tasks failed; what was measured is shown and written.

    Raises:
        EmbedkitError: lists them.
    """
    failed = [f"{name} ({s.model}): {why}" for s in found if s is not None for name, why in s.failed.items()]
    if failed:
        raise EmbedkitError(
            f"not measured: {len(failed)} of the tasks", "", "evaluate again: the others are kept", failed
        )


def _score(
    encoder: Measurable,
    name: str,
    suite: Suite,
    data: Sequence[TaskData],
    say: Say,
    options: dict[str, Any],
    rest: dict[str, Any],
) -> Scores:
    """Scores, with a forecast before and the time taken after them where that is more than seconds."""
    kept = None if isinstance(encoder, TwoStage) else kept_of(encoder)
    foreseen = forecasts.forecast(encoder, suite, data, kept=kept, **options) if rest["progress"] else None
    long = foreseen is not None and foreseen.seconds >= forecasts.SHORT
    if foreseen is not None and long:
        say(f"{name}: {foreseen.words}")
    start = time.perf_counter()
    scores = suites.evaluate_suite(encoder, suite, data=data, model_name=name, kept=kept, **options, **rest)
    if foreseen is not None and long:
        say(f"took {times.duration(time.perf_counter() - start)}, the forecast was {times.about(foreseen.seconds)}")
    return scores


def _forms(asked: str, resamples: int) -> list[Form]:
    if asked and not resamples:
        cure = "leave --resamples out for 1,000, or give 100 or more"
        raise RecipeError("a difference needs resamples, got 0", WHERE, cure)
    return forms(asked) if asked else []


def _check_forms(encoder: Measurable, suite: Suite, asked: Sequence[Form]) -> None:
    for form in asked:
        concatenated.refuse_cut(encoder, form.dim, WHERE)
        tasks.check_stored(encoder, suite.tasks, form)


def _lost(
    encoder: Measurable,
    name: str,
    suite: Suite,
    data: Sequence[TaskData],
    scores: Scores,
    asked: Sequence[Form],
    options: dict[str, Any],
    rest: dict[str, Any],
) -> list[Lost]:
    """The model with its embeddings stored in each form, against them as they are; nothing is encoded again."""
    found = []
    kept = kept_of(encoder) if asked and isinstance(encoder, (Encoder, Concatenated)) else None
    for form in asked:
        own = suites.evaluate_suite(
            encoder,
            suite,
            data=data,
            model_name=f"{name}, {form.name}",
            kept=kept,
            seed=rest["seed"],
            stored=form,
            **options,
        )
        found.append(Lost(own, suites.compare(scores, own, resamples=options["resamples"], seed=rest["seed"])))
    return found


def _refuse_other(encoder: Measurable, suite: Suite, folders: Sequence[Path], overwrite: bool) -> None:
    """Refuse to replace what another model, or this one on another suite, was measured at.

    Raises:
        EmbedkitError: whose scores they are.
    """
    for folder in folders:
        file = folder / suites.SCORES
        if overwrite or not file.exists():
            continue
        cure = "choose another --out, or add --overwrite"
        try:
            found = suites.load_scores(folder)
        except DataError as error:
            raise EmbedkitError(f"something else is there: {error.what}", str(file), cure) from error
        if found.fingerprint != encoder.fingerprint():
            raise EmbedkitError(f"holds the scores of another model, {found.model}", str(file), cure)
        if (found.suite, [t.task for t in found.tasks]) != (suite.name, [t.name for t in suite.tasks]):
            raise EmbedkitError(f"holds the scores on another suite, {found.suite}", str(file), cure)


def _load(name: str, place: str, stage: FirstStage | None, suite: Suite) -> Measurable:
    """The model as tasks measure it: what scores pairs of texts behind the first stage."""
    with about(place, "model.base"):
        saved = _saved(name)
        found: Measurable
        if saved is None:
            found = _encoder(name)
        elif saved.is_multi_vector:
            found = TwoStage(LateInteraction.load(name), stage)
        elif saved.reranks:
            found = TwoStage(Reranker.load(made(Model, kind="reranker", base=name)), stage)
        else:
            found = _encoder(name)
    suites.check_tasks(found, suite)
    return found


def _first_stage(name: str | None, depth: int, weight: float | None, model: str) -> FirstStage | None:
    where = "--first-stage-weight"
    if name is None:
        if weight is not None:
            raise RecipeError("there is no first stage whose scores it adds to", where, "name it: --first-stage")
        return None
    try:
        made(training.FirstStage, weight=weight)  # its bounds are those of a recipe's
    except RecipeError as error:
        raise RecipeError(error.what, where, error.cure) from error
    with about("MODEL", "model.base"):
        saved = _saved(model)
        if saved is None or not (saved.reranks or saved.is_multi_vector):
            what = f"{model} is an encoder, a first stage itself"
            raise RecipeError(what, "--first-stage", "leave it out; it is for cross-encoders")
    with about("--first-stage", "model.base"):
        encoder = _encoder(name)
        return FirstStage(encoder, depth, weight, kept_of(encoder))


def _encoder(name: str) -> Encoder | Concatenated:
    """The encoder of a name, dense or sparse, or several dense ones."""
    saved = _saved(name)
    if saved is not None and saved.is_sparse:
        return LexicalEncoder.load(made(Model, kind="sparse", base=name))
    return concatenated.load(made(Model, base=name))


def _saved(name: str) -> Saved | None:
    """What is in the model's folder; None for several models."""
    return None if concatenated.is_concatenated(name) else read_saved(files_of(resolve(name)))
