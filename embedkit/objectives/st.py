"""Adapter for the sentence-transformers losses that work on embeddings."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from embedkit.errors import DataError, RecipeError
from embedkit.objectives.base import Objective, no_weight, one_positive, upcast
from embedkit.types import Embeddings, LossOut


@cache
def available() -> dict[str, type[nn.Module]]:
    """The losses of the installed sentence-transformers that have `compute_loss_from_embeddings`, by name."""
    from sentence_transformers.sentence_transformer import losses

    return {
        name: loss
        for name, loss in sorted(vars(losses).items())
        if inspect.isclass(loss) and issubclass(loss, nn.Module) and hasattr(loss, "compute_loss_from_embeddings")
    }


class STObjective(Objective):
    """A sentence-transformers loss on the batch's embeddings.

    Batch scope: the loss sees the whole global batch as one process would, whatever its reduction is. It knows
    neither text ids (no duplicate is masked) nor missing negatives (refused).

    Args:
        loss: class name, one of `available`.
        arguments: its keyword arguments, the model excepted. A function is given by its name: in
            `sentence_transformers.util` (``dot_score``), or beside the loss (``SiameseDistanceMetric.EUCLIDEAN``).
        inputs: which embeddings it gets, in order; ``negative`` gives one column per explicit negative.
        target: what it gets as labels. Scores [N, 1] are given as [N]. Losses on teacher embeddings get the
            scores [N, d'], or the guide's embeddings [N, d'] of the queries, as the teacher's embedding of every
            input: with query and positive the two parts of Reimers and Gurevych 2020 (arXiv 2004.09813).

    Raises:
        RecipeError: no such loss, or it cannot be built from these arguments; a guide where the loss takes no
            teacher's embeddings, where there is none, or with another dimension than the model's.
    """

    scope = "batch"

    def __init__(
        self,
        loss: str,
        arguments: dict[str, Any] | None = None,
        inputs: Sequence[Literal["query", "positive", "negative"]] = ("query", "positive"),
        target: Literal["none", "score", "label", "guide"] = "none",
    ) -> None:
        super().__init__()
        self.name, self.inputs, self.target = loss, tuple(inputs), target
        self.loss = _construct(loss, dict(arguments or {}))
        if target == "guide" and not _teacher_embeddings(self.loss):
            takers = [name for name, one in available().items() if _teacher_embeddings(one)]
            raise RecipeError(
                f"sentence-transformers' {loss} takes no teacher's embeddings",
                where="objective.target",
                cure=f"losses that do: {', '.join(takers)}",
            )

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        no_weight(e, self.name)
        columns = [column for name in self.inputs for column in self._columns(e, name)]
        compute: Any = self.loss.compute_loss_from_embeddings
        try:
            out = compute(columns, self._target(e, len(columns)))
        except (ValueError, AssertionError) as error:
            raise DataError(
                f"sentence-transformers' {self.name} refuses the batch: {error}",
                where="objective",
                cure="check `inputs` and `target` against the loss's documentation",
            ) from error
        if isinstance(out, dict):
            return LossOut(torch.stack(list(out.values())).sum(), None, {k: v.detach() for k, v in out.items()})
        return LossOut(out)

    def _columns(self, e: Embeddings, name: str) -> list[Tensor]:
        if name == "query":
            return [upcast(e.query)]
        if name == "positive":
            return [upcast(one_positive(e, self.name))]
        if e.negative.shape[1] == 0 or not bool(e.negative_mask.all()):
            raise DataError(
                f"sentence-transformers' {self.name} needs every explicit negative, some examples lack one",
                where="negative",
                cure="drop those rows, or lower negatives.per_query",
            )
        return list(upcast(e.negative).unbind(1))

    def _target(self, e: Embeddings, columns: int) -> Tensor | list[Tensor] | None:
        if self.target == "none":
            return None
        if self.target == "guide":
            return [self._taught(e)] * columns
        value = e.score if self.target == "score" else e.label
        if value is None:
            raise DataError(
                f"sentence-transformers' {self.name} needs a {self.target}, the batch has none",
                where=self.target,
                cure=f"name the {self.target} column in roles",
            )
        if _teacher_embeddings(self.loss):
            return [value] * columns
        return value.squeeze(1) if value.ndim == 2 and value.shape[1] == 1 else value

    def _taught(self, e: Embeddings) -> Tensor:
        """[N, d] embeddings of the queries by the guide."""
        if e.guide is None:
            raise RecipeError(f"{self.name} asks a guide", "guide", "add `guide: {model: FOLDER_OR_ID}`")
        own, taught = e.query.shape[1], e.guide.query.shape[1]
        if own != taught:
            what = f"the guide's embeddings have {taught} dimensions, the model's {own}"
            raise RecipeError(what, "guide.model", f"a guide of {own} dimensions, or a base of {taught}")
        return upcast(e.guide.query)


def _teacher_embeddings(loss: Any) -> bool:
    """Whether a loss, or its class, takes a teacher's embeddings for labels."""
    return "teacher_embeddings" in inspect.signature(loss.compute_loss_from_embeddings).parameters


def _construct(name: str, arguments: dict[str, Any]) -> nn.Module:
    losses = available()
    if name not in losses:
        near = difflib.get_close_matches(name, losses, n=1)
        raise RecipeError(
            f"sentence-transformers has no loss {name!r} with compute_loss_from_embeddings",
            where="objective.loss",
            cure=f"{f'did you mean {near[0]}? ' if near else ''}available: {', '.join(losses)}",
        )
    if arguments.get("gather_across_devices"):
        raise RecipeError(
            "gather_across_devices would gather twice: the step engine has gathered already",
            where="objective.arguments",
            cure="remove it; negatives.across_processes decides",
        )
    parameters = inspect.signature(losses[name].__init__).parameters
    for key, value in arguments.items():
        if isinstance(value, str) and key in parameters and callable(parameters[key].default):
            arguments[key] = _function(losses[name], value)
    try:
        # The losses only keep the model for their own forward, which is never called here.
        return losses[name](model=nn.Identity(), **arguments)
    except (TypeError, ValueError, AttributeError) as error:
        raise RecipeError(
            f"sentence-transformers' {name} cannot be built: {error}",
            where="objective.arguments",
            cure=f"it takes {', '.join(p for p in parameters if p not in ('self', 'model')) or 'no arguments'}; "
            "arguments that need a model are not supported",
        ) from error


def _function(loss: type[nn.Module], name: str) -> Any:
    from sentence_transformers import util

    for scope in (inspect.getmodule(loss), util):
        value: Any = scope
        for part in name.split("."):
            value = getattr(value, part, None)
        if callable(value):
            return value
    raise RecipeError(
        f"no function {name!r} in sentence_transformers.util or beside {loss.__name__}",
        where="objective.arguments",
        cure="e.g. dot_score, pairwise_cos_sim, SiameseDistanceMetric.EUCLIDEAN",
    )
