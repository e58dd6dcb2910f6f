"""`merge`: one model out of several, measured where a suite is named."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from embedkit.disk import files
from embedkit.disk.locks import hold_file
from embedkit.errors import EmbedkitError, RecipeError, about
from embedkit.evaluation import suite as suites
from embedkit.model.changing import merging
from embedkit.model.running.encoder import Encoder
from embedkit.recipe.load import made
from embedkit.recipe.schema import Model
from embedkit.run.environment import quiet_libraries
from embedkit.run.save import write_model
from embedkit.run.state import Say
from embedkit.terminal import output
from embedkit.types import Scores

if TYPE_CHECKING:
    from embedkit.evaluation.tasks import TaskData
    from embedkit.recipe.suite import Suite

CURE = "please report this: the average of the weights did not survive writing"


def merge(
    models: Sequence[str | Model],
    out: str | Path,
    *,
    weights: Sequence[float] | None = None,
    method: merging.Method = "linear",
    greedy: bool = False,
    suite: str | Suite | None = None,
    data: str | Path | None = None,
    batch_tokens: int = 8192,
    say: Say = output.say,
) -> list[float]:
    """Merge models of one kind into a plain sentence-transformers model.

    Args:
        models: folders, Hub ids or `model` blocks, fine-tuned from one base; the base may be among them.
        out: the merged model's folder; must not exist yet.
        weights: shares, one per model; equal ones if None.
        method: linear, or slerp between two.
        greedy: the greedy soup (arXiv 2203.05482): from the best model on, each next one is taken in where the suite's
            average does not fall. The suite decides: measure the result on another one.
        suite: measures every model and the result.
        data: folder of the suite's files.
        batch_tokens: padded tokens per batch of the measuring.
        say: receives what is measured.

    Returns:
        The shares that the models got, their sum 1.

    Raises:
        RecipeError: the models are not of one kind, or weights, method and models do not fit.
        DataError: a file of the suite is missing.
        EmbedkitError: something is at `out`.

    Example:
        >>> merge(["runs/mine/model", "runs/other/model"], "merged", weights=[3, 1], say=lambda line: None)
        [0.75, 0.25]
    """
    quiet_libraries()
    place = Path(out).absolute()
    if place.exists():
        raise EmbedkitError("is there already", str(out), "choose another --out")
    if greedy and (suite is None or weights is not None or method != "linear"):
        raise RecipeError(
            "a greedy soup is chosen by a suite, in equal shares", "greedy", "name --suite, and no --weights"
        )
    shares = list(weights or [1.0] * len(models))
    merging.check_weights(len(models), shares, method)
    with ExitStack() as held:
        held.enter_context(hold_file(place, "merging"))
        encoders = [_load(name) for name in models]
        names = [str(model.base) if isinstance(model, Model) else model for model in models]
        for name, encoder in zip(names[1:], encoders[1:], strict=True):
            merging.refuse_other_kinds(encoders[0], encoder, (names[0], name))
        found = _Measured(suite, data, batch_tokens, say) if suite is not None else None
        scores = [found(encoder, name) for name, encoder in zip(names, encoders, strict=True)] if found else []
        if greedy and found is not None:
            shares = _greedy(list(models), names, scores, found)
            encoders = [_load(name) for name in models]
        kept = [i for i, share in enumerate(shares) if share > 0]
        if len(kept) > 1:
            result = merging.merged([encoders[i] for i in kept], [shares[i] for i in kept], method)
        else:
            result = encoders[kept[0]]
        if found is not None:
            found(result, "merged")
        with files.writing(place.parent):
            write_model(result, place.with_name(f"{files.OURS}-{place.name}"), place, cure=CURE)
    total = sum(shares)
    say(f"merged {', '.join(f'{s / total:.2f} x {n}' for n, s in zip(names, shares, strict=True))}: {out}")
    return [share / total for share in shares]


class _Measured:
    """The average of a suite, said for every model that is measured."""

    def __init__(self, suite: str | Suite, data: str | Path | None, batch_tokens: int, say: Say) -> None:
        self.suite = suites.load_suite(suite, data)
        self.read: list[TaskData] = suites.load_data(self.suite)
        self.batch_tokens, self.say = batch_tokens, say

    def __call__(self, encoder: Encoder, name: str) -> float:
        found: Scores = suites.evaluate_suite(
            encoder, self.suite, resamples=0, batch_tokens=self.batch_tokens, model_name=name, data=self.read
        )
        self.say(f"{name}: {found.average:.2f}")
        return float(found.average)


def _greedy(models: list[str | Model], names: list[str], scores: list[float], measured: _Measured) -> list[float]:
    """Equal shares for those that the soup takes in, 0 for the others."""
    order = sorted(range(len(models)), key=lambda i: -scores[i])
    soup, best = [order[0]], scores[order[0]]
    for i in order[1:]:
        tried = [*soup, i]
        encoder = merging.merged([_load(models[k]) for k in tried], [1.0] * len(tried))
        score = measured(encoder, " + ".join(names[k] for k in tried))
        if score >= best:
            soup, best = tried, score
    return [1.0 if i in soup else 0.0 for i in range(len(models))]


def _load(model: str | Model) -> Encoder:
    if isinstance(model, Model):
        return Encoder.load(model, device="cpu")
    with about(model, "model.base"):
        return Encoder.load(made(Model, base=model), device="cpu")
