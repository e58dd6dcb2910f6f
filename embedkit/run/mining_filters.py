"""Named filters with everything they need, the language model of a judge among it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embedkit.disk import paths
from embedkit.errors import about
from embedkit.mining.filters.base import Filter
from embedkit.mining.filters.named import Setting, build
from embedkit.mining.filters.pairs import ScorePairs
from embedkit.recipe.filters import Named
from embedkit.synthesis.asker import Asker
from embedkit.synthesis.cache import Cache
from embedkit.synthesis.calls import Backend
from embedkit.synthesis.endpoint import Endpoint
from embedkit.synthesis.judge import Judge
from embedkit.synthesis.prompts import Prompter, load_prompts

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
        prompts = load_prompts(_file(given["prompts"]) if "prompts" in given else None)
        cache = Cache(self.answers)
        self.opened.callback(cache.close)
        asker = Asker(self._backend(named), cache)
        return Judge(asker, Prompter(prompts, self.setting.seed), graded=given["ruled"], unusable=unusable)

    def _backend(self, named: Named) -> Backend:
        given: dict[str, Any] = {name: named.settings[key] for key, name in _REMOTE.items() if key in named.settings}
        where = self.setting.where
        if "endpoint" in named.settings:
            with about(where, "--endpoint"):
                return Endpoint(named.settings["endpoint"], named.value, **given)
        from embedkit.synthesis.local import LocalModel

        with about(where, "--model"):
            return LocalModel(named.value, device=self.setting.device)


def _file(path: str) -> Path:
    """A file that is there, else the path as written, for whoever opens it to say so."""
    return paths.file(path) or paths.at_home(path)
