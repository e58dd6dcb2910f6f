"""What all options of objectives share, and what a recipe's objective is made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, SerializeAsAny

from embedkit.recipe.base import Block, validate_named


class ObjectiveConfig(Block):
    """Base of all objective options.

    `needs` names the roles a source must give; `scope` says how the step evaluates it (``row``: one loss per
    row, cut into blocks; ``batch``: one scalar over the whole batch); `reweightable` whether `weighting` applies;
    `remembers` whether it keeps state between steps; `takes_pairs` whether a reranker's scores of a row's own
    candidates are enough for it; `explicit` whether it has a place for explicit negatives, or leaves
    them alone; `least` how many positives an example needs where it needs any; `sized` whether it has parameters
    of the embeddings' size; `without_negatives` whether it has none by design, whatever it remembers.
    """

    name: str
    needs: ClassVar[frozenset[str]] = frozenset({"query", "positive"})
    scope: ClassVar[Literal["row", "batch"]] = "row"
    reweightable: ClassVar[bool] = False
    in_batch: ClassVar[bool] = False
    remembers: ClassVar[bool] = False
    takes_pairs: ClassVar[bool] = False
    explicit: ClassVar[bool] = True
    least: ClassVar[int] = 1
    state_of: ClassVar[str] = ""
    sized: ClassVar[bool] = False
    without_negatives: ClassVar[bool] = False

    @property
    def weighs(self) -> bool:
        """Whether rows may have weights: each has a loss of its own, or the loss says how."""
        return self.scope == "row"

    @property
    def learns(self) -> bool:
        """Whether it has parameters of its own with these options."""
        return self.sized or any(getattr(self, name, False) for name in ("learn_temperature", "learn_scale"))

    @property
    def needs_guide(self) -> bool:
        """Whether it reads the guide's embeddings with these options."""
        return False

    @property
    def compares(self) -> str | None:
        """What it compares embeddings by, in sentence-transformers' words; None where it does not, or is not known."""
        return {"cos": "cosine", "dot": "dot"}[getattr(self, "similarity", "cos")]

    @property
    def target_momentum(self) -> float | None:
        """The momentum of the encoder's copy that it asks for with these options; None asks for none."""
        return None

    def state_bytes(self, dim: int) -> int:
        """What it remembers between steps of embeddings of size `dim` takes at most, `state_of` says of what."""
        return 0

    def sees(self, n: int, p: int, m: int) -> str:
        """What an example is set against, in words, in a pool as of `columns`; empty where its negatives are counted
        (`embedkit.recipe.pool`), or where it has its own alone."""
        return ""

    def meets(self, n: int, p: int) -> tuple[int, str] | None:
        """Of an objective among views: with how many views a view is contrasted at most, in a pool of n examples with p
        positives each, and which of them are left out. None for all others."""
        return None

    def roles(self) -> frozenset[str]:
        """Roles that a source must give with these options."""
        return self.needs

    def inner(self) -> tuple[ObjectiveConfig, ...]:
        """The objectives that a wrapper is made of; none for a plain objective."""
        return ()

    def columns(self, n: int, p: int, m: int) -> int:
        """The most logits a row has in any matrix, in a pool of n examples with p positives and m negatives each."""
        if self.inner():
            return max(one.columns(n, p, m) for one in self.inner())
        return p + m if self.scope == "row" else 1


def _objective(value: Any, info: Any) -> Any:
    return validate_named("objective", value, info)


AnyObjective = Annotated[SerializeAsAny[ObjectiveConfig], BeforeValidator(_objective)]


def leaves(config: ObjectiveConfig) -> list[ObjectiveConfig]:
    """The objectives inside wrappers; a plain objective is its own only leaf."""
    inner = config.inner()
    return [leaf for one in inner for leaf in leaves(one)] if inner else [config]


def needs(config: ObjectiveConfig) -> frozenset[str]:
    """Roles that a source must give for this objective."""
    return frozenset().union(*(leaf.roles() for leaf in leaves(config)))


def asks_guide(config: ObjectiveConfig) -> bool:
    """Whether an objective, or one inside it, reads the guide's embeddings."""
    return config.needs_guide or any(asks_guide(one) for one in config.inner())


def momenta(configs: Iterable[ObjectiveConfig]) -> list[float]:
    """The different momenta of the encoder's copies that these objectives ask for, ascending."""
    asked = (leaf.target_momentum for config in configs for leaf in leaves(config))
    return sorted({momentum for momentum in asked if momentum is not None})
