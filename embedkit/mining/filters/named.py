"""Filters made of their names (`embedkit.recipe.filters`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embedkit.disk import paths
from embedkit.errors import EmbedkitError, about
from embedkit.recipe.filters import WHERE, Named

if TYPE_CHECKING:
    from embedkit.mining.filters.base import Filter
    from embedkit.mining.filters.pairs import ScorePairs, Scores
    from embedkit.mining.problem import Problem
    from embedkit.mining.spreading import Spread
    from embedkit.model.running.encoder import Encoder
    from embedkit.vectors.store import VectorStore

MakeJudge = Callable[[Named, "Counter[str]"], "ScorePairs"]
"""A filter ``judge`` as it was named, and what counts its unusable answers -> what scores pairs (NaN: unusable)."""


@dataclass(frozen=True)
class Setting:
    """What filters are made for.

    Attributes:
        problem: queries and documents.
        store: keeps the vectors of guides.
        seed: of the search.
        device: of models: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        batch_tokens: padded tokens per batch of a guide.
        progress: show bars.
        judge: makes what ``judge`` needs; None: there is no language model here.
        spread: a pool that scores in the place of this process.
        where: how the user gave the filters, for messages.
    """

    problem: Problem
    store: VectorStore
    seed: int = 0
    device: str = "auto"
    batch_tokens: int = 8192
    progress: bool = False
    judge: MakeJudge | None = None
    spread: Spread | None = None
    where: str = WHERE


def build(named: Sequence[Named], setting: Setting) -> list[Filter]:
    """The filters, in order. Models are loaded and files read now.

    Raises:
        RecipeError: a model is not found, or does not fit.
        DataError: a file of scores is wrong.
        EmbedkitError: a package is missing, or there is no language model here.
    """
    return [_MAKERS[one.name](one, setting) for one in named]


def _rank(named: Named, setting: Setting) -> Filter:
    from embedkit.mining.filters.scores import RankWindow

    first, last = named.value
    return RankWindow(1 if first is None else first, last)


def _score(named: Named, setting: Setting) -> Filter:
    from embedkit.mining.filters.scores import ScoreWindow

    return ScoreWindow(*named.value)


def _margin(named: Named, setting: Setting) -> Filter:
    from embedkit.mining.filters.scores import MarginToPositive

    return MarginToPositive(1 - named.value, "relative")


def _absolute(named: Named, setting: Setting) -> Filter:
    from embedkit.mining.filters.scores import MarginToPositive

    return MarginToPositive(named.value, "absolute")


def _near(named: Named, setting: Setting) -> Filter:
    from embedkit.mining.filters.near import NearDuplicates

    problem = setting.problem
    options: dict[str, Any] = {"threshold": named.value, "seed": setting.seed, "progress": setting.progress}
    return NearDuplicates(problem.documents, problem.positives, **options, **named.settings)


def _cross_encoder(named: Named, setting: Setting) -> Filter:
    from embedkit.mining.filters.cross_encoder import content_of, probabilities, spread_probabilities
    from embedkit.mining.filters.pairs import CALL, SPREAD, Scorer
    from embedkit.model.reading.loading import load_cross_encoder
    from embedkit.model.reading.resolve import resolve
    from embedkit.model.running.encoder import pick_device

    with about(setting.where, "model.base"), about(setting.where, "model.trust_remote_code"):
        origin = resolve(paths.folder_or_id(named.value))
        model = load_cross_encoder(origin, pick_device(setting.device))
    batch = {"batch_size": named.settings["batch"]} if "batch" in named.settings else {}
    function, at_once = probabilities(model, **batch), CALL
    if setting.spread is not None:
        function = spread_probabilities(setting.spread, origin, setting.device, content_of(model), **batch)
        at_once = SPREAD
    scorer = Scorer(setting.problem, function, name="cross-encoder", at_once=at_once, progress=setting.progress)
    return _by_score(named, setting, scorer)


def _scores(named: Named, setting: Setting) -> Filter:
    from embedkit.mining.filters.score_file import FileScores

    return _by_score(named, setting, FileScores(setting.problem, named.value, progress=setting.progress))


def _guide(named: Named, setting: Setting) -> Filter:
    from embedkit.mining.filters.guide import GuideScores

    encoder, options = guiding(named.value, setting)
    return _by_score(named, setting, GuideScores.of_encoder(setting.problem, encoder, setting.store, **options))


def guiding(name: str, setting: Setting) -> tuple[Encoder, dict[str, Any]]:
    """An embedding model that judges, and how it encodes here: options of `GuideScores.of_encoder`."""
    from embedkit.model.running.encoder import Encoder
    from embedkit.recipe.load import made
    from embedkit.recipe.schema import Model

    model = made(Model, base=paths.folder_or_id(name))
    with about(setting.where, "model.base"), about(setting.where, "model.trust_remote_code"):
        encoder = Encoder.load(model, device=setting.device)
    options: dict[str, Any] = {"batch_tokens": setting.batch_tokens, "progress": setting.progress}
    if setting.spread is not None:
        options |= {"pool": setting.spread.pool, "model": model, "device": setting.device}
    return encoder, options


def _judge(named: Named, setting: Setting) -> Filter:
    from embedkit.mining.filters.pairs import CALL, SPREAD, Scorer

    if setting.judge is None:
        raise EmbedkitError("no language model can be asked here", f"{setting.where}: judge", "use `embedkit mine`")
    notes: Counter[str] = Counter()
    function = setting.judge(named, notes)
    at_once = CALL if setting.spread is None else SPREAD
    scorer = Scorer(setting.problem, function, name="judge", at_once=at_once, gaps=True, progress=setting.progress)
    return _by_score(named, setting, scorer, notes)


def _by_score(named: Named, setting: Setting, scores: Scores, notes: Counter[str] | None = None) -> Filter:
    from embedkit.mining.filters.pairs import ByScore

    return ByScore(named.name, scores, setting.problem.positives, named.settings["rule"], notes=notes)


_MAKERS: dict[str, Callable[[Named, Setting], Filter]] = {
    "rank": _rank,
    "score": _score,
    "margin": _margin,
    "absolute-margin": _absolute,
    "near-duplicates": _near,
    "cross-encoder": _cross_encoder,
    "scores": _scores,
    "guide": _guide,
    "judge": _judge,
}
