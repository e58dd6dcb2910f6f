"""What an objective is, and how a recipe's options become one.

An objective is a pure function of one global batch of embeddings and of what it remembers of those before. It gathers
nothing, logs nothing, holds no model; the step engine (`embedkit.train.step`) decides which process
evaluates which rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from embedkit.errors import DataError, RecipeError
from embedkit.recipe import registry
from embedkit.recipe.heads import HeadConfig
from embedkit.recipe.objectives.base import ObjectiveConfig, leaves
from embedkit.recipe.objectives.wrappers import SumTerm
from embedkit.recipe.weighting import WeightingConfig
from embedkit.types import Embeddings, LossOut


@dataclass(frozen=True)
class Term:
    """One summand of a loss: ``coefficient * objective(embeddings)``."""

    coefficient: float
    objective: Objective
    embeddings: Embeddings


class Objective(nn.Module):
    """Base of all objectives.

    `scope` tells the engine how to evaluate it:

    - ``"row"``: one loss per row. `forward` answers for the given rows only, against all columns of the batch,
      so the engine may cut the rows into blocks and share them between processes. The batch loss is
      ``sum(value * weight) / sum(weight)`` over all rows of all processes.
    - ``"batch"``: one scalar over the whole batch; `rows` is ignored and `LossOut.weight` is None.
    """

    scope: Literal["row", "batch"] = "row"
    empty = False
    """Whether it never has terms, so that embeddings are needed for the auxiliary losses at most."""
    remembers = False
    """Whether `remember` is to be called."""

    def setup(self, dim: int, seed: int) -> None:
        """Make the parameters whose size is that of the embeddings, drawn from `seed`: once, before anything else.

        Must leave the global random state as it was. `set_up` calls it for an objective and those inside it.

        Args:
            dim: size of the embeddings that `forward` will get.
            seed: of everything drawn here.
        """

    def terms(self, e: Embeddings) -> list[Term]:
        """The flat list of summands; a wrapper overrides this and nothing else."""
        return [Term(1.0, self, e)]

    def columns(self, e: Embeddings) -> int:
        """How many logits one row needs at most: the engine sizes row blocks by it."""
        return 1

    def remember(self, e: Embeddings) -> None:
        """Write the state that the next steps read (`embedkit.objectives.companions`); `forward` must not.

        Called without gradient after each optimiser step, once for each batch of the update, in their order, on every
        process with the same batch. A batch's embeddings are those that its loss was computed on.

        Args:
            e: the global batch, detached.
        """

    def forward(self, e: Embeddings, rows: Tensor) -> LossOut:
        """The loss of `rows`.

        Args:
            e: the global batch, N examples.
            rows: [m] int64 indices into the batch that this call must answer for.

        Returns:
            Row scope: `value` [m] and `weight` [m], the latter without gradient. Batch scope: a scalar `value`.
        """
        raise NotImplementedError(f"{type(self).__name__} is a wrapper: evaluate its terms()")


def set_up(objective: Objective, dim: int, seed: int) -> None:
    """`Objective.setup` of an objective and of every one inside it, each with a seed of its own."""
    parts = [part for part in objective.modules() if isinstance(part, Objective)]
    for place, part in enumerate(parts):
        part.setup(dim, seed + place)


class BatchHead(nn.Module):
    """A layer over the whole gathered batch, between the encoder and the objective; training only.

    Every process applies it to the same pool, so that statistics over rows (batch norm, whitening) are those of
    the whole batch whatever the number of processes and micro-batches. Its parameters get gradients as those of
    an objective do.
    """

    width: int
    """Size of the outputs, once `build_heads` has made it."""

    def setup(self, dim: int, seed: int) -> int:
        """Make the parameters for inputs of size `dim`, drawn from `seed`; returns the size of the outputs.

        Must leave the global random state as it was.
        """
        return dim

    def forward(self, values: Tensor, present: Tensor, seed: int) -> Tensor:
        """[N, S, d] -> [N, S, d'].

        Args:
            values: embeddings by example and slot; zeros where there is no text.
            present: [N, S] bool, where there is a text. Other places enter no statistic and come out as zeros.
            seed: of everything random here; equal on all processes, another in each step.
        """
        raise NotImplementedError


def build_heads(configs: Sequence[HeadConfig], dim: int, seed: int) -> list[BatchHead]:
    """The batch heads that a recipe asks for, in order, the first for embeddings of size `dim`."""
    heads = []
    for place, config in enumerate(configs):
        head: BatchHead = registry.resolve(registry.lookup("head", config.name).target)(**_options(config))
        head.width = dim = head.setup(dim, seed + place)
        heads.append(head)
    return heads


def build(config: ObjectiveConfig, weighting: Sequence[WeightingConfig] = ()) -> Objective:
    """The objective that a recipe asks for.

    Inside a wrapper, `weighting` reaches every reweightable objective and leaves the others as they are.

    Raises:
        RecipeError: `weighting` is given but no objective here can be reweighted.
    """
    if weighting and not any(leaf.reweightable for leaf in leaves(config)):
        raise RecipeError(
            f"weighting {[w.name for w in weighting]} has no effect on objective {config.name!r}",
            where="weighting",
            cure="remove the weighting, or use it with an objective that has a softmax (infonce)",
        )
    return _build(config, tuple(weighting))


def _build(config: ObjectiveConfig, weighting: tuple[WeightingConfig, ...]) -> Objective:
    options = {k: _nested(v, weighting) for k, v in _options(config).items()}
    if weighting and config.reweightable:
        pieces = [registry.resolve(registry.lookup("weighting", w.name).target)(**_options(w)) for w in weighting]
        options["weighting"] = pieces
    objective: Objective = registry.resolve(registry.lookup("objective", config.name).target)(**options)
    return objective


def _options(config: ObjectiveConfig | WeightingConfig | HeadConfig) -> dict[str, Any]:
    return {field: getattr(config, field) for field in type(config).model_fields if field != "name"}


def _nested(value: Any, weighting: tuple[WeightingConfig, ...]) -> Any:
    if isinstance(value, ObjectiveConfig):
        return _build(value, weighting)
    if isinstance(value, SumTerm):
        return value.weight, _build(value.objective, weighting)
    return tuple(_nested(v, weighting) for v in value) if isinstance(value, tuple) else value


def upcast(x: Tensor) -> Tensor:
    """`x` in float32 at least: objectives never compute in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def mean_where(x: Tensor, chosen: Tensor) -> Tensor:
    """Scalar mean of `x` where `chosen`, NaN where nothing is; ``x[chosen]`` would wait for a GPU to know its size."""
    return torch.where(chosen, x, 0.0).sum() / chosen.sum()


def example_weight(e: Embeddings, rows: Tensor) -> Tensor:
    """[m] weights of the examples `rows`, ones where the batch has none; no gradient."""
    if e.weight is None:
        return torch.ones(len(rows), dtype=upcast(e.query.detach()[:0]).dtype, device=e.query.device)
    return upcast(e.weight[rows].detach())


def no_weight(e: Embeddings, name: str) -> None:
    """Refuse example weights where the objective cannot use them, rather than ignore them."""
    if e.weight is not None:
        raise DataError(
            f"objective {name!r} cannot weight examples",
            where="weight",
            cure="remove the weights of the source, or use an objective with one loss per row",
        )


def copied(e: Embeddings, name: str) -> Embeddings:
    """The batch as the encoder's copy embeds it.

    Raises:
        RecipeError: the step has no copy.
    """
    if e.target is None:
        raise RecipeError(f"objective {name!r} asks a copy of the encoder", "momentum", "set momentum: null")
    return e.target


def one_positive(e: Embeddings, name: str) -> Tensor:
    """[N, d] the positive of each example, for objectives on pairs.

    Raises:
        DataError: the batch has no positive, or several per example.
    """
    if e.positive.shape[1] != 1:
        raise DataError(
            f"objective {name!r} needs exactly one positive per example, the batch has {e.positive.shape[1]}",
            where="positive",
            cure="give the source a positive column; for unlabelled text set views.count to 2",
        )
    return e.positive[:, 0]


def targets(e: Embeddings, name: str, columns: tuple[int, ...] = (1,)) -> Tensor:
    """[N, C] graded scores with C one of `columns`.

    Raises:
        DataError: the batch has no scores or another number of them.
    """
    if e.score is None or e.score.shape[1] not in columns:
        got = "none" if e.score is None else str(e.score.shape[1])
        raise DataError(
            f"objective {name!r} needs {' or '.join(map(str, columns))} score(s) per example, got {got}",
            where="score",
            cure="name the score column in roles",
        )
    return upcast(e.score.detach())
