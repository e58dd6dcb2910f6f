"""Views of unlabelled text: what is done to each, drawn here for every row, applied by the encoder.

Draws are pure functions of (seed, step, place in the global batch, view), so that neither the number of processes
nor micro-batches nor encoding twice can change them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from embedkit.data.augment_text import TextTransform
from embedkit.data.demonstrations import Given
from embedkit.disk import paths
from embedkit.recipe import registry
from embedkit.recipe import views as options
from embedkit.recipe.schema import Views

_TEXT, _ROW = 21, 22  # keep these random streams apart from the others


@dataclass(frozen=True)
class Change:
    """What the transforms of one row add up to.

    Attributes:
        cut: bool, broadcasts to [tokens, width]: which elements of the embedding layer's output are zeroed; None: none.
        order: [tokens] permuted positions; None: as they stand.
    """

    cut: np.ndarray | None = None
    order: np.ndarray | None = None

    def then(self, other: Change) -> Change:
        """Both, one after the other."""
        cuts = [c.cut for c in (self, other) if c.cut is not None]
        orders = [c.order for c in (self, other) if c.order is not None]
        cut = cuts[0] if len(cuts) == 1 else np.logical_or(*cuts) if cuts else None
        return Change(cut, orders[0] if len(orders) == 1 else orders[0][orders[1]] if orders else None)


class RowTransform:
    """Base of what the encoder applies: one draw for a row of `tokens` real tokens, special tokens included, whose
    embeddings have `width` columns. The first of ``rng.permutation`` are the chosen ones.

    Attributes:
        cuts: whether it zeroes parts of the embedding layer's output.
        reorders: whether it permutes positions.
    """

    cuts, reorders = True, False

    def draw(self, tokens: int, width: int, rng: np.random.Generator) -> Change:
        raise NotImplementedError


class FeatureCutoff(RowTransform):
    """Zero int(width * rate) columns of all tokens (ConSERT)."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def draw(self, tokens: int, width: int, rng: np.random.Generator) -> Change:
        return Change(cut=_some(width, self.rate, rng)[None, :])


class TokenCutoff(RowTransform):
    """Zero int(tokens * rate) token rows; attention still sees them (ConSERT)."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def draw(self, tokens: int, width: int, rng: np.random.Generator) -> Change:
        return Change(cut=_some(tokens, self.rate, rng)[:, None])


class ElementDropout(RowTransform):
    """Zero int(tokens * width * rate) single elements; the others are not scaled (ConSERT)."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def draw(self, tokens: int, width: int, rng: np.random.Generator) -> Change:
        return Change(cut=_some(tokens * width, self.rate, rng).reshape(tokens, width))


class Shuffle(RowTransform):
    """Permute the positions of all tokens (ConSERT)."""

    cuts, reorders = False, True

    def draw(self, tokens: int, width: int, rng: np.random.Generator) -> Change:
        return Change(order=np.asarray(rng.permutation(tokens)))


class Dropout:
    """The view's rows run in a variant of their own (`embedkit.recipe.views.Variant`); nothing is drawn here."""

    def __init__(self, rate: float) -> None:
        self.rate = rate


def _some(n: int, rate: float, rng: np.random.Generator) -> np.ndarray:
    """int(n * rate) of n, drawn without replacement, as a mask."""
    chosen = np.zeros(n, dtype=bool)
    chosen[rng.permutation(n)[: int(n * rate)]] = True
    return chosen


@dataclass(frozen=True)
class View:
    """What happens to the rows of one slot.

    Attributes:
        texts: transforms of the words, in order.
        rows: transforms that the encoder applies, in order.
        variant: index in `Viewing.variants`.
    """

    texts: tuple[TextTransform, ...] = ()
    rows: tuple[RowTransform, ...] = ()
    variant: int = 0

    def text(self, text: str, key: Sequence[int], pool: Sequence[str]) -> str:
        """The view's text; unchanged where the view has no transform of words.

        Args:
            text: at least one word.
            key: (seed, step, place in the global batch, view).
            pool: words of the whole batch.
        """
        if not self.texts:
            return text
        rng, words = np.random.default_rng([_TEXT, *key]), text.split()
        for transform in self.texts:
            words = transform(words, rng, pool)
        return " ".join(words)

    def change(self, tokens: int, width: int, key: Sequence[int]) -> Change:
        """What the encoder does to a row of this view; `key` as for `text`."""
        change = Change()
        if not self.rows:
            return change
        rng = np.random.default_rng([_ROW, *key])
        for transform in self.rows:
            change = change.then(transform.draw(tokens, width, rng))
        return change


class Viewing:
    """The recipe's `views` block at work: a `View` per slot.

    Args:
        views: the block.
        towers: `model.towers`.

    Attributes:
        variants: ways to encode, as `View.variant` counts them; the first is the plain one.
        unlabelled: a view per slot of an unlabelled text.
        labelled: the views of slots 0 and 1 of a labelled example; all further slots are like slot 1.
    """

    def __init__(self, views: Views, towers: int = 1) -> None:
        self.variants = options.variants(views, towers)
        self.unlabelled = tuple(self._view(views, slot, towers) for slot in range(views.count))
        self.labelled = tuple(View(variant=self.variants.index(options.variant((), s, towers))) for s in (0, 1))

    def setup(self, given: Given) -> None:
        """Give every transform of words what the run knows."""
        for view in self.unlabelled:
            for transform in view.texts:
                transform.setup(given)

    @property
    def needs_pool(self) -> bool:
        """Whether the words of the whole batch are needed."""
        return any(t.needs_pool for view in self.unlabelled for t in view.texts)

    @property
    def cuts(self) -> bool:
        """Whether a view zeroes parts of the embedding layer's output."""
        return any(t.cuts for view in self.unlabelled for t in view.rows)

    @property
    def reorders(self) -> bool:
        """Whether a view permutes positions."""
        return any(t.reorders for view in self.unlabelled for t in view.rows)

    def _view(self, views: Views, slot: int, towers: int) -> View:
        configs = options.transforms_of(views, slot)
        built = [_build(c) for c in configs]
        return View(
            tuple(t for t in built if isinstance(t, TextTransform)),
            tuple(t for t in built if isinstance(t, RowTransform)),
            self.variants.index(options.variant(configs, slot, towers)),
        )


def _build(config: options.TransformConfig) -> Any:
    fields = {name: getattr(config, name) for name in type(config).model_fields if name != "name"}
    for key in ("synonyms", "file"):
        if fields.get(key) is not None:
            fields[key] = str(paths.file(fields[key]) or fields[key])
    return registry.resolve(registry.lookup("view", config.name).target)(**fields)
