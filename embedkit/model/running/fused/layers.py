"""Exchange the pieces of layers that `functions` can compute; whatever is not as expected stays as it was.

A piece of a BERT-like layer is known by its parts (`dense` and an activation; `dense`, `LayerNorm` and `dropout`;
`query`, `key`, `value` and `dropout`). Of other layers, and below adapters, every linear layer is one where oneDNN is
the faster library for it. A trial has the last word: on random input, with dropout, a piece's own code and the fused
one must give the same output and the same gradients. It then becomes a subclass of its class: names, weights, hooks and
what is saved stay. Its own code still runs whenever a part was exchanged or hooked since (LoRA), under autocast, or on
another device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from embedkit.foreign import showing
from embedkit.model.changing.dropout import CPUDropout
from embedkit.model.reading.seeding import seeded
from embedkit.model.running.fused import functions, products
from embedkit.model.running.masks import OWN_LOGITS, seen_by

logger = showing.logger(__name__)

TOLERANCE = 1e-4
"""Largest relative distance between a piece's own output or gradient and the fused one's, in a trial."""
RUNS = ((2, 3), (1, 2))
"""Packed rows of a trial."""
TOKENS = sum(rows * length for rows, length in RUNS)


class _Piece(nn.Module):
    """A module whose class is a fused piece's and its own."""

    PARTS: ClassVar[frozenset[str]]
    """Names of the children of a module that may be one."""

    def trial_input(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and other arguments of the forward pass for a trial."""
        raise NotImplementedError

    def __reduce_ex__(self, protocol: Any) -> Any:
        made: Any = super().__reduce_ex__(protocol)
        return _blank, type(self).__bases__, *made[2:]


class DenseGelu(_Piece):
    """Linear layer and exact GELU."""

    PARTS = frozenset({"dense", "intermediate_act_fn"})
    dense: nn.Linear

    def trial_input(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"hidden_states": _random(self.dense.in_features)}, {}

    def forward(self, hidden_states: Tensor) -> Tensor:
        if not _plain(hidden_states, self.dense):
            return super().forward(hidden_states)
        out = functions.dense_gelu(hidden_states.flatten(0, -2), self.dense.weight, self.dense.bias)
        return out.view(*hidden_states.shape[:-1], -1)


class DenseAddNorm(_Piece):
    """Linear layer, dropout, residual and layer norm."""

    PARTS = frozenset({"dense", "LayerNorm", "dropout"})
    dense: nn.Linear
    LayerNorm: nn.LayerNorm
    dropout: nn.Dropout

    def trial_input(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"hidden_states": _random(self.dense.in_features), "input_tensor": _random(self.dense.out_features)}, {}

    def forward(self, hidden_states: Tensor, input_tensor: Tensor) -> Tensor:
        norm = self.LayerNorm
        rate = self.dropout.p if self.training else 0.0
        if not _plain(hidden_states, self.dense, norm, self.dropout) or rate == 1:
            return super().forward(hidden_states, input_tensor)
        out = functions.dense_add_norm(
            hidden_states.flatten(0, -2),
            input_tensor.flatten(0, -2),
            self.dense.weight,
            self.dense.bias,
            norm.weight,
            norm.bias,
            norm.eps,
            rate,
        )
        return out.view(input_tensor.shape)


class Linear(_Piece):
    """A linear layer that is no part of another piece."""

    in_features: int
    out_features: int
    weight: Tensor
    bias: Tensor | None

    def trial_input(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"input": _random(self.in_features)}, {}

    def forward(self, input: Tensor) -> Tensor:
        if not _as_fused(input, self):
            return super().forward(input)
        out = functions.dense(input.flatten(0, -2), self.weight, self.bias)
        return out.view(*input.shape[:-1], -1)


class SelfAttention(_Piece):
    """Queries, keys and values, and attention over packed rows; its own code takes padded ones."""

    PARTS = frozenset({"query", "key", "value", "dropout"})
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    dropout: nn.Dropout
    num_attention_heads: int
    scaling: float

    def trial_input(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"hidden_states": _random(self.query.in_features)}, {"attention_mask": None, "packed_runs": RUNS}

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        runs, mask = kwargs.get("packed_runs"), kwargs.get("attention_mask")
        known = not args and not isinstance(mask, Tensor) and all(kwargs.get(name) is None for name in _OTHERS)
        linears = (self.query, self.key, self.value)
        rate = self.dropout.p if self.training else 0.0
        by_torch = rate == 0 and torch.is_grad_enabled()  # whose backward pass keeps no probabilities
        if not (runs and known and _plain(hidden_states, *linears, self.dropout)) or rate == 1 or by_torch:
            return super().forward(hidden_states, *args, **kwargs)
        out = functions.self_attention(
            hidden_states[0],
            [linear.weight for linear in linears],
            [linear.bias for linear in linears],
            runs,
            seen_by(self, mask, runs, kwargs.get("is_causal")),
            heads=self.num_attention_heads,
            scale=self.scaling,
            rate=rate,
        )
        return out[None], None


_OTHERS = ("cache", "past_key_values", "encoder_hidden_states", *OWN_LOGITS)
"""Arguments of an attention layer that the fused one does not know."""
_KINDS: tuple[type[_Piece], ...] = (DenseGelu, DenseAddNorm, SelfAttention)


def fuse(backbone: nn.Module) -> int:
    """Exchange the pieces of a backbone.

    Args:
        backbone: a transformers model whose attention is `embedkit.model.running.packing.ATTENTION`.

    Returns:
        How many modules are fused now; none on another device than a CPU.
    """
    if next(backbone.parameters()).device.type != "cpu":
        return 0
    agrees: dict[tuple[type, ...], bool] = {}
    count = 0
    for candidates in (_candidates, _linears):
        for module, kind in list(candidates(backbone)):
            made_of = (type(module), *(type(child) for child in module.children()))
            if made_of not in agrees:
                agrees[made_of] = _agrees(module, kind)
            if agrees[made_of]:
                module.__class__ = _fused(kind, type(module))
                count += 1
    return count


def unfuse(backbone: nn.Module) -> None:
    """Give every piece its own class again."""
    for module in backbone.modules():
        if isinstance(module, _Piece):
            module.__class__ = type(module).__bases__[1]


def _candidates(backbone: nn.Module) -> Iterator[tuple[nn.Module, type[_Piece]]]:
    for module in backbone.modules():
        parts = {name for name, _ in module.named_children()}
        for kind in _KINDS:
            if not isinstance(module, _Piece) and parts == kind.PARTS:
                yield module, kind


def _linears(backbone: nn.Module) -> Iterator[tuple[nn.Module, type[_Piece]]]:
    if not products.onednn_is_faster():
        return
    parts = {id(part) for module in backbone.modules() if isinstance(module, _Piece) for part in module.children()}
    for module in backbone.modules():
        if type(module) is nn.Linear and id(module) not in parts:
            yield module, Linear


def _fused(kind: type[_Piece], original: type[nn.Module]) -> type[nn.Module]:
    if (kind, original) not in _made:
        about = {"__module__": original.__module__, "__doc__": original.__doc__}
        _made[kind, original] = type(original.__name__, (kind, original), about)
    return _made[kind, original]


_made: dict[tuple[type, type], type[nn.Module]] = {}


def _blank(kind: type[_Piece], original: type[nn.Module]) -> nn.Module:
    """An empty module of a fused class, for pickle to fill."""
    cls = _fused(kind, original)
    return cls.__new__(cls)


def _agrees(module: nn.Module, kind: type[_Piece]) -> bool:
    """Whether a piece does what its parts suggest: its own output and gradients against the fused one's."""
    original = type(module)
    try:
        expected = _trial(module, kind)
        module.__class__ = _fused(kind, original)
        distance = _apart(_trial(module, kind), expected)
    except Exception as error:  # a model's own code, called as it may not expect
        logger.info("%s stays as it is: %s: %s", original.__name__, type(error).__name__, error)
        return False
    finally:
        module.__class__ = original
    if not distance < TOLERANCE:
        logger.info("%s stays as it is: the fused one differs by %.1e", original.__name__, distance)
    return distance < TOLERANCE


def _trial(module: Any, kind: type[_Piece]) -> list[Tensor]:
    """Output and gradients of one pass with dropout over random input; the global random state is left as it was."""
    training, rate = module.training, module.dropout.p if hasattr(module, "dropout") else None
    with seeded(0), torch.enable_grad():
        tensors, others = kind.trial_input(module)
        try:
            module.train()
            if rate is not None:
                module.dropout.p = 0.25
            found = module(**tensors, **others)
        finally:
            module.train(training)
            if rate is not None:
                module.dropout.p = rate
        out = found[0] if isinstance(found, tuple) else found
        leaves = [*tensors.values(), *(p for p in module.parameters() if p.requires_grad)]
        return [out.detach(), *torch.autograd.grad(out, leaves, torch.randn_like(out))]


def _apart(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest relative distance of a tensor from the expected one; what is nothing beside the others (the gradient of
    a key's bias is 0) is compared with them."""
    floor = 1e-3 * max(float(e.norm()) for e in expected)
    return max(float((f - e).norm()) / max(floor, float(e.norm())) for f, e in zip(found, expected, strict=True))


def _random(width: int) -> Tensor:
    return torch.randn(1, TOKENS, width, requires_grad=True)


def _plain(x: Tensor, *parts: nn.Module) -> bool:
    """Whether parts are what they were when they were fused, and nothing listens to them."""
    for part in parts:
        listens = part._forward_hooks or part._forward_pre_hooks or part._backward_hooks or part._backward_pre_hooks
        if type(part) not in _PARTS or listens:
            return False
    return _as_fused(x, *parts)


def _as_fused(x: Tensor, *parts: nn.Module) -> bool:
    """Whether x and the parameters are of one type, on the CPU, where nothing casts them."""
    if x.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    return all(p.dtype == x.dtype for part in parts for p in part._parameters.values() if p is not None)


_PARTS = (nn.Linear, nn.LayerNorm, CPUDropout)
