"""The step engine: one exact gradient for every objective, however the work is cut.

A step has a row side and a batch side. Rows (all roles and views together, sorted by length) go through the
encoder in micro-batches and do not see each other; this module is the row side. Their embeddings are detached
and gathered from all processes (`embedkit.train.boundary`, the batch side: batch heads, then the objective), and
the gradient with respect to these leaves comes back. Auxiliary losses over tokens run beside it
(`embedkit.train.auxiliaries`) and may add to that gradient. Each process then carries the gradient of its own
rows through its encoder, either along the kept graph or by encoding once more with the same dropout masks
(GradCache, arXiv 2101.06983).

Contract: processes x micro-batches x row blocks x accumulation never change the gradient.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from embedkit.auxiliary.base import Auxiliary
from embedkit.model.reading.devices import send
from embedkit.model.reading.seeding import RandomState
from embedkit.objectives.base import BatchHead, Objective
from embedkit.train import auxiliaries as auxiliary_losses
from embedkit.train import boundary
from embedkit.train.distributed import Comm
from embedkit.train.prograd import ProGrad
from embedkit.train.target import Target
from embedkit.types import Embeddings, RowBatch, StepResult


class RowEncoder(Protocol):
    """What the step needs of an encoder (`embedkit.model.running.encoder.Encoder`)."""

    def features(self, batch: RowBatch, rows: np.ndarray) -> dict[str, Any]: ...
    def embed(self, features: dict[str, Any]) -> Tensor: ...
    def is_frozen(self, batch: RowBatch, rows: np.ndarray) -> bool: ...


@dataclass(frozen=True)
class _Forward:
    """Embeddings of this process's rows, and what the way back needs.

    Micro-batches of a frozen tower have no way back: only the block holds their embeddings. `outputs` is empty when
    rows will be encoded again; then `states` holds the random state before each micro-batch.
    """

    block: Tensor  # [n * S, d]
    micro_batches: list[np.ndarray]
    positions: list[Tensor]
    outputs: list[Tensor]
    states: list[RandomState]
    padded_tokens: int


@dataclass(frozen=True)
class _Answer:
    """The batch side's answer: loss, gradient [n * S, d] of this process's rows, metrics; `general` is the gradient of
    a loss that the other must not go against, None where there is none."""

    loss: float
    leaf: Tensor
    metrics: dict[str, float]
    general: Tensor | None = None


class Step:
    """Forward and backward of one batch; gradients are added to ``.grad`` as each process's own share.

    After the last batch of an update, call `finish`: it sums the shares over processes, once.

    Args:
        encoder: turns micro-batches of rows into embeddings.
        objectives: one per data source; `RowBatch.source` picks.
        comm: the process group.
        keep_graph: decides per batch whether the encoder's graph is held (True) or rows are encoded twice.
        heads: batch heads, between the gathered embeddings and the objective.
        auxiliaries: losses beside the objective's.
        guide: ``batch -> [n * S, g]``, a frozen encoder's embeddings of this process's rows.
        target: a copy of the encoder that follows it from update to update, where an objective asks for it.
        prograd: a general loss that the gradients must not go against; it needs `target`, and no heads.
        seed: of what is random in the batch heads.
        rows_per_block: rows of a row-scope objective evaluated at once; None bounds logits memory.
        across_processes: False makes each process's batch a pool of its own.
        autocast: context of the encoder's forward (bf16).
    """

    def __init__(
        self,
        encoder: RowEncoder,
        objectives: Sequence[Objective],
        comm: Comm | None = None,
        *,
        heads: Sequence[BatchHead] = (),
        auxiliaries: Sequence[Auxiliary] = (),
        guide: Callable[[RowBatch], Tensor] | None = None,
        target: Target | None = None,
        prograd: ProGrad | None = None,
        seed: int = 0,
        keep_graph: Callable[[RowBatch], bool] = lambda batch: True,
        rows_per_block: int | None = None,
        across_processes: bool = True,
        autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        self.encoder, self.objectives, self.comm = encoder, list(objectives), comm or Comm()
        self.heads, self.auxiliaries, self.guide, self.seed = list(heads), list(auxiliaries), guide, seed
        self.pool = self.comm if across_processes else Comm()
        self.keep_graph, self.rows_per_block, self.autocast = keep_graph, rows_per_block, autocast
        self.target, self.prograd = target, prograd
        self._lasts = [any(isinstance(m, Objective) and m.remembers for m in o.modules()) for o in self.objectives]
        self._pending: list[tuple[Objective, Embeddings]] = []
        self._dense: dict[torch.nn.Parameter, Tensor] = {}

    def __call__(self, batch: RowBatch, coefficient: float = 1.0) -> StepResult:
        """Run one batch.

        Args:
            batch: this process's share.
            coefficient: factor of the gradient, 1 / accumulation.

        Returns:
            The global loss (without `coefficient`) and what the batch cost.
        """
        if self.objectives[batch.source].empty and not any(a.conditioned for a in self.auxiliaries):
            return self._auxiliaries_alone(batch, coefficient)
        keep = self.keep_graph(batch)
        forward = self._forward(batch, keep)
        answer = self._batch_side(batch, batch.spread(forward.block), coefficient)
        if self.prograd is not None and answer.general is not None:
            with self.prograd.apart():
                self._carry(batch, forward, answer.general, keep, again=True)
        self._carry(batch, forward, answer.leaf, keep)
        return self._result(batch, answer, forward.padded_tokens, "keep" if keep else "reforward")

    def _carry(self, batch: RowBatch, forward: _Forward, leaf: Tensor, keep: bool, again: bool = False) -> None:
        """A gradient [n * S, d] of the embeddings through the encoder; `again`: another one will follow."""
        leaf = batch.fold(leaf)
        if not keep:
            self._encode_again(batch, forward, leaf)
            return
        gradients = [leaf[p].to(o.dtype) for p, o in zip(forward.positions, forward.outputs, strict=True)]
        if gradients:
            torch.autograd.backward(forward.outputs, gradients, retain_graph=again)

    def _auxiliaries_alone(self, batch: RowBatch, coefficient: float) -> StepResult:
        """No objective asks for embeddings: they are not computed."""
        answer = self._auxiliary(batch, None, coefficient, backward=True)
        return self._result(batch, _Answer(answer.loss, torch.empty(0), answer.metrics), batch.tokens, "keep")

    def _result(self, batch: RowBatch, answer: _Answer, padded_tokens: int, graph: str) -> StepResult:
        return StepResult(
            loss=answer.loss,
            metrics=answer.metrics,
            rows=len(batch.input_ids),
            tokens=batch.tokens,
            padded_tokens=padded_tokens,
            micro_batches=len(batch.micro_batches),
            graph=graph,
        )

    def finish(self, parameters: Sequence[torch.nn.Parameter]) -> dict[str, float]:
        """Sum the processes' shares of the gradient: one sync per update, however many batches it had.

        Returns metrics of the update, where there are some.

        Sparse gradients (the token table's, see `Encoder.use_sparse_token_gradients`) become dense here, once, in
        memory that is kept: it would cost more to get anew than to clear.
        """
        for p in parameters:
            if p.grad is not None and p.grad.is_sparse:
                sparse = p.grad
                if p not in self._dense:
                    self._dense[p] = torch.empty_like(p, requires_grad=False)
                p.grad = self._dense[p].zero_()
                p.grad.index_add_(0, sparse._indices()[0], sparse._values())
        self.comm.sum_gradients(parameters)
        return {} if self.prograd is None else self.prograd.finish(self.comm)

    @property
    def remembers(self) -> bool:
        """Whether `remember` has anything to do after an update."""
        return self.target is not None or any(self._lasts)

    @torch.no_grad()
    def remember(self) -> None:
        """After the optimiser step: every batch of the update, in order, to its objective; then the copy follows."""
        for objective, e in self._pending:
            for term in objective.terms(e):
                term.objective.remember(term.embeddings)
        self._pending.clear()
        if self.target is not None:
            self.target.follow()

    @torch.no_grad()
    def loss(self, batch: RowBatch) -> float:
        """The global loss of a batch, without gradient."""
        return self._batch_side(batch, batch.spread(self._forward(batch, keep=False).block), backward=False).loss

    def reference(self, batch: RowBatch) -> Tensor:
        """The same loss with its whole graph, see `reference`; for one process."""
        objective = self.objectives[batch.source]
        parts = (self.heads, self.auxiliaries, self.guide, self.seed, self.target)
        return reference(self.encoder, objective, batch, *parts)

    def _batch_side(self, batch: RowBatch, block: Tensor, coefficient: float = 1.0, backward: bool = True) -> _Answer:
        guide = None if self.guide is None else self.guide(batch)
        target = None if self.target is None else self._embedded_by(self.target, batch)
        leaves = boundary.gather(batch, block, self.pool, guide, target)
        projected = boundary.project(self.heads, leaves, head_seed(self.seed, batch), backward)
        seen = projected.leaves
        answer = boundary.differentiate(
            self.objectives[batch.source],
            seen,
            self.comm,
            coefficient=coefficient,
            rows_per_block=self.rows_per_block,
            backward=backward,
        )
        if backward and self._lasts[batch.source]:
            self._pending.append((self.objectives[batch.source], seen.embeddings(seen.values.detach())))
        own = seen.values.detach()[seen.own].flatten(0, 1)
        extra = self._auxiliary(batch, own, coefficient, backward)
        share = answer.share
        if extra.gradient is not None:
            share[seen.own] += extra.gradient.view(batch.n, batch.slots, -1)
        if backward:
            share = projected.pull_back(share)
        leaf = self.pool.sum(share)[seen.own].flatten(0, 1)
        general, more = self._general(seen, coefficient) if backward else (None, {})
        return _Answer(answer.loss + extra.loss, leaf, answer.metrics | extra.metrics | more, general)

    def _general(self, leaves: boundary.Leaves, coefficient: float) -> tuple[Tensor | None, dict[str, float]]:
        """The gradient [n * S, d] of the general loss, and what it reports."""
        if self.prograd is None:
            return None, {}
        found = boundary.differentiate(
            self.prograd.objective, leaves, self.comm, coefficient=coefficient, rows_per_block=self.rows_per_block
        )
        leaf = self.pool.sum(found.share)[leaves.own].flatten(0, 1)
        return leaf, {"start_loss": found.loss, "start_nearest_kept": found.metrics["nearest_kept"]}

    def _embedded_by(self, target: Target, batch: RowBatch) -> Tensor:
        with self.autocast():
            return target(batch)

    def _auxiliary(
        self, batch: RowBatch, embeddings: Tensor | None, coefficient: float, backward: bool
    ) -> auxiliary_losses.AuxiliaryResult:
        return auxiliary_losses.run(
            self.auxiliaries,
            batch,
            embeddings,
            self.comm,
            coefficient=coefficient,
            autocast=self.autocast,
            backward=backward,
            device=getattr(self.encoder, "device", "cpu"),
        )

    def _forward(self, batch: RowBatch, keep: bool) -> _Forward:
        trained: list[np.ndarray] = []
        positions: list[Tensor] = []
        outputs: list[Tensor] = []
        states: list[RandomState] = []
        block: Tensor | None = None
        padded = 0
        for rows in batch.micro_batches:
            features = self.encoder.features(batch, rows)
            device = features["input_ids"].device
            padded += features["input_ids"].numel()
            frozen = self.encoder.is_frozen(batch, rows)
            if not (keep or frozen):
                states.append(RandomState(device))
            with self.autocast(), torch.set_grad_enabled(keep and not frozen):
                out = self.encoder.embed(features)
            if block is None:
                wide = torch.promote_types(out.dtype, torch.float32)
                block = out.new_zeros((batch.n * batch.slots, out.shape[-1]), dtype=wide)
            position = send(batch.position[rows], device)
            block[position] = out.detach().to(block.dtype)
            if frozen:
                continue
            trained.append(rows)
            positions.append(position)
            if keep:
                outputs.append(out)
        assert block is not None, "a batch has at least one row"
        return _Forward(block, trained, positions, outputs, states, padded)

    def _encode_again(self, batch: RowBatch, forward: _Forward, leaf_gradient: Tensor) -> None:
        end = RandomState(forward.block.device)  # after the auxiliaries, so that no mask of theirs is drawn again
        for rows, position, state in zip(forward.micro_batches, forward.positions, forward.states, strict=True):
            features = self.encoder.features(batch, rows)
            state.restore()
            with self.autocast(), torch.enable_grad():
                out = self.encoder.embed(features)
            out.backward(leaf_gradient[position].to(out.dtype))
        end.restore()


def head_seed(seed: int, batch: RowBatch) -> int:
    """Equal on all processes, another in each step."""
    return seed * 1_000_003 + batch.step


def reference(
    encoder: RowEncoder,
    objective: Objective,
    batch: RowBatch,
    heads: Sequence[BatchHead] = (),
    auxiliaries: Sequence[Auxiliary] = (),
    guide: Callable[[RowBatch], Tensor] | None = None,
    seed: int = 0,
    target: Callable[[RowBatch], Tensor] | None = None,
) -> Tensor:
    """The loss with its whole graph, in one process and one padded pass: the oracle of tests, a debugger for users.

    Nothing is cut, cached or sorted, so ``reference(...).backward()`` is plain autograd.

    Args:
        encoder, objective, heads, auxiliaries, guide, seed, target: as in `Step`.
        batch: the whole global batch, as one process would get it.

    Returns:
        Scalar loss.
    """
    variant = np.zeros(len(batch.input_ids), np.int64) if batch.variant is None else batch.variant
    kinds = [np.flatnonzero(variant == kind) for kind in np.unique(variant)]  # one pass each
    out = torch.cat([encoder.embed(encoder.features(batch, rows)) for rows in kinds])
    position = torch.from_numpy(batch.position[np.concatenate(kinds)]).to(out.device)
    block = batch.spread(out.new_zeros((batch.n * batch.slots, out.shape[-1])).index_copy(0, position, out))
    beside = (None if asked is None else asked(batch) for asked in (guide, target))
    leaves = boundary.gather(batch, block.detach(), Comm(), *beside)
    values = boundary.apply_heads(heads, block.view(batch.n, batch.slots, -1), leaves.present, head_seed(seed, batch))
    total = values.new_zeros(())
    for term in objective.terms(leaves.embeddings(values)):
        answer = term.objective(term.embeddings, leaves.own)
        loss = answer.value
        if answer.weight is not None:
            tiny = torch.finfo(loss.dtype).tiny  # no row counts where none has a negative
            loss = (loss * answer.weight).sum() / answer.weight.sum().clamp_min(tiny)
        total = total + term.coefficient * loss
    for auxiliary in auxiliaries:
        total = total + auxiliary_losses.reference(auxiliary, batch, values.flatten(0, 1))
    return total
