"""Named filters with everything they need, the language model of a judge among it."""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from embedkit.disk import paths
from embedkit.disk.model_files import BASE
from embedkit.errors import EmbedkitError, about
from embedkit.mining.filters.base import Filter
from embedkit.mining.filters.named import Setting, build
from embedkit.mining.filters.pairs import ScorePairs
from embedkit.mining.filters.spread_scores import Counted, SpreadScores
from embedkit.model.reading.resolve import resolve
from embedkit.recipe.filters import Named
from embedkit.synthesis.asker import Asker
from embedkit.synthesis.cache import Cache
from embedkit.synthesis.calls import Backend
from embedkit.synthesis.endpoint import Endpoint
from embedkit.synthesis.judge import Judge
from embedkit.synthesis.prompts import Prompter, Prompts, load_prompts
from embedkit.synthesis.tasks import BLOCK

_REMOTE = {"key-env": "key_env", "concurrency": "concurrency"}


@contextmanager
def filters_of(named: Sequence[Named], setting: Setting, answers: Path) -> Iterator[list[Filter]]:
    """The filters, for a ``with`` block that searches.

    Args:
        named: see `embedkit.recipe.filters.parse`.
        setting: what they are made for.
        answers: file that keeps a judge's answers, of this process alone: killed and started again, it asks only what
            is missing.

    Raises:
        RecipeError, DataError, EmbedkitError: as `embedkit.mining.filters.named.build`.
    """
    with ExitStack() as opened:
        yield build(named, replace(setting, judge=_Judges(setting, answers, opened)))


@dataclass(frozen=True)
class _Judges:
    setting: Setting
    answers: Path
    opened: ExitStack

    def __call__(self, named: Named, unusable: Counter[str]) -> ScorePairs:
        given = named.settings
        prompts = load_prompts(file_at(given["prompts"]) if "prompts" in given else None)
        if self.setting.spread is not None:
            return self._spread(named, prompts, unusable)
        cache = Cache(self.answers)
        self.opened.callback(cache.close)
        asker = Asker(backend_of(named, self.setting.device, self.setting.where), cache)
        return Judge(asker, Prompter(prompts, self.setting.seed), graded=given["ruled"], unusable=unusable)

    def _spread(self, named: Named, prompts: Prompts, unusable: Counter[str]) -> ScorePairs:
        """Judging by a pool: each chunk of pairs has a file of answers, which stay."""
        setting, graded = self.setting, bool(named.settings["ruled"])
        assert setting.spread is not None
        identity = _identity(named, setting.where)
        key = json.dumps([identity, prompts.model_dump(mode="json"), graded, setting.seed], sort_keys=True)
        device = "cpu" if "endpoint" in named.settings else setting.device
        make = _JudgeMaker(named, prompts, graded, setting.seed, device, setting.where, identity)
        folder = self.answers.with_name(f"{self.answers.name}.shards")
        return SpreadScores(replace(setting.spread, folder=folder), make, f"judge {key}", BLOCK, unusable)


@dataclass(frozen=True)
class _JudgeMaker:
    """Makes, in another process, what judges a chunk of pairs."""

    named: Named
    prompts: Prompts
    graded: bool
    seed: int
    device: str
    where: str
    identity: dict[str, Any]

    def __call__(self) -> Counted:
        backend = backend_of(self.named, self.device, self.where)
        if any(backend.identity.get(name) != value for name, value in self.identity.items()):
            what = f"the machine {socket.gethostname()} has another language model of this name"
            raise EmbedkitError(what, self.named.value, "give a folder that all machines of the cluster share")

        def judge(pairs: Sequence[tuple[str, str]], answers: Path) -> tuple[np.ndarray, Counter[str]]:
            unusable: Counter[str] = Counter()
            with closing(Cache(answers)) as cache:
                prompter = Prompter(self.prompts, self.seed)
                one = Judge(Asker(backend, cache), prompter, graded=self.graded, unusable=unusable)
                return one(pairs), unusable

        return judge


def _identity(named: Named, where: str) -> dict[str, Any]:
    """What stands for the model in the names of answers, without loading it."""
    if "endpoint" in named.settings:
        return backend_of(named, "cpu", where).identity
    from embedkit.synthesis.local import content_of

    with about(where, BASE):
        origin = resolve(named.value)
    return {"local": origin.revision or content_of(Path(origin.target))}


def backend_of(named: Named, device: str, where: str) -> Backend:
    """The language model that was named: behind an endpoint, or loaded here.

    Raises:
        RecipeError: it is not found, or a setting of the endpoint is wrong.
        EmbedkitError: the key is missing.
    """
    given: dict[str, Any] = {name: named.settings[key] for key, name in _REMOTE.items() if key in named.settings}
    if "endpoint" in named.settings:
        with about(where, "--endpoint"):
            return Endpoint(named.settings["endpoint"], named.value, **given)
    from embedkit.synthesis.local import LocalModel

    with about(where, "--model"):
        return LocalModel(named.value, device=device)


def file_at(path: str) -> Path:
    """A file that is there, else the path as written, for whoever opens it to say so."""
    return paths.file(path) or paths.at_home(path)
