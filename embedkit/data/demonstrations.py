"""Solved examples that stand behind a text: which may, and which one is drawn (LM-BFF, arXiv 2012.15723)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from embedkit.errors import DataError, RecipeError
from embedkit.foreign.quoting import listed, quoted


@dataclass(frozen=True)
class Support:
    """Labelled texts that solved examples are drawn from.

    Attributes:
        texts: n of them.
        labels: [n] int64, in 0..C - 1.
        names: what the C classes are called.
        where: what they were read from, for errors.
    """

    texts: Sequence[str]
    labels: np.ndarray
    names: Sequence[str]
    where: str = "support"


@dataclass(frozen=True)
class Given:
    """What a run knows and a view may need.

    Attributes:
        mask: the tokenizer's mask token; None where it has none.
        support: gives the labelled texts of the source that has views.
        vectors: ``(model, texts) -> [n, d]`` embeddings by a frozen model; None is the recipe's base model.
    """

    mask: str | None = None
    support: Callable[[], Support] | None = field(default=None, repr=False)
    vectors: Callable[[str | None, Sequence[str]], np.ndarray] | None = field(default=None, repr=False)


def demonstration_filter(
    support: np.ndarray,
    queries: np.ndarray,
    labels: Sequence[int] | np.ndarray,
    rate: float,
    *,
    classes: int,
    same: bool = False,
) -> list[np.ndarray]:
    """The support texts that are near enough to each query to be shown with it.

    Of n candidates those with the largest cosine stay, per class at most ``floor(floor(n / classes) * rate)``.

    Args:
        support: [n, d] embeddings.
        queries: [m, d].
        labels: [n] classes of the support, in 0..classes - 1.
        rate: share of an average class, above 0 and up to 1.
        classes: how many there are.
        same: whether query i is support text i, which is then no candidate.

    Returns:
        For each query the places that stay, by falling cosine.

    Raises:
        DataError: a class has no text.
        RecipeError: the rate keeps nobody.
    """
    labels = np.asarray(labels, dtype=np.int64)
    missing = sorted(set(range(classes)) - set(labels.tolist()))
    if missing:
        raise DataError(f"{len(missing)} classes have no text to show: {missing}", "support", "give each class some")
    share = (len(labels) - same) // classes
    most = int(share * rate)
    if most < 1:
        what = (
            f"rate {rate:g} keeps no text: {len(labels) - same} candidates of {classes} classes are {share} per class"
        )
        cure = f"set it to {1 / share:.2g} or more" if share else "give more labelled texts"
        raise RecipeError(what, "demonstrations.rate", cure)
    cosine = _unit(queries) @ _unit(support).T
    return [_nearest(row, labels, most, own if same else -1) for own, row in enumerate(cosine)]


def _nearest(cosine: np.ndarray, labels: np.ndarray, most: int, own: int) -> np.ndarray:
    kept: list[int] = []
    taken: dict[int, int] = {}
    for i in np.argsort(-cosine, kind="stable").tolist():
        label = int(labels[i])
        if i != own and taken.get(label, 0) < most:
            taken[label] = taken.get(label, 0) + 1
            kept.append(i)
    return np.array(kept, dtype=np.int64)


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = np.asarray(rows, dtype=np.float64)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.all(np.isfinite(length) & (length > 0)):
        raise DataError("a text has no direction: its embedding is zero or not finite", "support", "use another model")
    return np.asarray(rows / length)


class Demonstrations:
    """One labelled text of every class for a text of the same support, drawn anew at every use.

    Args:
        support: what is drawn from; its texts differ in more than spaces, or count as one.
        words: what stands for a class; None: its name, with spaces for underscores.
        kept: for each support text what may be shown with it (`demonstration_filter`); None: everything.

    Raises:
        DataError: a class without a word, or words of classes that are not there.
    """

    def __init__(
        self, support: Support, words: Mapping[str, str] | None = None, kept: Sequence[np.ndarray] | None = None
    ) -> None:
        self.support = support
        self.words = [name.replace("_", " ") for name in support.names] if words is None else _words(support, words)
        self._texts = [" ".join(text.split()) for text in support.texts]
        self._place = {text: i for i, text in enumerate(self._texts)}
        every = np.arange(len(self._texts))
        self._kept = kept if kept is not None else [every] * len(every)

    def draw(self, text: str, rng: np.random.Generator) -> list[tuple[str, str]]:
        """(text, word) for every class, in the order of the classes.

        Args:
            text: a support text, its words one space apart.
            rng: one draw per class.

        Raises:
            DataError: the text is not in the support, or a class has no other text to show.
        """
        if text not in self._place:
            what = f"{quoted(text)} is not among the labelled texts that demonstrations were chosen for"
            raise DataError(what, self.support.where, "train on these texts alone")
        kept = self._kept[self._place[text]]
        shown = []
        for label, word in enumerate(self.words):
            choice = [i for i in kept[self.support.labels[kept] == label].tolist() if self._texts[i] != text]
            if not choice:
                what = f"class {quoted(self.support.names[label])} has no text to show with {quoted(text)}"
                raise DataError(what, self.support.where, "give each class two different texts or more")
            shown.append((self._texts[choice[int(rng.integers(len(choice)))]], word))
        return shown


def _words(support: Support, words: Mapping[str, str]) -> list[str]:
    missing, unknown = sorted(set(support.names) - set(words)), sorted(set(words) - set(support.names))
    if missing or unknown:
        what = (
            f"no word for {listed(missing)}" if missing else f"words of classes that are not there: {listed(unknown)}"
        )
        raise DataError(what, support.where, f"give `demonstrations.words` for {listed(sorted(support.names))}")
    return [words[name] for name in support.names]
